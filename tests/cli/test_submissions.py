"""Submissions for the leaderboard: packed from a run, checked by an audit, refused where nobody could audit them."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from digit_networks import network
from spikeproof.cli.main import main
from spikeproof.models import create_model, save_model
from spikeproof.records.submission_json import SubmissionRecord
from spikeproof.results import read_submission

AUDIT = {"norm": "linf", "eps": "51/255", "battery": "quick", "samples": 10}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rewrite(folder, **changes):
    """submission.json as a hand would change it; the weights that it names are those that are there."""
    path = folder / "submission.json"
    fields = json.loads(path.read_text()) | {"weights": digest(folder / "model.safetensors")} | changes
    path.write_text(json.dumps(fields))


@pytest.fixture(scope="session")
def _handmade(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handed") / "mine"
    folder.mkdir()
    save_model(network("tiny"), folder / "model.safetensors")
    fields = {
        "version": 1,
        "name": "ours",
        "by": "A. Author",
        "training_data": "digits, 1000 images",
        "weights": digest(folder / "model.safetensors"),
        "data": {"name": "digits"},
        "audit": AUDIT,
        "claim": {"clean": 1, "protocol": 0, "worst_case": 0},
    }
    (folder / "submission.json").write_text(json.dumps(fields))
    return folder


@pytest.fixture
def handmade(_handmade, tmp_path):
    """A submission that a hand wrote, with a claim that every audit betters."""
    return shutil.copytree(_handmade, tmp_path / "mine")


@pytest.fixture(scope="session")
def _packed(tmp_path_factory, train_words):
    place = tmp_path_factory.mktemp("packed")
    main(train_words(place / "run"))
    words = ["--battery", "quick", "--trials", "--samples", "10", "--sweep", "--device", "cpu"]
    main(["audit", str(place / "run"), *words])
    return place


@pytest.fixture
def packed(_packed, tmp_path):
    """A run with an audit by a battery, one's own to spoil."""
    return shutil.copytree(_packed / "run", tmp_path / "run")


@pytest.mark.thorough
def test_a_run_is_packed_and_checked(call, packed, tmp_path):
    out = tmp_path / "results" / "submissions" / "mine"
    code, said, _ = call(
        "submit", packed, out, "--by", "A. Author", "--paper", "https://example.org/x", "--name", "ours"
    )
    assert code == 0 and f"spikeproof check {out}" in said
    record = read_submission(out).record
    assert (record.name, record.by, record.data.name) == ("ours", "A. Author", "digits")
    assert record.training_data == "digits, 256 images" and record.audit.samples == 10
    assert record.weights == digest(packed / "model.safetensors") and len(record.images) == 16
    assert {"clean", "FGSM", "PGD-20", "LOCAL-200"} <= set(record.claim.trials)
    code, said, _ = call("check", out, "--device", "cpu", "--quiet")
    assert code == 0 and said.endswith("The claim holds.\n")
    checked = read_submission(out).checked
    assert checked.network == "conv, T = 4" and checked.audit.images == record.images
    code, said, _ = call("leaderboard", tmp_path / "results")
    assert code == 0 and "1 submission is valid." in said
    page = (tmp_path / "results" / "results.md").read_text()
    assert "## Submitted networks" in page and "ours" in page
    call("submit", packed, out, "--by", "B. Author")  # again, by another: nobody has checked this
    assert read_submission(out).checked is None


@pytest.mark.thorough
def test_a_claim_beyond_the_interval_does_not_hold(call, handmade):
    rewrite(handmade, claim={"clean": 10, "protocol": 10, "worst_case": 10, "trials": {"FGSM": 10, "clean": 0}})
    code, said, err = call("check", handmade, "--device", "cpu", "--quiet")
    assert (code, err) == (1, "")
    found = read_submission(handmade).checked.audit
    assert found.worst_case.correct < 7  # of 10: what the digits' tiny network keeps at 51/255
    assert f"worst case: claimed 10, found {found.worst_case.correct} of 10 images" in said
    assert f"after clean: claimed 0, found {found.trials[0].correct} of 10 images" in said
    assert "Too good: worst case is claimed as 100.0 %, and the audit found" in said
    assert said.endswith("The claim does not hold.\n")


def test_a_modest_claim_holds(call, handmade):
    code, said, _ = call("check", handmade, "--device", "cpu", "--quiet")
    assert code == 0 and "clean: claimed 1, found" in said and "Too good" not in said


def as_pickle(folder):
    torch.save(network("tiny").state_dict(), folder / "model.safetensors")
    rewrite(folder)


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled_beside(folder):
    (folder / "model.safetensors").rename(folder / "model.pt")


def other_weights(folder):
    save_model(network("learned"), folder / "model.safetensors")


