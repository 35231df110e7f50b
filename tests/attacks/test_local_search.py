"""The local search: its rule against a slow one, what it is handed, and that it goes on where gradients end."""

import sys

import numpy as np
import pytest
import torch

from spikeproof.attacks import Crafting, apgd, judge, local_search, sa_pgd
from spikeproof.attacks.door import check_start
from spikeproof.attacks.local_search import _changed, _windows
from spikeproof.data import load_data
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import ASSG
from spikeproof.threat import L2, Linf

THREAT = Linf(0.05)


def margins(model, images, labels):
    """z_y - max_{j != y} z_j, slowly."""
    logits = judge(model, images).double().numpy()
    return np.array([row[label] - max(np.delete(row, label)) for row, label in zip(logits, labels, strict=True)])


@pytest.fixture
def chased(model, batch):
    """What SA-PGD leaves, and where it ends."""
    images, labels = batch
    found = sa_pgd(model, images, labels, THREAT, Crafting(source=ASSG()), steps=40)
    left = found.correct
    assert left.sum() > 10
    return images[left], labels[left], found.nearest[left]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 9), (2, 3, 4), (1, 1, 1)])
def test_a_window_is_a_square_that_fits_anywhere(shape):
    windows = _windows(torch.zeros(3000, *shape))
    sides, seen = set(), torch.zeros(shape[1:], dtype=torch.bool)
    for window in windows[:, 0]:
        rows, columns = window.any(1).nonzero().flatten(), window.any(0).nonzero().flatten()
        side = len(rows)
        assert len(columns) == side and int(window.sum()) == side * side
        assert rows[-1] - rows[0] == columns[-1] - columns[0] == side - 1
        sides.add(side)
        seen |= window
    assert sides == {min(side, *shape[1:]) for side in (1, 2, 3, 4, 6)}
    assert seen.all()


def test_linf_puts_a_window_on_faces_of_the_ball():
    torch.manual_seed(0)
    originals = torch.rand(200, 3, 8, 8)
    current = Linf(0.1).random_start(originals)
    changed = _changed(current, originals, Linf(0.1))
    low, high = (originals - 0.1).clamp(0, 1), (originals + 0.1).clamp(0, 1)
    faces = set()
    for before, after, down, up in zip(current, changed, low, high, strict=True):
        inside = (before != after).any(0)
        rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        assert len(rows) <= 6 and len(columns) <= 6
        for channel in range(3):
            at = after[channel][inside]
            upper, lower = torch.isclose(at, up[channel][inside]), torch.isclose(at, down[channel][inside])
            assert upper.all() or lower.all()
            faces.add((channel, bool(upper.all())))
    assert len(faces) == 6


def test_l2_stays_on_the_ball_and_moves_a_window():
    torch.manual_seed(0)
    originals = torch.full((200, 3, 8, 8), 0.5)
    threat = L2(0.4)
    current = originals + 0.4 * threat.random_direction(originals)
    changed = _changed(current, originals, threat)
    assert torch.allclose(threat.distance(changed, originals), torch.tensor(0.4), atol=1e-5)
    cosine = torch.cosine_similarity((changed - originals).flatten(1), (current - originals).flatten(1))
    assert (cosine < 1 - 1e-4).float().mean() > 0.9 and cosine.mean() > 0.5


@pytest.mark.thorough
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.8)], ids=repr)
def test_the_margin_never_grows_and_nearest_is_the_least(model, batch, threat):
    images, labels = batch
    few = local_search(model, images, labels, threat, queries=15)
    many = local_search(model, images, labels, threat, queries=60)
    clean = margins(model, images, labels)
    one, other = (margins(model, found.nearest, labels) for found in (few, many))
    held = many.correct.numpy()
    assert (one <= clean + 1e-5)[held].all() and (other <= one + 1e-5)[held].all()
    assert other[held].sum() < clean[held].sum()
    assert (threat.distance(many.nearest, images) <= threat.eps + 1e-5).all()


@pytest.mark.thorough
def test_it_breaks_what_gradients_leave(model):
    """And from there more than from the image itself, at equal queries."""
    test = load_data("digits", validation=100).test
    images, labels = test.images[:250].float() / 255, test.labels[:250]
    found = sa_pgd(model, images, labels, THREAT, Crafting(source=ASSG()), steps=40)
    left = found.correct
    images, labels, start = images[left], labels[left], found.nearest[left]
    assert len(images) > 70 and margins(model, start, labels).sum() < margins(model, images, labels).sum()
    from_best = local_search(model, images, labels, THREAT, queries=150, start=start)
    from_image = local_search(model, images, labels, THREAT, queries=150)
    assert (~from_best.correct).sum() > 2 * (~from_image.correct).sum()


