"""Accuracy against radius and against steps, on some of the samples."""

import pytest
import torch

from spikeproof.audit import audit
from spikeproof.records.trials import Counted


def curve(points):
    return [(point.at, point.trial.name) for point in points]


def test_the_headline_and_the_first_adaptive_trial_are_swept(tiny, digits, quick):
    config = quick(sweep=(0.3, 0.05), sweep_samples=12)
    found = audit(tiny, digits.test, config, show=False)
    swept = ("PGD-3", "SA-PGD-6@ASSG")
    assert curve(found.sweep) == [(at, trial) for at in (0, 0.05, 0.1, 0.3) for trial in swept]
    by_point = {(point.at, point.trial.name): point.measured for point in found.sweep}
    # The clean point, and the audit's own radius, on the same few samples.
    clean = [row["correct"] for row in found.outcomes.to_pylist() if row["kind"] == "clean"][:12]
    assert {by_point[0, trial] for trial in swept} == {Counted.of(sum(clean), 12)}
    for trial in swept:
        accuracies = [by_point[at, trial].correct for at in (0, 0.05, 0.1, 0.3)]
        assert accuracies == sorted(accuracies, reverse=True)
        assert accuracies[0] > accuracies[-1]
        assert {by_point[at, trial].samples for at in (0, 0.05, 0.1, 0.3)} == {12}
    said = found.to_json("")["sweep"]
    assert [(point["eps"], point["trial"]) for point in said] == curve(found.sweep)
    assert [point["correct"] for point in said] == [point.measured.correct for point in found.sweep]


def test_a_sweep_is_what_an_audit_at_that_radius_finds(tiny, digits, quick):
    settings = {"sweep_samples": 12, "samples": 12, "per_member": True}
    found = audit(tiny, digits.test, quick(sweep=(0.05,), **settings), show=False)
    there = audit(tiny, digits.test, quick(eps=0.05, **settings), show=False)
    swept = {point.trial.name: point.measured for point in found.sweep if point.at == 0.05}
    assert swept == {r.trial.name: r.own for r in there.results if r.trial.name in ("PGD-3", "SA-PGD-6@ASSG")}


@pytest.mark.thorough
def test_the_sweep_changes_no_result(tiny, digits, quick):
    plain = audit(tiny, digits.test, quick(batch_size=16), show=False)
    swept = audit(
        tiny, digits.test, quick(batch_size=16, sweep=(0.1, 0.3), step_sweep=(1, 9), sweep_samples=10), show=False
    )
    assert swept.outcomes.equals(plain.outcomes)
    assert swept.worst_case == plain.worst_case
    assert plain.sweep == plain.step_sweep == []
    assert len(set(curve(swept.sweep))) == len(swept.sweep)  # no point twice


@pytest.mark.thorough
def test_steps_are_swept_at_the_audits_radius(tiny, digits, quick):
    config = quick(step_sweep=(9, 1, 3), sweep_samples=12, samples=12, per_member=True)
    found = audit(tiny, digits.test, config, show=False)
    attacks = [f"PGD-{steps}" for steps in (1, 3, 9)] + [f"SA-PGD-{steps}@ASSG" for steps in (1, 3, 9)]
    assert curve(found.step_sweep) == list(zip([1, 3, 9] * 2, attacks, strict=True))
    there = audit(tiny, digits.test, quick(trials=tuple(attacks), samples=12, per_member=True), show=False)
    assert {point.trial.name: point.measured for point in found.step_sweep} == {
        result.trial.name: result.own for result in there.results
    }
    said = found.to_json("")["step_sweep"]
    assert [(point["steps"], point["kind"]) for point in said] == [
        (steps, kind) for kind in ("protocol", "adaptive") for steps in (1, 3, 9)
    ]


def test_a_trial_without_steps_has_no_curve_against_them(tiny, digits, quick):
    found = audit(tiny, digits.test, quick(trials=("FGSM",), step_sweep=(1, 3), samples=10), show=False)
    assert found.step_sweep == []


@pytest.mark.parametrize("source", ["HART:0.5", "MIXED"])
def test_a_swept_trial_keeps_its_source(tiny, digits, quick, source):
    config = quick(trials=("PGD-2", f"APGD-CE-3@{source}"), step_sweep=(2, 3), samples=6)
    found = audit(tiny, digits.test, config, show=False)
    by_name = {point.trial.name: point.trial for point in found.step_sweep}
    assert by_name[f"APGD-CE-2@{source}"].source == found.results[1].trial.source


def test_no_more_images_at_a_time_than_the_batch_size(model, digits, quick):
    """In the curves, the checks and the tuning, too: the batch size is what the memory holds."""
    seen = []
    hook = model.register_forward_pre_hook(lambda _, given: seen.append(torch.is_grad_enabled() and len(given[0])))
    at_once = {"batch_size": 8, "sweep": (0.05,), "sweep_samples": 30, "tune_samples": 20, "diagnostics": True}
    found = audit(model, digits.test, quick(**at_once), validation=digits.validation, show=False)
    hook.remove()
    assert max(seen) == 8 == found.batch_size
    assert {point.measured.samples for point in found.sweep} == {30} and found.tuning.samples == 20
