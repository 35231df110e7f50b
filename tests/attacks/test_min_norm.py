"""CW and DDN: closer than foolbox's, nothing frozen, the radius and the judge kept."""

import dataclasses
import math
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from spikeproof.attacks import Crafting, judge, pgd
from spikeproof.attacks.carlini_wagner import cw_l2, lead_of
from spikeproof.attacks.ddn import ddn
from spikeproof.gradients import ASSG, BPTT, ReluTransfer
from spikeproof.models import create_model
from spikeproof.spiking import Rectangular, sites
from spikeproof.threat import L2

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # foolbox imports what scipy has deprecated
    import foolbox

ANYWHERE = L2(1e6)
ATTACKS = {"cw": partial(cw_l2, steps=15, searches=3, initial_c=0.1, learning_rate=0.05), "ddn": partial(ddn, steps=30)}
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())


@pytest.fixture
def known(model, batch):
    """The images that the model is right about."""
    images, labels = batch
    right = judge(model, images).argmax(1) == labels
    return images[right], labels[right]


def distances(images, others):
    return (images - others).flatten(1).norm(dim=1)


def theirs_of(attack, model, images, labels):
    """Foolbox's distances; a sample that it did not break lies at infinity."""
    found = attack.run(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels)
    # Its CW returns black images where it found none, some of which would count as mistakes.
    failed = (model(found).argmax(1) == labels) | (found == 0).flatten(1).all(1)
    return distances(found, images).masked_fill(failed, math.inf)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("steps", "searches", "initial_c", "learning_rate"),
    [(60, 1, 0.5, 0.01), (40, 3, 0.2, 0.01), (30, 4, 0.1, 0.05)],
)
def test_cw_is_no_weaker_than_foolboxs(model, known, steps, searches, initial_c, learning_rate):
    images, labels = known
    found = cw_l2(
        model,
        images,
        labels,
        ANYWHERE,
        steps=steps,
        searches=searches,
        initial_c=initial_c,
        learning_rate=learning_rate,
    )
    ours = distances(found.images, images).masked_fill(found.correct, math.inf)
    theirs = theirs_of(
        foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=searches,
            steps=steps,
            stepsize=learning_rate,
            initial_const=initial_c,
            abort_early=False,
        ),
        model,
        images,
        labels,
    )
    assert theirs.isfinite().any()
    assert ours.isfinite().sum() >= theirs.isfinite().sum()
    assert ours.isfinite().float().mean() > 0.95
    assert ours.median() <= theirs.median()
    both = ours.isfinite() & theirs.isfinite()
    assert ours[both].median() <= theirs[both].median()


def test_cw_with_the_papers_ten_steps_breaks_what_frozen_pixels_would_save(model, known):
    images, labels = known
    papers = partial(cw_l2, steps=10, searches=1, initial_c=0.5)
    found = papers(model, images, labels, ANYWHERE)
    theirs = theirs_of(
        foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=1, steps=10, stepsize=0.01, initial_const=0.5, abort_early=False
        ),
        model,
        images,
        labels,
    )
    assert (~found.correct).sum() >= theirs.isfinite().sum() > 0
    assert found.correct.any()  # ten steps of 0.01 do not reach far


def test_ddn_is_as_close_as_foolboxs(model, known):
    images, labels = known
    found = ddn(model, images, labels, ANYWHERE, steps=60)
    theirs = theirs_of(foolbox.attacks.DDNAttack(steps=60), model, images, labels)
    ours = distances(found.images, images)
    assert not found.correct.any() and theirs.isfinite().all()
    assert ours.median() <= 1.01 * theirs.median()
    assert (ours <= 1.05 * theirs).float().mean() > 0.8  # nearly the same walk; rounding may part the two


