"""An audit: every number in it follows from the outcomes that it keeps."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from spikeproof.audit import AuditConfig, Measured, audit, battery, worst_case
from spikeproof.data import ImageSet
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.report import write_report
from spikeproof.spiking import sites
from spikeproof.threat import Linf


def rows_of(found):
    return found.outcomes.to_pylist()


def test_worst_case_recomputed_from_the_files(model, digits, quick, tmp_path):
    # A radius of the sweep that breaks more than the audit's own, on fewer samples.
    found = audit(model, digits.test, quick(sweep=(0.3,), sweep_samples=25, batch_size=16), show=False)
    found.save(tmp_path, "made by hand")
    said = json.loads((tmp_path / "audit.json").read_text())
    rows = pq.read_table(tmp_path / "outcomes.parquet").to_pylist()
    at_radius = [row for row in rows if row["radius"] in (0.0, 0.1)]
    survivors = [
        all(row["correct"] for row in group)
        for _, group in itertools.groupby(sorted(at_radius, key=lambda r: r["sample"]), key=lambda r: r["sample"])
    ]
    assert len(survivors) == said["samples"] == 40
    assert said["worst_case"]["correct"] == sum(survivors)
    assert said["worst_case"]["accuracy"] == sum(survivors) / 40
    broken_in_sweep = {row["sample"] for row in rows if row["radius"] == 0.3 and not row["correct"]}
    assert any(survivors[sample] for sample in broken_in_sweep)  # the sweep would have changed it
    for trial in said["trials"]:
        verdicts = [row["correct"] for row in at_radius if row["trial"] == trial["name"]]
        assert (trial["correct"], trial["samples"]) == (sum(verdicts), 40)
        assert (trial["low"], trial["high"]) == Measured(sum(verdicts), 40).bounds()
    assert [trial["name"] for trial in said["trials"]] == ["clean", "FGSM", "R+FGSM", "PGD-3", "ASSG+SA-PGD-6"]
    assert said["nominal"]["correct"] == said["trials"][3]["correct"]
    assert said["masking_gap"] == said["nominal"]["accuracy"] - said["worst_case"]["accuracy"] == found.masking_gap
    assert 0 < said["worst_case"]["correct"] < said["trials"][0]["correct"]  # or the audit showed nothing


def test_the_outcomes_table_holds_every_verdict(model, digits, quick):
    found = audit(model, digits.test, quick(sweep=(0.05, 0.3), sweep_samples=12, seed=3, draws=2), show=False)
    rows = rows_of(found)
    assert len(rows) == 5 * 40 + 2 * 2 * 12
    swept = [row for row in rows if row["radius"] in (0.05, 0.3)]
    assert {(row["trial"], row["radius"]) for row in swept} == {
        (trial, radius) for trial in ("PGD-3", "ASSG+SA-PGD-6") for radius in (0.05, 0.3)
    }
    assert sorted(row["sample"] for row in rows if row["trial"] == "FGSM") == list(range(40))
    assert all(row["label"] == int(digits.test.labels[row["sample"]]) for row in rows)
    assert {(row["norm"], row["seed"], row["draws"], row["noise"]) for row in rows} == {("linf", 3, 2, "off")}
    assert {(row["trial"], row["kind"], row["attack"], row["source"]) for row in rows} == {
        ("clean", "clean", "none", "none"),
        ("FGSM", "nominal", "FGSM", "BPTT"),
        ("R+FGSM", "nominal", "R+FGSM", "BPTT"),
        ("PGD-3", "nominal", "PGD-3", "BPTT"),
        ("ASSG+SA-PGD-6", "adaptive", "SA-PGD-6", "ASSG"),
    }
    assert [radius for radius, _, _ in found.sweep] == [0, 0, 0.05, 0.05, 0.1, 0.1, 0.3, 0.3]
    sweep = {(radius, trial.name): measured for radius, trial, measured in found.sweep}
    for (radius, trial), measured in sweep.items():
        named = "clean" if radius == 0 else trial
        verdicts = [row["correct"] for row in rows if (row["radius"], row["trial"]) == (radius, named)]
        assert measured == Measured(sum(verdicts), 12 if radius in (0.05, 0.3) else 40)
    for trial in ("PGD-3", "ASSG+SA-PGD-6"):
        curve = [sweep[radius, trial].accuracy for radius in (0.05, 0.1, 0.3)]
        assert curve[0] > curve[-1]


def test_clean_verdicts_are_the_models(model, digits, quick):
    found = audit(model, digits.test, quick(trials=("FGSM",)), show=False)
    right = model(digits.test.images[:40].float() / 255).argmax(1) == digits.test.labels[:40]
    assert [row["correct"] for row in rows_of(found) if row["kind"] == "clean"] == right.tolist()


def test_a_sweep_at_the_audits_own_radius_changes_no_result(model, digits, quick):
    plain = audit(model, digits.test, quick(batch_size=16), show=False)
    swept = audit(model, digits.test, quick(batch_size=16, sweep=(0.1,), sweep_samples=10), show=False)
    assert swept.worst_case == plain.worst_case
    assert swept.nominal == plain.nominal
    # Nor is a point of the curve there twice.
    points = [(radius, trial.name) for radius, trial, _ in swept.sweep]
    assert len(set(points)) == len(points)


def test_worst_case_by_hand():
    from spikeproof.audit import Outcomes

    outcomes, labels = Outcomes(), torch.zeros(4, dtype=torch.int64)
    shared = {"attack": "", "source": "", "norm": "linf", "seed": 0, "draws": 1, "noise": "off"}
    for trial, kind, radius, correct in (
        ("clean", "clean", 0.0, [1, 1, 1, 0]),
        ("a", "nominal", 0.1, [1, 1, 0, 1]),
        ("b", "adaptive", 0.1, [1, 1, 1, 1]),
        ("b", "adaptive", 0.2, [0, 1, 0, 0]),
    ):
        verdicts = torch.tensor(correct, dtype=torch.bool)
        outcomes.add(labels, verdicts, trial=trial, kind=kind, radius=radius, **shared)
    table = outcomes.table()
    # Radius by radius; a wrong clean image is broken at every one of them.
    assert worst_case(table, 0.1) == Measured(2, 4)
    assert worst_case(table, 0.2) == Measured(1, 4)


@pytest.mark.parametrize(
    ("trials", "nominal"),
    [
        (("PGD", "BIM", "R+FGSM", "FGSM", "ASSG+SA-PGD"), "PGD-3"),
        (("ASSG+SA-PGD", "BIM", "PGD"), "PGD-3"),
        (("FGSM", "R+FGSM"), "R+FGSM"),
        (("FGSM",), "FGSM"),
        (("FGSM", "ASSG+SA-PGD"), "FGSM"),
        (("ASSG+SA-PGD", "FGSM"), "FGSM"),
    ],
)
def test_nominal_is_pgd_where_there_is_one_and_never_adaptive(model, digits, quick, trials, nominal):
    found = audit(model, digits.test, quick(trials=trials, samples=10), show=False)
    assert found.nominal_trial == nominal
    by_name = {trial.name: measured for trial, measured in found.trials if trial is not None}
    assert found.nominal == by_name[nominal]
    assert found.to_json("")["nominal"]["trial"] == nominal


def test_the_battery_keeps_its_order_and_its_settings(quick):
    config = quick(trials=("ASSG+SA-PGD", "BIM", "PGD", "R+FGSM", "FGSM"), pgd_steps=7, pgd_step_size=0.01)
    trials = battery(config)
    assert [trial.name for trial in trials] == ["ASSG+SA-PGD-6", "BIM-7", "PGD-7", "R+FGSM", "FGSM"]
    assert [trial.kind for trial in trials] == ["adaptive"] + ["nominal"] * 4
    for trial in trials[1:3]:  # the papers' protocol: the last iterate, not the best
        assert {"steps": 7, "step_size": 0.01, "keep": "last"}.items() <= trial.attack.keywords.items()


class HalfBlind(nn.Module):
    """Two classes; an image darker than 1/2 on average gives the same logits whatever its pixels are."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, images):
        return (images.flatten(1).mean(1, keepdim=True) - 0.5).relu() * self.weight


