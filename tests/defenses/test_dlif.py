"""DLIF: the leftover potential from slow sums, whom its gradient reaches, the crafted images, and what it installs."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from training_steps import step_on

from spikeproof.data import load_data
from spikeproof.defenses import TGO, AdversarialTraining, compose, watch
from spikeproof.defenses.dlif import DLIF, last_currents, leftover
from spikeproof.defenses.retraction import REG
from spikeproof.defenses.sparse_gradients import SR
from spikeproof.models import create_model, load_model, save_model
from spikeproof.spiking import Neuron, probe, sites
from spikeproof.train import TrainConfig, train


def new_model(name="conv", **changes):
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.25)  # low, so that every site of an untrained network fires
    given = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 3, "width": 0.25, "neuron": neuron}
    return create_model(name, **(given | changes)).double().train()


def batch(n=6):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(n, 1, 8, 8, generator=generator, dtype=torch.float64), torch.arange(n) % 10


def after_forward(defense, model, clean, labels, images):
    """A step after the training forward of ``images``, as the loop makes it."""
    step = step_on(model, clean, labels)
    step.images = images
    with watch(model, defense.needs) as step.record:
        step.logits = step.forward(images)
    return step


def last_drive(model, images):
    """What the last site's neurons integrate, by the layers in front of it: [T, N, F], before the gain."""
    seen = []
    linear = model.body[4]
    handle = linear.register_forward_hook(lambda module, given, out: seen.append(out))
    logits = model(images)
    handle.remove()
    return logits, seen[0].unflatten(0, (model.num_steps, -1))


# The loss.


@pytest.mark.parametrize(("norm", "power"), [("l2", 2), ("l1", 1)])
@pytest.mark.parametrize(("alpha", "kappa", "decay"), [(1.0, 0.5, 0.99), (2.5, 0.2, 0.5)])
def test_loss_is_the_slow_one(norm, power, alpha, kappa, decay):
    defense = DLIF(alpha=alpha, kappa=kappa, norm=norm, decay=decay)
    model, (clean, labels) = new_model(), batch()
    defense.install(model)
    images = (clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    found = defense.loss(after_forward(defense, model, clean, labels, images))
    perturbed_logits, perturbed = last_drive(model, images)
    clean_logits, unperturbed = last_drive(model, clean)
    total, count = 0.0, 0
    for n in range(len(clean)):
        for f in range(perturbed.shape[2]):
            y = 0.0
            for t in range(3):
                y = decay * y + (unperturbed[t, n, f].item() - perturbed[t, n, f].item())
                total, count = total + abs(y) ** power, count + 1
    expected = kappa * cross_entropy(clean_logits, labels).item()
    expected += (1 - kappa) * cross_entropy(perturbed_logits, labels).item() + alpha * total / count
    assert total / count > 1e-3
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_equal_images_leave_nothing():
    model, (clean, labels) = new_model(), batch()
    for norm in ("l2", "l1"):
        defense = DLIF(norm=norm)
        defense.install(model)
        found = defense.loss(after_forward(defense, model, clean, labels, clean))
        torch.testing.assert_close(found, cross_entropy(model(clean), labels), rtol=1e-10, atol=0)


def test_the_leftover_reaches_the_weights_through_the_perturbed_images_alone():
    model, (clean, labels) = new_model(), batch()
    defense = DLIF(kappa=0.0, alpha=1.0)
    defense.install(model)
    images = 1 - clean

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}

    found = gradients(defense.loss(after_forward(defense, model, clean, labels, images)))
    with torch.no_grad():
        _, constant = last_drive(model, clean)
    logits, drive = last_drive(model, images)
    held, total = 0.0, 0.0
    for t in range(3):
        held = 0.99 * held + (constant[t] - drive[t])
        total = total + (held**2).mean() / 3
    expected = gradients(cross_entropy(logits, labels) + total)
    largest = max(slope.abs().max() for slope in expected.values())
    for name, slope in expected.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-8, atol=1e-12 * largest, msg=name)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_the_leftover_of_currents_that_come_once(decay):
    draw = torch.Generator().manual_seed(0)
    clean, perturbed = torch.randn(2, 1, 4, 5, dtype=torch.float64, generator=draw)
    once = leftover(clean[None], perturbed[None], 4, decay)
    every = leftover(clean.expand(4, 1, 4, 5)[:, 0], perturbed.expand(4, 1, 4, 5)[:, 0], 4, decay)
    torch.testing.assert_close(once[:, 0], every)
    assert once.shape == (4, 1, 4, 5)


