"""Codings: the frames' values, means and variances, gradients against a literal reference, and models that use them."""

import pytest
import torch

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.coding import CODINGS, RSC, SQE, Coding, Direct, Frames, Frequency, Poisson, SignedRate
from spikeproof.models import create_model, draws_at_random, load_model, save_model
from spikeproof.spiking import Neuron, sites

STEPS = 4
RANDOM = [Poisson(), SQE(), SQE(levels=3), RSC(sigma=0.2), SignedRate(), SignedRate(mean=(0.2, 0.4, 0.6))]
EVERY = [Direct(), Frequency(), Frequency((4, 3, 3, 1)), *RANDOM]
STRAIGHT = [coding for coding in RANDOM if not isinstance(coding, RSC)]
every_coding = pytest.mark.parametrize("coding", EVERY, ids=str)
every_random = pytest.mark.parametrize("coding", RANDOM, ids=str)


def images(*shape, dtype=torch.float32):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(3))


def test_every_kind_is_here():
    assert {type(coding) for coding in EVERY} | {Frames} == set(CODINGS.values())  # images are no frames
    assert all(isinstance(coding, Coding) for coding in (*EVERY, Frames()))


@every_coding
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_frames_of_every_step_in_the_images_dtype(coding, dtype):
    frames = coding.encode(images(2, 3, 8, 8).to(dtype), STEPS)
    assert frames.shape == (1 if coding.constant else STEPS, 2, 3, 8, 8)
    assert frames.dtype == dtype and frames.isfinite().all()


@every_coding
def test_what_a_coding_says_of_itself_is_so(coding):
    x = images(2, 3, 8, 8)
    first, second = coding.encode(x, STEPS), coding.encode(x, STEPS)
    assert torch.equal(first, second) == (not coding.random)
    repeated = first.expand(STEPS, -1, -1, -1, -1)
    assert all(torch.equal(repeated[0], step) for step in repeated) == coding.constant


@every_random
def test_the_same_seed_gives_the_same_frames_and_no_other_does(coding):
    found = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        found.append(coding.encode(images(2, 3, 8, 8), STEPS))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    torch.manual_seed(7)  # the draws are the same for every dtype
    wide = coding.encode(images(2, 3, 8, 8).double(), STEPS)
    torch.testing.assert_close(wide.float(), found[0])


def expected_moments(coding, x):
    if isinstance(coding, RSC):
        return x, torch.full_like(x, coding.sigma**2)
    if isinstance(coding, SignedRate):
        centred = x - torch.tensor(coding.mean).view(-1, 1, 1)
        return centred, centred.abs() * (1 - centred.abs())
    levels = 1 if isinstance(coding, Poisson) else coding.levels
    share = x * levels - (x * levels).floor()
    return x, share * (1 - share) / levels**2


@every_random
def test_means_and_variances(coding):
    draws = 40_000
    x = torch.tensor([0.0, 0.07, 0.25, 0.5, 0.61, 2 / 3, 0.9, 1.0]).expand(3, 8).reshape(1, 3, 8, 1)
    frames = coding.encode(x, draws)
    mean, variance = expected_moments(coding, x)
    torch.testing.assert_close(frames.mean(0), mean, rtol=0, atol=5 * (0.25 / draws) ** 0.5)
    torch.testing.assert_close(frames.var(0), variance, rtol=0.05, atol=2e-3)
    if isinstance(coding, SQE):
        assert (variance <= 1 / (4 * coding.levels**2) + 1e-7).all()


def test_steps_pixels_channels_and_samples_draw_on_their_own():
    frames = Poisson().encode(torch.full((4, 3, 16, 16), 0.5), 64).double() - 0.5
    for dim in range(5):
        neighbours = (frames.narrow(dim, 0, 2).select(dim, 0) * frames.narrow(dim, 1, 1).select(dim, 0)).mean() * 4
        assert abs(neighbours) < 0.05


@pytest.mark.parametrize(
    ("coding", "values"),
    [
        (Poisson(), {0.0, 1.0}),
        (SQE(levels=2), {0.0, 0.5, 1.0}),
        (SQE(levels=4), {0.0, 0.25, 0.5, 0.75, 1.0}),
        (SignedRate(), {-1.0, 0.0, 1.0}),
    ],
    ids=str,
)
def test_the_values_of_the_frames(coding, values):
    assert set(coding.encode(images(4, 3, 8, 8), 16).unique().tolist()) == values


