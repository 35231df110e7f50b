"""An audit: every number in it follows from the outcomes that it keeps."""

import dataclasses
import itertools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from spikeproof.audit import AuditConfig, Outcomes, audit, worst_case
from spikeproof.counts import wilson
from spikeproof.data import ImageSet
from spikeproof.models import create_model
from spikeproof.records.trials import Counted
from spikeproof.threat import Linf


def rows_of(found):
    return found.outcomes.to_pylist()


def test_worst_case_recomputed_from_the_files(model, digits, quick, tmp_path):
    # A radius of the sweep that breaks more than the audit's own, on fewer samples.
    found = audit(model, digits.test, quick(sweep=(0.3,), sweep_samples=25, batch_size=16), show=False)
    place = found.save(tmp_path, "made by hand")
    said = json.loads((place / "audit.json").read_text())
    rows = pq.read_table(place / "outcomes.parquet").to_pylist()
    by_sample = itertools.groupby(sorted(rows, key=lambda row: row["sample"]), key=lambda row: row["sample"])
    survivors = [all(row["correct"] for row in group) for _, group in by_sample]
    assert len(survivors) == said["samples"] == 40
    assert said["worst_case"]["correct"] == sum(survivors)
    assert said["worst_case"]["accuracy"] == sum(survivors) / 40
    for trial in said["trials"][:4]:
        verdicts = [row["correct"] for row in rows if row["trial"] == trial["name"]]
        assert (trial["correct"], trial["samples"]) == (sum(verdicts), 40)
        assert (trial["low"], trial["high"]) == wilson(sum(verdicts), 40)
    # What did not attack everyone has no accuracy of its own, and says what is left.
    last = said["trials"][4]
    assert last["everyone"] is False
    assert {name: last[name] for name in said["worst_case"]} == last["left"] == said["worst_case"]
    assert [trial["name"] for trial in said["trials"]] == [
        "clean",
        "FGSM",
        "R+FGSM",
        "PGD-3",
        "SA-PGD-6@ASSG",
        "CURVES AND CHECKS",
    ]
    assert said["protocol"]["correct"] == said["trials"][3]["correct"]
    assert said["masking_gap"] == said["protocol"]["accuracy"] - said["worst_case"]["accuracy"] == found.masking_gap
    assert 0 < said["worst_case"]["correct"] < said["trials"][0]["correct"]  # or the audit showed nothing


def test_printed_it_says_its_numbers_with_their_intervals_and_its_warnings(tiny, digits):
    config = AuditConfig(eps=0.1, samples=10, battery=None, trials=("FGSM",), diagnostics=False, sweep=())
    found = audit(tiny, digits.test, config, show=False)
    numbers, conditions, *rest = str(found).splitlines()
    for name, counted in (("clean", found.clean), ("protocol (FGSM)", found.protocol), ("case", found.worst_case)):
        low, high = wilson(counted.correct, 10)
        assert f"{name} {10 * counted.correct:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in numbers
    assert "Linf 0.1, n = 10, test split, battery custom, crafted in fp32, seed 0, cpu." in conditions
    assert rest == ["No check looked for red flags.", *(f"Doubtful: {warning}" for warning in found.warnings)]
    assert any("No adaptive attack" in line for line in rest)
    hidden = dataclasses.replace(found, no_number="Nothing here leads anywhere.")
    assert "worst case none, masking gap at least" in str(hidden)


def test_the_outcomes_table_holds_every_verdict(model, digits, quick):
    found = audit(model, digits.test, quick(per_member=True, seed=3, eot_iter=2, judge_draws=3), show=False)
    rows = rows_of(found)
    assert len(rows) == 5 * 40
    assert sorted(row["sample"] for row in rows if row["trial"] == "FGSM") == sorted(digits.test.part(40).tolist())
    assert all(row["label"] == int(digits.test.labels[row["sample"]]) for row in rows)
    shared = {(row["norm"], row["seed"], row["eot_iter"], row["judge_draws"], row["noise"]) for row in rows}
    assert shared == {("linf", 3, 2, 3, "off")}
    assert {(row["trial"], row["kind"], row["attack"], row["source"], row["eps"]) for row in rows} == {
        ("clean", "clean", "none", "none", 0.0),
        ("FGSM", "protocol", "FGSM", "BPTT", 0.1),
        ("R+FGSM", "protocol", "R+FGSM", "BPTT", 0.1),
        ("PGD-3", "protocol", "PGD-3", "BPTT", 0.1),
        ("SA-PGD-6@ASSG", "adaptive", "SA-PGD-6", "ASSG", 0.1),
    }


