"""A run folder is read whole, or one sentence says what is wrong with which file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import counted, make_audit, make_epochs, make_flag, make_pictures, read_one, write_run

from spikeproof.errors import SpikeproofError
from spikeproof.report import read_runs, write_report

STEP = make_audit()["step_sweep"][0]


def test_reads_every_file(tmp_path: Path) -> None:
    run = read_one(write_run(tmp_path / "x", audit=make_audit(), pictures=make_pictures(samples=3)))
    assert run.name == "mini-cifar10-mpd-sgr"
    assert [epoch.epoch for epoch in run.epochs] == [0, 1, 2, 3, 4]
    assert run.epochs[0].validation_accuracy is None and run.epochs[1].validation_accuracy is not None
    assert run.audit is not None and run.pictures is not None
    assert (run.audit.protocol_trial, run.audit.protocol.accuracy) == ("PGD-20", 219 / 500)
    assert [trial.kind for trial in run.audit.trials] == ["clean", "protocol", "protocol", "adaptive"]
    assert run.audit.has_adaptive
    assert run.pictures.class_names[7] == "horse" and run.pictures.trial == "PGD-20"


def test_audit_and_pictures_may_be_missing(tmp_path: Path) -> None:
    run = read_one(write_run(tmp_path / "x", epochs=[]))
    assert run.audit is None and run.pictures is None and run.epochs == ()


def test_an_undefined_share_and_a_diverged_loss_are_facts(tmp_path: Path) -> None:
    audit, epochs = make_audit(), make_epochs()
    audit["sites"][0]["omega"] = None
    audit["sites"][1]["omega"] = float("nan")
    epochs[-1]["loss"] = float("nan")
    run = read_one(write_run(tmp_path / "x", audit=audit, epochs=epochs))
    assert run.audit is not None
    assert np.isnan([run.epochs[-1].loss, run.audit.sites[0].omega, run.audit.sites[1].omega]).all()


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "x")
    (folder / name).unlink()
    with pytest.raises(SpikeproofError, match=f"{name} is missing"):
        read_one(folder)


def test_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SpikeproofError, match="not a run folder"):
        read_one(tmp_path / "nowhere")


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for name in "cabd":
        write_run(tmp_path / name)
    with pytest.raises(SpikeproofError, match=r"holds some \(a, b, c and others\); give these, such as .*a\.$"):
        write_report([tmp_path], tmp_path / "report.html")


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "audit.json", "pictures.npz"])
def test_cut_file(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "x", audit=make_audit(), pictures=make_pictures())
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SpikeproofError, match=name):
        read_one(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 1}, "'version' should be 4, got 1; audit the run again"),
        ({"version": 5}, "'version' should be 4, got 5"),
        ({"version": 4.0}, "'version' should be a whole number, got 4.0"),
        ({"version": 3.0}, "'version' should be a whole number, got 3.0"),
        ({"judge_draws": None}, "'judge_draws' should be a whole number"),
        ({"battery": 3}, "'battery' should be a text"),
        ({"flags": [{}]}, r"the field 'flags\[0\].name' is missing"),
        ({"flags": [make_flag("x") | {"raised": "no"}]}, "raised' should be true or false, got 'no'"),
        (
            {"tuning": {"samples": 1, "tried": {}, "half_mass": 0, "hart_width": 1}},
            "'tuning.half_mass' should be greater than 0, got 0",
        ),
        ({"step_sweep": [{"accuracy": 0.5, "low": 0.4, "high": 0.6}]}, r"'step_sweep\[0\].trial' is missing"),
        ({"step_sweep": [STEP | {"steps": 0}]}, r"'step_sweep\[0\].steps' should be greater than or equal to 1, got 0"),
        ({"samples": "many"}, "'samples' should be a whole number"),
        ({"samples": True}, "'samples' should be a whole number"),
        ({"protocol": None}, "'protocol' should be a JSON object"),
        (
            {"worst_case": {"accuracy": 1.2, "low": 0.1, "high": 0.3}},
            "'worst_case.accuracy' should be less than or equal to 1, got 1.2",
        ),
        ({"worst_case": counted(176, 500) | {"low": 0.1, "high": 0.3}}, "between its bounds 0.1 and 0.3, got 0.352"),
        ({"masking_gap": 0.5}, "'masking_gap' should be protocol - worst case and not negative, got 0.5"),
        ({"masking_gap": float("nan")}, "masking_gap"),
        (
            {"protocol": {"trial": "PGD-7", **counted(219, 500)}},
            "a trial of the protocol with an accuracy of its own, got 'PGD-7'",
        ),
        ({"warnings": "none"}, "'warnings' should be a list, got 'none'"),
        ({"warnings": [{"code": 1}]}, r"'warnings\[0\].code' should be a text, got 1"),
        ({"warnings": [3]}, r"'warnings\[0\]' should be a JSON object, got 3"),
        (
            {"warnings": [{"code": "a", "text": "{}", "numbers": ["1", "2"]}]},
            r"'warnings\[0\].numbers' should be one for each of the 1 {} of 'text', got 2",
        ),
        ({"threat": {"norm": "linf", "eps": 0}}, "'threat.eps' should be greater than 0, got 0"),
        ({"trials": [3]}, r"'trials\[0\]' should be a JSON object, got 3"),
    ],
)
def test_wrong_audit(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    folder = write_run(tmp_path / "x", audit=make_audit() | change)
    with pytest.raises(SpikeproofError, match=complaint):
        read_one(folder)


def test_a_worst_case_above_the_protocol_is_refused(tmp_path: Path) -> None:
    audit = make_audit() | {"worst_case": counted(230, 500), "masking_gap": -11 / 500}
    with pytest.raises(SpikeproofError, match="not negative"):
        read_one(write_run(tmp_path / "x", audit=audit))


@pytest.mark.parametrize(
    ("at", "change", "complaint"),
    [
        (1, {"newly_broken": 130}, "left.correct' should be 301, as 'FGSM' newly broke 130, got 300"),
        (1, {"attempted": 501}, "newly_broken' should be at most broken, attempted and samples"),
        (1, {"newly_broken": 132}, "in this order, got 132, 131, 431 and 500"),
        (1, {"correct": 299}, "should be correct / samples, got 0.6 from 299 of 500"),
        (3, counted(150, 500), "the 176 that were left, as not everyone was attacked, got 150"),
        (3, {"left": 176}, r"'trials\[3\].left' should be a JSON object, got 176"),
        (2, {"everyone": False} | counted(219, 500), "a trial of the protocol"),
    ],
)
def test_a_trial_that_disagrees_with_itself(tmp_path: Path, at: int, change: dict[str, Any], complaint: str) -> None:
    audit = make_audit()
    audit["trials"][at] |= change
    with pytest.raises(SpikeproofError, match=complaint):
        read_one(write_run(tmp_path / "x", audit=audit))


def test_the_worst_case_is_what_the_last_trial_left(tmp_path: Path) -> None:
    audit = make_audit() | {"worst_case": counted(175, 500), "masking_gap": 44 / 500}
    with pytest.raises(SpikeproofError, match="should be the 176 samples that the trials left, got 175"):
        read_one(write_run(tmp_path / "x", audit=audit))


def test_a_trial_has_an_accuracy_of_its_own_only_if_it_attacked_everyone(tmp_path: Path) -> None:
    for everyone, own in ((False, None), (True, 176)):
        run = read_one(write_run(tmp_path / str(everyone), audit=make_audit(everyone=everyone)))
        assert run.audit is not None
        last = run.audit.trials[-1]
        assert (last.own.correct if last.own else None) == own
        assert (last.left.correct, last.newly_broken) == (176, 43)


def test_a_histogram_needs_one_edge_more_than_counts(tmp_path: Path) -> None:
    audit = make_audit()
    audit["sites"][1]["histogram"]["edges"].pop()
    with pytest.raises(
        SpikeproofError, match=r"'sites\[1\].histogram.edges' should be increasing, one more than its 64 counts, got 64"
    ):
        read_one(write_run(tmp_path / "x", audit=audit))


def test_an_epoch_that_comes_twice_is_refused(tmp_path: Path) -> None:
    epochs = make_epochs()
    with pytest.raises(SpikeproofError, match="epochs should increase, got 4 after 4"):
        read_one(write_run(tmp_path / "x", epochs=[*epochs, epochs[-1]]))


def test_the_line_of_a_wrong_epoch_is_named(tmp_path: Path) -> None:
    epochs = make_epochs()
    del epochs[2]["loss"]
    with pytest.raises(SpikeproofError, match="line 3: the field 'loss' is missing"):
        read_one(write_run(tmp_path / "x", epochs=epochs))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"labels": np.array([0, 10])}, "labels should hold one class index below 10"),
        ({"labels": np.array([0])}, "labels should hold one class index"),
        ({"clean": np.zeros((2, 3, 32, 32), np.float32)}, "should be uint8"),
        ({"class_names": np.array(3)}, "cannot be read as the pictures"),
    ],
)
def test_wrong_pictures(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SpikeproofError, match=complaint):
        read_one(write_run(tmp_path / "x", audit=make_audit(), pictures=make_pictures() | change))


@pytest.mark.parametrize("channels", [2, 4])
def test_images_that_are_no_pictures_are_left_out(tmp_path: Path, channels: int) -> None:
    images = np.zeros((2, channels, 8, 8), np.uint8)
    pictures = make_pictures() | {"clean": images, "adversarial": images.astype(np.float32)}
    folder = write_run(tmp_path / "x", audit=make_audit(), pictures=pictures)
    assert read_one(folder).pictures is None
    assert write_report([folder], tmp_path / "report.html").stat().st_size > 10_000


def test_every_audit_of_a_run_is_a_row(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "x")
    for name, correct in (("a", 150), ("b", 176)):
        (folder / "audits" / name).mkdir(parents=True)
        audit = make_audit(correct=(431, 300, 219, correct))
        (folder / "audits" / name / "audit.json").write_text(json.dumps(audit))
    runs = read_runs(folder)
    assert [run.audit.worst_case.correct for run in runs if run.audit] == [150, 176]
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "30.0" in page and "35.2" in page


def test_pictures_that_lack_an_array(tmp_path: Path) -> None:
    pictures = make_pictures()
    del pictures["trial"]
    with pytest.raises(SpikeproofError, match="lacks the array 'trial'"):
        read_one(write_run(tmp_path / "x", audit=make_audit(), pictures=pictures))


def test_config_that_is_a_list(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "x")
    (folder / "config.json").write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(SpikeproofError, match="should be a JSON object"):
        read_one(folder)
