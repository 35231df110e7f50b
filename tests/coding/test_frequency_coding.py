"""FEEL's frequency encoding against discrete Fourier transforms written out as sums, and its default radii."""

import cmath
import math

import pytest
import torch

from spikeproof.coding import Frequency
from spikeproof.coding.frequency import default_radii


@pytest.mark.parametrize(
    ("size", "steps", "radii"),
    [
        (32, 8, (16, 14, 12, 10, 8, 6, 4, 2)),
        (32, 4, (16, 14, 12, 10)),
        (64, 4, (32, 30, 28, 26)),
        (8, 4, (4, 3, 2, 1)),
        (28, 1, (14,)),
    ],
)
def test_the_published_radii(size, steps, radii):
    assert default_radii(size, steps) == radii


@pytest.mark.parametrize("size", [1, 2, 7, 8, 28, 32, 33, 64, 128])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 10, 20])
def test_radii_of_any_size_and_number_of_steps_fall_from_all_to_some(size, steps):
    radii = default_radii(size, steps)
    assert len(radii) == steps and radii[0] == math.ceil(size / 2) and radii[-1] >= 1
    assert list(radii) == sorted(radii, reverse=True)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (8, 8), (7, 7), (28, 28), (6, 9)])
def test_half_the_size_returns_the_image(height, width):
    x = torch.rand(4, 3, height, width)
    radius = math.ceil(max(height, width) / 2)
    torch.testing.assert_close(Frequency((radius,)).encode(x, 1)[0], x, rtol=0, atol=5e-7)


def slow_low_pass(image, radius):
    """|sum over the frequencies -r..r-1 of both axes|, every transform a sum."""
    height, width = len(image), len(image[0])

    def kept(size):
        return [k for k in range(-(size // 2), -(size // 2) + size) if -radius <= k < radius]

    def wave(k, a, height, m, b, width, sign):
        return cmath.exp(sign * 2j * math.pi * (k * a / height + m * b / width))

    places = [(a, b) for a in range(height) for b in range(width)]
    spectrum = {
        (k, m): sum(image[a][b] * wave(k, a, height, m, b, width, -1) for a, b in places)
        for k in kept(height)
        for m in kept(width)
    }
    return [
        [
            abs(sum(z * wave(k, a, height, m, b, width, 1) for (k, m), z in spectrum.items())) / (height * width)
            for b in range(width)
        ]
        for a in range(height)
    ]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (6, 9)])
def test_frames_are_the_sums_written_out(height, width):
    x = torch.rand(1, 2, height, width, dtype=torch.float64)
    radii = (4, 3, 2, 1)
    frames = Frequency(radii).encode(x, 4)
    for step, radius in enumerate(radii):
        for channel in range(2):
            expected = torch.tensor(slow_low_pass(x[0, channel].tolist(), radius), dtype=torch.float64)
            torch.testing.assert_close(frames[step, 0, channel], expected, rtol=1e-12, atol=1e-12)


def test_the_modulus_is_not_the_real_part():
    """The box of an even size is not symmetric; methods of the field count up to 17 % of an imaginary part."""
    x = torch.rand(16, 3, 32, 32, dtype=torch.float64)
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1))
    spectrum[..., :12, :] = spectrum[..., 20:, :] = 0
    spectrum[..., :12] = spectrum[..., 20:] = 0
    whole = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)))
    torch.testing.assert_close(Frequency((4,)).encode(x, 1)[0], whole.abs(), rtol=1e-12, atol=1e-12)
    assert whole.imag.abs().max() > 0.01


@pytest.mark.parametrize("size", [4, 5])
def test_gradients_are_those_of_finite_differences(size):
    x = 0.1 + 0.8 * torch.rand(1, 1, size, size, dtype=torch.float64)
    coding = Frequency((2, 1))
    assert torch.autograd.gradcheck(lambda x: coding.encode(x, 2), x.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_black_image_has_the_gradient_zero_and_not_nan(dtype):
    x = torch.zeros(1, 1, 8, 8, dtype=dtype, requires_grad=True)
    (first,) = torch.autograd.grad(Frequency().encode(x, 4).sum(), x, create_graph=True)
    assert not first.any()
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.isfinite().all()


def test_samples_do_not_meet():
    x = torch.rand(3, 2, 8, 8)
    together = Frequency().encode(x, 4)
    for n in range(3):
        torch.testing.assert_close(Frequency().encode(x[n : n + 1], 4)[:, 0], together[:, n])
