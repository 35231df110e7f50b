"""Boards of submissions: what a claim may be, and which rows stand in one table."""

import hashlib
import json

import pytest

from spikeproof.disk import sealed
from spikeproof.records.audit_json import AuditRecord
from spikeproof.records.submission_json import SubmissionRecord
from spikeproof.records.trials import Counted
from spikeproof.results import compare, read_submission, write_pages

SAMPLES = 100
IMAGES = "ab" * 8


def audit(clean=80, protocol=50, worst=40, **changes):
    """audit.json of so many right images."""
    trials, before = [], SAMPLES
    for name, kind, left in (
        ("clean", "clean", clean),
        ("PGD-20", "protocol", protocol),
        ("LOCAL-200", "black-box", worst),
    ):
        everyone = kind != "black-box"
        attempted = SAMPLES if kind == "clean" else clean if everyone else before
        row = {"name": name, "kind": kind, "attack": name, "source": "bptt", "norm": "linf", "everyone": everyone}
        row |= {"attempted": attempted, "broken": attempted - left, "newly_broken": before - left, "seconds": 1.0}
        trials.append(row | {"left": dict(Counted.of(left, SAMPLES))} | dict(Counted.of(left, SAMPLES)))
        before = left
    fields = {
        "version": 4,
        "samples": SAMPLES,
        "split": "test",
        "audited_images": IMAGES,
        "battery": "quick",
        "threat": {"norm": "linf", "eps": 8 / 255},
        "noise": "off",
        "eot_iter": 1,
        "judge_draws": 1,
        "device": "cpu",
        "crafting_precision": "fp32",
        "batch_size": 250,
        "seed": 0,
        "seconds": 1.0,
        "command": "",
        "trials": trials,
        "protocol": {"trial": "PGD-20"} | dict(Counted.of(protocol, SAMPLES)),
        "worst_case": dict(Counted.of(worst, SAMPLES)),
        "masking_gap": (protocol - worst) / SAMPLES,
        "flags": [],
        "warnings": [],
        "tuning": {"samples": 0, "tried": {}},
        "sweep": [],
        "step_sweep": [],
        "sites": [],
    }
    return fields | changes


def submission(claim=(80, 50, 40), **changes):
    """submission.json."""
    fields = {
        "version": 1,
        "name": "ours",
        "by": "A. Author",
        "training_data": "cifar10, 49000 images",
        "weights": "0" * 64,
        "data": {"name": "cifar10"},
        "images": IMAGES,
        "audit": {"norm": "linf", "eps": "8/255", "battery": "quick", "samples": SAMPLES},
        "claim": dict(zip(("clean", "protocol", "worst_case"), claim, strict=True)),
    }
    return fields | changes


@pytest.fixture
def hand_in(tmp_path):
    """Write a submission into a folder of results; ``found`` is what a check found, None for no check."""

    def write(name, found=None, /, **changes):
        folder = tmp_path / "submissions" / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(weights := f"        {{{name}".encode())
        digest = hashlib.sha256(weights).hexdigest()
        text = json.dumps(submission(**({"name": name, "weights": digest} | changes)))
        (folder / "submission.json").write_text(text)
        if found is not None:
            told = {"version": 1, "submission": hashlib.sha256(text.encode()).hexdigest(), "weights": digest}
            told |= {"network": "vgg11, T = 4", "spikeproof": "0.1.0", "torch": "2.13.0", "audit": found}
            (folder / "checked.json").write_text(json.dumps(sealed(told)))
        return folder

    return write


@pytest.fixture
def pages(tmp_path):
    """The page of Markdown and that of HTML."""

    def write():
        write_pages(tmp_path, tmp_path / "page.md", tmp_path / "page.html")
        return (tmp_path / "page.md").read_text(), (tmp_path / "page.html").read_text()

    return write


def compared(claim, **found):
    return compare(SubmissionRecord.model_validate(submission(claim)), AuditRecord.model_validate(audit(**found)))


