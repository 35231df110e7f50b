"""What an audit leaves: files, pictures, lines on the terminal, and the model as it was."""

import dataclasses
import hashlib
import importlib
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from spikeproof.audit import AuditConfig, audit, audit_name
from spikeproof.data import ImageSet
from spikeproof.disk import unsealed
from spikeproof.errors import SpikeproofError
from spikeproof.machine import precision
from spikeproof.models import create_model
from spikeproof.report import audits_in, read_audit, write_report
from spikeproof.spiking import sites


def rows_of(found):
    return found.outcomes.to_pylist()


@pytest.mark.thorough
def test_pictures_are_of_the_trial_that_broke_most(tiny, digits, quick):
    config = quick(trials=("FGSM", "PGD-9", "SA-PGD-20@ASSG"), batch_size=15)
    found = audit(tiny, digits.test, config, show=False)
    strongest = max(found.results, key=lambda result: result.broken).trial.name
    pictures = found.pictures
    clean, adversarial = torch.from_numpy(pictures["clean"]), torch.from_numpy(pictures["adversarial"])
    assert clean.dtype == torch.uint8
    assert clean.shape == adversarial.shape == (6, 1, 8, 8)
    assert (adversarial - clean / 255).abs().max() <= 0.1 + 1e-6
    assert 0 <= adversarial.min() <= adversarial.max() <= 1
    assert not torch.equal(adversarial, clean / 255)
    assert tiny(clean / 255).argmax(1).tolist() == pictures["clean_predictions"].tolist()
    assert tiny(adversarial).argmax(1).tolist() == pictures["adversarial_predictions"].tolist()
    for image, label in zip(clean, pictures["labels"], strict=True):
        where = (digits.test.images == image).flatten(1).all(1).nonzero().flatten()
        assert int(label) in digits.test.labels[where].tolist()
    assert tuple(pictures["class_names"]) == digits.test.class_names
    assert str(pictures["trial"]) == strongest
    # Right before, wrong after, for as many as there are.
    assert (pictures["clean_predictions"] == pictures["labels"]).all()
    assert (pictures["adversarial_predictions"] != pictures["labels"]).all()


