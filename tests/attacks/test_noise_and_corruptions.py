"""Noise of the size asked for, corruptions by hand and against scipy and colorsys."""

import colorsys
import io
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter

from spikeproof.attacks import Crafting, judge
from spikeproof.attacks.corruptions import SIZES, corrupt, corruption
from spikeproof.attacks.noise import gaussian_noise, uniform_noise
from spikeproof.gradients import ASSG
from spikeproof.threat import L2, Linf

# Whose change does not grow with every severity: colours fade and then glow, of 8 pixels two severities keep as many,
# water becomes mud, moves get shorter while the field gets rougher, glass blurs more and then twice, two severities of
# motion differ by less than 1e-9, and 8 x 8 flakes are few.
UNEVEN = {"saturate", "pixelate", "spatter", "elastic_transform", "glass_blur", "motion_blur", "snow"}
RANDOM = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    *("glass_blur", "motion_blur", "snow", "fog", "spatter", "elastic_transform"),
}
NOISES = pytest.mark.parametrize("noise", [gaussian_noise, uniform_noise])


def drawn(seed, draw):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return draw()


@NOISES
def test_one_draw_by_hand(model, batch, noise):
    images, labels = batch
    found = noise(model, images, labels, Linf(0.3), Crafting(seed=4), keep="last")
    if noise is gaussian_noise:
        expected = images + drawn(4, lambda: 0.3 * torch.randn_like(images))
    else:
        expected = images + drawn(4, lambda: 0.3 * (2 * torch.rand_like(images) - 1))
    torch.testing.assert_close(found.images, expected.clamp(0, 1), rtol=0, atol=1e-6)
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    assert not torch.equal(found.images, noise(model, images, labels, Linf(0.3), keep="last").images)


@NOISES
def test_more_trials_break_more_and_what_fewer_broke(model, batch, noise):
    images, labels = batch
    clean = judge(model, images).argmax(1) == labels
    standing = [noise(model, images, labels, Linf(0.4), trials=trials).correct for trials in (1, 3, 12)]
    for fewer, more in zip(standing, standing[1:], strict=False):
        assert not (more & ~fewer).any()
    assert standing[2].sum() < standing[0].sum() < clean.sum()
    last = noise(model, images, labels, Linf(0.4), keep="last").correct
    assert torch.equal(standing[0], last & clean)


@NOISES
def test_no_image_is_easier_than_the_clean_one(model, batch, noise):
    images, labels = batch
    found = noise(model, images, labels, Linf(0.1), Crafting(source=ASSG(), precision="bf16"), trials=2)
    loss = partial(torch.nn.functional.cross_entropy, target=labels, reduction="none")
    held = found.correct
    assert (loss(judge(model, found.images))[held] >= loss(judge(model, images))[held] - 1e-5).all()
    assert (found.images[held] != images[held]).flatten(1).any(1).any()
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)


def test_uniform_noise_stays_in_ball_and_box_and_gaussian_noise_in_the_box(model, batch):
    images, labels = batch
    for threat in (Linf(0.1), L2(0.5)):
        found = uniform_noise(model, images, labels, threat, trials=2).images
        assert (threat.distance(found, images) <= threat.eps + 1e-6).all()
        assert found.min() >= 0 and found.max() <= 1
    grey = torch.full((60, 1, 8, 8), 0.5)
    found = gaussian_noise(model, grey, labels, Linf(0.1), keep="last").images
    assert abs((found - grey).std().item() - 0.1) < 0.01
    assert ((found - grey).abs() > 0.1).float().mean() > 0.25  # as its docstring warns
    asked = gaussian_noise(model, grey, labels, Linf(0.0), std="51/255", keep="last").images
    assert abs((asked - grey).std().item() - 0.2) < 0.02


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_blur_is_scipys(severity):
    torch.manual_seed(0)
    images = torch.rand(2, 3, 12, 9, dtype=torch.float64)
    found = corrupt(images, "gaussian_blur", severity)
    for image, blurred in zip(images, found, strict=True):
        for channel, got in zip(image, blurred, strict=True):
            sigma = SIZES["gaussian_blur"][severity - 1]
            expected = torch.from_numpy(gaussian_filter(channel.numpy(), sigma, mode="nearest", truncate=4.0))
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_brightness_is_added_in_hsv(severity):
    torch.manual_seed(0)
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 1
    found = corrupt(images, "brightness", severity)
    added = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    for row in range(4):
        for column in range(4):
            hue, saturation, value = colorsys.rgb_to_hsv(*images[0, :, row, column].tolist())
            expected = colorsys.hsv_to_rgb(hue, saturation, min(value + added, 1))
            assert found[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-12)


def test_values_by_hand():
    images = torch.tensor([0.2, 0.4, 0.6, 0.8]).reshape(1, 1, 2, 2)
    contrast = corrupt(images, "contrast", 4)  # 0.5 + 0.3 (x - 0.5)
    torch.testing.assert_close(contrast.flatten(), torch.tensor([0.41, 0.47, 0.53, 0.59]))
    bright = corrupt(images, "brightness", 5)
    torch.testing.assert_close(bright.flatten(), torch.tensor([0.5, 0.7, 0.9, 1.0]))
    two = torch.cat([images, images / 2], 1)  # the second channel follows the first
    bright = corrupt(two, "brightness", 2)
    torch.testing.assert_close(bright[:, 1], bright[:, 0] / 2)
    noisy = corrupt(images, "gaussian_noise", 3, seed=9)
    expected = images + drawn(9, lambda: 0.08 * torch.randn_like(images))
    torch.testing.assert_close(noisy, expected.clamp(0, 1))


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_saturation_is_hsvs(severity):
    torch.manual_seed(0)
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    images[0, :, 0, 0], images[0, :, 0, 1], images[0, :, 0, 2] = 0, 1, 0.5
    found = corrupt(images, "saturate", severity)
    factor, added = SIZES["saturate"][severity - 1]
    for row in range(4):
        for column in range(4):
            hue, saturation, value = colorsys.rgb_to_hsv(*images[0, :, row, column].tolist())
            expected = colorsys.hsv_to_rgb(hue, min(saturation * factor + added, 1), value)
            assert found[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-12)
    grey = images[:, :1]
    assert torch.equal(corrupt(grey, "saturate", severity), grey)


