"""The threat: radii as written, and the nearest allowed image."""

import pytest
import torch

from spikeproof.errors import SpikeproofError
from spikeproof.threat import Linf, parse_eps


@pytest.mark.parametrize(("text", "eps"), [("8/255", 8 / 255), ("0.03", 0.03), ("0", 0.0), (1, 1.0), ("1e-2", 0.01)])
def test_radius_as_written(text, eps):
    assert Linf(text).eps == eps and Linf(text) == Linf(eps)


@pytest.mark.parametrize(
    "text", ["", "eight", "8/0", "8/", "1/2/3", -0.1, 1.01, "8", float("nan"), float("inf"), "-1/255"]
)
def test_impossible_radius(text):
    with pytest.raises(SpikeproofError) as caught:
        Linf(text)
    assert "\n" not in str(caught.value)


def test_the_refusal_says_what_was_given_and_what_is_usual():
    for what, begins in (("eps", "An eps is measured in pixels"), ("step size", "A step size is measured in pixels")):
        with pytest.raises(SpikeproofError, match=f"^{begins} .* got 8; 8/255 is usual"):
            parse_eps(8, what)
    with pytest.raises(SpikeproofError, match="'eight' is not an eps; give a number"):
        parse_eps("eight")


def test_projection_is_the_nearest_allowed_image():
    generator = torch.Generator().manual_seed(0)
    original = torch.rand(3, 2, 4, 4, generator=generator)
    original[0, 0, 0, 0], original[0, 0, 0, 1] = 0.0, 1.0
    candidate = original + torch.randn(original.shape, generator=generator) * 0.2
    projected = Linf(0.1).project(candidate, original)
    for x, x0, found in zip(candidate.flatten(), original.flatten(), projected.flatten(), strict=True):
        low, high = max(0.0, x0.item() - 0.1), min(1.0, x0.item() + 0.1)
        assert found.item() == pytest.approx(min(max(x.item(), low), high), abs=1e-7)
    assert torch.equal(Linf(0.1).project(projected, original), projected)
    assert torch.equal(Linf(0.0).project(candidate, original), original)
