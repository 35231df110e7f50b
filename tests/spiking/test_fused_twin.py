"""The fused site against the reference site in float64, where rounding flips no spike: 1e-10 is the whole distance."""

import pytest
import torch
from twin import STEPS, assert_same, assert_twins, currents, freeze, new_site, normed, observe, spiked

from spikeproof.spiking import Hinge, probe
from spikeproof.spiking.ops.kernel_folder import compiler_available


@pytest.fixture(scope="module", autouse=True)
def compiler():
    """These tests are about compiled code: without a compiler they would test the reference against itself."""
    assert compiler_available(torch.device("cpu")), "install g++: the fused kernels cannot be tested without it"


@pytest.mark.sweep
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("constant", [False, True], ids=["steps", "constant"])
@pytest.mark.parametrize(
    ("shape", "pool"),
    [((5, 6, 3, 7), 1), ((4, 5, 6, 2), 2), ((3, 4, 5, 7), 2), ((3, 4, 6, 5), 2)],
    ids=["no pool", "pool", "odd pool", "half odd pool"],
)
def test_site_with_norm(shape, pool, constant, training):
    seen = assert_twins(shape, training=training, with_norm=True, constant=constant, pool=pool)
    assert spiked(seen) and all(seen[f"gradient of norm.{name}"].abs().min() > 0 for name in ("weight", "bias"))
    assert seen["norm.num_batches_tracked"] == training


@pytest.mark.sweep
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [((7, 5), {}), ((3, 4, 6, 2), {"pool": 2}), ((3, 4, 5, 3), {"pool": 3}), ((5, 4, 6), {})],
    ids=["features", "pool", "pool of 3", "sequence"],
)
def test_site_without_norm(shape, options, training):
    assert spiked(assert_twins(shape, training=training, **options))


ONES = {
    "one sample": ((1, 5, 3, 4), 1),
    "one channel": ((4, 1, 3, 5), 1),
    "one position": ((6, 5, 1, 1), 1),
    "one row": ((4, 5, 1, 6), 1),
    "pooled to one": ((4, 5, 2, 2), 2),
    "one of each, pooled": ((1, 1, 2, 2), 2),
}


@pytest.mark.sweep
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("constant", [False, True], ids=["steps", "constant"])
@pytest.mark.parametrize(("shape", "pool"), ONES.values(), ids=ONES)
def test_sizes_of_one(shape, pool, constant, training):
    assert_twins(shape, training=training, with_norm=True, pool=pool, constant=constant)


def test_features_of_one_sample_and_of_one_channel():
    assert_twins((1, 5), training=False)
    assert_twins((4, 1), training=False)
    assert_twins((1, 1), training=True)


@pytest.mark.parametrize(("shape", "pool"), [((0, 5), 1), ((0, 5, 3, 4), 1), ((0, 5, 4, 4), 2)], ids=str)
def test_an_empty_batch_gives_empty_spikes_and_gradients(shape, pool):
    options = {"training": False, "pool": pool, "with_norm": len(shape) > 2, "prepare": freeze}
    seen = assert_twins(shape, **options)
    assert seen["gradient of input"].shape == shape


@pytest.mark.parametrize("constant", [False, True], ids=["steps", "constant"])
@pytest.mark.parametrize(("shape", "pool"), [((5, 6, 3, 7), 1), ((4, 5, 6, 2), 2)], ids=["no pool", "pool"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_frozen_parameters_give_the_same_input_gradient_as_trainable_ones(shape, pool, constant, training):
    """In eval mode these are two different backwards."""
    options = {"with_norm": True, "pool": pool, "constant": constant}
    frozen = assert_twins(shape, training=training, prepare=freeze, **options)
    site = new_site("fused", shape[1], **options)
    trainable = observe(site, currents(shape, constant=constant), training=training)
    assert frozen.keys() < trainable.keys()
    assert_same({name: trainable[name] for name in frozen}, frozen)


def test_batch_norm_in_eval_mode_inside_a_training_site_and_the_reverse():
    for site_trains in (True, False):
        seen = {}
        for kernels in ("reference", "fused"):
            site = new_site(kernels, 5, with_norm=True).train(site_trains)
            site.norm.train(not site_trains)
            leaf = currents((4, 5, 3, 3)).requires_grad_()
            leaves = [leaf, site.norm.weight, site.norm.bias]
            spikes = site(leaf)
            gradients = torch.autograd.grad(spikes.cumsum(0).sum(), leaves)
            seen[kernels] = dict(zip("abc", gradients, strict=True)) | {"spikes": spikes.detach()}
            seen[kernels] |= {name: part.clone() for name, part in site.named_buffers()}
        assert_same(seen["fused"], seen["reference"])


@pytest.mark.parametrize("unusual", [{"affine": False}, {"track_running_stats": False}, {"momentum": None}], ids=str)
def test_batch_norms_of_other_kinds_run_as_they_are(unusual):
    def prepare(site):
        site.norm = torch.nn.BatchNorm2d(5, **unusual).double()

    for training in (True, False):
        assert_twins((4, 5, 3, 7), training=training, prepare=prepare)


def every_ask(site):
    """Noise, and a decay and a gain to learn: one of each position, the other of each channel."""
    site.noise_std, site.noise_at_inference = 0.3, True
    generator = torch.Generator().manual_seed(3)
    for name, shape in (("decay", (STEPS, 4, 6, 5)), ("gain", (STEPS, 1, 1, 5))):
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
        setattr(site, name, torch.nn.Parameter(drawn * 0.5 + 0.5))


@pytest.mark.thorough
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_noise_decay_gain_and_moments_at_one_pooled_site(training):
    """The backward draws the noise of the forward once more, or its gradients would be of other spikes."""
    options = {"asked": ("moments",), "with_norm": True, "pool": 2}
    noisy = assert_twins((3, 5, 4, 6), training=training, prepare=every_ask, **options)
    silent = assert_twins((3, 5, 4, 6), training=training, with_norm=True, pool=2)
    assert not torch.equal(noisy["spikes"], silent["spikes"])
    assert all(noisy[f"gradient of {name}"].abs().max() > 0 for name in ("decay", "gain"))


@pytest.mark.thorough
def test_noise_follows_torchs_generator_and_is_drawn_anew_each_time():
    site = new_site("fused", 5, with_norm=True, pool=2)
    every_ask(site)
    options = {"training": True, "asked": ("moments",)}
    current = currents((3, 5, 4, 6))
    first, again, other = (observe(site, current, seed=seed, **options) for seed in (1, 1, 2))
    for name in ("spikes", "gradient of input", "gradient of decay"):
        assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])


