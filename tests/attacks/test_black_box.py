"""SPSA needs no gradient, transfer none of the model's; TPGD is its published loop."""

import copy
import math
from functools import partial

import pytest
import torch
from torch.nn.functional import kl_div, log_softmax, softmax

from spikeproof.attacks import Crafting, crafting, cross_entropy_of, fgsm, judge, pgd
from spikeproof.attacks.carlini_wagner import lead_of
from spikeproof.attacks.spsa import estimate, spsa
from spikeproof.attacks.tpgd import tpgd
from spikeproof.attacks.transfer import transfer
from spikeproof.gradients import ASSG, BPTT, HART, ReluTransfer
from spikeproof.models import create_model
from spikeproof.spiking import ArcTan, Neuron, Rectangular
from spikeproof.threat import L2, Linf

EPS = 0.15


@pytest.fixture
def blind(model):
    """The same network, whose surrogate has no width: its gradients vanish."""
    same = create_model(
        "conv",
        num_classes=10,
        image_size=8,
        in_channels=1,
        num_steps=3,
        width=0.5,
        neuron=Neuron(surrogate=Rectangular(1e-7)),
    )
    same.load_state_dict(model.state_dict())
    return same.eval()


@pytest.fixture
def other(model):
    """A substitute: the same network with its weights disturbed."""
    substitute = copy.deepcopy(model)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for weight in substitute.parameters():
            if weight.ndim > 1:
                weight += 0.3 * weight.std() * torch.randn_like(weight)
    return substitute


def allowed(found, images, eps):
    return bool(
        (found.images - images).abs().max() <= eps + 1e-6 and found.images.min() >= 0 and found.images.max() <= 1
    )


QUICK = partial(spsa, steps=6, samples=32, delta=0.03, learning_rate=0.04)


def test_spsa_breaks_what_gradients_cannot(blind, batch):
    images, labels = batch[0][:30], batch[1][:30]
    how = Crafting(source=BPTT())
    with crafting(blind, how) as craft:
        gradient, _ = craft.gradient(images, cross_entropy_of(labels))
    assert (gradient == 0).flatten(1).all(1).float().mean() > 0.9
    known = judge(blind, images).argmax(1) == labels
    fooled = known & ~pgd(blind, images, labels, Linf(EPS), how, steps=5).correct
    found = QUICK(blind, images, labels, Linf(EPS), how)
    assert allowed(found, images, EPS)
    assert torch.equal(found.correct, judge(blind, images=found.images).argmax(1) == labels)
    assert (known & ~found.correct).sum() > max(5, 2 * fooled.sum())


@pytest.mark.thorough
def test_more_samples_and_steps_break_more(model, batch):
    images, labels = batch[0][:30], batch[1][:30]
    few = spsa(model, images, labels, Linf(0.1), steps=1, samples=2, delta=0.03, learning_rate=0.01)
    many = spsa(model, images, labels, Linf(0.1), steps=8, samples=64, delta=0.03, learning_rate=0.03)
    white = pgd(model, images, labels, Linf(0.1), steps=20)
    assert white.correct.sum() <= many.correct.sum() < few.correct.sum()


