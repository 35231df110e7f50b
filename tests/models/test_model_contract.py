"""Contract 1: images to logits, stateless, sample by sample, the stem once instead of T times."""

import copy
import functools

import pytest
import torch
from torch import nn

from spikeproof.models import create_model
from spikeproof.spiking import Neuron, probe, sites

STEPS = 4


@functools.cache
def _prepared(name):
    torch.manual_seed(0)
    neuron = Neuron(threshold=0.5, decay=0.9)
    sizes = {"num_classes": 5, "num_steps": STEPS, "image_size": 8, "width": 0.25 if name == "conv" else 0.05}
    model = create_model(name, neuron=neuron, mean=(0.4,) * 3, **sizes)
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.rand(16, 3, 8, 8))
    with probe(model, "rate") as record, torch.no_grad():
        model(torch.rand(16, 3, 8, 8))
    assert all(seen.rate > 0 for seen in record.values())
    return model.eval()


def alive(name):
    """A narrow network whose batch norms have seen some data and whose every site fires; a fresh copy."""
    return copy.deepcopy(_prepared(name))


@pytest.fixture(params=["conv", "wrn16"])
def model(request):
    return alive(request.param)


@pytest.fixture
def images():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(7))


def test_stateless(model, images):
    first = model(images)
    model(1 - images[:2])
    assert torch.equal(model(images), first)


def test_logits_are_the_mean_over_the_steps(model, images):
    steps = model.forward_steps(images)
    torch.testing.assert_close(model(images), sum(steps[t] for t in range(STEPS)) / STEPS, rtol=1e-6, atol=1e-6)
    assert not torch.equal(steps[0], steps[-1])  # time matters


def test_samples_do_not_meet_in_eval_mode(model, images):
    model.double()
    images = images.double().requires_grad_()
    together = model(images)
    (gradient,) = torch.autograd.grad(together.square().sum(), images)
    for n in range(len(images)):
        image = images[n : n + 1].detach().requires_grad_()
        alone = model(image)
        torch.testing.assert_close(alone, together[n : n + 1], rtol=1e-12, atol=1e-12)
        (lonely,) = torch.autograd.grad(alone.square().sum(), image)
        torch.testing.assert_close(lonely, gradient[n : n + 1], rtol=1e-10, atol=1e-12)


def test_images_of_any_layout_give_the_same_logits(model, images):
    assert torch.equal(model(images), model(images.contiguous(memory_format=torch.channels_last)))


def slow_forward(model, images):
    """Direct coding as the papers' code does it: image repeated, stem and norm on every copy. Changes the model."""
    repeated = images.repeat(model.num_steps, 1, 1, 1)
    next(iter(sites(model).values())).constant = False
    logits = model.body(model.stem((repeated - model.mean) / model.std))
    return logits.unflatten(0, (model.num_steps, -1)).mean(0)


def test_the_stem_once_is_the_stem_on_every_copy_in_eval_mode(model, images):
    model.double()
    images = images.double().requires_grad_()
    ours, slow = model(images), slow_forward(model, images)
    torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-12)
    weights = torch.randn(ours.shape, dtype=torch.float64)
    mine, theirs = (torch.autograd.grad((logits * weights).sum(), images)[0] for logits in (ours, slow))
    assert mine.abs().max() > 0
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_the_stem_once_is_the_identical_current_in_float32(model, images):
    with torch.no_grad():
        once = model.stem((images - model.mean) / model.std)
        every = model.stem((images.repeat(STEPS, 1, 1, 1) - model.mean) / model.std)
    torch.testing.assert_close(every, once.repeat(STEPS, 1, 1, 1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["conv", "wrn16"])
def test_the_stem_once_in_train_mode_differs_in_the_running_variance_alone_by_the_stated_factor(name, images):
    ours, slow = alive(name).double().train(), alive(name).double().train()
    images = images.double()
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    first_variance = f"{next(iter(sites(ours)))}.norm.running_var"
    assert first_variance in before
    torch.testing.assert_close(ours(images), slow_forward(slow, images), rtol=1e-10, atol=1e-10)
    theirs = slow.state_dict()
    for key, value in ours.state_dict().items():
        if key == first_variance:
            values = len(images) * 8 * 8
            mine, other = ((new - 0.9 * before[key]) / 0.1 for new in (value, theirs[key]))
            factor = (1 - 1 / (STEPS * values)) / (1 - 1 / values)
            assert factor != 1
            torch.testing.assert_close(mine, factor * other, rtol=1e-10, atol=0)
        else:
            torch.testing.assert_close(value, theirs[key], rtol=1e-10, atol=1e-12)


def test_gradients_in_eval_are_those_of_train_mode_with_frozen_batch_norm(model, images):
    def gradient():
        leaf = images.clone().requires_grad_()
        return torch.autograd.grad(model(leaf).square().sum(), leaf)[0]

    in_eval = gradient()
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert in_eval.abs().max() > 0
    assert torch.equal(gradient(), in_eval)


def test_float64_works_and_float32_agrees_with_it(images):
    model = alive("conv")
    single = model(images)
    double = model.double()(images.double())
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-5)


def test_under_bfloat16_autocast_logits_are_float32(images):
    model = alive("conv")
    with torch.autocast("cpu", torch.bfloat16):
        assert model(images).dtype == torch.float32