def test_a_decay_and_a_gain_of_one_number_for_each_step_hold_for_every_channel():
    def prepare(site):
        for name, values in (("decay", (0.9, 0.7, 0.8)), ("gain", (1.1, 0.6, 1.0))):
            setattr(site, name, torch.nn.Parameter(torch.tensor(values, dtype=torch.float64)[:, None]))

    for shape in ((3, 5, 4), (3, 1, 4)):
        spikes = []
        for kernels in ("reference", "fused"):
            site = new_site(kernels, shape[1])
            prepare(site)
            spikes.append(site.eval()(currents(shape)))
        assert torch.equal(*spikes)


@pytest.mark.thorough
def test_a_penalty_on_the_statistics_alone_needs_no_gradient_of_the_spikes():
    gradients = []
    for kernels in ("reference", "fused"):
        site = new_site(kernels, 5, with_norm=True, pool=2)
        every_ask(site)
        leaf = currents((3, 5, 4, 6)).requires_grad_()
        torch.manual_seed(0)
        with probe(site, "moments", "margins", cost=Hinge(0.4)) as record:
            site(leaf)
        mean, std = record[""].moments()
        penalty = mean.square().sum() + std.sum() + record[""].cost_total.sum()
        gradients.append(torch.autograd.grad(penalty, leaf)[0])
    assert_same({"input": gradients[1]}, {"input": gradients[0]})


@pytest.mark.parametrize("pool", [1, 2])
def test_currents_of_any_layout(pool):
    shape = (4, 5, 6, 2)
    base = currents(shape)
    layouts = [
        base.contiguous(memory_format=torch.channels_last),
        base.transpose(2, 3).contiguous().transpose(2, 3),
        torch.stack([base, base], -1)[..., 0],
        torch.cat([base, base], 1)[:, :5],
        base.flip(0).flip(0),
    ]
    expected = assert_twins(shape, training=True, with_norm=True, pool=pool, current=base)
    for current in layouts:
        found = assert_twins(shape, training=True, with_norm=True, pool=pool, current=current)
        assert_same(found, expected)


def test_channels_last_in_is_channels_last_out_forward_and_back():
    """What a convolution wants, and no copy on the way."""
    for pool in (1, 2):
        leaf = currents((4, 5, 6, 2)).contiguous(memory_format=torch.channels_last).requires_grad_()
        spikes = new_site("fused", 5, with_norm=True, pool=pool)(leaf)
        (gradient,) = torch.autograd.grad(spikes.sum(), leaf)
        for part in (spikes, gradient):
            assert part.is_contiguous(memory_format=torch.channels_last)


def test_running_statistics_are_those_of_torch():
    site, norm = new_site("fused", 5, with_norm=True).train(), normed(5).train()
    for seed in range(3):
        current = currents((4, 5, 3, 7), seed=seed)
        site(current)
        norm(current)
    assert_same(dict(site.norm.named_buffers()), dict(norm.named_buffers()))


def test_grad_modes_change_no_spike():
    site, current = new_site("fused", 5, with_norm=True).eval(), currents((4, 5, 3, 7))
    spikes = site(current)
    with torch.no_grad():
        assert torch.equal(site(current), spikes)
    with torch.inference_mode():
        assert torch.equal(site(current), spikes)
