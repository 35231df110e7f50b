"""FGSM and BIM against foolbox, SA-PGD against the published loop written out slowly."""

import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

from spikeproof.attacks import Crafting, bim, fgsm, judge, pgd, rfgsm, sa_pgd
from spikeproof.attacks.stable_adaptive import halving_steps
from spikeproof.gradients import BPTT
from spikeproof.spiking import ArcTan
from spikeproof.threat import L2, Linf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # foolbox imports what scipy has deprecated
    import foolbox

EPS = 0.1


def test_the_digits_were_learned(model, batch):
    images, labels = batch
    assert (model(images).argmax(1) == labels).float().mean() > 0.9


def foolboxs(attack, model, images, labels):
    return attack.run(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilon=EPS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fgsm_is_foolboxs_bit_for_bit(model, batch, dtype):
    model, images, labels = model.to(dtype), batch[0].to(dtype), batch[1]
    ours = fgsm(model, images, labels, Linf(EPS))
    theirs = foolboxs(foolbox.attacks.LinfFastGradientAttack(random_start=False), model, images, labels)
    assert (ours.images - images).abs().max() > EPS / 2
    assert torch.equal(ours.images, theirs)
    assert torch.equal(ours.correct, model(theirs).argmax(1) == labels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bim_and_pgd_without_random_start_are_foolboxs_bit_for_bit(model, batch, dtype):
    model, images, labels = model.to(dtype), batch[0].to(dtype), batch[1]
    settings = {"steps": 7, "step_size": 0.02, "keep": "last"}
    basic = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.02, steps=7, random_start=False)
    projected = foolbox.attacks.LinfProjectedGradientDescentAttack(abs_stepsize=0.02, steps=7, random_start=False)
    found = bim(model, images, labels, Linf(EPS), **settings).images
    assert torch.equal(found, foolboxs(basic, model, images, labels))
    found = pgd(model, images, labels, Linf(EPS), random_start=False, **settings).images
    assert torch.equal(found, foolboxs(projected, model, images, labels))
    assert (found - images).abs().max() > EPS / 2


def test_l2_fgsm_and_pgd_are_foolboxs(model, batch):
    # Ours takes the loss of float32 logits, so the direction agrees to 1e-7.
    model, images, labels = model.double(), batch[0].double(), batch[1]
    fast = foolbox.attacks.L2FastGradientAttack(random_start=False)
    projected = foolbox.attacks.L2ProjectedGradientDescentAttack(abs_stepsize=0.02, steps=7, random_start=False)
    found = fgsm(model, images, labels, L2(EPS)).images
    torch.testing.assert_close(found, foolboxs(fast, model, images, labels), rtol=0, atol=1e-6)
    found = pgd(model, images, labels, L2(EPS), steps=7, step_size=0.02, random_start=False, keep="last").images
    torch.testing.assert_close(found, foolboxs(projected, model, images, labels), rtol=0, atol=1e-6)
    assert (found - images).flatten(1).norm(dim=1).max() > EPS / 2


def test_rfgsm_by_hand(model, batch):
    images, labels = batch
    found = rfgsm(model, images, labels, Linf(EPS), Crafting(seed=4)).images
    with torch.random.fork_rng():
        torch.manual_seed(4)
        start = (images + EPS / 2 * torch.randn_like(images).sign()).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(start), labels), start)
    expected = (start.detach() + EPS / 2 * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def published_sa_pgd(model, image, label, start, eps, steps):
    """One sample by the published rule, chased until the judge says that it is broken; else its worst image so far."""
    clean = judge(model, image)
    if clean.argmax(1) != label:
        return image, False
    best, best_loss = image, cross_entropy(clean, label)
    window = max(int(0.22 * steps), 1)
    least, shorter = max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    eta, counter, x, m, v = eps, 0, start, None, None
    for step in range(steps + 1):
        leaf = x.detach().requires_grad_()
        logits = model(leaf)
        loss = cross_entropy(logits, label)
        if logits.argmax(1) != label and judge(model, x).argmax(1) != label:
            return x, False
        if loss.item() > best_loss.item():
            best, best_loss = x, loss.detach()
        if step == steps:
            break
        (g,) = torch.autograd.grad(loss, leaf)
        assert g.abs().max() > 0, "the published rule divides by zero here: choose another sample"
        m = g / g.abs().mean() if m is None else 0.5 * m + g / g.abs().mean()
        v = g**2 / (g**2).mean() if v is None else 0.8 * v + g**2 / (g**2).mean()
        x = x + (m / (v.sqrt() + 1e-12) * eta).clamp(-eta, eta)
        x = torch.minimum(torch.maximum(x, image - eps), image + eps).clamp(0, 1)
        counter += 1
        if counter == window:
            eta, counter, window = eta / 2, 0, max(window - shorter, least)
    return best, True


def test_sa_pgd_is_the_published_loop(exact_model, batch):
    images, labels = batch[0][:24].double(), batch[1][:24]
    steps, eps = 12, 0.06
    source = BPTT(ArcTan(2.0))  # has no end, so no gradient is zero
    found = sa_pgd(exact_model, images, labels, Linf(eps), Crafting(source=source, seed=3), steps=steps)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        direction = 2 * torch.rand_like(images) - 1
    with source.attach(exact_model):
        for n in range(len(images)):
            image, towards = images[n : n + 1], direction[n : n + 1]
            start = (image + eps * towards / towards.abs().max()).clamp(0, 1)
            expected, correct = published_sa_pgd(exact_model, image, labels[n : n + 1], start, eps, steps)
            assert bool(found.correct[n]) == correct
            torch.testing.assert_close(found.images[n : n + 1], expected, rtol=0, atol=1e-9)
    assert 0 < found.correct.sum() < len(images)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 20, 50, 100, 137, 1000])
def test_halving_steps_are_those_of_the_published_counter(steps):
    window, counter, expected = max(int(0.22 * steps), 1), 0, set()
    least, shorter = max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    for step in range(1, steps + 1):
        counter += 1
        if counter == window:
            expected.add(step)
            counter, window = 0, max(window - shorter, least)
    assert halving_steps(steps) == expected


def test_halving_steps_of_the_papers_hundred():
    assert sorted(halving_steps(100))[:4] == [22, 22 + 19, 22 + 19 + 16, 22 + 19 + 16 + 13]
