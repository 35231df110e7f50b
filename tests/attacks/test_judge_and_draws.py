"""The judge's numbers, and gradients averaged over the draws of a noisy model."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from spikeproof.attacks import Crafting, crafting, cross_entropy_of, evaluating, fgsm, judge
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import ASSG, BPTT
from spikeproof.spiking import ArcTan, sites
from spikeproof.threat import Linf


@pytest.fixture
def noisy_model(model):
    for site in sites(model).values():
        site.noise_std, site.noise_at_inference = 0.3, True
    return model


def test_judge_is_eval_mode_in_float32_whatever_surrounds_it(model, batch):
    images, _ = batch
    expected = model.eval()(images).detach()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(model(images), expected)
        found = judge(model.train(), images)
    assert torch.equal(found, expected) and not found.requires_grad
    assert model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_judge_in_chunks_is_the_judge(model, batch):
    images, _ = batch
    torch.testing.assert_close(judge(model.double(), images, batch_size=7), judge(model, images), rtol=1e-9, atol=1e-9)


def test_judge_averages_its_draws(noisy_model, batch):
    images, _ = batch
    torch.manual_seed(3)
    found = judge(noisy_model, images, draws=4)
    torch.manual_seed(3)
    single = [judge(noisy_model, images) for _ in range(4)]
    assert not torch.equal(single[0], single[1])
    torch.testing.assert_close(found, sum(single) / 4, rtol=1e-5, atol=1e-6)


def test_evaluating_restores_frozen_and_unfrozen(model):
    model.train()
    model.body[1].eval()
    model.body[1].bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        raise ZeroDivisionError
    assert [module.training for module in model.body] == [n != 1 for n in range(len(model.body))]
    assert [p is model.body[1].bias for p in model.parameters()] == [not p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("source", [BPTT(), BPTT(ArcTan())], ids=lambda source: source.name)
def test_gradient_is_the_average_of_the_draws(noisy_model, batch, source):
    images, labels = batch
    with crafting(noisy_model, Crafting(source=source, eot_iter=3, seed=8)) as craft:
        gradient, logits = craft.gradient(images, cross_entropy_of(labels))
    gradients, outputs = [], []
    with torch.random.fork_rng(), source.attach(noisy_model):
        torch.manual_seed(8)
        for _ in range(3):
            leaf = images.clone().requires_grad_()
            outputs.append(noisy_model.eval()(leaf))
            gradients.append(torch.autograd.grad(cross_entropy(outputs[-1], labels, reduction="sum"), leaf)[0])
    assert not torch.equal(gradients[0], gradients[1])
    torch.testing.assert_close(gradient, sum(gradients) / 3, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits, sum(outputs).detach() / 3, rtol=1e-5, atol=1e-6)


def test_gradient_of_one_sample_does_not_depend_on_the_others(exact_model, batch):
    images, labels = batch[0].double(), batch[1]
    with crafting(exact_model, Crafting()) as craft:
        together, _ = craft.gradient(images, cross_entropy_of(labels))
        for n in (0, 17, 59):
            alone, _ = craft.gradient(images[n : n + 1], cross_entropy_of(labels[n : n + 1]))
            torch.testing.assert_close(alone, together[n : n + 1], rtol=1e-6, atol=1e-9)


def test_only_the_first_draw_moves_assgs_state(model, batch):
    """Without noise all draws are one: if each moved the averages, three draws would see another sharpness."""
    images, labels = batch
    found = []
    for draws in (1, 3):
        with crafting(model, Crafting(source=ASSG(), eot_iter=draws)) as craft:
            for _ in range(3):
                gradient, _ = craft.gradient(images, cross_entropy_of(labels))
        found.append(gradient)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_the_crafts_judge_does_not_move_assgs_state(model, batch):
    images, labels = batch
    found = []
    for looks in (0, 5):
        with crafting(model, Crafting(source=ASSG())) as craft:
            craft.gradient(images, cross_entropy_of(labels))
            for _ in range(looks):
                craft.judge(1 - images)
            found.append(craft.gradient(images, cross_entropy_of(labels))[0])
    assert torch.equal(*found)


def test_averaging_makes_the_gradient_steadier(noisy_model, batch):
    images, labels = batch[0][:10], batch[1][:10]

    def spread(draws):
        gradients = []
        for seed in range(16):
            with crafting(noisy_model, Crafting(eot_iter=draws, seed=seed)) as craft:
                gradients.append(craft.gradient(images, cross_entropy_of(labels))[0])
        return torch.stack(gradients).var(0).mean().item()

    ratio = spread(1) / spread(8)
    assert 4 < ratio < 16  # 8 in expectation


@pytest.mark.sweep
def test_a_noisy_models_attack_is_repeatable(noisy_model, batch):
    first, again = (fgsm(noisy_model, *batch, Linf(0.1), Crafting(eot_iter=2, seed=5)) for _ in range(2))
    assert torch.equal(first.images, again.images) and torch.equal(first.correct, again.correct)


def test_no_draws_is_refused():
    with pytest.raises(SpikeproofError, match="eot_iter"):
        Crafting(eot_iter=0)
