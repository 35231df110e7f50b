"""Adversarial training's batch: in the ball, worse for the model, and crafted without touching the model."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from training_steps import step_on

from spikeproof.attacks import Crafting, ffgsm, fgsm, pgd
from spikeproof.defenses import AdversarialTraining
from spikeproof.errors import SpikeproofError
from spikeproof.spiking import sites
from spikeproof.threat import Linf

EPS = 0.1


DEFENSES = [
    AdversarialTraining(eps=EPS),
    AdversarialTraining(eps=EPS, attack="pgd"),
    AdversarialTraining(eps=EPS, attack="pgd", steps=4, step_size=0.05),
    AdversarialTraining(eps=EPS, attack="fgsm-rs"),
    AdversarialTraining(eps=EPS, attack="fgsm-rs", step_size=0.15),
]


@pytest.mark.parametrize("defense", DEFENSES, ids=str)
@pytest.mark.parametrize("bf16", [False, True])
def test_perturbed_batch_is_allowed_and_worse(model, batch, defense, bf16):
    images, labels = batch
    found = defense.perturb(step_on(model, images, labels, seed=5, bf16=bf16))
    assert found.dtype == torch.float32 and not found.requires_grad
    assert found.min() >= 0 and found.max() <= 1
    moved = (found - images).abs()
    assert moved.max() <= EPS + 1e-6 and moved.max() > EPS / 2
    model.eval()
    assert cross_entropy(model(found), labels) > cross_entropy(model(images), labels) + 0.01


@pytest.mark.parametrize("defense", DEFENSES, ids=str)
def test_crafting_leaves_model_and_rng_as_they_were(model, batch, defense):
    model.stem.eval()  # an odd flag, to be restored as it is
    flags = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    first = defense.perturb(step_on(model, *batch, seed=5))
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == flags
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(defense.perturb(step_on(model, *batch, seed=5)), first)
    different = defense.perturb(step_on(model, *batch, seed=6))
    assert torch.equal(different, first) == (defense.attack == "fgsm")


def test_the_fgsm_kind_is_fgsm_in_eval_mode(model, batch):
    found = AdversarialTraining(eps=EPS).perturb(step_on(model, *batch, seed=0))
    assert torch.equal(found, fgsm(model.eval(), *batch, Linf(EPS)).images)


def test_the_pgd_kind_is_the_last_iterate_of_pgd_with_half_eps_steps(model, batch):
    found = AdversarialTraining(eps=EPS, attack="pgd", steps=3).perturb(step_on(model, *batch, seed=9))
    expected = pgd(model, *batch, Linf(EPS), Crafting(seed=9), steps=3, step_size=EPS / 2, keep="last").images
    assert torch.equal(found, expected)


@pytest.mark.parametrize("step_size", [None, 0.03, "1/8"])
def test_the_fgsm_rs_kind_is_one_step_of_ffgsm_whatever_the_number_of_steps(model, batch, step_size):
    defense = AdversarialTraining(eps=EPS, attack="fgsm-rs", steps=7, step_size=step_size)
    expected = ffgsm(model, *batch, Linf(EPS), Crafting(seed=9), step_size=step_size).images
    assert torch.equal(defense.perturb(step_on(model, *batch, seed=9)), expected)


def test_fgsm_rs_steps_a_quarter_beyond_the_radius_by_default(model, batch):
    """So a start beyond -eps / 4 against the step ends at the edge, and one below it short of that."""
    images, labels = batch
    images = images * 0.6 + 0.2  # the box cuts nothing
    found = AdversarialTraining(eps=EPS, attack="fgsm-rs").perturb(step_on(model, images, labels, seed=9))
    moved = (found - images).abs()
    assert moved.max() <= EPS + 1e-6
    at_the_edge = (moved > EPS - 1e-6).float().mean()
    assert 0.58 < at_the_edge < 0.67  # 5/8 of uniform starts


def test_noise_of_training_is_off_while_crafting(model, batch):
    expected = AdversarialTraining(eps=EPS).perturb(step_on(model, *batch, seed=0))
    for site in sites(model).values():
        site.noise_std = 0.5
    assert torch.equal(AdversarialTraining(eps=EPS).perturb(step_on(model, *batch, seed=0)), expected)
    for site in sites(model).values():
        site.noise_at_inference = True
    assert not torch.equal(AdversarialTraining(eps=EPS).perturb(step_on(model, *batch, seed=0)), expected)


def test_text_radius_is_read():
    defense = AdversarialTraining(eps="2/255", step_size="1/255")
    assert (defense.eps, defense.step_size) == (2 / 255, 1 / 255)


@pytest.mark.parametrize(
    "bad",
    [
        {"eps": -0.1},
        {"eps": 1.5},
        {"eps": math.nan},
        {"eps": "two"},
        {"eps": "1/0"},
        {"steps": 0},
        {"step_size": 0.0},
        {"step_size": -0.1},
        {"attack": "fgsm-rs", "step_size": 0.0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused_in_one_sentence(bad):
    with pytest.raises(SpikeproofError) as caught:
        AdversarialTraining(**bad)
    assert "\n" not in str(caught.value)
