"""``certify``: its record, the images it takes, what it refuses, and that it leaves everything as it was."""

import dataclasses
import json

import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

import spikeproof as sp
from digit_networks import network
from spikeproof.audit import AuditConfig, audit
from spikeproof.certify import METHODS, CertifyConfig, broken_though_proved, certify
from spikeproof.coding import Poisson
from spikeproof.data import load_data
from spikeproof.records.certificate_json import CertificateRecord, read_certificate

HALF = 0.5 / 255


@pytest.fixture(scope="module")
def data():
    return load_data("digits", validation=100)


@pytest.fixture(scope="module")
def found(data):
    return certify(network("tiny"), data.test, CertifyConfig(method="ibp", eps=HALF, samples=60), show=False)


@pytest.fixture(scope="module")
def audited(data):
    config = AuditConfig(eps=HALF, samples=60, battery=None, trials=("FGSM", "PGD-10", "LOCAL-60"), sweep_samples=4)
    return audit(network("tiny"), data.test, dataclasses.replace(config, diagnostics=False), show=False)


def test_certified_is_below_the_worst_case_image_by_image(found, audited):
    assert found.images == audited.audited_images and found.split_images == audited.images
    assert broken_though_proved(found, audited.outcomes, HALF) == ()
    assert 0 < found.certified.correct <= audited.worst_case.correct < audited.clean.correct
    assert found.clean.correct == audited.clean.correct


def test_an_image_that_is_broken_though_proved_is_found(found, audited):
    proved = min(found.proved(HALF))
    spoilt = [
        row | {"correct": row["correct"] and not (row["sample"] == proved and row["trial"] == "PGD-10")}
        for row in audited.outcomes.to_pylist()
    ]
    outcomes = pa.Table.from_pylist(spoilt, schema=audited.outcomes.schema)
    assert broken_though_proved(found, outcomes, HALF) == (proved,)
    assert broken_though_proved(found, outcomes, 2 * HALF) == ()  # nothing is proved at that radius


def test_the_record_comes_back_from_its_file(found, tmp_path, refuses):
    path = found.save(tmp_path / "one")
    assert read_certificate(path) == found
    held = json.loads(path.read_text())
    held["certified"]["correct"] += 1
    path.write_text(json.dumps(held))
    with refuses(path, "checksum"):
        read_certificate(path)


@pytest.mark.parametrize("field", ["clean", "certified", "abstained", "outcomes"])
def test_a_record_that_contradicts_itself_is_none(found, field):
    held = found.plain()
    if field == "outcomes":
        held["outcomes"] = held["outcomes"][1:]
    elif field == "abstained":
        held["abstained"] = 1
    else:
        held[field] = type(found.clean).of(found.samples, found.samples).plain()
    with pytest.raises(ValidationError):
        CertificateRecord.model_validate(held)


def test_other_radii_are_told_from_the_same_votes(data):
    found = certify(network("learned"), data.test, CertifyConfig(n=100, n0=20, samples=20), show=False)
    counts = [found.at(eps).correct for eps in (0.05, 0.25, 0.4, 3.0)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[2] and counts[3] == 0
    assert found.at(0.25) == found.certified
    assert found.clean.correct + found.abstained <= 20 and found.alpha == 0.001


def test_nothing_of_the_model_or_the_generators_is_changed(data):
    model = network("tiny").train()
    model.stem.weight.requires_grad_(False)
    before = torch.get_rng_state(), {name: value.clone() for name, value in model.state_dict().items()}
    for method, eps in (("smoothing", None), ("ibp", HALF)):
        certify(model, data.test, CertifyConfig(method=method, eps=eps, n=20, n0=5, samples=4), show=False)
    assert model.training and not model.stem.weight.requires_grad and model.body[1].weight.requires_grad
    assert torch.equal(before[0], torch.get_rng_state())
    assert all(torch.equal(value, before[1][name]) for name, value in model.state_dict().items())


def test_another_seed_is_another_draw_and_the_batch_no_matter_for_bounds(data):
    def radii(**settings):
        return [
            each.radius for each in certify(network("tiny"), data.test, CertifyConfig(**settings), show=False).outcomes
        ]

    votes = {"n": 100, "n0": 10, "samples": 12}
    assert radii(**votes) == radii(**votes) != radii(**votes, seed=1)
    bounds = {"method": "ibp", "eps": HALF, "samples": 12}
    assert radii(**bounds) == radii(**bounds, batch_size=5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "crown"}, ["method", "smoothing, rate, ibp"]),
        ({"split": "train"}, ["split", "test, validation"]),
        ({"eps": 0}, ["radius > 0"]),
        ({"eps": "two"}, ["two", "8/255"]),
        ({"method": "ibp", "eps": 1.5}, ["1.5"]),
        ({"sigma": 0}, ["sigma > 0"]),
        ({"alpha": 0.6}, ["alpha"]),
        ({"n": 0}, ["n >= 1"]),
        ({"samples": 0}, ["samples >= 1"]),
        ({"seed": -1}, ["seed"]),
    ],
)
def test_settings_that_cannot_be(settings, says, refuses):
    # The tests' own type checker would speak before the sentence if a wrong word were given to the constructor.
    config = CertifyConfig(**{name: value for name, value in settings.items() if name == "method" and value == "ibp"})
    for name, value in settings.items():
        object.__setattr__(config, name, value)
    with refuses(*says):
        config.__post_init__()


def test_what_cannot_be_certified(data, refuses):
    model, few = network("tiny"), {"samples": 4}
    with refuses("Bernoulli", "Direct"):
        certify(model, data.test, CertifyConfig(method="rate", **few), show=False)
    with refuses("Bernoulli", "Sequential"):
        plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        certify(plain, data.test, CertifyConfig(method="rate", **few), show=False)
    coded = network("tiny")
    coded.set_coding(Poisson())
    with refuses("direct coding", "rate"):
        certify(coded, data.test, CertifyConfig(method="ibp", **few), show=False)
    with refuses("images", "fewer than"):
        certify(model, data.test, CertifyConfig(samples=10**6), show=False)
    with refuses("no images"):
        certify(model, data.test.take(slice(0, 0)), CertifyConfig(), show=False)
    with refuses("classes"):
        certify(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), data.test, CertifyConfig(), show=False)
    with refuses("images", "certify"):
        sp.certify(model, data)


def test_every_method_has_its_norm_and_words():
    assert {name: how.norm for name, how in METHODS.items()} == {"smoothing": "l2", "rate": "l1", "ibp": "linf"}
    assert all(CertifyConfig(method=name).radius == how.usual for name, how in METHODS.items())
