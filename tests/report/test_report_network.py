"""What was audited stands in the report and in the terminal; an audit from before it was kept is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_folders import make_audit, read_one, write_run

from spikeproof.errors import SpikeproofError
from spikeproof.report import read_runs, text_table, write_report
from spikeproof.report.wording import reservations, unlike

NETWORK = {
    "name": "Net",
    "library": "SpikingJelly",
    "num_steps": 4,
    "runs": "steps",
    "reads": "mean",
    "readouts": [],
    "functions": [],
    "binary": [],
}
ANN = NETWORK | {"library": None, "num_steps": None, "runs": None, "reads": None}


def told(folder: Path, network: dict[str, Any], **changes: Any) -> str:
    run = write_run(folder / "run", audit=make_audit(**changes) | {"network": network})
    page = write_report([run], folder / "report.html").read_text()
    table = text_table(read_runs(run))
    return " ".join([page, *table.split()])


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (
            NETWORK,
            "Net of SpikingJelly, adapted: T = 4, called with the images in every step, logits the mean of its steps",
        ),
        (NETWORK | {"runs": "images", "reads": None}, "adapted: T = 4, called once with the images; 3 sites."),
        (NETWORK | {"native": True}, "Net of SpikingJelly, converted to neurons of spikeproof: T = 4, called with the"),
        (NETWORK | {"frames": True}, "adapted: T = 4, called with the frames in every step"),
        (NETWORK | {"runs": "function"}, "called by a function of its owner"),
        (NETWORK | {"readouts": ["lif3"]}, "The layer lif3 is a readout and no site."),
        (NETWORK | {"readouts": ["a", "b"]}, "The layers a and b are readouts and no site."),
        (NETWORK | {"num_steps": None}, "Net has layers of SpikingJelly and was not adapted"),
        (ANN | {"functions": ["Fire"]}, "Net has functions of its own in its backward (Fire) and was not adapted"),
        (ANN | {"binary": ["act"]}, "Net has layers that give zeros and ones alone (act) and was not adapted"),
        (ANN, "Net: no spiking layer: an ANN."),
    ],
    ids=[
        "steps",
        "images",
        "native",
        "frames",
        "function",
        "a readout",
        "readouts",
        "not adapted",
        "own functions",
        "bits",
        "ann",
    ],
)
def test_sentences(tmp_path: Path, network: dict[str, Any], sentence: str) -> None:
    page = told(tmp_path, network)
    assert page.count(sentence) == 2  # the page and the terminal


def test_ours_is_told_on_the_page_alone(tmp_path: Path) -> None:
    ours = NETWORK | {"name": "vgg11", "library": "spikeproof", "runs": None, "reads": None}
    assert told(tmp_path, ours).count("vgg11: T = 4, 3 sites.") == 1


def test_without_an_adaptive_attack_an_ann_is_no_doubt(tmp_path: Path) -> None:
    audits = {}
    for name, network in (("ann", ANN), ("snn", NETWORK)):
        audit = make_audit(correct=(431, 300, 219, 219)) | {"network": network}
        audit["trials"] = [row for row in audit["trials"] if row["kind"] != "adaptive"]
        audits[name] = read_one(write_run(tmp_path / name, audit=audit)).audit
    doubts = {name: reservations(audit) for name, audit in audits.items() if audit is not None}
    assert not any("adaptive" in str(sentence) for sentence in doubts["ann"])
    assert any("No adaptive attack" in str(sentence) for sentence in doubts["snn"])


def test_a_trial_that_stands_for_another_is_the_same_attack(tmp_path: Path) -> None:
    plain, standing = make_audit(), make_audit() | {"network": ANN}
    row = standing["trials"][-1]
    row |= {"name": row["name"].partition("@")[0], "kind": "fixed", "stands_for": [row["name"]]}
    runs = [read_one(write_run(tmp_path / name, audit=held)) for name, held in (("a", plain), ("b", standing))]
    assert unlike(runs) == []


@pytest.mark.parametrize("change", [{"name": 3}, {"num_steps": "4"}, {"readouts": None}, {"functions": [1]}])
def test_a_wrong_record(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(SpikeproofError, match=rf"'network\.{next(iter(change))}(\[0\])?' should be"):
        read_one(write_run(tmp_path / "x", audit=make_audit() | {"network": NETWORK | change}))