def test_one_level_is_poisson_coding_and_levels_themselves_never_move():
    found = []
    for coding in (Poisson(), SQE(levels=1)):
        torch.manual_seed(0)
        found.append(coding.encode(images(8, 3, 8, 8), 8))
    assert torch.equal(*found)  # but for a draw that is the pixel itself, once in 2^24
    exact = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).view(1, 1, 5, 1)
    assert torch.equal(SQE(levels=4).encode(exact, 50), exact.expand(50, 1, 1, 5, 1))


def test_many_levels_come_to_direct_coding():
    x = images(2, 3, 8, 8)
    torch.testing.assert_close(SQE(levels=1000).encode(x, 3), x.expand(3, 2, 3, 8, 8), rtol=0, atol=1e-3)


def test_signed_rate_of_the_mean_itself_is_silent():
    assert not SignedRate(mean=(0.25,)).encode(torch.full((2, 3, 4, 4), 0.25), 20).any()


def literal_frames(coding, x, uniform):
    """One loop a pixel; then x - sg(x), which is zero and has the gradient 1."""
    frames = torch.empty(len(uniform), *x.shape, dtype=x.dtype)
    for place in [(t, *at) for t in range(len(uniform)) for at in torch.cartesian_prod(*map(torch.arange, x.shape))]:
        pixel, u = x[place[1:]].item(), uniform[place].item()
        if isinstance(coding, Poisson):
            frames[place] = 1.0 if pixel >= u else 0.0
        elif isinstance(coding, SQE):
            below = int(pixel * coding.levels)
            up = u < pixel * coding.levels - below
            frames[place] = (below + 1) / coding.levels if up else below / coding.levels
        else:
            centred = pixel - (coding.mean * 3)[place[2]]
            frames[place] = (1.0 if centred > 0 else -1.0) if u < abs(centred) else 0.0
    return frames + (x - x.detach())