def test_zero_gradient_share_is_exact():
    brightness = torch.tensor([0, 10, 60, 100, 130, 160, 200, 250, 251, 252], dtype=torch.uint8)
    images = brightness.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    data = ImageSet(images, torch.zeros(10, dtype=torch.int64), ("a", "b"))
    config = AuditConfig(radius=0.01, trials=("FGSM",), batch_size=3)
    found = audit(HalfBlind(), data, config, show=False)
    assert found.zero_gradient_share == 0.4
    assert any("40.0 %" in warning and "zero input gradient" in warning for warning in found.warnings)
    bright = audit(HalfBlind(), data.take(slice(4, 10)), config, show=False)
    assert bright.zero_gradient_share == 0
    assert not any("zero input gradient" in warning for warning in bright.warnings)


def test_zero_gradient_share_of_a_spiking_model_is_autograds(digits, quick):
    # So narrow and untrained that some images get no gradient through its few neurons, and most do.
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.2).eval()
    pixels = digits.test.images[:40].float() / 255
    pixels.requires_grad_()
    loss = nn.functional.cross_entropy(model(pixels), digits.test.labels[:40], reduction="sum")
    zero = (torch.autograd.grad(loss, pixels)[0].flatten(1) == 0).all(1)
    found = audit(model, digits.test, quick(trials=("FGSM",)), show=False)
    assert found.zero_gradient_share == int(zero.sum()) / 40
    assert 0 < found.zero_gradient_share < 0.5