def test_the_rule_is_the_upper_end_of_the_interval():
    assert compared((80, 50, 40)).holds and not compared((80, 50, 40)).differing
    # The 95 % Wilson interval of 40 of 100 ends at 49.8, that of 50 at 59.6, that of 80 at 86.7.
    for claim, holds in (
        *(((80, 50, 49), True), ((80, 50, 50), False)),
        *(((80, 59, 40), True), ((80, 60, 40), False)),
        *(((86, 50, 40), True), ((87, 50, 40), False)),
        *(((10, 5, 0), True), ((80, 50, 0), True)),
    ):
        assert compared(claim).holds == holds, claim
    (line,) = compared((80, 50, 45)).differing
    assert line == "worst case: claimed 45, found 40 of 100 images (5 fewer)"
    (sentence,) = compared((80, 50, 50)).too_good
    assert sentence == "worst case is claimed as 50.0 %, and the audit found 40.0 % (30.9–49.8 %) of 100 images"


def test_each_trial_that_differs_is_named():
    claim = {"clean": 80, "protocol": 50, "worst_case": 40, "trials": {"clean": 80, "PGD-20": 47, "LOCAL-200": 41}}
    record = SubmissionRecord.model_validate(submission() | {"claim": claim})
    assert compare(record, AuditRecord.model_validate(audit())).differing == (
        "after PGD-20: claimed 47, found 50 of 100 images (3 more)",
        "after LOCAL-200: claimed 41, found 40 of 100 images (1 fewer)",
    )


def test_a_board_ranks_what_checks_found(hand_in, pages):
    hand_in("bold", audit(worst=30), claim=(80, 50, 39))
    hand_in("modest", audit(worst=40), claim=(80, 50, 35), paper="https://example.org/x")
    hand_in("equal", audit(worst=30), claim=(80, 50, 30))
    page, html = pages()
    assert page.count("### CIFAR-10, L∞ 8/255, battery quick on 100 test images (abababab), trained on") == 1
    rows = [line.split(" | ")[:2] for line in page.splitlines() if line.startswith(("| 1 ", "| 2 "))]
    assert rows == [["| 1", "modest [paper](https://example.org/x)"], ["| 2", "bold"], ["| 2", "equal"]]
    assert "| 80.0 | 50.0 (PGD-20) | **40.0** [30.9, 49.8] | 10.0 | 35.0 |" in page
    assert html.count('<table class="board"') == 1 and 'href="https://example.org/x"' in html


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        ({}, {"data": {"name": "cifar100"}}),
        ({}, {"data": {"name": "cifar10", "classes": [0, 1]}}),
        ({}, {"training_data": "cifar10, 49000 images and a million more"}),
        ({"threat": {"norm": "linf", "eps": 4 / 255}}, {}),
        ({"battery": "reliable"}, {}),
        ({"audited_images": "cd" * 8}, {}),
        ({"crafting_precision": "bf16"}, {}),
    ],
    ids=["data", "classes", "training data", "eps", "battery", "images", "precision"],
)
def test_what_cannot_be_compared_stands_in_two_tables(hand_in, pages, found, changes):
    hand_in("one", audit())
    hand_in("two", audit(**found), **changes)
    page, html = pages()
    assert page.count("\n### ") == 2 and html.count('<table class="board"') == 2
    assert page.count("| 1 |") == 2 and "| 2 |" not in page


def test_who_has_no_rank(hand_in, pages):
    hand_in("unseen")
    hand_in("boastful", audit(), claim=(80, 70, 60))
    hand_in("masked", audit(no_number="Its gradient is nowhere."))
    changed = hand_in("changed", audit())
    text = (changed / "submission.json").read_text().replace("A. Author", "B. Author")
    (changed / "submission.json").write_text(text)
    assert read_submission(changed).checked is None
    page, html = pages()
    assert "\n### " not in page and "There is no result with a worst case yet." in html
    for said in (
        "nobody has checked them as they are: changed by B. Author, unseen by A. Author",
        "their claim does not hold: boastful by A. Author",
        "something hides the gradient: masked by A. Author",
    ):
        assert f"Without a rank, as {said}." in page


def test_what_strangers_wrote_stays_text(hand_in, pages):
    hand_in("one", audit(), name="<b>x</b>|", by="[y](z)", training_data="<i>w</i>")
    page, html = pages()
    assert "<b>x" not in html and "&lt;b&gt;x&lt;/b&gt;|" in html and "<i>w" not in html
    assert "<b>x" not in page and "[y](z)" not in page


def test_a_damaged_check_is_told(hand_in, pages, refuses):
    folder = hand_in("one", audit())
    text = (folder / "checked.json").read_text()
    (folder / "checked.json").write_text(text.replace('"correct": 40', '"correct": 41', 1))
    with refuses("checked.json", "spikeproof check"):
        pages()
