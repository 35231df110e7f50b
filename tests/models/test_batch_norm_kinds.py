"""The kinds of batch norm: of each step against a slow loop, td beside merged, and what all promise."""

import copy

import pytest
import torch
from torch import nn

from spikeproof.models import create_model, load_model, save_model
from spikeproof.models.current_norm import CurrentNorm
from spikeproof.spiking import Neuron, PerStepNorm, Site, sites

STEPS, SAMPLES, CHANNELS = 3, 4, 5
NETWORKS = ["conv", "wrn16", "resnet17", "resnet18", "resnet19", "sew-resnet19"]


def random_norms(norm):
    for module in norm.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return norm.double()


def slow_norm(norm, x, weight, bias, training):
    """Values and the new running statistics of one batch norm, channel by channel in Python's floats."""
    out, moved = torch.empty_like(x), []
    for c in range(x.shape[1]):
        values = x[:, c]
        count = values.numel()
        mean, variance = norm.running_mean[c], norm.running_var[c]
        if training:
            mean = sum(values.flatten()) / count
            variance = sum((values.flatten() - mean) ** 2) / count
            unbiased = variance * count / (count - 1)
            moved.append((0.9 * norm.running_mean[c] + 0.1 * mean, 0.9 * norm.running_var[c] + 0.1 * unbiased))
        out[:, c] = (values - mean) / (variance + 1e-5) ** 0.5 * weight[c] + bias[c]
    return out, moved


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_norm_of_each_step_is_a_slow_loop(training, constant, layout):
    torch.manual_seed(0)
    norm = random_norms(PerStepNorm(CHANNELS, STEPS)).train(training)
    before = copy.deepcopy(norm)
    rows = SAMPLES * (1 if constant else STEPS)
    x = torch.randn(rows, CHANNELS, 2, 3, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    found = norm(x, 1 if constant else STEPS)
    expected = []
    for t, each in enumerate(before.steps):
        part = x if constant else x[t * SAMPLES : (t + 1) * SAMPLES]
        out, moved = slow_norm(each, part, each.weight, each.bias, training)
        expected.append(out)
        for c, (mean, variance) in enumerate(moved):
            torch.testing.assert_close(norm.steps[t].running_mean[c], mean.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(norm.steps[t].running_var[c], variance.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found[:SAMPLES], found[-SAMPLES:])
    weights = torch.randn(found.shape, dtype=torch.float64)
    ours = torch.autograd.grad((found * weights).sum(), [x, *norm.parameters()])
    slow = torch.autograd.grad((torch.cat(expected) * weights).sum(), [x, *before.parameters()])
    for mine, theirs in zip(ours, slow, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_norm_of_each_step_starts_as_the_merged_one_and_parts_by_training():
    x = torch.randn(STEPS * SAMPLES, CHANNELS, 4, 4)
    each, merged = PerStepNorm(CHANNELS, STEPS).eval(), nn.BatchNorm2d(CHANNELS).eval()
    torch.testing.assert_close(each(x, STEPS), merged(x))
    assert not torch.allclose(each.train()(x, STEPS), merged.train()(x))


def test_a_batch_of_one_value_is_refused_in_training_only(refuses):
    norm = PerStepNorm(CHANNELS, STEPS)
    with refuses("two values", "larger batch"):
        norm(torch.rand(STEPS, CHANNELS, 1, 1), STEPS)
    norm(torch.rand(STEPS, CHANNELS, 1, 2), STEPS)
    norm.eval()(torch.rand(STEPS, CHANNELS, 1, 1), STEPS)


@pytest.mark.parametrize("training", [True, False])
def test_norm_of_features_is_batch_norm_of_one_dimension(training):
    """resnet17 and resnet19 have one between their linear layers."""
    torch.manual_seed(0)
    site = Site(Neuron(), STEPS)
    merged, plain = CurrentNorm(random_norms(nn.BatchNorm2d(CHANNELS)), site), nn.BatchNorm1d(CHANNELS).double()
    plain.load_state_dict(merged.norm.state_dict())
    x = torch.randn(STEPS * SAMPLES, CHANNELS, dtype=torch.float64)
    torch.testing.assert_close(merged.train(training)(x), plain.train(training)(x), rtol=1e-12, atol=1e-12)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(merged.norm.get_buffer(name), buffer)


def test_norm_beside_a_site_follows_it():
    torch.manual_seed(0)
    site = Site(Neuron(), STEPS)
    beside = CurrentNorm(random_norms(PerStepNorm(CHANNELS, STEPS)), site).eval()
    assert set(beside.state_dict()) == {f"norm.{name}" for name in beside.norm.state_dict()}  # the site is not in it
    x = torch.randn(STEPS * SAMPLES, CHANNELS, 2, 2, dtype=torch.float64)
    assert torch.equal(beside(x), beside.norm(x, STEPS))
    copied = copy.deepcopy(nn.ModuleList([site, beside]))
    copied[0].collapsed = True  # a copy follows the copied site
    expected = beside.norm(x[:SAMPLES], 1).unflatten(0, (STEPS, -1)).mean(0)
    torch.testing.assert_close(copied[1](x[:SAMPLES]), expected)
    assert torch.equal(beside(x), beside.norm(x, STEPS))


def new_model(name, batch_norm, **options):
    torch.manual_seed(0)
    sizes = {"num_classes": 4, "num_steps": STEPS, "image_size": 8, "width": 0.5 if name == "conv" else 0.05}
    return create_model(name, batch_norm=batch_norm, **(sizes | options))


@pytest.mark.parametrize("name", NETWORKS)
def test_td_begins_as_merged_at_a_threshold_of_one_but_for_sums_of_currents(name):
    merged, td = (new_model(name, kind).state_dict() for kind in ("merged", "td"))
    changed = {key for key in merged if not torch.equal(merged[key], td[key])}
    added = {key for key in merged if key.endswith(("norm_out.norm.weight", "skip.1.norm.weight"))}
    assert changed == (added if name.startswith("resnet") else set())
    assert all((td[key] == 2**-0.5).all() for key in changed)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("threshold", [0.25, 2.0])
def test_td_s_scales_begin_at_the_threshold(name, threshold):
    model = new_model(name, "td", neuron=Neuron(threshold=threshold))
    norms = {key: part for key, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)}
    assert norms
    for key, norm in norms.items():
        added = name.startswith("resnet") and ("norm_out" in key or "skip" in key)
        torch.testing.assert_close(norm.weight, torch.full_like(norm.weight, threshold / (2**0.5 if added else 1)))


@pytest.mark.parametrize("batch_norm", ["merged", "td", "per-step"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_in_eval_are_those_of_train_mode_with_frozen_batch_norm(name, batch_norm):
    model = new_model(name, batch_norm, neuron=Neuron(threshold=0.2))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.constant_(norm.bias, 0.1)  # so that every layer fires
    with torch.no_grad():
        model.train()(torch.rand(16, 3, 8, 8))
    images = torch.rand(4, 3, 8, 8)

    def gradient():
        leaf = images.clone().requires_grad_()
        return torch.autograd.grad(model(leaf).square().sum(), leaf)[0]

    model.eval()
    in_eval = gradient()
    model.train()
    for norm in norms:
        norm.eval()
    assert in_eval.abs().max() > 0
    assert torch.equal(gradient(), in_eval)


@pytest.mark.parametrize("batch_norm", ["merged", "td", "per-step"])
@pytest.mark.parametrize("name", NETWORKS)
def test_samples_do_not_meet_in_eval_mode_and_an_empty_batch_passes(name, batch_norm):
    model = new_model(name, batch_norm, neuron=Neuron(threshold=0.2)).double().eval()
    images = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    together = model(images)
    for n in range(3):
        torch.testing.assert_close(model(images[n : n + 1]), together[n : n + 1], rtol=1e-12, atol=1e-12)
    assert model(images[:0]).shape == (0, 4)


@pytest.mark.sweep
@pytest.mark.parametrize("batch_norm", ["td", "per-step"])
@pytest.mark.parametrize("name", NETWORKS)
def test_trained_norms_come_back_from_disk(name, batch_norm, tmp_path):
    model = new_model(name, batch_norm)
    with torch.no_grad():
        model.train()(torch.rand(8, 3, 8, 8))
    save_model(model.eval(), tmp_path / "model")
    loaded = load_model(tmp_path / "model", expected=model.description)
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(model(images), loaded(images))
    kinds = {type(site.norm) for site in sites(loaded).values() if site.norm is not None}
    assert kinds == {PerStepNorm if batch_norm == "per-step" else nn.BatchNorm2d}
