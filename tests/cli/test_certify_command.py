"""`spikeproof certify`: a record in the run folder, its line beside an audit, and what it refuses."""

import json

import pyarrow.parquet as pq
import pytest

from spikeproof.cli.main import main
from spikeproof.disk import sealed
from spikeproof.records.certificate_json import read_certificate


@pytest.fixture
def ibp(audited, call):
    """Certify an audited run by interval bounds; what was printed."""

    def run(*more):
        eps = json.loads((next((audited / "audits").iterdir()) / "audit.json").read_text())["threat"]["eps"]
        return call(
            *("certify", audited, "--method", "ibp", "--eps", eps, "--samples", 20, "--device", "cpu", "--quiet", *more)
        )

    return run


def certificate_in(folder):
    (place,) = (folder / "certificates").iterdir()
    return place / "certificate.json"


def test_it_prints_what_it_proved_and_keeps_it(trained, call):
    words = ("certify", trained, "--n", 60, "--n0", 10, "--samples", 10, "--sigma", 0.1, "--device", "cpu", "--quiet")
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    found = read_certificate(certificate_in(trained))
    assert "randomised smoothing" in out and "of 10 images" in out and str(certificate_in(trained).parent) in out
    assert (found.settings["sigma"], found.settings["n"], found.seed) == (0.1, 60.0, 0)
    assert found.command.startswith("spikeproof certify") and found.notes == ()
    code, out, _ = call(*words, "--force", "--json")
    assert code == 0 and json.loads(out)["outcomes"] == found.plain()["outcomes"]


def test_the_report_has_it_beside_the_audit_of_the_same_images(audited, ibp, call):
    code, out, err = ibp()
    assert (code, err) == (0, ""), err
    code, out, _ = call("report", audited)
    assert code == 0 and "Certified by interval bounds, Linf" in out and "<= true <= worst case" in out
    assert "Certified by interval bounds" in (audited / "report.html").read_text()


def test_one_that_is_there_is_not_replaced(ibp, refused, audited, call):
    ibp()
    code, _, err = ibp()
    assert code == 2 and "--force" in err and err.count("\n") == 1
    assert ibp("--force")[0] == 0


def test_an_audit_that_broke_what_is_proved_is_told(audited, ibp, call, audit_in, tmp_path):
    """As if the weights had been others: a proved image is written down as proved although it was broken."""
    assert ibp()[0] == 0
    path = certificate_in(audited)
    outcomes = pq.read_table(audit_in(audited) / "outcomes.parquet").to_pylist()
    broken = next(row for row in outcomes if not row["correct"])
    record = json.loads(path.read_text())
    record.pop("sha256")
    for each in record["outcomes"]:
        if each["sample"] == broken["sample"]:
            each["predicted"], each["radius"] = each["label"], record["eps"]
    right = sum(each["predicted"] == each["label"] for each in record["outcomes"])
    proved = sum(each["predicted"] == each["label"] and each["radius"] > 0 for each in record["outcomes"])
    for name, count in (("clean", right), ("certified", proved)):
        record[name] = {"correct": count, "samples": 20, "accuracy": count / 20, "low": 0.0, "high": 1.0}
    path.write_text(json.dumps(sealed(record)))
    code, out, err = call("report", audited)
    assert (code, out) == (2, "") and f"images {broken['sample']}" in err and "other weights" in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--method", "crown"], ["--method"]),
        (["--sigma", "0"], ["sigma > 0"]),
        (["--samples", "100000"], ["fewer than the 100000"]),
        (["--method", "rate"], ["Bernoulli"]),
        (["--eps", "0"], ["radius > 0"]),
    ],
)
def test_refusals(trained, refused, options, says):
    refused("certify", trained, "--quiet", "--device", "cpu", *options, says=says)


def test_it_needs_a_run(refused, tmp_path, monkeypatch):
    refused("certify", says=["RUN"])
    refused("certify", tmp_path / "nowhere", says=["config.json"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused("certify", tmp_path, says=["one process"])


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["certify", "--help"])
    assert ended.value.code == 0 and "--sigma" in capsys.readouterr().out