class Brightness(nn.Module):
    """Two classes: an image is of the second if it is brighter than 1/2 on average."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-1.0, 1.0]))

    def forward(self, images):
        return (images.flatten(1).mean(1, keepdim=True) - 0.5) * self.weight


def test_pictures_show_turned_samples_first(quick):
    brightness = torch.tensor([250, 200, 130, 220, 140, 180, 190, 230, 135, 240], dtype=torch.uint8)
    images = brightness.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    data = ImageSet(images, torch.ones(10, dtype=torch.int64), ("dark", "bright"))
    config = quick(eps=0.1, trials=("PGD-9",), samples=None, batch_size=4)
    found = audit(Brightness(), data, config, show=False)
    assert found.results[0].broken == 3  # those within 0.1 of 1/2; others have to fill up
    shown = found.pictures["adversarial_predictions"] != found.pictures["labels"]
    assert shown.tolist() == [True] * 3 + [False] * 3


def test_fewer_samples_than_pictures(tiny, digits, quick):
    found = audit(tiny, digits.test, quick(samples=4), show=False)
    assert len(found.pictures["clean"]) == found.clean.correct > 0


def test_saving_is_whole_and_leaves_nothing_else(tiny, digits, quick, tmp_path):
    dark = ImageSet(digits.test.images // 5, digits.test.labels, digits.test.class_names)
    found = audit(tiny, dark, quick(samples=10, sweep=(0.05,)), show=False, doubts=["A {} of another hand."])
    run = tmp_path / "bare" / "run"
    place = found.save(run, "made by hand")
    assert {path.name for path in run.iterdir()} == {".lock", "config.json", "metrics.jsonl", "audits"}
    assert list((run / "audits").iterdir()) == [place]
    names = {path.name for path in place.iterdir()}
    assert names == {"audit.json", "outcomes.parquet", "pictures.npz"}
    saved = np.load(place / "pictures.npz")
    assert set(saved.files) == set(found.pictures)
    assert np.array_equal(saved["adversarial"], found.pictures["adversarial"])
    said = json.loads((place / "audit.json").read_text())
    files = {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in names - {"audit.json"}}
    assert unsealed(said, "", "") == found.to_json("made by hand") | {"files": files}
    assert (said["version"], said["command"], said["battery"]) == (4, "made by hand", "custom")
    assert (said["split"], said["device"], said["crafting_precision"], said["seed"]) == ("test", "cpu", "fp32", 0)
    assert found.outcomes.equals(pq.read_table(place / "outcomes.parquet"))
    assert read_audit(place / "audit.json").doubts == tuple(found.doubts)
    assert {"note", "dark images"} <= {doubt.code for doubt in found.doubts}
    assert "A {} of another hand." in found.warnings


def test_nothing_is_replaced_unasked(tiny, digits, quick, tmp_path):
    found = audit(tiny, digits.test, quick(samples=10), show=False)
    other = audit(tiny, digits.test, quick(samples=12), show=False)
    first, second, third = found.save(tmp_path, "first"), found.save(tmp_path, "second"), other.save(tmp_path)
    assert len({first, second, third}) == 3 == len(audits_in(tmp_path))
    assert [json.loads((place / "audit.json").read_text())["command"] for place in (first, second)] == [
        "first",
        "second",
    ]
    assert found.save(tmp_path, "third", force=True) == first
    assert json.loads((first / "audit.json").read_text())["command"] == "third"
    assert {path.name for path in first.iterdir()} == {"audit.json", "outcomes.parquet", "pictures.npz"}


def test_bf16_crafts_but_does_not_judge(tiny, digits, quick):
    config = quick(precision="bf16", trials=("FGSM", "SA-PGD-6@ASSG"), samples=20)
    found = audit(tiny, digits.test, config, show=False)
    assert found.to_json("")["crafting_precision"] == "bf16"
    wide = audit(tiny, digits.test, quick(trials=("FGSM",), samples=20), show=False)
    assert found.clean == wide.clean
    adversarial = torch.from_numpy(found.pictures["adversarial"])
    assert adversarial.dtype == torch.float32
    assert tiny(adversarial).argmax(1).tolist() == found.pictures["adversarial_predictions"].tolist()


@pytest.mark.parametrize("native", [True, False])
def test_an_audit_crafts_in_fp32_on_every_machine(tiny, digits, quick, tmp_path, monkeypatch, native):
    """It says so, and one that asks for fp32 by its name is the same audit."""
    monkeypatch.setattr(precision, "native_bf16", lambda device: native)
    config = quick(trials=("FGSM", "PGD-3"), samples=20)
    assert config.precision == AuditConfig().precision == "auto"
    wide = dataclasses.replace(config, precision="fp32")
    found, same = (audit(tiny, digits.test, each, show=False) for each in (config, wide))
    assert found.outcomes.equals(same.outcomes) and found.config == same.config
    place = found.save(tmp_path)
    assert json.loads((place / "audit.json").read_text())["crafting_precision"] == "fp32"
    assert audit_name(config) == audit_name(wide) != audit_name(dataclasses.replace(config, precision="bf16"))


@pytest.mark.thorough
@pytest.mark.parametrize(("fits", "asked", "used"), [(9, None, 9), (250, None, 250), (9, 13, 13)])
def test_the_batch_is_what_fits_into_memory(tiny, digits, quick, monkeypatch, attacked, fits, asked, used):
    seen = []

    def fitting(model, image, batch_size, *, bf16, training):
        seen.append((batch_size, bf16, training, tuple(image.shape)))
        return fits

    monkeypatch.setattr(importlib.import_module("spikeproof.audit.audit"), "fitting_microbatch", fitting)
    config = quick(trials=("FGSM",), batch_size=asked, precision="bf16")
    found = audit(tiny, digits.test, config, show=False)
    assert seen == ([] if asked else [(250, True, False, (1, 8, 8))])
    assert found.batch_size == found.to_json("")["batch_size"] == used
    assert max(count for _, _, count in attacked) <= used
    assert len(attacked) == -(-40 // used)


def test_a_machine_that_does_not_tell_its_memory(tiny, digits, quick, monkeypatch):
    def silent(*_, **__):
        raise SpikeproofError("This machine does not say.")

    monkeypatch.setattr(importlib.import_module("spikeproof.audit.audit"), "fitting_microbatch", silent)
    assert audit(tiny, digits.test, quick(trials=("FGSM",), samples=5), show=False).batch_size == 250


def test_progress_is_told_on_stderr_and_can_be_silenced(tiny, digits, quick, capsys):
    found = audit(tiny, digits.test, quick(batch_size=15), show=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    said = [
        re.match(r"batch (\d)/3: (\d+) right when clean, (\d+) under every trial; about .* left", line)
        for line in lines
    ]
    assert [int(match[1]) for match in said] == [1, 2, 3]
    right, left = (sum(int(match[group]) for match in said) for group in (2, 3))
    assert (right, left) == (found.clean.correct, found.worst_case.correct)
    audit(tiny, digits.test, quick(samples=10), show=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("noise", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_the_model_and_the_callers_random_state_are_untouched(tiny, digits, quick, noise):
    model = tiny.train()
    model.body[1].eval()
    model.body[2].norm.weight.requires_grad_(False)
    for site in sites(model).values():
        site.noise_std = 0.5
    sites(model)["body.2"].noise_at_inference = True

    def snapshot():
        return (
            [module.training for module in model.modules()],
            [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()],
            [
                (site.noise_std, site.noise_at_inference, site.request, site.override, site.neuron)
                for site in sites(model).values()
            ],
        )

    torch.manual_seed(5)
    before, weights = snapshot(), {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    config = quick(noise=noise, samples=8, diagnostics=True, sweep_samples=2, tune_samples=4)
    audit(model, digits.test, config, validation=digits.validation, show=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert snapshot() == before
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_the_model_is_untouched_after_an_error(digits, quick):
    plain = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).train()
    state = torch.get_rng_state()
    with pytest.raises(SpikeproofError):
        audit(plain, digits.test, quick(), show=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in plain.modules())
    assert all(parameter.requires_grad for parameter in plain.parameters())


def test_a_plain_module_has_protocol_and_black_box_trials(digits, quick, tmp_path):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trials = ("FGSM", "R+FGSM", "PGD-3", "BIM-3", "SQUARE-10")
    found = audit(plain, digits.test, quick(trials=trials, sweep=(0.05,)), show=False)
    assert found.sites == []
    assert found.protocol_trial == "PGD-3"
    assert found.worst_case.accuracy <= found.protocol.accuracy
    # Saved, it is a run without training that can be reported.
    found.save(tmp_path / "plain")
    assert "PGD-3" in write_report([tmp_path / "plain"], tmp_path / "report.html").read_text()


def test_a_plain_module_has_no_adaptive_trial(digits, quick, refuses, attacked):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    # At once, and not only if the trials before it leave something.
    with refuses("The trial SA-PGD-6@ASSG cannot run on this network", "sites"):
        audit(plain, digits.test, quick(), show=False)
    assert not attacked


def test_a_module_without_parameters(digits, quick):
    class Fixed(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, 20:30] * 5

    assert audit(Fixed(), digits.test, quick(trials=("FGSM",)), show=False).device == "cpu"


@pytest.mark.parametrize("change", [{"num_classes": 2}, {"image_size": 16}])
def test_images_or_labels_that_do_not_fit_the_model(digits, quick, refuses, change):
    model = create_model("conv", **({"num_classes": 10, "image_size": 8, "in_channels": 1} | change))
    with refuses():
        audit(model, digits.test, quick(), show=False)


def test_more_samples_than_there_are(tiny, digits, quick, refuses):
    with refuses("test", "500 images", "501"):
        audit(tiny, digits.test, quick(samples=501), show=False)
    with refuses("validation", "50 images", "51"):
        audit(tiny, digits.validation, quick(samples=51, split="validation"), show=False)


def test_all_samples_by_default(tiny, digits, quick):
    found = audit(tiny, digits.validation, quick(samples=None, trials=("FGSM",)), show=False)
    assert found.worst_case.samples == 50