def test_a_start_that_is_broken_leaves_at_once(model, batch):
    images, labels = batch
    broken = sa_pgd(model, images, labels, Linf(0.3), steps=20)
    found = local_search(model, images, labels, Linf(0.3), queries=1, start=broken.images)
    assert not (found.correct & ~broken.correct).any()
    gone = ~broken.correct
    assert gone.any() and torch.equal(found.images[gone], broken.images[gone])


@pytest.mark.parametrize("attack", [sa_pgd, apgd], ids=["sa-pgd", "apgd"])
def test_gradient_attacks_go_on_from_the_best_image(model, chased, attack):
    images, labels, start = chased
    went_on = attack(model, images, labels, THREAT, Crafting(source=ASSG()), steps=1, start=start)
    held = went_on.correct.numpy()
    assert (margins(model, went_on.nearest, labels) <= margins(model, start, labels) + 1e-5)[held].all()


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (lambda images: images[:2], "the images' shape"),
        (lambda images: (255 * images).to(torch.uint8), "float tensor"),
        (lambda images: images + 0.2, "Image 0 of the start lies outside the ball"),
        (lambda images: torch.full_like(images, float("nan")), "outside the ball"),
        (lambda images: "images", "must be a tensor"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(batch, start, says):
    images, _ = batch
    with pytest.raises(SpikeproofError, match=says):
        check_start(start(images), images, THREAT)


@pytest.mark.parametrize("search", [local_search, sa_pgd, apgd], ids=["local", "sa-pgd", "apgd"])
def test_every_attack_that_takes_a_start_looks_at_it(model, batch, search):
    images, labels = batch
    with pytest.raises(SpikeproofError, match="outside the ball"):
        search(model, images, labels, THREAT, start=images + 0.2)


@pytest.mark.parametrize("wrong", [{"queries": 0}, {"walk": 0}])
def test_no_queries_are_refused(model, batch, wrong):
    with pytest.raises(SpikeproofError, match="local search"):
        local_search(model, *batch, Linf(0.1), **wrong)


class Noisy(torch.nn.Module):
    """Logits that have luck."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        logits = self.inner(images)
        return logits + 0.3 * torch.randn_like(logits)


@pytest.mark.thorough
def test_a_random_network_is_searched_by_means(model, batch):
    images, labels = batch
    found = local_search(Noisy(model), images, labels, Linf(0.1), Crafting(eot_iter=4), queries=30)
    held = found.correct.numpy()
    assert (margins(model, found.nearest, labels)[held] < margins(model, images, labels)[held]).mean() > 0.5


class Slope(torch.nn.Module):
    """A margin that any change takes to a share of it, and no further."""

    def __init__(self, share):
        super().__init__()
        self.share, self.asked = share, 0

    def forward(self, images):
        assert len(images) > 0  # many a network cannot take none
        self.asked += len(images)
        moved = (images - 0.5).abs().amax((1, 2, 3)) > 0
        margin = torch.where(moved, self.share, 1.0)
        return torch.stack([margin, torch.zeros_like(margin)], 1)


@pytest.mark.sweep
@pytest.mark.parametrize(("share", "walks"), [(0.9, 250 / 300), (0.55, 1), (0.4, 4)])
def test_queries_are_spent_where_the_margin_comes_down(share, walks):
    """0.9 of the margin after 250 queries is given up, 0.55 after the first walk; 0.4 goes on to the end."""
    network, images = Slope(share), torch.full((5, 1, 4, 4), 0.5)
    found = local_search(network, images, torch.zeros(5, dtype=torch.int64), Linf(0.1), queries=1200, walk=300)
    assert found.correct.all()
    assert network.asked / 5 == pytest.approx(300 * walks, abs=12)


@pytest.mark.sweep
def test_queries_until_a_sample_breaks(model, chased):
    images, labels, near = chased

    def search(queries):
        return local_search(model, images, labels, THREAT, Crafting(seed=1), queries=queries, walk=400, start=near)

    found = search(200)
    assert (found.queries[found.correct] == 200).all() and not found.correct.all()
    last = int(found.queries[~found.correct].max())
    the_last = ~found.correct & (found.queries == last)
    assert (~search(last).correct)[the_last].all() and search(last - 1).correct[the_last].all()


@pytest.mark.sweep
def test_queries_of_walks_side_by_side(model, chased):
    images, labels, near = chased
    found = local_search(model, images, labels, THREAT, Crafting(seed=1), queries=2000, walk=400, start=near)
    assert found.queries[found.correct].max() == 2000 and (found.queries <= 2000).all()


@pytest.mark.thorough
def test_a_longer_search_is_more_patient(model, chased, monkeypatch):
    images, labels, near = chased
    monkeypatch.setattr(sys.modules["spikeproof.attacks.local_search"], "_LOOKS_OF", 300)
    least = []
    for queries in (300, 600):
        found = local_search(model, images, labels, THREAT, Crafting(seed=1), queries=queries, walk=300, start=near)
        least.append(int(found.queries[found.correct].min()))
    assert least == [250, 600]
