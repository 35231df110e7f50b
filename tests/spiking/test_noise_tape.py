"""Firing noise from a tape: normal, distinct where it must be, and the same when it is read again."""

import pytest
import torch

from spikeproof.spiking.ops.noise import SAMPLE_STRIDE, draw_tapes, standard_normals


def draw(seed, steps, shape):
    torch.manual_seed(seed)
    like = torch.empty(shape)
    return [standard_normals(tape, like) for tape in draw_tapes(steps, torch.empty(1, *shape))]


@pytest.mark.parametrize("seed", [0, 2**31])
def test_draws_are_standard_normals(seed):
    """Of one sample, whose noise is all distinct: 5 standard errors for 10^6 independent normals."""
    many = 1_000_000
    for drawn in draw(seed, 2, (1, 1000, 1000, 1)):
        drawn, error = drawn.double().flatten(), many**-0.5
        assert drawn.isfinite().all()
        assert abs(drawn.mean().item()) < 5 * error
        assert abs(drawn.var().item() - 1) < 5 * 2**0.5 * error
        assert abs((drawn**4).mean().item() - 3) < 5 * 96**0.5 * error
        below = torch.special.ndtr(drawn.sort().values)
        distance = (below - (torch.arange(many) + 0.5) / many).abs().max().item()  # Kolmogorov and Smirnov's
        assert distance < 2.2 * error  # exceeded once in 8000 samples of true normals


def test_the_same_generator_state_reads_the_same_places_and_another_does_not():
    first, again, other = (draw(seed, 3, (4, 3, 5, 2)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0], first[1])


def test_steps_and_neighbouring_samples_are_uncorrelated_neuron_by_neuron():
    shape = (256, 16, 16, 16)  # a sample is 4096 neurons
    a, b = (part.double() for part in draw(3, 2, shape))
    assert abs((a * b).mean().item()) < 5 * a.numel() ** -0.5
    assert abs((a[1:] * a[:-1]).mean().item()) < 5 * a[1:].numel() ** -0.5


def test_pooled_and_flat_views_of_the_positions_read_the_same_noise():
    torch.manual_seed(0)
    (tape,) = draw_tapes(1, torch.empty(1, 3, 4, 6, 5))
    natural = standard_normals(tape, torch.empty(3, 4, 6, 5))
    for shape in ((3, 24, 5), (3, 2, 2, 3, 2, 5)):
        assert torch.equal(standard_normals(tape, torch.empty(shape)).reshape(natural.shape), natural)
    assert torch.equal(natural[1].flatten(), tape.normals[SAMPLE_STRIDE : SAMPLE_STRIDE + 120])
