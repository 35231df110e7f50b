"""Red flags: each can be raised, and each can be silent."""

import re

import pytest
import torch
from torch import nn

from spikeproof.attacks import Crafting
from spikeproof.audit import audit
from spikeproof.audit.diagnostics import Curves, InputGradients, flags_of, input_gradients
from spikeproof.records.audit_json import FlagRecord
from spikeproof.spiking import inference_noise, sites
from spikeproof.threat import Linf

HEALTHY = {
    "by_eps": {0.05: 0.6, 0.1: 0.3, 0.2: 0.1, 1.0: 0.0},
    "by_steps": {5: 0.35, 20: 0.3, 40: 0.3},
    "one_step": 0.4,
    "black_box": 0.3,
    "anywhere": 0.0,
    "samples": 100,
}


COMPARED = (
    *("one step beats many", "black box beats white box", "not monotone in eps", "not monotone in steps"),
    "any image allowed leaves survivors",
)
PAIR = (torch.full((2, 1, 8, 8), 0.5), torch.tensor([0, 1]))


class Linear(nn.Module):
    """Ten classes by the brightness of rows; no spike, no state, nothing to flag."""

    def __init__(self, classes=10):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(64, classes))

    def forward(self, images):
        return images.flatten(1) @ self.weight


class ByBatch(Linear):
    """Normalises by the batch it is given, in eval mode too."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(10, track_running_stats=False)

    def forward(self, images):
        return self.norm(super().forward(images)) + 0 * images.sum()


def like(*, zero=0.0, sparsity=(0.0,), broken=0.0):
    """The gradients of 1,000 samples, so many of them zero, so many broken in a tenth of their values."""
    shares = torch.arange(1000) / 1000
    spread = torch.tensor(sparsity).repeat_interleave(1000 // len(sparsity))
    return InputGradients(shares < zero, spread, (shares < broken) * 0.1)


@pytest.fixture
def flags(digits):
    """The flags raised for a model on a few images, by what curves say of it, all else being well."""

    def make(model=None, *, draws=1, noisy=False, gradients=None, **changed):
        model = model or Linear()
        images = digits.test.images[:8].float() / 255
        with torch.no_grad():
            labels = model.eval()(images).argmax(1)
        curves, how = Curves(**(HEALTHY | changed)), Crafting(eot_iter=draws)
        found = flags_of(
            model, images, labels, Linf(0.1), how, curves, gradients or like(), noisy=noisy, exact=False, batch_size=8
        )
        assert len({flag.name for flag in found}) == len(found) == 11
        assert all(FlagRecord.model_validate(flag).raised == flag.raised for flag in found)
        return {flag.name for flag in found if flag.raised}

    return make


def test_a_healthy_model_raises_none(flags):
    assert flags() == set()


def test_batch_norm_by_the_batch(flags):
    assert "train-mode batch norm" in flags(ByBatch())


def test_batch_norm_by_running_statistics(flags, model):
    assert "train-mode batch norm" not in flags(model)
    model.train()  # the mode a caller left it in is none of the audit's
    assert "train-mode batch norm" not in flags(model)


@pytest.mark.parametrize(("share", "raised"), [(0.0, False), (0.01, False), (0.011, True), (1.0, True)])
def test_zero_gradients(flags, share, raised):
    assert ("zero input gradients" in flags(gradients=like(zero=share))) == raised


@pytest.mark.parametrize(("share", "raised"), [(0.0, False), (0.5, False), (0.6, True), (1.0, True)])
def test_sparse_gradients(flags, share, raised):
    # Of the samples it is the median that counts.
    assert ("sparse input gradients" in flags(gradients=like(sparsity=(0.0, share, share, share)))) == raised


@pytest.mark.parametrize("exact", [True, False])
def test_advice_speaks_of_surrogates_where_there_are_some(exact):
    """An ANN has none, and no source of ours would move what its own gradient does not."""
    gradients, curves = like(zero=1.0, sparsity=(1.0,)), Curves(**HEALTHY)
    found = flags_of(Linear(), *PAIR, Linf(0.1), Crafting(), curves, gradients, noisy=False, exact=exact, batch_size=8)
    told = [flag.advice for flag in found if flag.raised]
    assert len(told) == 2
    assert all(("surrogate" in each) != exact and ("ASSG" in each) != exact for each in told)


@pytest.mark.parametrize(("share", "raised"), [(0.0, False), (0.001, True), (1.0, True)])
def test_gradients_that_are_not_finite(flags, share, raised):
    assert ("gradients that are not finite" in flags(gradients=like(broken=share))) == raised


@pytest.mark.parametrize(("one_step", "raised"), [(0.4, False), (0.24, False), (0.23, True), (0.0, True)])
def test_one_step_beats_many(flags, one_step, raised):
    assert ("one step beats many" in flags(one_step=one_step)) == raised


@pytest.mark.parametrize(("left", "raised"), [(0.3, False), (0.28, False), (0.26, True), (0.0, True)])
def test_black_box_beats_white_box(flags, left, raised):
    assert ("black box beats white box" in flags(black_box=left)) == raised


@pytest.mark.parametrize(("last", "raised"), [(0.0, False), (0.16, False), (0.17, True)])
def test_not_monotone_in_radius(flags, last, raised):
    curve = {1.0: 0.0, 0.2: last, 0.1: 0.1, 0.05: 0.6}  # in any order
    found = flags(by_eps=curve, one_step=0.4, black_box=0.1)
    assert ("not monotone in eps" in found) == raised


@pytest.mark.parametrize(("last", "raised"), [(0.3, False), (0.36, False), (0.37, True)])
def test_not_monotone_in_steps(flags, last, raised):
    assert ("not monotone in steps" in flags(by_steps={40: last, 20: 0.3, 5: 0.5})) == raised


@pytest.mark.parametrize(("samples", "raised"), [(20, False), (40, True)])
def test_one_sample_of_few_is_chance(flags, samples, raised):
    """5 % are one sample of twenty, and two of forty."""
    worse = {
        "black box beats white box": {"black_box": 0.25},
        "any image allowed leaves survivors": {"anywhere": 0.05},
    }
    for name, changed in worse.items():
        assert flags(samples=samples, **changed) == ({name} if raised else set())


@pytest.mark.parametrize(("samples", "raised"), [(100, False), (200, True), (10_000, True)])
def test_two_runs_of_few_samples_differ_by_chance(flags, samples, raised):
    """5 % are more than two standard errors from 160 samples on."""
    worse = {
        "one step beats many": {"one_step": 0.25},
        "not monotone in eps": {"by_eps": {0.05: 0.25, 0.1: 0.3, 0.2: 0.1, 1.0: 0.0}},
        "not monotone in steps": {"by_steps": {5: 0.25, 20: 0.3}},
    }
    for name, changed in worse.items():
        assert flags(samples=samples, **changed) == ({name} if raised else set())


def test_a_rise_is_measured_from_the_lowest_point_before(flags):
    # Four points up at a time, eight in all.
    assert "not monotone in steps" in flags(by_steps={5: 0.3, 20: 0.34, 40: 0.38})


@pytest.mark.parametrize(("left", "raised"), [(0.0, False), (0.03, False), (0.04, True), (1.0, True)])
def test_any_image_allowed_leaves_survivors(flags, left, raised):
    assert ("any image allowed leaves survivors" in flags(anywhere=left)) == raised


@pytest.mark.parametrize("samples", [100, 230, 1000])
@pytest.mark.parametrize("broken", range(1, 12))
def test_no_sentence_contradicts_itself(samples, broken):
    """What is raised is above its threshold, as it is written too, and nothing else is."""
    many, less = 97 / 100, 97 / 100 - broken / samples
    curves = HEALTHY | {"samples": samples, "by_eps": {0.1: many, 1.0: 0.0}, "by_steps": {20: less, 40: many}}
    curves |= {"black_box": less, "one_step": less, "anywhere": broken / samples}
    flags = flags_of(
        Linear(), *PAIR, Linf(0.1), Crafting(), Curves(**curves), like(), noisy=False, exact=True, batch_size=8
    )
    compared = [flag for flag in flags if flag.name in COMPARED]
    assert len(compared) == len(COMPARED)
    for flag in compared:
        *_, told = re.findall(r"[0-9]+[.][0-9]+", flag.value)
        (limit,) = re.findall(r"[0-9]+[.][0-9]+", flag.threshold)
        assert flag.raised == (float(told) > float(limit)), flag.doubt
        by_hand = max(0.03 * samples, 1.5 if "points" not in flag.value else 2 * (0.1 * samples) ** 0.5)
        if "monotone in eps" not in flag.name:
            assert flag.raised == (broken > by_hand), flag.doubt


def test_exactly_three_per_cent_is_not_above():
    curves = Curves(**HEALTHY | {"by_eps": {0.1: 0.97}, "black_box": 0.94, "one_step": 0.9})
    assert curves.by_eps[0.1] - curves.black_box > 0.03  # in floats
    flags = flags_of(Linear(), *PAIR, Linf(0.1), Crafting(), curves, like(), noisy=False, exact=True, batch_size=8)
    (flag,) = (each for each in flags if each.name == "black box beats white box")
    assert not flag.raised and "break 3.0 %" in flag.value and flag.threshold == "above 3.0 %"


class Slope(nn.Module):
    """Two logits, z and 0, where z falls with the brightness: steps raise the loss ever on."""

    def __init__(self, start, slope):
        super().__init__()
        self.start, self.slope = start, nn.Parameter(torch.tensor(slope))

    def forward(self, images):
        z = self.start - self.slope * images.flatten(1).mean(1)
        return torch.stack([z, torch.zeros_like(z)], 1)


@pytest.mark.parametrize(
    ("start", "slope", "raised"),
    [
        (16.0, 50.0, True),  # the loss grows by more than a tenth, and nobody breaks
        (3.0, 0.001, False),  # the loss stands still
        (12.0, 50.0, False),  # everybody breaks
    ],
)
def test_loss_rises_while_success_stalls(flags, digits, start, slope, raised):
    model = Slope(start, slope)
    # From a random start, some pixels reach the border of the ball only in the second half.
    dim = torch.full((8, 1, 8, 8), 0.2)
    curves = Curves(**HEALTHY)
    with torch.no_grad():
        labels = model(dim).argmax(1)
    found = flags_of(model, dim, labels, Linf(0.1), Crafting(), curves, like(), noisy=False, exact=True, batch_size=8)
    (flag,) = (flag for flag in found if flag.name == "loss rises while success stalls")
    assert flag.raised == raised


@pytest.mark.parametrize(
    ("draws", "noisy", "raised"), [(1, True, True), (9, True, True), (10, True, False), (1, False, False)]
)
def test_randomness_without_eot(flags, tiny, draws, noisy, raised):
    for site in sites(tiny).values():
        site.noise_std = 0.2
    with inference_noise(tiny, noisy):
        assert ("randomness without EoT" in flags(tiny, draws=draws, noisy=noisy)) == raised


class WithoutARow(nn.Module):
    """A tenth of the pixels has no path to the logits; one has a root at zero on it, which changes no logit."""

    def __init__(self, inner, rooted):
        super().__init__()
        self.inner, self.rooted = inner, rooted

    def forward(self, images):
        kept = torch.cat([images[:, :, :1].detach(), images[:, :, 1:]], 2)
        return self.inner(kept) + (0 * images[:, :, 0, 0].sqrt() if self.rooted else 0)


@pytest.mark.parametrize("batch_size", [3, 10])
def test_gradients_are_looked_at_in_any_batch(model, digits, batch_size):
    images, labels = digits.test.images[:10].float() / 255, digits.test.labels[:10]
    assert (images[:, :, 0, 0] == 0).all()
    wanted = images.clone().requires_grad_()
    loss = nn.functional.cross_entropy(model.eval()(wanted), labels, reduction="sum")
    (by_hand,) = torch.autograd.grad(loss, wanted)
    by_hand[:, :, 0] = 0
    for rooted in (False, True):
        how = Crafting(precision="bf16")  # they are taken in float32 whatever the attacks craft in
        found = input_gradients(WithoutARow(model, rooted), images, labels, how, batch_size)
        assert torch.equal(found.sparsity, (by_hand.flatten(1) == 0).float().mean(1))
        assert not found.zero.any() and found.zero_share == 0
        assert torch.equal(found.broken, torch.full((10,), 1 / 64 if rooted else 0.0))


def test_no_path_to_the_image_is_a_zero_gradient(digits):
    images, labels = digits.test.images[:10].float() / 255, digits.test.labels[:10]

    class Hard(Linear):
        def forward(self, images):
            return super().forward((images > 0.5).float())

    class Without(Linear):
        @torch.no_grad()
        def forward(self, images):
            return super().forward(images)

    for model in (Hard(), Without()):
        found = input_gradients(model, images, labels, Crafting(), 4)
        assert found.zero.all() and found.zero_share == 1
    assert input_gradients(Linear(), images, labels, Crafting(), 4).zero_share == 0


def test_an_honest_model_raises_no_flag(model, digits, quick):
    found = audit(model, digits.test, quick(diagnostics=True, sweep_samples=30), show=False)
    assert [flag.name for flag in found.flags if flag.raised] == []
    assert len(found.flags) == 11
    assert [flag["name"] for flag in found.to_json("")["flags"]] == [flag.name for flag in found.flags]


def test_diagnostics_can_be_left_out(model, digits, quick):
    found = audit(model, digits.test, quick(samples=10), show=False)
    assert found.flags == []


@pytest.mark.sweep
@pytest.mark.parametrize("factor", [16.0, 256.0])
def test_a_masked_model_is_found_out(learned, masked, digits, quick, factor):
    """The same function behind a surrogate that is too narrow: PGD sees robustness where there is none."""
    spoilt, images = masked(factor), digits.test.images[:40].float() / 255
    assert torch.equal(spoilt.eval()(images), learned.eval()(images))
    trials = ("FGSM", "PGD-20", "SA-PGD-60@ASSG")
    honest = audit(learned, digits.test, quick(trials=trials), show=False)
    config = quick(trials=trials, diagnostics=True, sweep_samples=12)
    found = audit(spoilt, digits.test, config, show=False)
    assert found.clean == honest.clean
    assert found.protocol.accuracy > honest.protocol.accuracy + 0.3
    # The worst case is not taken in, and neither is the reader.
    assert found.worst_case.accuracy < honest.worst_case.accuracy + 0.15
    assert found.masking_gap > 0.5
    raised = {flag.name for flag in found.flags if flag.raised}
    assert "black box beats white box" in raised
    assert any(f"{100 * found.masking_gap:.1f} points" in warning for warning in found.warnings)
    assert all(any(name[1:] in warning for warning in found.warnings) for name in raised)
    if factor == 256:  # so narrow that images have no gradient at all
        assert "zero input gradients" in raised
        assert found.zero_gradient_share > 0.01


def test_queries_alone_break_the_masked_model(masked, digits, quick):
    """So narrow a surrogate that no image has a gradient: BIM stands still, and queries do not care."""
    found = audit(masked(2.0**30), digits.test, quick(trials=("BIM-20", "SQUARE-300"), samples=20), show=False)
    protocol, queries = found.results
    assert protocol.broken == 0
    assert found.clean.correct > 15
    assert queries.newly > 4


def test_warnings_say_what_is_doubtful(model, digits, quick):
    strong = audit(model, digits.test, quick(trials=("FGSM", "SA-PGD-40@ASSG")), show=False)
    gap = strong.masking_gap
    assert gap >= 0.05
    assert any(f"{100 * gap:.1f} points" in warning for warning in strong.warnings)
    assert not any("No adaptive" in warning for warning in strong.warnings)
    # One small step of the adaptive attack from a random start is weaker than twenty of PGD.
    weak = audit(model, digits.test, quick(trials=("PGD-20", "SA-PGD-1@ASSG"), per_member=True), show=False)
    assert any("weaker than the protocol" in warning for warning in weak.warnings)
    assert not any("points" in warning for warning in weak.warnings)
    fixed = audit(model, digits.test, quick(trials=("PGD-20", "APGD-CE-3"), samples=10), show=False)
    assert any("No adaptive" in warning for warning in fixed.warnings)
