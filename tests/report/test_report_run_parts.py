"""What a run's section shows of its audit: who breaks what, the checks, the tuning, accuracy against steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from report_folders import FLAGS, counted, make_audit, make_search, make_trial, read_one, write_run

from spikeproof.errors import SpikeproofError
from spikeproof.report import write_report
from spikeproof.report.checks import checks, tuning_line
from spikeproof.report.queries import against_queries
from spikeproof.report.records import Audit
from spikeproof.report.single_run import ACROSS, waterfall
from spikeproof.report.sweeps import steps_of_trials
from spikeproof.report.trained import trained_sentences

OLD = {"recipe": {"model": {}, "at": {"eps": 0.1, "precision": "bf16"}, "train": {"precision": "bf16"}}}
NEW = {"recipe": {"model": {}, "at": {"eps": 0.1}, "train": {"precision": "auto"}}, "precision": "fp32"}


@pytest.mark.parametrize(("ran", "says"), [(OLD, "5 epochs (bf16) took"), (NEW, "5 epochs (fp32) took")], ids=str)
def test_the_precision_that_training_ran_in(tmp_path: Path, ran: dict[str, Any], says: str) -> None:
    """What was recorded; in runs from before that, what was asked, which was never "auto"."""
    folder = write_run(tmp_path / "run", ran=ran)
    told = " ".join(trained_sentences(read_one(folder)))
    assert says in told and "auto" not in told and "with AT (eps 0.1" in told
    assert says in write_report([folder], tmp_path / "report.html").read_text()


def read(folder: Path, audit: dict[str, Any]) -> Audit:
    found = read_one(write_run(folder, audit=audit)).audit
    assert found is not None
    return found


def rects(html: str, style: str) -> list[tuple[float, float]]:
    """Where each bar of this style begins and how long it is, in samples of 500."""
    found = re.findall(rf'<rect class="{style}[^"]*" x="([\d.]+)" y="\d" width="([\d.]+)"', html)
    return [(float(x) * 500 / ACROSS, float(width) * 500 / ACROSS) for x, width in found]


def test_the_waterfall_goes_from_everything_to_the_worst_case(tmp_path: Path) -> None:
    html = waterfall(read(tmp_path / "x", make_audit()))
    bars = rects(html, "new")
    assert [length for _, length in bars] == pytest.approx([69, 131, 81, 43], abs=0.01)
    assert bars[0][0] + bars[0][1] == pytest.approx(500)
    for (upper, _), (start, length) in zip(bars, bars[1:], strict=False):
        assert start + length == pytest.approx(upper, abs=0.01)  # each begins where the one above it ends
    assert rects(html, "worst") == [(0.0, pytest.approx(bars[-1][0], abs=0.01))]
    assert 500 - sum(length for _, length in bars) == pytest.approx(176, abs=0.02)


def test_a_row_of_the_waterfall_has_every_number(tmp_path: Path) -> None:
    html = waterfall(read(tmp_path / "x", make_audit()))
    row = next(row for row in html.split("<tr") if ">SA-PGD-100@ASSG<" in row)
    cells = re.findall(r'data-label="([^"]+)"><span>([^<]*)</span>(?:<small>([^<]*)</small>)?', row)
    assert cells == [
        ("Newly broken", "43", "8.6 %"),
        ("Attacked", "219", "broke 43"),
        ("Left", "35.2", "31.1–39.5"),
        ("Own accuracy", "–", ""),
        ("Seconds", "1.2", ""),
    ]
    assert "adaptive" in row and "219 right before, 43 newly broken, 176 left" in row


def test_the_waterfall_tells_own_accuracies_from_what_is_left(tmp_path: Path) -> None:
    audit = make_audit(everyone=True)
    audit["trials"].append(make_trial("UNIFORM", "noise", 400, clean=431, before=176))
    html = waterfall(read(tmp_path / "x", audit))
    row = next(row for row in html.split("<tr") if ">UNIFORM<" in row)
    assert 'data-label="Left"><span>35.2' in row and 'data-label="Own accuracy"><span>80.0' in row
    assert "Without an accuracy of its own" not in html


def test_an_unbounded_trial_has_no_bar(tmp_path: Path) -> None:
    audit = make_audit()
    audit["trials"].insert(2, make_trial("CW-10", "protocol", 300, clean=431, before=300) | {"norm": "l2"})
    html = waterfall(read(tmp_path / "x", audit))
    assert len(rects(html, "new")) == 4 and "no part of the worst case" in html
    assert "are judged outside the audit's ball" in html.replace("&#39;", "'")


def test_every_check_is_listed_and_only_raised_ones_advise(tmp_path: Path) -> None:
    html = checks(read(tmp_path / "x", make_audit(raised=FLAGS[2])))
    assert "Red flags: 1 of 3 checks raised one" in html
    rows = html.split("<tr")[2:]
    assert [next(flag for flag in FLAGS if f">{flag}<" in row) for row in rows] == [FLAGS[2], FLAGS[0], FLAGS[1]]
    assert "</span> raised" in rows[0] and "look into zero gradients" in rows[0]
    for flag, row in zip(FLAGS[:2], rows[1:], strict=True):
        assert "not raised" in row and f"{flag} measured 7.5 %" in row and "above 3 %" in row
        assert "look into" not in row
    assert "Red flags: none raised" in checks(read(tmp_path / "y", make_audit()))


def test_an_audit_without_checks_says_so(tmp_path: Path) -> None:
    html = checks(read(tmp_path / "x", make_audit() | {"flags": []}))
    assert "Red flags: not checked" in html and "none raised" not in html


def test_the_page_shows_a_raised_flag_and_no_quiet_one_as_raised(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "x", audit=make_audit(raised=FLAGS[0]))
    page = write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<tr role="row" class="raised">') == 1 and page.count('<tr role="row" class="quiet">') == 2
    assert "Black box beats white box: black box beats white box measured 7.5 %" in page


@pytest.mark.parametrize(
    ("tuning", "words"),
    [
        (
            {},
            "Chosen on 100 validation samples, none of them audited: ASSG's A′ = 0.45 (2 values tried left from "
            "37.5 to 50.0 %); HART's width = 1 by default, as no trial uses it.",
        ),
        (
            {"samples": 0, "tried": {}},
            "No setting of the attacks was tuned: defaults were taken (ASSG's A′ = 0.45 and HART's width = 1).",
        ),
        ({"tried": {}}, "No trial has a setting to tune."),
    ],
)
def test_the_line_on_tuning(tmp_path: Path, tuning: dict[str, Any], words: str) -> None:
    audit = make_audit()
    audit["tuning"] |= tuning
    assert tuning_line(read(tmp_path / "x", audit)) == words


def test_steps_are_one_line_per_attack_on_a_logarithmic_axis(tmp_path: Path) -> None:
    audit = make_audit()
    html = steps_of_trials(read(tmp_path / "x", audit))
    lines = re.findall(r'class="line" d="(M[^"]+L[^"]+L[^"]+)"', html)
    assert len(lines) == 2
    across = [[float(x) for x in re.findall(r"[ML]([\d.]+) ", line)] for line in lines]
    assert across[0] == across[1]
    five, twenty, forty = across[0]
    assert twenty - five == pytest.approx(2 * (forty - twenty), abs=0.03)  # 5 to 20 doubles twice, 20 to 40 once
    first = audit["step_sweep"][0]
    assert f"PGD-5 (protocol): {100 * first['accuracy']:.1f} %" in html and "n = 128" in html
    assert "PGD (protocol)" in html and "SA-PGD@ASSG (adaptive)" in html


def test_one_number_of_steps_and_none(tmp_path: Path) -> None:
    audit = make_audit()
    audit["step_sweep"] = audit["step_sweep"][:1]
    html = steps_of_trials(read(tmp_path / "x", audit))
    assert "nan" not in html and ">5</text>" in html
    assert steps_of_trials(read(tmp_path / "y", audit | {"step_sweep": []})) == ""


def test_numbers_of_steps_that_would_touch_are_not_both_written(tmp_path: Path) -> None:
    audit = make_audit()
    audit["step_sweep"][0] |= {"steps": 19, "trial": "PGD-19"}
    html = steps_of_trials(read(tmp_path / "x", audit))
    assert ">19</text>" in html and ">20</text>" not in html and ">40</text>" in html


def test_accuracy_against_queries_ends_in_a_forecast(tmp_path: Path) -> None:
    audit = make_audit()
    left = audit["worst_case"]["correct"]
    found = make_trial("LOCAL-900", "black-box", left - 7, before=left, clean=431, samples=500, everyone=False)
    audit["trials"] += [found | {"queries": 900}]
    for trial, queries in zip(audit["trials"], (0, 3, 60, 300), strict=False):
        trial["queries"] = queries
    audit |= {"worst_case": counted(left - 7, 500), "search": make_search(left=left - 7)}
    audit["masking_gap"] = audit["protocol"]["accuracy"] - audit["worst_case"]["accuracy"]
    html = against_queries(read(tmp_path / "x", audit))
    *_, measured, ahead = re.findall(r'class="line" d="(M[^"]+)"', html)
    assert len(re.findall("[ML]", measured)) == 4 + 3 and len(re.findall("[ML]", ahead)) == 2
    assert "broke 0.6 points; 10 times as many would break 0.5 more [0.2, 1.2]" in html
    assert ">1,000</text>" in html and ">100,000</text>" not in html
    assert against_queries(read(tmp_path / "y", make_audit())) == ""


@pytest.mark.parametrize(
    "wrong", [{"curve": []}, {"curve": [[0, 9], [0, 8]]}, {"curve": [[0, 8], [5, 9]]}, {"low": 7}, {"expected": -1.0}]
)
def test_a_search_that_cannot_be_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    audit = make_audit()
    with pytest.raises(SpikeproofError, match="search"):
        read(tmp_path / "x", audit | {"search": make_search(left=9) | wrong})
