"""MART: its batch is PGD's, its loss agrees with a literal one, and sure networks do not break it."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from training_steps import flat_step, gradients_of, step_on

from spikeproof.attacks import Crafting, SteepestStep, climb, crafting, cross_entropy_of
from spikeproof.defenses import AdversarialTraining, compose
from spikeproof.defenses.mart import MART, boosted_cross_entropy
from spikeproof.threat import Linf

EPS = 0.1


def literal(step, beta):
    """Sample by sample and class by class, straight from the definition."""
    total = torch.zeros((), dtype=torch.float64)
    clean = step.model(step.clean)
    for row, moved, label in zip(clean, step.logits, step.labels.tolist(), strict=True):
        p = [z.exp() / sum(other.exp() for other in row) for z in row]
        q = [z.exp() / sum(other.exp() for other in moved) for z in moved]
        rival = max((chance for k, chance in enumerate(q) if k != label), key=torch.detach)
        boosted = -q[label].log() - (1 - rival).log()
        divergence = sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))
        total = total + boosted + beta * divergence * (1 - p[label])
    return total / len(step.labels)


@pytest.mark.parametrize("beta", [0.3, 5.0])
def test_loss_and_its_gradient_agree_with_a_literal_one(beta):
    step, model = flat_step()
    right = step.logits.argmax(1) == step.labels
    assert right.any() and not right.all()  # the rival is the runner-up of some and the winner of others
    found, expected = MART(eps=EPS, beta=beta).loss(step), literal(step, beta)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    step, model = flat_step()
    by_found = gradients_of(MART(eps=EPS, beta=beta).loss(step), model)
    step, model = flat_step()
    torch.testing.assert_close(by_found, gradients_of(literal(step, beta), model), rtol=1e-10, atol=1e-12)


def test_beta_0_is_the_boosted_cross_entropy_of_the_adversarial_images_and_nothing_else():
    step, model = flat_step()
    loss = MART(eps=EPS, beta=0.0).loss(step)
    expected = boosted_cross_entropy(step.logits, step.labels).mean()
    assert torch.equal(loss, expected)
    found = gradients_of(loss, model)
    step, model = flat_step()
    assert torch.equal(found, gradients_of(boosted_cross_entropy(step.logits, step.labels).mean(), model))


def test_boosted_cross_entropy_by_hand():
    """p = (.5, .3, .2): for label 0 the rival is .3, for label 2 it is .5."""
    logits = torch.tensor([[0.5, 0.3, 0.2]]).double().log().expand(2, 3) + 7.0
    found = boosted_cross_entropy(logits, torch.tensor([0, 2]))
    expected = torch.tensor([-math.log(0.5) - math.log(0.7), -math.log(0.2) - math.log(0.5)]).double()
    torch.testing.assert_close(found, expected)


def test_boosted_cross_entropy_has_its_gradient_by_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(6, 4).double().requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.autograd.gradcheck(lambda logits: boosted_cross_entropy(logits, labels), logits)


def test_of_two_classes_it_is_twice_the_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 2).double(), torch.randint(0, 2, (8,))
    torch.testing.assert_close(
        boosted_cross_entropy(logits, labels), 2 * cross_entropy(logits, labels, reduction="none")
    )


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([1e4, 0.0, 0.0], 0.0),  # sure and right: both terms vanish
        ([0.0, 1e4, 0.0], 2e4 - math.log(2)),  # sure and wrong: 1 - p of the rival is 2 e^-1e4, beyond float32
        ([0.0, 0.0, 0.0], math.log(3) + math.log(3 / 2)),
        ([30.0, 0.0, -30.0], 2 * math.exp(-30)),
    ],
    ids=str,
)
def test_sure_networks_have_an_exact_finite_loss(logits, expected):
    logits = torch.tensor([logits]).double().requires_grad_()
    found = boosted_cross_entropy(logits, torch.tensor([0]))
    torch.testing.assert_close(found.item(), expected, rtol=1e-3, atol=1e-15)
    found.backward()
    assert logits.grad.isfinite().all()
    single = logits.detach().float().requires_grad_()
    boosted_cross_entropy(single, torch.tensor([0])).backward()
    torch.testing.assert_close(single.grad, logits.grad.float(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("clean", [[1e4, 0.0], [0.0, 1e4], [0.0, 0.0]], ids=str)
def test_the_whole_loss_of_sure_networks_is_finite(clean):
    """The weight 1 - p_y is 0, 1 or in between; the adversarial answer is sure and wrong."""
    weights = torch.tensor([clean]).T.contiguous().requires_grad_()
    step = step_on(torch.nn.Identity(), torch.zeros(1, 1, 1, 1), torch.tensor([0]))
    step.model.forward = lambda images: weights.T + 0 * images.sum()
    step.logits = torch.tensor([[0.0, 1e4]], requires_grad=True)
    loss = MART(eps=EPS).loss(step)
    loss.backward()
    assert loss.isfinite() and weights.grad.isfinite().all() and step.logits.grad.isfinite().all()


@pytest.mark.parametrize("defense", [MART(eps=EPS), MART(eps=EPS, steps=4, step_size="1/20", start_std=0.3)], ids=str)
def test_the_batch_is_the_last_iterate_of_pgd_from_a_gaussian_start_in_eval_mode(model, batch, defense):
    images, labels = batch
    found = defense.perturb(step_on(model, images, labels, seed=9))
    assert model.training
    size = 1 / 20 if defense.step_size else EPS / 2
    with crafting(model, Crafting(seed=9)) as craft:
        torch.manual_seed(9)
        start = images + defense.start_std * torch.randn(images.shape)
        start = torch.minimum(torch.maximum(start, images - EPS), images + EPS).clamp(0, 1)
        rule = SteepestStep(Linf(EPS), size)
        expected = climb(craft, images, start, rule, steps=defense.steps, objective=cross_entropy_of(labels))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1
    assert (found - images).abs().max() <= EPS + 1e-6
    model.eval()
    assert cross_entropy(model(found), labels) > cross_entropy(model(images), labels) + 0.01


def test_crafting_is_a_forward_a_step_and_training_two(model, batch):
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    defense = MART(eps=EPS, steps=3)
    step = step_on(model, *batch)
    step.images = defense.perturb(step)
    step.logits = step.forward(step.images)
    defense.loss(step).backward()
    assert modes == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    ("bad", "pieces"),
    [
        ({"eps": -0.1}, ["-0.1"]),
        ({"steps": 0}, ["MART", "steps", "0"]),
        ({"step_size": 0.0}, ["MART", "step_size"]),
        ({"start_std": 2.0}, ["start_std", "2.0"]),
        ({"beta": -1.0}, ["MART", "beta", "-1.0"]),
        ({"beta": math.nan}, ["MART", "beta", "nan"]),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_in_one_sentence(refuses, bad, pieces):
    with refuses(*pieces):
        MART(**bad)


def test_only_one_defense_makes_the_batch(refuses):
    with refuses("MART", "AT", "make the training batch"):
        compose([AdversarialTraining(), MART()])