def test_the_last_site_of_a_residual_network_is_the_one_before_pooling():
    model, (clean, labels) = new_model("wrn16", width=0.1), batch()
    defense = DLIF()
    defense.install(model)
    step = after_forward(defense, model, clean, labels, clean)
    seen = []
    model.body[6].norm.register_forward_hook(lambda module, given, out: seen.append(out))
    model(clean)
    torch.testing.assert_close(last_currents(step.record).flatten(0, 1), seen[0])


def test_without_alpha_nothing_is_recorded():
    defense = DLIF(alpha=0.0, kappa=0.25)
    assert not defense.needs.currents and DLIF().needs.currents
    model, (clean, labels) = new_model(), batch()
    step = step_on(model, clean, labels, logits=model(1 - clean))
    expected = 0.25 * cross_entropy(model(clean), labels) + 0.75 * cross_entropy(step.logits, labels)
    torch.testing.assert_close(defense.loss(step), expected)


# The perturbed images.


def test_fgsm_is_a_step_of_eps_from_a_random_start_in_eval_mode():
    model, (clean, labels) = new_model().float(), batch()
    clean = clean.float()
    defense = DLIF(eps=0.1, start=0.02)
    random = torch.get_rng_state()
    found = defense.perturb(step_on(model, clean, labels, seed=5))
    assert torch.equal(torch.get_rng_state(), random) and model.training
    assert not found.requires_grad and found.min() >= 0 and found.max() <= 1
    started = clean + 0.02 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    x = started.clone().requires_grad_()
    (slope,) = torch.autograd.grad(cross_entropy(model.eval()(x), labels), x)
    assert slope.abs().max() > 0
    assert torch.equal(found, (started + 0.1 * slope.sign()).clamp(0, 1))
    assert not torch.equal(found, defense.perturb(step_on(model, clean, labels, seed=6)))


def test_gaussian_noise_leaves_the_box():
    clean, labels = torch.ones(400, 1, 8, 8), torch.zeros(400).long()
    found = DLIF(perturbation="gaussian", std="16/255").perturb(step_on(new_model(), clean, labels, seed=2))
    assert found.max() > 1 and (found - clean).mean().abs() < 1e-3
    assert (found - clean).std().item() == pytest.approx(16 / 255, rel=0.02)


# What it installs.


@pytest.mark.parametrize("name", ["conv", "wrn16"])
def test_every_site_gets_a_gain_a_step_and_the_decay(name, tmp_path):
    model = new_model(name, width=0.1).float()
    DLIF(decay=0.9).install(model)
    for site in sites(model).values():
        assert site.neuron == Neuron(threshold=0.25, decay=0.9)
        assert torch.equal(site.gain, torch.ones(3, 1)) and site.gain.requires_grad
    with torch.no_grad():
        for at, site in enumerate(sites(model).values()):
            site.gain.copy_(torch.tensor([[0.8], [1.0], [1.3]]) + 0.01 * at)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(loaded(images), model.eval()(images))
    for ours, theirs in zip(sites(model).values(), sites(loaded).values(), strict=True):
        assert torch.equal(ours.gain, theirs.gain) and theirs.neuron.decay == 0.9


def test_installed_twice_it_goes_on_with_the_gains_it_has():
    model = new_model()
    DLIF().install(model)
    held = sites(model)["body.0"].gain
    DLIF().install(model)
    assert sites(model)["body.0"].gain is held


