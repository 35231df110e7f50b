"""CW-FEEL: the published code in plain torch, one image at a time, and what it cannot break that CW can."""

import math

import pytest
import torch
from torch import nn

from spikeproof.attacks import cw_feel, cw_l2, judge
from spikeproof.threat import L2

ANYWHERE = L2(1e6)


@pytest.fixture
def known(model, batch):
    """The images that the model is right about."""
    images, labels = batch
    right = judge(model, images).argmax(1) == labels
    return images[right], labels[right]


def literal(model, image, label, steps=10, c=0.5, learning_rate=0.01):
    """The best image and its distance, infinite where none was found; Adam by hand."""
    w = torch.atanh(2 * image - 1)
    first, second, best, distance, previous = torch.zeros_like(w), torch.zeros_like(w), image, math.inf, math.inf
    for step in range(steps):
        leaf = w.clone().requires_grad_()
        shown = (leaf.tanh() + 1) / 2
        logits = model(shown[None])[0]
        others = torch.cat([logits[:label], logits[label + 1 :], torch.zeros(1, dtype=logits.dtype)])
        far = (shown - image).square().sum()
        cost = far + c * (logits[label] - others.max()).clamp_min(0)
        (gradient,) = torch.autograd.grad(cost, leaf)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        w = w - learning_rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
        if logits.argmax() != label and far.sqrt().item() < distance:
            best, distance = shown.detach(), far.sqrt().item()
        if step % max(steps // 10, 1) == 0:
            if cost.item() > previous:
                break
            previous = cost.item()
    return best, distance


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{}, {"steps": 25, "c": 20.0}, {"steps": 12, "learning_rate": 0.2}], ids=str)
def test_it_is_the_published_code_image_by_image(model, known, settings):
    images, labels = known
    # Where the surrogate is flat a gradient is 0 or rounding, by which Adam moves as far as by any other.
    found = cw_feel(model.double(), images.double(), labels, ANYWHERE, **settings)
    broken = 0
    for image, label, ours, correct in zip(images.double(), labels.tolist(), found.images, found.correct, strict=True):
        expected, distance = literal(model, image, label, **settings)
        assert correct == math.isinf(distance)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)
        broken += not correct
    assert broken or not settings


class Score(nn.Module):
    """Logits (a, b) + (d, -d) for the mean pixel's distance d from 1/2."""

    def __init__(self, own, other):
        super().__init__()
        self.offset = nn.Parameter(torch.tensor([own, other]))

    def forward(self, images):
        score = images.flatten(1).mean(1) - 0.5
        return self.offset + torch.stack([score, -score], 1)


@pytest.mark.parametrize(("edge", "own", "label"), [(1.0, -0.49, 0), (0.0, 0.49, 1)])
def test_pixels_at_the_edge_never_move(edge, own, label):
    """The label leads by 0.02, which one hundredth of the way to grey undoes: CW finds it, this cannot."""
    model, images, labels = Score(own, -own), torch.full((2, 1, 4, 4), edge), torch.full((2,), label)
    assert judge(model, images).argmax(1).tolist() == [label, label]
    found = cw_feel(model, images, labels, ANYWHERE, steps=200, learning_rate=0.1, c=100.0)
    assert found.correct.all() and torch.equal(found.images, images)
    found = cw_l2(model, images, labels, ANYWHERE, steps=200, learning_rate=0.1, searches=1, initial_c=100.0)
    assert not found.correct.any()


def test_logits_that_are_all_negative_leave_it_without_a_pull():
    """The other logit counts as 0, so one at -0.1 is behind already; CW sees the true lead."""
    images, labels = torch.full((1, 1, 4, 4), 0.6), torch.zeros(1, dtype=torch.int64)
    model = Score(-3.0, -3.1)
    settings = {"steps": 100, "learning_rate": 0.1}
    assert cw_feel(model, images, labels, ANYWHERE, c=100.0, **settings).correct.all()
    assert not cw_l2(model, images, labels, ANYWHERE, searches=1, initial_c=100.0, **settings).correct.any()


def test_a_sample_does_not_depend_on_its_neighbours(model, known):
    images, labels = known
    settings = {"steps": 20, "c": 20.0}
    together = cw_feel(model, images, labels, ANYWHERE, **settings)
    assert 0 < together.correct.sum() < len(labels)
    halves = [cw_feel(model, images[part], labels[part], ANYWHERE, **settings) for part in (slice(3), slice(3, None))]
    assert torch.equal(together.correct, torch.cat([half.correct for half in halves]))


def test_beyond_the_radius_nothing_counts(model, known):
    images, labels = known
    settings = {"steps": 25, "c": 20.0}
    far = (cw_feel(model, images, labels, ANYWHERE, **settings).images - images).flatten(1).norm(dim=1)
    eps = far[far > 0].median().item()
    found = cw_feel(model, images, labels, L2(eps), **settings)
    assert torch.equal(~found.correct, (far > 0) & (far <= eps))


@pytest.mark.parametrize("bad", [{"steps": 0}, {"c": 0.0}, {"learning_rate": -1.0}], ids=str)
def test_impossible_settings_are_refused(model, batch, refuses, bad):
    with refuses("CW-FEEL"):
        cw_feel(model, *batch, ANYWHERE, **bad)
