"""The C++ twins beside the functions of ops/drive.py: float64 to 1e-12, spikes and margins to the bit."""

import dataclasses
import itertools

import pytest
import torch

from spikeproof.interop.same import LateReset
from spikeproof.spiking import (
    ArcTan,
    Exponential,
    Gaussian,
    Hinge,
    Neuron,
    QuantisationError,
    Rectangular,
    RectifiedTriangle,
    Sigmoid,
    StraightThrough,
    SuperSpike,
    Triangle,
)
from spikeproof.spiking.ops import drive as plain
from spikeproof.spiking.ops import instance as instances
from spikeproof.spiking.ops import native
from spikeproof.spiking.ops.drive import Cotangents, Drive, Following, OfMean, Setting
from spikeproof.spiking.ops.kernel_folder import cpp_compiler
from spikeproof.spiking.ops.noise import draw_tapes

DTYPES = (torch.float64, torch.float32, torch.bfloat16)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 1e-2}
THOROUGH = pytest.mark.thorough
SETTING = Setting(Neuron(decay=0.9, threshold=0.6), ArcTan(), 3)


@pytest.fixture(scope="module", autouse=True)
def compiler():
    assert cpp_compiler(), "install g++: the C++ twins cannot be tested without it"


class Case:
    """What drives a site in canonical shapes, cotangents for all that it gives, and the two kernels side by side."""

    def __init__(self, setting, dtype, space=(4, 6), channels=11, samples=3, *, constant=False, seed=0):
        self.setting, self.dtype, self.channels = setting, dtype, channels
        self.wide = torch.promote_types(dtype, torch.float32)
        self.generator = torch.Generator().manual_seed(seed)
        height, width = space
        self.space = (height // 2, 2, width // 2, 2) if setting.pooled else (height * width,)
        self.small = (height // 2, width // 2) if setting.pooled else self.space
        steps = 1 if constant else setting.num_steps
        self.drive = Drive(
            self.rand(steps, samples, *self.space, channels).to(dtype),
            self.rand(channels).abs() + 0.3,
            self.rand(channels) * 0.3 + 0.3,
        )

    def rand(self, *shape):
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(self.wide)

    def learned(self, *names, by="neuron"):
        steps = self.setting.num_steps
        shape = (steps, *(self.space if by == "neuron" else [1] * len(self.space)), self.channels)
        parts = {name: self.rand(*shape).sigmoid() for name in names}
        self.drive = self.drive._replace(**parts)
        return self

    def noisy(self):
        torch.manual_seed(3)
        std = torch.full((), 0.5, dtype=self.wide)
        self.drive = self.drive._replace(noise_std=std, noise=draw_tapes(self.setting.num_steps, self.drive.values))
        return self

    def cotangents(self):
        steps, channels = self.setting.num_steps, self.channels
        spikes = self.rand(steps, self.drive.values.shape[1], *self.small, channels).to(self.dtype)
        moments = [self.rand(steps, channels) * 0.1 for _ in range(2)] if self.setting.want_moments else [None, None]
        return Cotangents(spikes, *moments, None if self.setting.cost is None else self.rand(steps, channels) * 0.1)

    def check(self):
        self.same(plain.forward, exactly=1 + self.setting.want_margins)
        cotangents = self.cotangents()
        self.same(plain.input_gradient, cotangents)
        self.same(plain.all_gradients, cotangents, self.rand(self.channels) * 0.2)

    def same(self, function, *others, exactly=0, setting=None):
        setting = self.setting if setting is None else setting
        expected = function(setting, self.drive, *others)
        found = native.run(function, setting, self.drive, *others)  # which may write over what it was given
        expected = [expected] if isinstance(expected, torch.Tensor) else [part for part in expected if part is not None]
        assert found is not None and len(found) == len(expected)
        for place, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
            if place < exactly:
                assert torch.equal(ours, theirs)
            scale = max(theirs.double().abs().max().item(), 1.0)
            limit = TOLERANCE[ours.dtype] * scale
            torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=limit)
        return found


SURROGATES = (
    Triangle(0.7),
    Rectangular(),
    Sigmoid(),
    SuperSpike(),
    ArcTan(),
    Gaussian(0.5, 0.1),
    Exponential(0.3, 1.5),
    StraightThrough(),
    RectifiedTriangle(0.5, 0.6),
    RectifiedTriangle(2.0, 0.6),
)


@pytest.mark.sweep
@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_every_surrogate(surrogate):
    assert {type(each) for each in SURROGATES} == set(native._SURROGATES)
    case = Case(dataclasses.replace(SETTING, surrogate=surrogate), torch.float64)
    case.same(plain.all_gradients, case.cotangents(), case.rand(11))
    Case(case.setting, torch.float32).same(
        plain.input_gradient, case.cotangents()._replace(spikes=case.rand(3, 3, 24, 11).float())
    )


def sized(dtype, pooled, constant):
    quick = dtype == torch.float32 or (dtype == torch.bfloat16 and pooled == constant)
    return pytest.param(dtype, pooled, constant, marks=[] if quick else THOROUGH)


SIZED = [sized(*each) for each in itertools.product(DTYPES, (False, True), (False, True))]


@pytest.mark.sweep
@pytest.mark.parametrize(("dtype", "pooled", "constant"), SIZED)
def test_every_size(dtype, pooled, constant):
    """Channels beside, at and over a vector and a block, one that does not repeat within any, and one position."""
    setting = dataclasses.replace(SETTING, pooled=pooled)
    spaces = (((2, 4), 1), ((4, 2), 16), ((6, 6), 33), ((2, 2), 130), ((4, 4), 300), ((12, 34), 3), ((2, 2), 32))
    for space, channels in (*spaces, ((8, 8), 8), ((2, 4), 2051), ((32, 32), 24)):
        Case(setting, dtype, space, channels, constant=constant).check()


@pytest.mark.sweep
@pytest.mark.parametrize("steps", [1, 8, 17])
def test_every_number_of_steps(steps):
    Case(dataclasses.replace(SETTING, num_steps=steps, pooled=steps == 17), torch.float32).check()


@pytest.mark.sweep
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("detach_reset", [False, True])
def test_every_reset(reset, detach_reset):
    neuron = Neuron(decay=0.8, reset=reset, detach_reset=detach_reset)
    Case(dataclasses.replace(SETTING, neuron=neuron), torch.float64).check()


@pytest.mark.thorough
@pytest.mark.parametrize("detach_reset", [False, True])
def test_a_soft_reset_by_another_number(detach_reset):
    neuron = LateReset(decay=0.8, threshold=0.6, reset="soft", detach_reset=detach_reset)
    setting = dataclasses.replace(SETTING, neuron=neuron, want_moments=True, after_reset=detach_reset)
    Case(setting, torch.float64).check()
    Case(setting, torch.float64, (6, 6), samples=4).learned("adaptation", "setpoint", by="channel").check()


COSTS = (
    None,
    Hinge(0.5),
    Hinge(0.7, 2),
    QuantisationError(1.0, 1.2),
    QuantisationError(1.0, 0.8, 1.0),
    QuantisationError(1.0, 0.8, 1.5),
)


@pytest.mark.thorough
@pytest.mark.parametrize("cost", COSTS, ids=str)
@pytest.mark.parametrize(
    ("reset", "after", "moments"), [("hard", False, True), pytest.param("soft", True, False, marks=THOROUGH)]
)
def test_sums_and_costs_before_and_after_a_reset(cost, reset, after, moments):
    assert {type(each) for each in COSTS} == set(native._COSTS)
    asked = {"want_moments": moments, "want_margins": not after, "cost": cost, "after_reset": after}
    Case(dataclasses.replace(SETTING, neuron=Neuron(decay=0.8, reset=reset), **asked), torch.float64).check()


@pytest.mark.thorough
@pytest.mark.parametrize("cost", COSTS, ids=str)
def test_all_sums_and_costs_before_and_after_either_reset(cost):
    for reset, after, moments in itertools.product(("hard", "soft"), (False, True), (False, True)):
        neuron = Neuron(decay=0.8, reset=reset)
        asked = {"want_moments": moments, "want_margins": not after, "cost": cost, "after_reset": after}
        for dtype in DTYPES[:2]:
            Case(dataclasses.replace(SETTING, neuron=neuron, **asked), dtype).check()


@pytest.mark.sweep
@pytest.mark.parametrize("by", ["neuron", pytest.param("channel", marks=THOROUGH)])
@pytest.mark.parametrize("names", [("decay",), ("decay", "gain"), ("adaptation", "setpoint")], ids=str)
def test_what_is_learned(names, by):
    reset, pooled = ("hard", True) if by == "neuron" else ("soft", False)
    neuron = Neuron(decay=0.9, threshold=0.6, reset=reset)
    setting = dataclasses.replace(SETTING, neuron=neuron, pooled=pooled, want_moments=True, after_reset=pooled)
    Case(setting, torch.float64, (6, 6), samples=4).learned(*names, by=by).check()


@pytest.mark.thorough
@pytest.mark.parametrize("by", ["neuron", "channel"])
@pytest.mark.parametrize("names", [("decay",), ("gain",), ("decay", "gain"), ("adaptation", "setpoint")], ids=str)
def test_all_that_is_learned(names, by):
    for pooled, reset in ((False, "hard"), (True, "hard"), (False, "soft")):
        neuron = Neuron(decay=0.9, threshold=0.6, reset=reset)
        setting = dataclasses.replace(SETTING, neuron=neuron, pooled=pooled, want_moments=True, after_reset=pooled)
        for dtype in DTYPES[:2]:
            Case(setting, dtype, (6, 6), samples=4).learned(*names, by=by).check()


@pytest.mark.thorough
def test_a_decay_with_one_number_for_each_step_or_for_each_row():
    for shape in ((3, 1, 1), (3, 24, 1)):
        case = Case(SETTING, torch.float64)
        case.drive = case.drive._replace(decay=case.rand(*shape).sigmoid())
        case.check()


@pytest.mark.parametrize("shape", [(3, 11), (3, 1), (3, 3, 24, 11)], ids=str)
def test_a_sharpness_of_each_channel_step_or_element(shape):
    case = Case(SETTING, torch.float64)
    case.drive = case.drive._replace(sharpness=case.rand(*shape).abs() + 0.5)
    cotangents = case.cotangents()
    case.same(plain.input_gradient, cotangents)
    if len(shape) == 2:
        case.same(plain.all_gradients, cotangents, case.rand(11))
    else:
        assert native.run(plain.all_gradients, SETTING, case.drive, cotangents, case.rand(11)) is None


@pytest.mark.sweep
@pytest.mark.parametrize("carries", [False, pytest.param(True, marks=THOROUGH)], ids=["decision", "carried"])
def test_noise(carries):
    for pooled, dtype in ((True, torch.float64), (False, torch.bfloat16)):
        neuron = Neuron(decay=0.9, threshold=0.6, carries_noise=carries)
        case = Case(dataclasses.replace(SETTING, neuron=neuron, pooled=pooled), dtype).noisy()
        case.check()
        if not pooled:
            (margins,) = case.same(plain.noisy_margins, exactly=1)
            assert torch.equal((margins >= 0).to(dtype), plain.forward(case.setting, case.drive).spikes)


@pytest.mark.sweep
@pytest.mark.parametrize("dtype", [pytest.param(DTYPES[0], marks=THOROUGH), *DTYPES[1:]], ids=str)
def test_what_gradient_sources_ask_for(dtype):
    for constant in (False, True):
        case = Case(SETTING, dtype, constant=constant)
        shape = (3, 3, 24, 11)
        how = Following(SETTING, 0.9, 1.5, 1.2)
        case.same(plain.follow, case.rand(*shape).abs(), case.rand(*shape).abs(), setting=how)
        case.same(plain.fired_mask, exactly=1)
        case.same(plain.gain_of_mean, setting=OfMean(SETTING, 0.2))
        case.drive = case.drive._replace(sharpness=case.rand(3, 1).abs() + 0.5)
        case.same(plain.mean_slope)


def test_the_gain_at_a_mean_current_follows_what_is_learned():
    case = Case(SETTING, torch.float64).learned("decay").learned("gain", by="channel")
    (gain,) = case.same(plain.gain_of_mean, setting=OfMean(SETTING, 0.2))
    assert (gain == 0).any() and (gain > 0).any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_batch_norms_two_passes(dtype):
    for rows, channels in ((37, 5), (4000, 16), (11, 300)):
        generator = torch.Generator().manual_seed(rows)
        values = (torch.randn(1, rows, 3, channels, generator=generator, dtype=torch.float64) * 2 + 5).to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        gradient = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(dtype)
        vectors = torch.randn(3, channels, generator=generator, dtype=torch.float64).to(wide)
        for function, others in ((plain.batch_sums, ()), (plain.add_affine, vectors)):
            arguments = (values, *others) if function is plain.batch_sums else (gradient, values, *others)
            expected = function(None, *arguments)
            expected = [expected] if isinstance(expected, torch.Tensor) else expected
            found = native.run(function, None, *arguments)
            for ours, theirs in zip(found, expected, strict=True):
                scale = theirs.double().abs().max().item()
                limit = TOLERANCE[ours.dtype] * max(scale, 1.0)
                torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=limit)