def test_gains_of_another_kind_are_refused(refuses):
    model = new_model()
    sites(model)["body.0"].gain = nn.Parameter(torch.ones(1, 1))
    with refuses("DLIF", "body.0", "gain"):
        DLIF().install(model)
    with refuses("DLIF", "sites"):
        DLIF().install(nn.Linear(2, 2))


def test_a_gain_multiplies_the_current():
    model, (clean, _) = new_model(), batch()
    DLIF(decay=1.0).install(model)
    with probe(model, "margins") as record:
        model.eval()(clean)
        before = record["body.0"].margins[0] + 0.25
        with torch.no_grad():
            sites(model)["body.0"].gain.copy_(torch.tensor([[2.0], [1.0], [1.0]]))
        model(clean)
    torch.testing.assert_close(record["body.0"].margins[0] + 0.25, 2 * before)


# In training.


def quickly(defenses, tmp_path=None, **config):
    data = load_data("digits", validation=50, train_limit=320)
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, mean=data.mean)
    given = {"epochs": 2, "batch_size": 32, "augmentation": None, "device": "cpu", "precision": "fp32"}
    return train(model, data, defenses, TrainConfig(**(given | config)), show=False, out=tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("defense", [DLIF(eps=0.05), DLIF(norm="l1", alpha=2.5, perturbation="gaussian")], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gains_and_weights_learn(defense, precision):
    run = quickly([defense], precision=precision)
    assert run.metrics[-1]["loss"] < run.metrics[0]["loss"]
    for site in sites(run.model).values():
        assert site.gain.shape == (2, 1) and not torch.equal(site.gain, torch.ones(2, 1))


@pytest.mark.thorough
def test_the_leftover_is_smaller_than_without_its_term():
    seen = {}
    for alpha in (0.0, 10.0):
        model = quickly([DLIF(alpha=alpha, eps=0.1)], epochs=4).model.train()
        clean = load_data("digits", validation=50, train_limit=64).train.images[:64].float() / 255
        with torch.no_grad():
            (_, one), (_, other) = last_drive(model, clean), last_drive(model, (clean + 0.1).clamp(0, 1))
        seen[alpha] = (leftover(one, other, 2, 0.99).square().mean() / one.square().mean()).item()
    assert seen[10.0] < 0.7 * seen[0.0]  # of the currents' own power


def test_a_finished_run_is_read_back(tmp_path):
    run = quickly([DLIF(), REG()], tmp_path / "run", epochs=1)
    again = quickly_resumed(tmp_path / "run")
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(run.model(images), again.model(images))


def quickly_resumed(folder):
    data = load_data("digits", validation=50, train_limit=320)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, mean=data.mean)
    config = TrainConfig(epochs=1, batch_size=32, augmentation=None, device="cpu", precision="fp32")
    return train(model, data, [DLIF(), REG()], config, show=False, out=folder, resume=True)


def test_what_goes_together(refuses):
    assert compose([DLIF(), REG(), SR(), TGO(lambda_max=0.3, sigma=0.0)]).currents
    with refuses("DLIF", "AT", "training batch"):
        compose([DLIF(), AdversarialTraining()])


@pytest.mark.parametrize(
    "bad",
    [
        {"alpha": -0.1},
        {"alpha": math.inf},
        {"kappa": 1.1},
        {"kappa": math.nan},
        {"decay": 1.1},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses("DLIF", *bad, *bad.values()):
        DLIF(**bad)


@pytest.mark.parametrize("bad", [{"eps": 1.5}, {"start": -0.1}, {"std": "two"}], ids=str)
def test_impossible_radii_are_refused(bad, refuses):
    with refuses(*bad.values()):
        DLIF(**bad)


@pytest.mark.parametrize(("name", "unknown"), [("norm", "l3"), ("perturbation", "pgd")])
def test_unknown_names_are_refused(name, unknown, refuses):
    defense = DLIF()
    object.__setattr__(defense, name, unknown)  # past the tests' type checks, as a user comes
    with refuses("DLIF", unknown):
        defense.__post_init__()