def test_same_seed_same_audit(model, digits, quick):
    torch.manual_seed(1)
    first = audit(model, digits.test, quick(sweep=(0.05,)), show=False)
    torch.manual_seed(2)
    again = audit(model, digits.test, quick(sweep=(0.05,)), show=False)
    assert first.outcomes.equals(again.outcomes)
    assert all(np.array_equal(first.pictures[name], again.pictures[name]) for name in first.pictures)
    assert {**first.to_json(""), "seconds": 0} == {**again.to_json(""), "seconds": 0}
    other = audit(model, digits.test, quick(sweep=(0.05,), seed=1), show=False)
    assert not np.array_equal(first.pictures["adversarial"], other.pictures["adversarial"])


@pytest.mark.parametrize("noise", [False, True])
def test_the_model_and_the_callers_random_state_are_untouched(model, digits, quick, noise):
    model.train()
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
    audit(model, digits.test, quick(noise=noise, samples=10), show=False)
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


def test_noise_is_off_unless_asked_for_and_recorded(model, digits, quick):
    for site in sites(model).values():
        site.noise_std, site.noise_at_inference = 50.0, True  # enough to drown every margin
    quiet = audit(model, digits.test, quick(trials=("FGSM",)), show=False)
    loud = audit(model, digits.test, quick(trials=("FGSM",), noise=True, draws=2), show=False)
    for site in sites(model).values():
        site.noise_std = 0.0
    silent = audit(model, digits.test, quick(trials=("FGSM",)), show=False)
    clean = {name: found.trials[0][1].accuracy for name, found in (("off", quiet), ("on", loud), ("none", silent))}
    assert clean["off"] == clean["none"] > 0.8
    assert clean["on"] < 0.5
    for found, noise, draws in ((quiet, "off", 1), (loud, "on", 2)):
        assert (found.to_json("")["noise"], found.to_json("")["draws"]) == (noise, draws)
        assert {(row["noise"], row["draws"]) for row in rows_of(found)} == {(noise, draws)}
    assert any("2 draw(s)" in warning for warning in loud.warnings)
    assert not any("draw(s)" in warning for warning in quiet.warnings)


def test_noise_without_a_noisy_site(model, digits, quick, refuses):
    with refuses("Noise", "no site"):
        audit(model, digits.test, quick(noise=True), show=False)


def test_more_samples_than_there_are(model, digits, quick, refuses):
    with refuses("test", "500 images", "501"):
        audit(model, digits.test, quick(samples=501), show=False)
    with refuses("validation", "50 images", "51"):
        audit(model, digits.validation, quick(samples=51, split="validation"), show=False)


def test_all_samples_by_default(model, digits, quick):
    found = audit(model, digits.validation, quick(samples=None, trials=("FGSM",)), show=False)
    assert found.worst_case.samples == 50