def test_the_estimate_is_the_gradient_of_a_linear_model():
    """In the mean; with 16 dimensions and 4000 pairs nearly, and for every way of splitting the queries."""
    torch.manual_seed(0)
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    images, labels = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    with crafting(linear, Crafting(source=BPTT())) as craft:
        objective = lead_of(labels, (labels + 1) % 3)
        exact, _ = craft.gradient(images, objective)
        found = estimate(craft, images, objective, pairs=4000, delta=1e-3)
    error = (found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert (error < 0.12).all()  # sqrt(15 / 4000) is 0.06


def test_the_estimate_queries_a_bounded_number_of_images_at_once(model, batch):
    seen = []
    handle = model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    with crafting(model, Crafting(source=BPTT())) as craft:
        estimate(craft, batch[0], lead_of(batch[1]), pairs=20, delta=0.03)
        big = batch[0].repeat(10, 1, 1, 1)
        estimate(craft, big, lead_of(batch[1].repeat(10)), pairs=1, delta=0.03)
    handle.remove()
    assert max(seen) <= 512 and sum(seen) == 2 * 20 * 60 + 2 * 600


def test_spsa_reaches_targets(model, batch):
    images, labels = batch[0][:20], batch[1][:20]
    targets = judge(model, images).scatter(1, labels[:, None], -math.inf).argmax(1)
    found = spsa(
        model, images, labels, Linf(0.3), steps=10, samples=48, delta=0.03, learning_rate=0.06, targets=targets
    )
    said = judge(model, found.images).argmax(1)
    assert torch.equal(found.reached, said == targets) and torch.equal(found.correct, said == labels)
    assert found.reached.float().mean() > 0.5


@pytest.mark.parametrize("source", [ASSG(), HART(), ReluTransfer()], ids=lambda source: source.name)
def test_spsa_gives_no_thought_to_the_source(model, batch, source):
    images, labels = batch[0][:12], batch[1][:12]
    plain = QUICK(model, images, labels, Linf(EPS), Crafting(source=BPTT(), seed=3))
    same = QUICK(model, images, labels, Linf(EPS), Crafting(source=source, seed=3))
    assert torch.equal(plain.images, same.images) and not plain.correct.all()


def test_spsa_in_bfloat16_and_on_no_images(model, batch):
    images, labels = batch[0][:20], batch[1][:20]
    found = QUICK(model, images, labels, Linf(EPS), Crafting(precision="bf16", eot_iter=2))
    assert found.images.dtype == torch.float32 and allowed(found, images, EPS)
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    assert (~found.correct).sum() > 5
    assert QUICK(model, images[:0], labels[:0], Linf(EPS)).images.shape == (0, 1, 8, 8)


def test_transfer_to_the_model_itself_is_the_white_box_attack(model, batch):
    images, labels = batch
    how, white = Crafting(seed=5), partial(pgd, keep="last", steps=7)
    known = judge(model, images).argmax(1) == labels
    found = transfer(model, images[known], labels[known], Linf(0.1), how, substitutes=[model], attack=white)
    expected = white(model, images[known], labels[known], Linf(0.1), how)
    assert torch.equal(found.correct, expected.correct)
    assert torch.equal(found.images[~found.correct], expected.images[~found.correct])


def test_transfer_lies_between_the_clean_and_the_white_box(model, other, batch):
    images, labels = batch
    clean = judge(model, images).argmax(1) == labels
    black = transfer(model, images, labels, Linf(EPS), substitutes=[other])
    white = pgd(model, images, labels, Linf(EPS), steps=20)
    assert white.correct.sum() < black.correct.sum() < clean.sum()
    assert allowed(black, images, EPS)
    assert torch.equal(black.correct, judge(model, black.images).argmax(1) == labels)
    assert torch.equal(black.images[~clean], images[~clean])


def test_any_substitute_counts_and_the_later_see_only_what_is_left(model, other, batch):
    images, labels = batch
    sizes = []

    def counted(network, *args, **kwargs):
        sizes.append(len(args[0]))
        return fgsm(network, *args, **kwargs)

    attack = partial(transfer, model, images, labels, Linf(EPS), attack=counted)
    one, alone, both = attack(substitutes=[other]), attack(substitutes=[model]), attack(substitutes=[other, model])
    assert torch.equal(both.correct, one.correct & alone.correct)
    clean = int((judge(model, images).argmax(1) == labels).sum())
    assert sizes == [clean, clean, clean, int(one.correct.sum())] and one.correct.sum() < clean


def test_the_source_is_the_substitutes(other, batch):
    """A network without sites can be attacked by images from ASSG on one with sites; the other way round is refused."""
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    images = batch[0]
    labels = plain(images).argmax(1)
    how = Crafting(source=ASSG(), precision="bf16")
    found = transfer(plain, images, labels, Linf(0.3), how, substitutes=[other])
    assert torch.equal(found.correct, judge(plain, found.images).argmax(1) == labels)
    assert not found.correct.all()


def test_transfer_reaches_targets(model, other, batch):
    images, labels = batch
    targets = (labels + 1) % 10
    found = transfer(model, images, labels, Linf(0.3), substitutes=[other, model], targets=targets)
    assert torch.equal(found.reached, judge(model, found.images).argmax(1) == targets)
    assert found.reached.float().mean() > 0.5


def published_tpgd(network, images, start, eps, size, steps):
    """TRADES' loop, as in its repository, from a given start."""
    clean = softmax(judge(network, images), 1)
    x = torch.minimum(torch.maximum(start, images - eps), images + eps).clamp(0, 1)
    for _ in range(steps):
        x.requires_grad_()
        loss = kl_div(log_softmax(network(x), 1), clean, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        x = x.detach() + size * gradient.sign()
        x = torch.minimum(torch.maximum(x, images - eps), images + eps).clamp(0, 1)
    return x


def start_of_tpgd(images, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return images + 0.001 * torch.randn_like(images)


def test_tpgd_is_the_published_loop(batch):
    torch.manual_seed(0)
    smooth = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))
    images = batch[0]
    labels = smooth(images).argmax(1)
    found = tpgd(smooth, images, labels, Linf(0.06), Crafting(seed=3), steps=6, step_size=0.02, keep="last")
    expected = published_tpgd(smooth, images, start_of_tpgd(images, 3), 0.06, 0.02, 6)
    # A gradient of nearly nothing may have either sign.
    assert ((found.images - expected).abs() < 1e-6).float().mean() > 0.99
    assert torch.equal(found.correct, judge(smooth, found.images).argmax(1) == labels)
    assert 0 < found.correct.sum() < 60


def test_tpgd_on_spikes_is_the_published_loop(exact_model, batch):
    images, labels = batch[0].double(), batch[1]
    source = BPTT(ArcTan(2.0))
    attack = partial(tpgd, steps=6, step_size=0.02, keep="last")
    found = attack(exact_model, images, labels, Linf(0.06), Crafting(source=source, seed=3))
    start = start_of_tpgd(images, 3)
    with source.attach(exact_model):
        expected = published_tpgd(exact_model, images, start, 0.06, 0.02, 6)
    # Where the start flips no spike the divergence is zero, and its gradient's sign is rounding.
    flipped = ((judge(exact_model, start) - judge(exact_model, images)).abs() > 1e-3).any(1)
    assert flipped.sum() > 5
    same = ((found.images - expected).abs() < 1e-9).flatten(1).all(1)
    assert same[flipped].float().mean() > 0.8  # even there a pixel may have no gradient but rounding


@pytest.mark.thorough
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.4)], ids=["linf", "l2"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tpgd_keeps_ball_box_and_the_best(model, batch, threat, precision):
    images, labels = batch
    clean = judge(model, images).argmax(1) == labels
    best = tpgd(model, images, labels, threat, Crafting(source=ASSG(), precision=precision))
    last = tpgd(model, images, labels, threat, Crafting(source=ASSG(), precision=precision), keep="last")
    for found in (best, last):
        assert (threat.distance(found.images, images) <= threat.eps + 1e-5).all()
        assert found.images.min() >= 0 and found.images.max() <= 1
        assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
        assert found.correct.sum() < clean.sum() - 5
    assert not (best.correct & ~clean).any()


def test_a_wider_start_of_tpgd_frees_samples_whose_spikes_stood_still(model, batch):
    images, labels = batch
    attack = partial(tpgd, model, images, labels, Linf(0.1), Crafting(source=BPTT()), keep="last")
    narrow, wide = (
        (found.images - images).abs().flatten(1).amax(1) < 0.09 for found in (attack(), attack(start_std=0.05))
    )
    assert narrow.sum() > wide.sum()


def test_a_chased_sample_keeps_its_own_clean_prediction(exact_model, batch):
    """The sample that lasts longest is attacked as it would be alone, whoever left before it."""
    images, labels = batch[0][:16].double(), batch[1][:16]
    attack = partial(tpgd, exact_model, threat=Linf(0.08), how=Crafting(source=BPTT(ArcTan(2.0)), seed=1), steps=8)
    together = attack(images=images, labels=labels)
    assert 0 < together.correct.sum() < 16
    few = attack(images=images[:9], labels=labels[:9])
    assert torch.equal(few.correct, together.correct[:9])
    torch.testing.assert_close(few.images, together.images[:9], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("attack", "pieces"),
    [
        (partial(spsa, steps=0), ("steps", "0")),
        (partial(spsa, samples=3), ("samples", "3")),
        (partial(spsa, samples=0), ("samples", "0")),
        (partial(spsa, delta=0.0), ("delta", "0.0")),
        (partial(spsa, learning_rate=math.nan), ("learning rate", "nan")),
        (partial(tpgd, steps=0), ("steps", "0")),
        (partial(tpgd, step_size=0.0), ("step size", "0")),
        (partial(tpgd, start_std=-0.1), ("start_std", "-0.1")),
        (partial(transfer, substitutes=[]), ("substitute",)),
    ],
)
def test_impossible_settings(model, batch, refuses, attack, pieces):
    with refuses(*pieces):
        attack(model, *batch, Linf(0.1))