def test_clean_verdicts_are_the_models(model, digits, quick):
    found = audit(model, digits.test, quick(trials=("FGSM",)), show=False)
    chosen = digits.test.take(digits.test.part(40))
    right = model.eval()(chosen.images.float() / 255).argmax(1) == chosen.labels
    assert [row["correct"] for row in rows_of(found) if row["kind"] == "clean"] == right.tolist()
    assert found.clean == Counted.of(int(right.sum()), 40)


def test_worst_case_by_hand():
    outcomes, label = Outcomes(), torch.zeros(4, dtype=torch.int64)
    shared = {"attack": "", "source": "", "seed": 0, "eot_iter": 1, "judge_draws": 1, "noise": "off"}
    for trial, kind, norm, eps, numbers, correct in (
        ("clean", "clean", "linf", 0.0, [0, 1, 2, 3], [1, 1, 1, 0]),
        ("a", "protocol", "linf", 0.1, [0, 1, 2, 3], [1, 1, 0, 1]),
        ("b", "adaptive", "linf", 0.1, [1, 0], [1, 1]),
        ("b", "adaptive", "linf", 0.2, [0, 1, 2, 3], [0, 1, 0, 0]),
        ("cw", "protocol", "l2", 0.1, [0, 1, 2, 3], [1, 0, 0, 0]),
    ):
        verdicts = torch.tensor(correct, dtype=torch.bool)
        at = torch.tensor(numbers)
        outcomes.add(at, label[at], verdicts, trial=trial, kind=kind, norm=norm, eps=eps, **shared)
    table = outcomes.table()
    # Norm by norm and radius by radius; a wrong clean image is broken at every one of them.
    assert worst_case(table, 0.1) == Counted.of(2, 4)
    assert worst_case(table, 0.2) == Counted.of(1, 4)
    assert worst_case(table, 0.1, "l2") == Counted.of(1, 4)


@pytest.mark.parametrize(
    ("trials", "protocol"),
    [
        (("PGD-3", "BIM-40", "R+FGSM", "FGSM", "SA-PGD-2@ASSG"), "PGD-3"),
        (("SA-PGD-2@ASSG", "BIM-3", "PGD-3", "PGD-4", "CW-2"), "PGD-4"),
        (("FGSM", "R+FGSM", "FGSM@RGA", "PGD-9@RGA"), "R+FGSM"),
        (("SA-PGD-2@ASSG", "PGD-ANY-9", "SQUARE-10", "FGSM"), "FGSM"),
    ],
)
def test_protocol_is_the_longest_pgd_where_there_is_one_and_never_adaptive(tiny, digits, quick, trials, protocol):
    found = audit(tiny, digits.test, quick(trials=trials, samples=10), show=False)
    assert found.protocol_trial == protocol
    assert found.protocol == {result.trial.name: result.own for result in found.results}[protocol]
    assert found.to_json("")["protocol"]["trial"] == protocol


