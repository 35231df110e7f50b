"""SR: against a literal reference in double precision, on smooth and spiking networks, and what it refuses."""

import math

import pytest
import torch
from torch import nn
from training_steps import step_on

from spikeproof.coding import Direct
from spikeproof.data import load_data
from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining, Defense, compose
from spikeproof.defenses.sparse_gradients import SR
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, sites
from spikeproof.train import TrainConfig, train


def smooth_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5)).double().train()


def spiking_model():
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.25)  # low, so that every site of an untrained network fires
    given = {"num_classes": 5, "image_size": 8, "in_channels": 1, "num_steps": 3, "width": 0.5}
    return create_model("conv", neuron=neuron, **given).double().train()


MODELS = {"smooth": (smooth_model, 4), "spiking": (spiking_model, 8)}


def batch(size):
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(9, 1, size, size, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 5, (9,), generator=generator)


def after_forward(model, images, labels):
    step = step_on(model, images, labels)
    step.images = images.detach().clone().requires_grad_()
    step.logits = step.forward(step.images)
    return step


def literal(model, images, labels, strength, h):
    """Sample by sample from the text, with the paper's exponentials; the network sees the whole batch."""
    x = images.detach().clone().requires_grad_()
    logits = model(x)
    rivals = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        wrong = [(value, k) for k, value in enumerate(row) if k != label]
        rivals.append(max(wrong)[1])

    def f(z):
        parts = []
        for i, (label, rival) in enumerate(zip(labels.tolist(), rivals, strict=True)):
            parts.append(z[i, label].exp() / (z[i, label].exp() + z[i, rival].exp()))
        return parts

    here = f(logits)
    (gradient,) = torch.autograd.grad(sum(here), x, create_graph=False, retain_graph=True)
    there = f(model(x.detach() + h * gradient.sign()))
    terms = [((b - a) / h) ** 2 for a, b in zip(here, there, strict=True)]
    return strength * sum(terms) / len(terms)


def gradients(loss, model):
    model.zero_grad()
    loss.backward(retain_graph=True)
    return {name: part.grad.clone() for name, part in model.named_parameters()}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("strength", "h"), [(1.0, 0.01), (0.003, 0.1)])
def test_penalty_and_its_gradients_are_the_literal_ones(kind, strength, h):
    make, size = MODELS[kind]
    model, (images, labels) = make(), batch(size)
    found = SR(strength=strength, step=h).penalty(after_forward(model, images, labels))
    expected = literal(model, images, labels, strength, h)
    assert expected > 0 and found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    ours, theirs = gradients(found, model), gradients(expected, model)
    rounding = 1e-12 * max(slope.abs().max().item() for slope in theirs.values())  # biases before a norm have no slope
    for name, slope in theirs.items():
        torch.testing.assert_close(ours[name], slope, rtol=1e-8, atol=rounding, msg=name)
    assert all(slope.abs().max() > 0 for name, slope in theirs.items() if name.endswith("weight"))


def test_gradients_are_those_of_finite_differences():
    """The direction's signs are constants, and locally they are constant."""
    model, (images, labels) = smooth_model(), batch(4)
    defense = SR(strength=1.0, step=0.05)
    weight = model[1].weight
    found = gradients(defense.penalty(after_forward(model, images, labels)), model)["1.weight"]
    for at in ((0, 0), (3, 7), (11, 15)):
        ends = []
        for moved in (1e-5, -2e-5):
            with torch.no_grad():
                weight[at] += moved
            ends.append(defense.penalty(after_forward(model, images, labels)).item())
        with torch.no_grad():
            weight[at] += 1e-5
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(found[at].item(), rel=1e-4)


def test_it_is_about_the_squared_l1_norm_of_the_gradient():
    model, (images, labels) = smooth_model(), batch(4)
    step = after_forward(model, images, labels)
    rivals = step.logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)
    every = torch.arange(len(labels))
    confidence = (step.logits[every, labels] - step.logits[every, rivals]).sigmoid()
    (slope,) = torch.autograd.grad(confidence.sum(), step.images, retain_graph=True)
    expected = slope.abs().sum((1, 2, 3)).square().mean().item()
    far, near = (SR(strength=1.0, step=h).penalty(step).item() for h in (0.01, 1e-5))
    assert near == pytest.approx(expected, rel=1e-4)
    assert far == pytest.approx(expected, rel=0.05)