def everything(dtype):
    """Results of each kind, with sums over many samples, to be compared bit for bit."""
    setting = dataclasses.replace(SETTING, want_moments=True, cost=Hinge(0.5))
    case = Case(setting, dtype, (16, 16), 24, samples=40)
    found = [part.clone() for part in native.run(plain.forward, setting, case.drive)]
    cotangents, middle = case.cotangents(), case.rand(24)
    found += native.run(plain.all_gradients, setting, case.drive, cotangents, middle)
    case.learned("decay").learned("gain", by="channel")
    found += native.run(plain.all_gradients, setting, case.drive, cotangents, middle)
    pooled = Case(dataclasses.replace(SETTING, pooled=True), dtype, (16, 16), 24, samples=40)
    found += native.run(plain.forward, pooled.setting, pooled.drive)
    return found + native.run(plain.batch_sums, None, case.drive.values.flatten(0, 1)[None])


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_the_number_of_threads_changes_no_bit(dtype):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(everything(dtype))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.thorough
@pytest.mark.parametrize("units", ["AVX2", pytest.param("DEFAULT", marks=THOROUGH)])
def test_vector_units_change_no_bit(monkeypatch, units):
    """A block is as wide on every machine, and so are the sums."""
    expected = everything(torch.float32)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: units)
    instances.instance.cache_clear()
    try:
        found = everything(torch.float32)
    finally:
        instances.instance.cache_clear()
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))


def test_what_has_no_twin_is_left_to_others():
    @dataclasses.dataclass(frozen=True)
    class Mine(Triangle):
        pass

    case = Case(dataclasses.replace(SETTING, surrogate=Mine()), torch.float64)
    assert native.run(plain.input_gradient, case.setting, case.drive, case.cotangents()) is None
    half = case.drive._replace(values=case.drive.values.half())
    assert native.run(plain.forward, SETTING, half) is None
    assert native.run(dataclasses.replace, SETTING) is None