@pytest.mark.parametrize("coding", STRAIGHT, ids=str)
def test_values_and_straight_through_gradients_equal_a_literal_reference(coding):
    x = images(2, 3, 3, 4, dtype=torch.float64).requires_grad_()
    torch.manual_seed(5)
    frames = coding.encode(x, STEPS)
    torch.manual_seed(5)
    expected = literal_frames(coding, x, torch.rand(STEPS, 2, 3, 3, 4))
    assert torch.equal(frames, expected)
    weights = torch.randn(frames.shape, dtype=torch.float64)
    found, literal = (torch.autograd.grad((part * weights.sin() ** 2).sum(), x)[0] for part in (frames, expected))
    torch.testing.assert_close(found, literal, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(found, (weights.sin() ** 2).sum(0), rtol=1e-14, atol=1e-14)


def test_gradients_of_gradients_pass_too():
    """Penalties on an input gradient differentiate through it."""
    x = images(1, 1, 4, 4, dtype=torch.float64).requires_grad_()
    torch.manual_seed(0)
    frames = SQE().encode(x, 2)
    (first,) = torch.autograd.grad((frames**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, (6 * frames).sum(0).detach())


@pytest.mark.parametrize(
    ("new", "pieces"),
    [
        (lambda: SQE(levels=0), ("levels", "whole number", 0)),
        (lambda: SQE(levels=1.5), ("levels", 1.5)),
        (lambda: SQE(levels=True), ("levels", True)),
        (lambda: RSC(sigma=0.0), ("sigma", "positive", 0.0)),
        (lambda: RSC(sigma=float("nan")), ("sigma", "nan")),
        (lambda: RSC(sigma=float("inf")), ("sigma", "inf")),
        (lambda: SignedRate(mean=()), ("mean", "[0, 1]")),
        (lambda: SignedRate(mean=(0.5, 1.2)), ("mean", 1.2)),
        (lambda: SignedRate(mean=(0.5, 0.5)).encode(images(1, 3, 8, 8), 2), ("2 means", "3 channels")),
        (lambda: Frequency(()), ("radius", "()")),
        (lambda: Frequency((4, 0)), ("radius", "(4, 0)")),
        (lambda: Frequency((4.5,)), ("radius", 4.5)),
        (lambda: Frequency((4, 2)).encode(images(1, 3, 8, 8), 3), ("2 radii", "3 steps")),
    ],
)
def test_what_cannot_be_is_refused(new, pieces, refuses):
    with refuses(*pieces):
        new()


# Models.


def new_model(coding, name="conv", **options):
    torch.manual_seed(0)
    sizes = {"num_classes": 5, "num_steps": STEPS, "image_size": 8, "width": 0.5 if name == "conv" else 0.05}
    neuron = Neuron(threshold=0.2, decay=0.5)  # low, so that an untrained network is alive to its last site
    model = create_model(name, coding=coding, neuron=neuron, **(sizes | options))
    with torch.no_grad():
        for _ in range(3):
            model.train()(images(16, 3, 8, 8))
    return model.eval()


@pytest.mark.sweep
@every_coding
@pytest.mark.parametrize("name", ["conv", "wrn16", "resnet17", "sew-resnet19"])
def test_a_model_keeps_the_contract(coding, name):
    model = new_model(coding, name)
    leaf = images(3, 3, 8, 8).requires_grad_()
    assert model.forward_steps(leaf).shape == (STEPS, 3, 5)
    logits = model(leaf)
    assert logits.shape == (3, 5) and logits.isfinite().all()
    (gradient,) = torch.autograd.grad(logits.square().sum(), leaf)
    assert gradient.isfinite().all() and gradient.any()
    assert model(leaf[:0]).shape == (0, 5)
    black = torch.zeros(2, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(black).square().sum(), black)
    assert gradient.isfinite().all()


@every_coding
def test_what_normalises_is_told_by_the_coding(coding):
    model = new_model(coding, mean=(0.3, 0.4, 0.5), std=(0.1, 0.2, 0.3))
    seen = []
    model.stem.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = images(2, 3, 8, 8)
    torch.manual_seed(1)
    model(x)
    torch.manual_seed(1)
    frames = coding.encode(x, STEPS).flatten(0, 1)
    if coding.normalised:
        frames = (frames - torch.tensor([0.3, 0.4, 0.5]).view(3, 1, 1)) / torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(seen[0], frames)


@every_coding
def test_who_draws_at_random_says_so(coding):
    model = new_model(coding)
    wrapped = torch.nn.Sequential(model)
    assert draws_at_random(model) == draws_at_random(wrapped) == coding.random
    x = images(4, 3, 8, 8)
    assert torch.equal(model(x), model(x)) == (not coding.random)
    before = torch.get_rng_state()
    model(x)
    assert torch.equal(torch.get_rng_state(), before) == (not coding.random)


@every_coding
def test_a_model_on_disk_keeps_its_coding(coding, tmp_path):
    model = new_model(coding)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors", expected=model.description)
    assert loaded.coding == coding
    found = []
    for each in (model, loaded):
        torch.manual_seed(2)
        found.append(each(images(4, 3, 8, 8)))
    assert torch.equal(*found)


@every_coding
def test_a_coding_can_be_changed_there_and_back(coding):
    model = new_model(Direct())
    x = images(4, 3, 8, 8)
    before = model(x)
    model.set_coding(coding)
    assert model.description.coding == coding == model.coding
    assert [site.constant for site in sites(model).values()][:2] == [coding.constant, False]
    torch.manual_seed(0)
    changed = model(x)
    torch.manual_seed(0)
    model.set_coding(Direct())
    assert torch.equal(model(x), before)
    assert torch.equal(changed, before) == coding.constant


def test_an_expectation_over_draws_is_a_mean_of_fresh_ones():
    model, x, labels = new_model(Poisson()), images(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    with crafting(model, Crafting(eot_iter=3, seed=5)) as craft:
        found, logits = craft.gradient(x, cross_entropy_of(labels))
    torch.manual_seed(5)
    parts = []
    for _ in range(3):
        leaf = x.clone().requires_grad_()
        out = model(leaf)
        loss = torch.nn.functional.cross_entropy(out, labels, reduction="sum")
        parts.append((torch.autograd.grad(loss, leaf)[0], out.detach()))
    torch.testing.assert_close(found, sum(part[0] for part in parts) / 3)
    torch.testing.assert_close(logits, sum(part[1] for part in parts) / 3)
    assert not torch.equal(parts[0][0], parts[1][0])


@every_coding
def test_bfloat16_crafting_is_finite_and_alike(coding):
    model, x, labels = new_model(coding), images(8, 3, 8, 8), torch.arange(8) % 5
    found = []
    for precision in ("fp32", "bf16"):
        with crafting(model, Crafting(precision=precision)) as craft:
            found.append(craft.gradient(x, cross_entropy_of(labels))[0].flatten())
    assert all(part.isfinite().all() for part in found)
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.5