def test_following_it_makes_a_smooth_networks_gradients_small():
    model, (images, labels) = smooth_model(), batch(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for _ in range(30):
        optimizer.zero_grad()
        penalty = SR(strength=1.0).penalty(after_forward(model, images, labels))
        penalty.backward()
        optimizer.step()
        seen.append(penalty.item())
    assert seen[-1] < 0.3 * seen[0]


def test_huge_logits_do_not_overflow():
    model, (images, labels) = smooth_model(), batch(4)
    with torch.no_grad():
        model[3].weight.mul_(1e4)
    penalty = SR(strength=1.0).penalty(after_forward(model.float(), images.float(), labels))
    penalty.backward()
    assert penalty.isfinite()
    assert all(part.grad.isfinite().all() for part in model.parameters())


def test_the_step_is_not_cut_at_the_box_and_the_images_stay():
    model, (images, labels) = smooth_model(), batch(4)
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    step = after_forward(model, torch.ones_like(images), labels)
    SR(step=0.01).penalty(step)
    moved = seen[1] - seen[0]
    assert torch.equal(step.images, torch.ones_like(images)) and step.images.grad is None
    assert moved.max().item() == pytest.approx(0.01) and moved.min().item() == pytest.approx(-0.01)


def test_under_bfloat16_the_confidences_are_float32():
    model, (images, labels) = spiking_model().float(), batch(8)
    step = step_on(model, images.float(), labels, bf16=True)
    step.images = step.images.requires_grad_()
    step.logits = step.forward(step.images)
    penalty = SR(strength=1.0).penalty(step)
    assert penalty.dtype == torch.float32 and penalty > 0


def test_without_strength_the_loss_is_the_cross_entropys():
    model, (images, labels) = spiking_model(), batch(8)
    assert SR(strength=0.0).penalty(after_forward(model, images, labels)).item() == 0


# Composition.


def test_networks_that_draw_are_refused(refuses):
    model, (images, labels) = spiking_model(), batch(8)
    TGO(sigma=0.2).install(model)
    with refuses("SR", "random numbers"):
        SR().penalty(after_forward(model, images, labels))
    for site in sites(model).values():
        site.noise_std = 0.0
    model.set_coding(RandomDirect())
    with refuses("SR", "random numbers"):
        SR().penalty(after_forward(model, images, labels))
    model.set_coding(Direct())
    assert SR().penalty(after_forward(model, images, labels)) > 0


class RandomDirect(Direct):
    random = True


class Climbs(Defense):
    """As free adversarial training does."""

    wants_image_gradient = True


def test_defenses_that_climb_the_whole_loss_are_refused(refuses):
    for listed in ([SR(), Climbs()], [Climbs(), SR()]):
        with refuses("SR", "Climbs", "penalty"):
            compose(listed)
    compose([AdversarialTraining(), SR(), MPDSGR()])


@pytest.mark.thorough
def test_training_on_digits_makes_the_difference_quotient_small():
    data = load_data("digits", validation=50, train_limit=320)
    seen = {}
    for strength in (0.0, 0.1):
        torch.manual_seed(0)
        model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, mean=data.mean)
        config = TrainConfig(epochs=3, batch_size=32, augmentation=None, device="cpu", precision="fp32")
        run = train(model, data, [AdversarialTraining(eps=0.02), SR(strength=strength)], config, show=False)
        assert math.isfinite(run.metrics[-1]["penalties"]["SR"])
        images, labels = data.train.images[:64].float() / 255, data.train.labels[:64]
        seen[strength] = SR(strength=1.0).penalty(after_forward(model.train(), images, labels)).item()
    assert seen[0.1] < 0.5 * seen[0.0]


@pytest.mark.parametrize(
    "bad", [{"strength": -0.1}, {"strength": math.nan}, {"step": 0.0}, {"step": math.inf}], ids=str
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses(*bad, *bad.values()):
        SR(**bad)