class HalfBlind(nn.Module):
    """Two classes; an image darker than 1/2 on average gives the same logits whatever its pixels are."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, images):
        return (images.flatten(1).mean(1, keepdim=True) - 0.5).relu() * self.weight


@pytest.mark.thorough
def test_zero_gradient_share_is_exact():
    brightness = torch.tensor([0, 10, 60, 100, 130, 160, 200, 250, 251, 252], dtype=torch.uint8)
    images = brightness.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    data = ImageSet(images, torch.zeros(10, dtype=torch.int64), ("a", "b"))
    config = AuditConfig(eps=0.01, battery=None, trials=("FGSM",), batch_size=3)
    found = audit(HalfBlind(), data, config, show=False)
    assert found.zero_gradient_share == 0.4
    assert any("40.0 %" in warning and "ero input gradient" in warning for warning in found.warnings)
    bright = audit(HalfBlind(), data.take(slice(4, 10)), config, show=False)
    assert bright.zero_gradient_share == 0
    assert not any("ero input gradient" in warning for warning in bright.warnings)


def test_zero_gradient_share_of_a_spiking_model_is_autograds(digits, quick):
    # So narrow and untrained that some images get no gradient through its few neurons, and most do.
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.2).eval()
    chosen = digits.test.take(digits.test.part(40))
    pixels = chosen.images.float() / 255
    pixels.requires_grad_()
    loss = nn.functional.cross_entropy(model(pixels), chosen.labels, reduction="sum")
    zero = (torch.autograd.grad(loss, pixels)[0].flatten(1) == 0).all(1)
    found = audit(model, digits.test, quick(trials=("FGSM",), batch_size=7), show=False)
    assert found.zero_gradient_share == int(zero.sum()) / 40
    assert 0 < found.zero_gradient_share < 0.5


@pytest.mark.thorough
def test_same_seed_same_audit(tiny, digits, quick, told):
    config = quick(sweep=(0.05,), trials=("R+FGSM", "PGD-3", "SA-PGD-3@ASSG", "SQUARE-20", "UNIFORM"))
    torch.manual_seed(1)
    first = audit(tiny, digits.test, config, show=False)
    torch.manual_seed(2)
    again = audit(tiny, digits.test, config, show=False)
    assert first.outcomes.equals(again.outcomes)
    assert all(np.array_equal(first.pictures[name], again.pictures[name]) for name in first.pictures)
    assert told(first) == told(again)
    other = audit(tiny, digits.test, quick(sweep=(0.05,), seed=1, trials=config.trials), show=False)
    assert not np.array_equal(first.pictures["adversarial"], other.pictures["adversarial"])


@pytest.mark.thorough
def test_two_batches_draw_different_numbers(tiny, digits, quick):
    # The same image in two batches starts from two places; were it one, each batch would repeat the other's draws.
    labels = digits.test.labels[:40]
    lead = tiny(digits.test.images[:40].float() / 255).softmax(1)[torch.arange(40), labels]
    first, second = lead.topk(2).indices.tolist()  # those that it knows best, so that it is right about both
    twice = digits.test.take(torch.tensor([first, second, first, second]))
    found = audit(tiny, twice, quick(trials=("R+FGSM",), batch_size=2, samples=None), show=False)
    shown = found.pictures
    first = torch.from_numpy(shown["adversarial"][(shown["clean"] == shown["clean"][0]).all((1, 2, 3))])
    assert len(first) == 2
    assert not torch.equal(first[0], first[1])


def test_threat_is_taken_instead_of_the_configs_radius(tiny, digits, quick):
    config = quick(eps=0.3, trials=("FGSM",))
    found = audit(tiny, digits.test, config, threat=Linf("8/255"), show=False)
    assert found.config.eps == 8 / 255
    assert {row["eps"] for row in rows_of(found)} == {0.0, 8 / 255}
    assert found.to_json("")["threat"] == {"norm": "linf", "eps": 8 / 255}
    assert config.eps == 0.3
    direct = audit(tiny, digits.test, quick(eps=8 / 255, trials=("FGSM",)), show=False)
    assert found.outcomes.equals(direct.outcomes)


def test_a_larger_radius_breaks_more(model, digits, quick):
    accuracies = [audit(model, digits.test, quick(eps=eps), show=False).worst_case.accuracy for eps in (0.02, 0.1, 0.3)]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[-1]


def test_batches_do_not_change_who_is_asked(model, digits, quick):
    # FGSM draws nothing and no sample's gradient depends on its neighbours.
    found = [audit(model, digits.test, quick(trials=("FGSM",), batch_size=size), show=False) for size in (7, 40)]
    assert found[0].outcomes.equals(found[1].outcomes)
    assert found[0].zero_gradient_share == found[1].zero_gradient_share


def test_substitutes_are_one_more_black_box_trial(model, tiny, digits, quick):
    config = quick(trials=("FGSM", "SA-PGD-6@ASSG"), samples=20)
    found = audit(model, digits.test, config, substitutes=[tiny, model], show=False)
    plain = audit(model, digits.test, config, show=False)
    last = found.results[-1]
    assert (last.trial.name, last.trial.kind, last.everyone) == ("TRANSFER:PGD-20", "black-box", False)
    assert last.attempted == plain.worst_case.correct
    # Among the substitutes is the model itself, so it is a white-box PGD-20 too.
    assert last.newly > 0
    assert found.worst_case.correct == plain.worst_case.correct - last.newly