class Linear(nn.Module):
    """Logits (0, w . x + b): its least perturbation is known."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, images):
        score = images.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize(
    ("attack", "most"),
    [(partial(cw_l2, steps=100, searches=5, initial_c=0.1), 1.05), (partial(ddn, steps=100), 1.02)],
    ids=["cw", "ddn"],
)
def test_the_distance_to_a_plane_is_found(attack, most):
    torch.manual_seed(0)
    weight = torch.randn(48)
    images = 0.2 + 0.6 * torch.rand(40, 3, 4, 4)
    score = images.flatten(1) @ weight
    plane = Linear(weight, -score.mean())
    labels = (score > score.mean()).long()
    least = (score - score.mean()).abs() / weight.norm()
    # Adam moves every pixel by its learning rate at first, which is coarse where the plane is very near.
    images, labels, least = (part[least > 0.1] for part in (images, labels, least))
    assert len(images) > 10
    found = attack(plane, images, labels, ANYWHERE)
    assert not found.correct.any()
    share = distances(found.images, images) / least
    assert (share >= 1 - 1e-4).all() and (share <= most).all() and share.median() <= 1.01


@each_attack
def test_pixels_of_exactly_0_and_1_move(attack):
    """Only saturated pixels, and only they could help."""
    for pixel, bias in ((0.0, -1.0), (1.0, -15.0)):  # 1 away in score, 1/4 in distance
        image = torch.full((1, 1, 4, 4), pixel)
        found = attack(Linear(torch.ones(16), torch.tensor(bias)), image, torch.tensor([int(pixel)]), ANYWHERE)
        assert not found.correct.any()
        assert (found.images != image).all()
        assert (distances(found.images, image) < 0.4).all()
        assert found.images.min() >= 0 and found.images.max() <= 1


@each_attack
def test_saturated_pixels_of_digits_move(model, known, attack):
    images, labels = known
    found = attack(model, images, labels, ANYWHERE)
    for saturated in (images == 0, images == 1):
        moved = (found.images - images).abs()[saturated & ~found.correct[:, None, None, None]]
        assert len(moved) > 100 and (moved > 1e-3).float().mean() > 0.1


@pytest.mark.sweep
@each_attack
@pytest.mark.parametrize("eps", [0.0, 0.25, 1.0])
def test_only_what_lies_within_the_radius_counts(model, batch, attack, eps):
    images, labels = batch
    labels[:5] = (labels[:5] + 1) % 10  # wrong from the start
    clean = judge(model, images).argmax(1) == labels
    free, bound = attack(model, images, labels, ANYWHERE), attack(model, images, labels, L2(eps))
    near = distances(free.images, images) <= eps
    assert torch.equal(bound.correct, free.correct | ~(near | ~clean))
    assert torch.equal(bound.images[near], free.images[near])
    assert torch.equal(bound.images[~near], images[~near])
    assert torch.equal(bound.images[~clean], images[~clean])
    assert torch.equal(bound.correct, judge(model, bound.images).argmax(1) == labels)
    if eps == 0.25:
        assert bound.correct.any() and (clean & ~bound.correct).any()


@pytest.mark.thorough
def test_cw_breaks_within_a_radius_what_pgd_would(model, known):
    """With 4 x 30 steps about 27 of 58, where PGD-20 breaks 19; with a third of the steps PGD is ahead."""
    images, labels = known
    attack = partial(cw_l2, steps=30, searches=4, initial_c=0.1, learning_rate=0.05)
    closest = distances(attack(model, images, labels, ANYWHERE).images, images)
    eps = 0.9 * closest.median().item()
    broken = ~pgd(model, images, labels, L2(eps), steps=20, objective="margin").correct
    assert (closest <= eps).sum() >= broken.sum() > 10


@pytest.mark.thorough
@each_attack
def test_targets_are_reached(model, known, attack):
    images, labels = known
    targets = (labels + 3) % 10
    found = attack(model, images, labels, ANYWHERE, targets=targets)
    said = judge(model, found.images).argmax(1)
    assert torch.equal(found.reached, said == targets)
    assert torch.equal(found.correct, said == labels)
    assert found.reached.float().mean() > 0.75  # a far class takes CW more than these few steps
    untargeted = distances(attack(model, images, labels, ANYWHERE).images, images)
    assert distances(found.images, images)[found.reached].median() > untargeted.median()


@pytest.mark.thorough
def test_confidence_asks_for_a_lead(model, known):
    images, labels = known
    attack = partial(ATTACKS["cw"], model, images, labels, ANYWHERE)
    plain, sure = attack(), attack(confidence=1.0)
    lead = lead_of(labels)(judge(model, sure.images))
    assert (~sure.correct).float().mean() > 0.8
    assert (lead[~sure.correct] >= 1).all()
    assert (lead_of(labels)(judge(model, plain.images)) < 1).any()
    both = ~sure.correct & ~plain.correct
    assert distances(sure.images, images)[both].mean() > distances(plain.images, images)[both].mean()


@pytest.mark.thorough
def test_a_search_for_c_comes_closer_than_one_c(model, known):
    images, labels = known
    for c in (0.01, 5.0):  # too small to break all; too large to stay near
        once = cw_l2(model, images, labels, ANYWHERE, steps=15, searches=1, initial_c=c, learning_rate=0.05)
        often = cw_l2(model, images, labels, ANYWHERE, steps=15, searches=4, initial_c=c, learning_rate=0.05)
        ours, alone = (distances(found.images, images).masked_fill(found.correct, math.inf) for found in (often, once))
        assert (ours <= alone).all()  # the first search is the same
        assert ours.median() < alone.median()


@pytest.mark.thorough
@each_attack
@pytest.mark.parametrize("source", [BPTT(), ASSG(), ReluTransfer()], ids=lambda source: source.name)
def test_any_source_and_bfloat16(model, known, attack, source):
    images, labels = known
    found = attack(model, images, labels, ANYWHERE, Crafting(source=source, precision="bf16"))
    assert found.images.dtype == torch.float32
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    assert (~found.correct).float().mean() > (0.9 if source != ReluTransfer() else 0.3)


@pytest.mark.thorough
@each_attack
def test_a_noisy_model_and_two_classes(attack):
    torch.manual_seed(0)
    noisy = create_model("conv", num_classes=2, image_size=8, in_channels=1, num_steps=2, width=0.25)
    for site in sites(noisy).values():
        site.noise_std, site.noise_at_inference = 0.3, True
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    found = attack(noisy, images, labels, L2(3.0), Crafting(eot_iter=3, seed=1))
    again = attack(noisy, images, labels, L2(3.0), Crafting(eot_iter=3, seed=1))
    assert torch.equal(found.images, again.images) and torch.equal(found.correct, again.correct)
    assert (distances(found.images, images) <= 3.0).all()
    assert not torch.equal(noisy(images), noisy(images))  # noisy indeed


def test_without_any_gradient_ddn_walks_at_random_and_cw_stands_still(model, known):
    blind = model
    for site in sites(blind).values():
        site.neuron = dataclasses.replace(site.neuron, surrogate=Rectangular(1e-7))
    found = ddn(blind, *known, ANYWHERE, Crafting(source=BPTT()), steps=60)
    assert (~found.correct).float().mean() > 0.5
    assert found.images.isfinite().all()
    stuck = cw_l2(blind, *known, ANYWHERE, Crafting(source=BPTT()), steps=5, searches=2)
    assert stuck.correct.float().mean() > 0.9


@each_attack
def test_no_images_and_none_to_attack(model, known, attack):
    images, labels = known
    assert attack(model, images[:0], labels[:0], ANYWHERE).images.shape == (0, 1, 8, 8)
    found = attack(model, images[:3], (labels[:3] + 1) % 10, ANYWHERE)
    assert not found.correct.any() and torch.equal(found.images, images[:3])


@pytest.mark.parametrize(
    ("attack", "pieces"),
    [
        (partial(cw_l2, steps=0), ("steps", "0")),
        (partial(cw_l2, searches=0), ("searches", "0")),
        (partial(cw_l2, learning_rate=0.0), ("learning rate", "0.0")),
        (partial(cw_l2, initial_c=-1.0), ("c", "-1.0")),
        (partial(cw_l2, confidence=-0.5), ("confidence", "-0.5")),
        (partial(cw_l2, confidence=math.nan), ("confidence", "nan")),
        (partial(ddn, steps=0), ("steps", "0")),
        (partial(ddn, gamma=1.0), ("gamma", "1.0")),
        (partial(ddn, initial_norm=0.0), ("norm", "0.0")),
    ],
)
def test_impossible_settings(model, batch, refuses, attack, pieces):
    with refuses(*pieces):
        attack(model, *batch, L2(1.0))
    with refuses("Label 12"):
        attack.func(model, batch[0][:2], torch.tensor([3, 12]), L2(1.0))