def test_the_draws_of_noise_have_their_mean_and_spread():
    grey = torch.full((50, 1, 40, 40), 0.4, dtype=torch.float64)
    shot, speckle = corrupt(grey, "shot_noise", 3) - grey, corrupt(grey, "speckle_noise", 5) - grey
    assert abs(shot.mean()) < 1e-3 and shot.std() == pytest.approx((0.4 / 100) ** 0.5, rel=0.02)
    assert abs(speckle.mean()) < 1e-3 and speckle.std() == pytest.approx(0.4 * 0.2, rel=0.02)
    impulse = corrupt(grey, "impulse_noise", 5)
    shares = [(impulse == value).double().mean().item() for value in (0, 1, 0.4)]
    assert shares == pytest.approx([0.035, 0.035, 0.93], abs=0.003)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_defocus_is_a_soft_disk(severity):
    """By its definition on 17 x 17 taps, as the benchmark's code has it, mirrored at the edges."""
    radius, sigma = SIZES["defocus_blur"][severity - 1]
    offsets = torch.arange(-8.0, 9.0, dtype=torch.float64)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).double()
    taps = torch.exp(-(torch.arange(-1.0, 2.0, dtype=torch.float64) ** 2) / (2 * sigma**2))
    soft = torch.outer(taps, taps) / taps.sum() ** 2
    kernel = convolve((disk / disk.sum()).numpy(), soft.numpy(), mode="constant")
    torch.manual_seed(0)
    images = torch.rand(1, 2, 9, 12, dtype=torch.float64)
    for channel, found in zip(images[0], corrupt(images, "defocus_blur", severity)[0], strict=True):
        expected = torch.from_numpy(convolve(channel.numpy(), kernel, mode="mirror"))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_and_jpeg_are_pillows(channels):
    torch.manual_seed(0)
    levels = (torch.rand(2, channels, 32, 32) * 255).round().byte()
    images = levels.float() / 255
    for severity, (share, quality) in enumerate(zip(SIZES["pixelate"], SIZES["jpeg_compression"], strict=True), 1):
        for level, boxes, coded in zip(
            levels, corrupt(images, "pixelate", severity), corrupt(images, "jpeg_compression", severity), strict=True
        ):
            picture = Image.fromarray(level.permute(1, 2, 0).squeeze(-1).numpy())
            side, buffer = int(32 * share), io.BytesIO()
            smaller = picture.resize((side, side), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
            picture.save(buffer, "JPEG", quality=quality)
            for found, theirs in ((boxes, smaller), (coded, Image.open(buffer))):
                expected = torch.from_numpy(np.array(theirs)).view(32, 32, channels).permute(2, 0, 1)
                assert torch.equal((found * 255).round().byte(), expected)


@pytest.mark.parametrize("kind", SIZES)
def test_corruptions_grow_stay_in_the_box_and_are_pure(kind):
    torch.manual_seed(0)
    images = torch.rand(3, 3, 8, 8)
    copy, before = images.clone(), torch.get_rng_state()
    found = [corrupt(images, kind, severity) for severity in range(1, 6)]
    assert torch.equal(images, copy) and torch.equal(torch.get_rng_state(), before)
    sizes = [(changed - images).norm().item() for changed in found]
    assert sizes[0] > 0 and (kind in UNEVEN or (sizes == sorted(sizes) and len(set(sizes)) == 5))
    assert all(changed.min() >= 0 and changed.max() <= 1 for changed in found)
    assert torch.equal(found[2], corrupt(images, kind, 3))
    assert torch.equal(found[2], corrupt(images, kind, 3, seed=1)) == (kind not in RANDOM)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", SIZES)
def test_corruption_judges_the_corrupted_images(model, batch, kind):
    images, labels = batch
    found = corruption(model, images, labels, Linf(0.0), Crafting(seed=2), kind=kind, severity=5)
    assert torch.equal(found.images, corrupt(images, kind, 5, seed=2))
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    assert torch.equal(
        found.correct, corruption(model, images, labels, None, Crafting(seed=2), kind=kind, severity=5).correct
    )


def test_a_strong_corruption_costs_accuracy(model, batch):
    images, labels = batch
    right = {
        kind: corruption(model, images, labels, kind=kind, severity=5).correct.sum().item()
        for kind in ("contrast", "gaussian_blur")
    }
    clean = (judge(model, images).argmax(1) == labels).sum().item()
    assert min(right.values()) < clean


def test_impossible_settings(model, batch, refuses):
    for kind, severity, piece in (("frost", 3, "frost"), ("contrast", 0, "0"), ("contrast", 6, "6")):
        with refuses(piece):
            corruption(model, *batch, kind=kind, severity=severity)
    with refuses("trials", "0"):
        uniform_noise(model, *batch, Linf(0.1), trials=0)
    with refuses("trials", "2", "best"):
        gaussian_noise(model, *batch, Linf(0.1), trials=2, keep="last")
    with refuses("std", "1.5"):
        gaussian_noise(model, *batch, Linf(0.1), std=1.5)