def test_pictures_are_what_the_last_trial_found(model, digits, quick):
    found = audit(model, digits.test, quick(), show=False)
    pictures = found.pictures
    clean, adversarial = torch.from_numpy(pictures["clean"]), torch.from_numpy(pictures["adversarial"])
    assert clean.dtype == torch.uint8
    assert clean.shape == adversarial.shape == (6, 1, 8, 8)
    assert (adversarial - clean / 255).abs().max() <= 0.1 + 1e-6
    assert 0 <= adversarial.min() <= adversarial.max() <= 1
    assert not torch.equal(adversarial, clean / 255)
    assert model(clean / 255).argmax(1).tolist() == pictures["clean_predictions"].tolist()
    assert model(adversarial).argmax(1).tolist() == pictures["adversarial_predictions"].tolist()
    for image, label in zip(clean, pictures["labels"], strict=True):
        where = (digits.test.images[:40] == image).flatten(1).all(1).nonzero().flatten()
        assert int(label) in digits.test.labels[where].tolist()
    assert tuple(pictures["class_names"]) == digits.test.class_names
    assert str(pictures["trial"]) == "ASSG+SA-PGD-6"


def test_pictures_show_turned_samples_first(model, digits, quick):
    found = audit(model, digits.test, quick(radius=0.025), show=False)
    before = {row["sample"]: row["correct"] for row in rows_of(found) if row["kind"] == "clean"}
    after = {row["sample"]: row["correct"] for row in rows_of(found) if row["kind"] == "adaptive"}
    turned = sum(before[sample] and not after[sample] for sample in before)
    assert 0 < turned < 6  # so that others have to fill up
    labels, pictures = found.pictures["labels"], found.pictures
    shown = (pictures["clean_predictions"] == labels) & (pictures["adversarial_predictions"] != labels)
    assert shown.tolist() == [True] * turned + [False] * (6 - turned)


def test_fewer_samples_than_pictures(model, digits, quick):
    found = audit(model, digits.test, quick(samples=2), show=False)
    assert len(found.pictures["clean"]) == 2


def test_a_plain_module_has_nominal_trials(digits, quick, tmp_path):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found = audit(plain, digits.test, quick(trials=("FGSM", "R+FGSM", "PGD", "BIM"), sweep=(0.05,)), show=False)
    assert found.sites == []
    assert found.nominal_trial == "PGD-3"
    assert found.worst_case.accuracy <= found.nominal.accuracy
    assert any("No adaptive attack" in warning for warning in found.warnings)
    # Saved, it is a run without training that can be reported.
    found.save(tmp_path / "plain")
    assert "PGD-3" in write_report([tmp_path / "plain"], tmp_path / "report.html").read_text()


def test_a_plain_module_has_no_adaptive_trial(digits, quick, refuses):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with refuses("sites"):
        audit(plain, digits.test, quick(), show=False)


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


def test_threat_is_taken_instead_of_the_configs_radius(model, digits, quick):
    config = quick(radius=0.3, trials=("FGSM",))
    found = audit(model, digits.test, config, threat=Linf("8/255"), show=False)
    assert found.config.radius == 8 / 255
    assert {row["radius"] for row in rows_of(found)} == {0.0, 8 / 255}
    assert found.to_json("")["threat"] == {"norm": "linf", "radius": 8 / 255}
    assert config.radius == 0.3
    direct = audit(model, digits.test, quick(radius=8 / 255, trials=("FGSM",)), show=False)
    assert found.outcomes.equals(direct.outcomes)


def test_a_larger_radius_breaks_more(model, digits, quick):
    accuracies = [
        audit(model, digits.test, quick(radius=radius), show=False).worst_case.accuracy for radius in (0.02, 0.1, 0.3)
    ]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[-1]


def test_batches_do_not_change_who_is_asked(model, digits, quick):
    # FGSM draws nothing and no sample's gradient depends on its neighbours.
    found = [audit(model, digits.test, quick(trials=("FGSM",), batch_size=size), show=False) for size in (7, 40)]
    assert found[0].outcomes.equals(found[1].outcomes)
    assert found[0].zero_gradient_share == found[1].zero_gradient_share


