"""Trials crafted on substitutes: named, counted and judged like any other, each with an accuracy of its own."""

import dataclasses

import pytest
import torch
from torch import nn

from spikeproof.attacks import Crafting, judge, transfer
from spikeproof.audit import AuditConfig, audit, make_trial
from spikeproof.audit.trials import Tuned, make_transfer
from spikeproof.gradients import ASSG, BPTT, HART, RGA
from spikeproof.threat import Linf

BLACK_BOX = ("FGSM", "PGD-7", "BIM-7")


class Plain(nn.Module):
    """A network without spiking sites."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        return self.layer(images.flatten(1))


def transfers_of(found):
    return {result.trial.name: result for result in found.results if result.trial.name.startswith("TRANSFER:")}


def test_the_default_is_pgd_20(quick):
    (trial,) = quick().transfers([Plain(), Plain()])
    assert (trial.name, trial.kind, trial.attack_name, trial.number) == ("TRANSFER:PGD-20", "black-box", *trial_of(20))
    assert (trial.source, trial.rank, trial.bounded, trial.cost) == (BPTT(), None, True, 40.0)
    assert dataclasses.replace(quick(), transfer=()).transfers([Plain()]) == []


def trial_of(steps):
    return "TRANSFER:PGD", steps


@pytest.mark.parametrize("text", ["FGSM", "PGD-7", "SA-PGD-20@ASSG:0.45", "APGD-CE-5@RGA", "SQUARE-30", "MTPGD-7"])
def test_what_is_crafted_is_the_trial_itself(text):
    crafted, black_box = make_trial(text), make_transfer(text, [Plain()])
    assert black_box.name == f"TRANSFER:{crafted.name}"
    assert (black_box.kind, black_box.source, black_box.number) == ("black-box", crafted.source, crafted.number)
    assert black_box.cost == crafted.cost


def test_sources_are_not_tuned_on_the_model_that_the_attacker_cannot_see(quick):
    config = quick(transfer=("PGD-2@ASSG", "PGD-2@HART"))
    assert [trial.source for trial in config.transfers([Plain()])] == [ASSG(), HART()]
    assert Tuned() == Tuned(half_mass=ASSG().half_mass, hart_width=HART().width)


@pytest.mark.parametrize("text", ["CW-10", "GAUSSIAN", "UNIFORM", "CONTRAST-3"])
def test_what_does_not_search_the_ball_is_refused(refuses, quick, text):
    with refuses(text, "transferred", "PGD-20"):
        quick(transfer=("FGSM", text))


@pytest.mark.parametrize("text", ["CWW", "PGD-0", "FGSM-3", "PGD-20@X", "TRANSFER:PGD-20"])
def test_an_unknown_trial_is_refused_at_once(refuses, quick, text):
    with refuses(text.split("@")[-1]):
        quick(transfer=(text,))


def test_substitutes_without_a_trial_are_refused(refuses, tiny, digits, quick):
    with refuses("substitutes", "PGD-20"):
        audit(tiny, digits.test, quick(transfer=()), substitutes=[tiny], show=False)


def test_a_source_that_a_substitute_cannot_have_is_refused_before_anything_is_attacked(
    refuses, tiny, digits, quick, attacked
):
    with refuses("ASSG", "sites"):
        audit(tiny, digits.test, quick(transfer=("PGD-2@ASSG",)), substitutes=[tiny, Plain()], show=False)
    assert attacked == []


def test_without_substitutes_there_are_none(tiny, digits, quick):
    found = audit(tiny, digits.test, quick(transfer=BLACK_BOX, trials=("FGSM",)), show=False)
    assert [result.trial.name for result in found.results] == ["FGSM"]


def test_each_has_an_accuracy_of_its_own_and_it_is_the_attacks(tiny, learned, digits, quick):
    """Against the images made by hand on the substitute, judged on the model."""
    config = quick(trials=("FGSM",), transfer=BLACK_BOX, per_member=True, batch_size=40)
    found = audit(tiny, digits.test, config, substitutes=[learned], show=False)
    results = transfers_of(found)
    assert list(results) == [f"TRANSFER:{text}" for text in BLACK_BOX]
    chosen = digits.test.take(digits.test.part(40))
    images, labels = chosen.images.float() / 255, chosen.labels
    right = judge(tiny, images).argmax(1) == labels
    for text in BLACK_BOX:
        crafted = make_trial(text).attack(learned, images[right], labels[right], Linf(0.1), Crafting())
        correct = judge(tiny, crafted.images).argmax(1) == labels[right]
        result = results[f"TRANSFER:{text}"]
        assert result.everyone
        assert (result.own.correct, result.own.samples) == (int(correct.sum()), 40)
        assert result.own.correct < int(right.sum())  # or nothing would be shown
    rows = [row for row in found.outcomes.to_pylist() if row["trial"] == "TRANSFER:BIM-7"]
    assert len(rows) == 40
    assert {(row["kind"], row["attack"], row["source"]) for row in rows} == {("black-box", "TRANSFER:BIM-7", "BPTT")}
    assert found.worst_case.correct <= min(result.own.correct for result in results.values())
    assert found.protocol_trial == "FGSM"


def test_the_default_is_the_transfer_attacks_own(tiny, learned, digits, quick):
    config = quick(trials=("FGSM",), per_member=True, batch_size=40)
    found = audit(tiny, digits.test, config, substitutes=[learned, tiny], show=False)
    chosen = digits.test.take(digits.test.part(40))
    images, labels = chosen.images.float() / 255, chosen.labels
    right = judge(tiny, images).argmax(1) == labels
    direct = transfer(tiny, images[right], labels[right], Linf(0.1), Crafting(), substitutes=[learned, tiny])
    rows = [row["correct"] for row in found.outcomes.to_pylist() if row["trial"] == "TRANSFER:PGD-20"]
    assert torch.equal(torch.tensor(rows)[right], direct.correct)


def test_otherwise_they_get_what_the_trials_before_left(tiny, learned, digits, quick):
    config = quick(trials=("FGSM",), transfer=("FGSM", "PGD-3"))
    first, second = transfers_of(audit(tiny, digits.test, config, substitutes=[learned], show=False)).values()
    assert not first.everyone and first.own is None
    assert second.attempted == first.left.correct


def test_the_gradient_source_is_the_substitutes(tiny, learned, digits, quick):
    config = quick(trials=("FGSM",), transfer=("PGD-3", "PGD-3@RGA"), per_member=True, batch_size=40)
    found = audit(tiny, digits.test, config, substitutes=[learned], show=False)
    told = {trial["name"]: trial["source"] for trial in found.to_json("command")["trials"]}
    assert told["TRANSFER:PGD-3@RGA"] == RGA().name
    chosen = digits.test.take(digits.test.part(40))
    images, labels = chosen.images.float() / 255, chosen.labels
    right = judge(tiny, images).argmax(1) == labels
    trial = make_trial("PGD-3@RGA")
    how = Crafting(source=trial.source)
    crafted = trial.attack(learned, images[right], labels[right], Linf(0.1), how)
    expected = int((judge(tiny, crafted.images).argmax(1) == labels[right]).sum())
    assert transfers_of(found)["TRANSFER:PGD-3@RGA"].own.correct == expected


def test_a_model_without_sites_can_be_attacked_by_spiking_substitutes(tiny, digits, quick):
    torch.manual_seed(0)
    config = quick(trials=("FGSM",), transfer=("SA-PGD-2@ASSG",))
    found = audit(Plain(), digits.test, config, substitutes=[tiny], show=False)
    assert list(transfers_of(found)) == ["TRANSFER:SA-PGD-2@ASSG"]


def test_one_named_twice_runs_once():
    config = AuditConfig(battery=None, trials=("FGSM",), transfer=("PGD", "PGD-20"))
    assert [trial.name for trial in config.transfers([Plain()])] == ["TRANSFER:PGD-20"]