def of_another_network(folder):
    save_model(create_model("conv", num_classes=7, image_size=8, in_channels=1), folder / "model.safetensors")
    rewrite(folder)


def of_an_unknown_network(folder):
    path = folder / "model.safetensors"
    with safe_open(path, framework="pt") as opened:
        said = json.loads(opened.metadata()["spikeproof"])
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    said["model"]["name"] = "transformer"
    del said["sha256"]
    save_file(weights, path, {"spikeproof": json.dumps(said)})
    rewrite(folder)


def damaged(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    rewrite(folder)


def without_a_field(folder):
    path = folder / "submission.json"
    fields = json.loads(path.read_text())
    del fields["claim"]["worst_case"]
    path.write_text(json.dumps(fields))


def changed(**fields):
    return lambda folder: rewrite(folder, **fields)


def claim(**numbers):
    return changed(claim={"clean": 1, "protocol": 0, "worst_case": 0} | numbers)


BAD = {
    "no weights": (without_weights, ["model.safetensors", "save_model"]),
    "a pickle beside": (pickled_beside, ["model.pt", "may run code"]),
    "a pickle": (as_pickle, ["pickle", "may run code"]),
    "other weights": (other_weights, ["other weights", "SHA-256"]),
    "of another network": (of_another_network, ["7 outputs", "10 classes"]),
    "an unknown network": (of_an_unknown_network, ["transformer"]),
    "damaged": (damaged, ["model.safetensors", "damaged"]),
    "another version": (changed(version=2), ["'version' should be 1, got 2"]),
    "a missing field": (without_a_field, ["claim.worst_case", "missing"]),
    "an unknown field": (changed(motto="x"), ["motto"]),
    "NaN": (claim(worst_case=float("nan")), ["claim.worst_case", "nan"]),
    "a radius of NaN": (changed(audit=AUDIT | {"eps": float("nan")}), ["audit.eps", "nan"]),
    "a radius in words": (changed(audit=AUDIT | {"eps": "much"}), ["audit.eps", "8/255"]),
    "more than there are": (claim(clean=11), ["claim.clean", "10 samples"]),
    "a worst case above the protocol": (claim(worst_case=1), ["worst_case", "at most protocol's 0"]),
    "an unknown battery": (changed(audit=AUDIT | {"battery": "mine"}), ["'mine'", "reliable"]),
    "an unknown trial": (claim(trials={"PGD-7": 1}), ["'PGD-7'", "quick"]),
    "more images than there are": (changed(audit=AUDIT | {"samples": 10**6}), ["1000000 images"]),
    "other images": (changed(images="0" * 16), ["other images", "0" * 16]),
    "a path as data": (changed(data={"name": "/etc"}), ["'/etc'", "cifar10"]),
    "a paper that is no address": (changed(paper="javascript:alert(1)"), ["paper", "https://"]),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_nobody_could_audit_is_one_sentence(refused, handmade, bad):
    spoil, says = BAD[bad]
    spoil(handmade)
    refused("check", handmade, "--device", "cpu", says=says)
    assert not (handmade / "checked.json").exists()


def test_no_submission_at_all(refused, tmp_path):
    refused("check", tmp_path / "nowhere", says=["submission.json is missing"])
    (tmp_path / "submission.json").write_text("{")
    refused("check", tmp_path, says=["not valid JSON"])


@pytest.mark.thorough
def test_what_cannot_be_packed(refused, packed, audited, trained, tmp_path):
    out = tmp_path / "out"
    refused("submit", packed, out, says=["--by"])
    refused("submit", trained, out, "--by", "me", says=["no audit"])
    refused("submit", audited, out, "--by", "me", says=["trials of its own", "battery"])
    refused("submit", packed, packed, "--by", "me", says=["other things"])
    refused("submit", packed, out, "--by", "me", "--paper", "a paper", says=["paper", "https://"])
    assert not out.exists()


def test_an_unusual_audit_cannot_be_packed(refused, call, packed, tmp_path):
    shutil.rmtree(packed / "audits")
    words = ["--battery", "quick", "--samples", "5", "--sweep", "--device", "cpu"]
    assert call("audit", packed, *words, "--trials", "FGSM", "--eot-iter", "2")[0] == 0
    refused("submit", packed, tmp_path / "out", "--by", "me", says=["eot_iter 2", "1"])


def test_the_template_on_the_page_is_a_submission():
    page = Path(__file__).resolve().parents[2] / "docs" / "leaderboard.md"
    (template,) = page.read_text().split("```json\n")[1:]
    record = SubmissionRecord.model_validate(json.loads(template.partition("```")[0]))
    assert record.audit.eps == 8 / 255 and record.claim.worst_case < record.claim.protocol