def test_saving_is_whole_and_leaves_nothing_else(model, digits, quick, tmp_path):
    found = audit(model, digits.test, quick(samples=10), show=False)
    found.save(tmp_path / "bare" / "run", "made by hand")
    names = {path.name for path in (tmp_path / "bare" / "run").iterdir()}
    assert names == {"config.json", "metrics.jsonl", "audit.json", "outcomes.parquet", "pictures.npz"}
    saved = np.load(tmp_path / "bare" / "run" / "pictures.npz")
    assert set(saved.files) == set(found.pictures)
    assert np.array_equal(saved["adversarial"], found.pictures["adversarial"])
    said = json.loads((tmp_path / "bare" / "run" / "audit.json").read_text())
    assert said == found.to_json("made by hand")
    assert (said["split"], said["device"], said["crafting_precision"], said["seed"]) == ("test", "cpu", "fp32", 0)
    assert found.outcomes.equals(pq.read_table(tmp_path / "bare" / "run" / "outcomes.parquet"))
    found.save(tmp_path / "bare" / "run")  # again, over itself
    assert {path.name for path in (tmp_path / "bare" / "run").iterdir()} == names


def test_bf16_crafts_but_does_not_judge(model, digits, quick):
    found = audit(model, digits.test, quick(precision="bf16", trials=("FGSM", "ASSG+SA-PGD")), show=False)
    assert found.to_json("")["crafting_precision"] == "bf16"
    wide = audit(model, digits.test, quick(trials=("FGSM",)), show=False)
    clean = [[row["correct"] for row in rows_of(f) if row["kind"] == "clean"] for f in (found, wide)]
    assert clean[0] == clean[1]
    adversarial = torch.from_numpy(found.pictures["adversarial"])
    assert adversarial.dtype == torch.float32
    assert model(adversarial).argmax(1).tolist() == found.pictures["adversarial_predictions"].tolist()


def test_warnings_say_what_is_doubtful(model, digits, quick):
    strong = audit(model, digits.test, quick(trials=("FGSM", "ASSG+SA-PGD"), sa_pgd_steps=20), show=False)
    gap = strong.masking_gap
    assert gap >= 0.05
    assert any(f"{100 * gap:.1f} points" in warning for warning in strong.warnings)
    assert not any("No adaptive" in warning for warning in strong.warnings)
    # One small step of the adaptive attack from a random start is weaker than twenty of PGD.
    weak = audit(model, digits.test, quick(pgd_steps=20, sa_pgd_steps=1, trials=("PGD", "ASSG+SA-PGD")), show=False)
    assert any("weaker than the nominal" in warning for warning in weak.warnings)


@pytest.mark.parametrize("name", ["samples", "pgd_steps", "sa_pgd_steps", "draws", "sweep_samples", "batch_size"])
def test_counts_start_at_one(refuses, quick, name):
    with refuses(name, ">= 1", "0"):
        quick(**{name: 0})


@pytest.mark.parametrize("radius", [-0.1, 1.5, math.nan, math.inf])
def test_radii_lie_in_the_box(refuses, quick, radius):
    with refuses("radius", radius):
        quick(radius=radius)
    with refuses("radius", radius):
        quick(sweep=(0.1, radius))


def test_a_battery_has_a_trial(refuses, quick):
    with refuses("trial"):
        quick(trials=())


@pytest.mark.parametrize(("field", "value"), [("precision", "fp16"), ("trials", ("CW",)), ("split", "train")])
def test_an_unknown_word_is_refused(refuses, quick, field, value):
    # The tests' own type checker would speak before the sentence if this were given to the constructor.
    config = quick()
    object.__setattr__(config, field, value)
    with refuses("".join(value)):
        config.__post_init__()


def test_progress_is_told_on_stderr_and_can_be_silenced(model, digits, quick, capsys):
    audit(model, digits.test, quick(samples=10, sweep=(0.05,)), show=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == [
        *(f"{name} at 0.1000" for name in ("FGSM", "R+FGSM", "PGD-3", "ASSG+SA-PGD-6")),
        *(f"{name} at 0.0500" for name in ("PGD-3", "ASSG+SA-PGD-6")),
    ]
    audit(model, digits.test, quick(samples=10), show=False)
    assert capsys.readouterr() == ("", "")


def test_config_is_frozen_data(quick):
    config = quick(radius=0.2, sweep=(0.05,))
    assert dataclasses.replace(config, radius=0.1, sweep=()) == quick()
    assert quick(sweep=("8/255",)).sweep == (8 / 255,)
