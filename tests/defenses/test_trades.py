"""TRADES: its inner ascent is TPGD's, its loss agrees with a literal one, and beta = 0 is plain training."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from training_steps import flat_step, gradients_of, step_on

from spikeproof.attacks import Crafting, divergence_of, tpgd
from spikeproof.defenses import AdversarialTraining, compose
from spikeproof.defenses.mart import MART
from spikeproof.defenses.trades import TRADES, divergence
from spikeproof.spiking import sites
from spikeproof.threat import Linf

EPS = 0.1


def literal(step, beta):
    """Sample by sample and class by class, straight from the definition."""
    total = torch.zeros((), dtype=torch.float64)
    clean = step.model(step.clean)
    for row, moved, label in zip(clean, step.logits, step.labels, strict=True):
        p = [z.exp() / sum(other.exp() for other in row) for z in row]
        q = [z.exp() / sum(other.exp() for other in moved) for z in moved]
        total = total - p[int(label)].log() + beta * sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))
    return total / len(step.labels)


@pytest.mark.parametrize("beta", [0.3, 6.0])
def test_loss_and_its_gradient_agree_with_a_literal_one(beta):
    step, model = flat_step()
    found, expected = TRADES(eps=EPS, beta=beta).loss(step), literal(step, beta)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    step, model = flat_step()
    by_found = gradients_of(TRADES(eps=EPS, beta=beta).loss(step), model)
    step, model = flat_step()
    torch.testing.assert_close(by_found, gradients_of(literal(step, beta), model), rtol=1e-10, atol=1e-12)


def test_the_divergence_has_the_gradient_of_both_of_its_arguments():
    torch.manual_seed(0)
    clean, moved = (torch.randn(3, 4).double().requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(divergence, (clean, moved))
    torch.testing.assert_close(divergence(clean, moved), divergence_of(clean)(moved))


def test_beta_0_is_the_cross_entropy_of_the_clean_images_and_nothing_else():
    step, model = flat_step()
    loss = TRADES(eps=EPS, beta=0.0).loss(step)
    expected = cross_entropy(model(step.clean), step.labels)
    assert torch.equal(loss, expected)
    assert torch.equal(gradients_of(loss, model), gradients_of(expected, model))


def test_images_that_did_not_move_cost_nothing_more():
    step, model = flat_step()
    step.images, step.logits = step.clean, model(step.clean)
    loss = TRADES(eps=EPS).loss(step)
    expected = cross_entropy(model(step.clean), step.labels)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients_of(loss, model), gradients_of(expected, model), rtol=0, atol=1e-12)


def test_very_sure_networks_have_a_finite_loss_and_gradient():
    clean = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], requires_grad=True)
    moved = torch.tensor([[-1e4, 0.0, 1e4], [1e4, -1e4, 0.0]], requires_grad=True)
    value = divergence(clean, moved)
    assert value[0] == 2e4
    value.sum().backward()
    assert clean.grad.isfinite().all() and moved.grad.isfinite().all()


@pytest.mark.parametrize(
    "defense",
    [
        TRADES(eps=EPS),
        TRADES(eps=EPS, steps=4, step_size="1/20", start_std=0.02),
        TRADES(eps=EPS, start_std=0.3),
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_batch_is_the_last_iterate_of_tpgd_in_eval_mode(model, batch, defense, precision):
    images, labels = batch
    found = defense.perturb(step_on(model, images, labels, seed=9, bf16=precision == "bf16"))
    settings = {"steps": defense.steps, "step_size": defense.step_size or EPS / 2, "start_std": defense.start_std}
    how = Crafting(seed=9, precision=precision)
    assert torch.equal(found, tpgd(model.eval(), images, labels, Linf(EPS), how, keep="last", **settings).images)
    assert found.dtype == torch.float32 and not found.requires_grad
    assert found.min() >= 0 and found.max() <= 1
    assert (found - images).abs().max() <= EPS + 1e-6
    with torch.no_grad():
        clean, noise = model(images), Linf(EPS).random_start(images)
        by_ascent, by_noise = divergence(clean, model(found)).mean(), divergence(clean, model(noise)).mean()
    assert by_ascent > 1.2 * by_noise  # most of what moves an untrained network is noise


def test_crafting_leaves_model_and_rng_as_they_were(model, batch):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    first = TRADES(eps=EPS).perturb(step_on(model, *batch, seed=5))
    assert model.training and torch.equal(torch.get_rng_state(), random)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(TRADES(eps=EPS).perturb(step_on(model, *batch, seed=5)), first)
    assert not torch.equal(TRADES(eps=EPS).perturb(step_on(model, *batch, seed=6)), first)


def test_training_is_two_forwards_in_train_mode_and_crafting_has_its_own(model, batch):
    images, labels = batch
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    defense = TRADES(eps=EPS, steps=3)
    step = step_on(model, images, labels)
    step.images = defense.perturb(step)
    assert modes == [False] * 4  # the clean prediction, and one a step
    before = int(next(buffer for name, buffer in model.named_buffers() if name.endswith("num_batches_tracked")))
    step.logits = step.forward(step.images)
    defense.loss(step).backward()
    assert modes[4:] == [True, True]
    after = int(next(buffer for name, buffer in model.named_buffers() if name.endswith("num_batches_tracked")))
    assert after == before + 2


def test_noise_of_training_is_off_while_crafting(model, batch):
    expected = TRADES(eps=EPS).perturb(step_on(model, *batch))
    for site in sites(model).values():
        site.noise_std = 0.5
    assert torch.equal(TRADES(eps=EPS).perturb(step_on(model, *batch)), expected)


@pytest.mark.parametrize(
    ("bad", "pieces"),
    [
        ({"eps": 1.5}, ["1.5"]),
        ({"eps": "two"}, ["two"]),
        ({"steps": 0}, ["TRADES", "steps", "0"]),
        ({"step_size": 0.0}, ["TRADES", "step_size"]),
        ({"step_size": -0.1}, ["step size", "-0.1"]),
        ({"start_std": -0.1}, ["start_std", "-0.1"]),
        ({"beta": -1.0}, ["TRADES", "beta", "-1.0"]),
        ({"beta": math.inf}, ["TRADES", "beta", "inf"]),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_in_one_sentence(refuses, bad, pieces):
    with refuses(*pieces):
        TRADES(**bad)


@pytest.mark.parametrize("other", [AdversarialTraining(), MART()], ids=str)
def test_only_one_defense_makes_the_batch(refuses, other):
    with refuses("TRADES", other.label, "make the training batch"):
        compose([TRADES(), other])


def test_text_radii_are_read():
    defense = TRADES(eps="8/255", step_size="2/255")
    assert (defense.eps, defense.step_size) == (8 / 255, 2 / 255)
