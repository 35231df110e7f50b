"""The ambiguities: each row is another reading in one setting, and rows of noise share what they can."""

import dataclasses

import pytest
import torch

from spikeproof.defenses import MPDSGR, REG
from spikeproof.engine import Store, TablePlan
from spikeproof.models import create_model
from spikeproof.spiking import sites
from spikeproof.tables import find_table

TABLE = find_table("ambiguities")
ROWS = {row.name: row for row in TABLE.rows}


def differing(one, other):
    """The settings in which two recipes differ, down to the fields of their networks and defenses."""
    found = {}
    mine, theirs = parts(one), parts(other)
    for name in mine | theirs:
        a, b = mine.get(name), theirs.get(name)
        if a == b:
            continue
        if type(a) is type(b) and dataclasses.is_dataclass(a):
            found |= {f"{name}.{inner}": value for inner, value in differing(a, b).items()}
        else:
            found[name] = b
    return found


def parts(held):
    """The fields, and in the place of a recipe's defenses each of them."""
    fields = {field.name: getattr(held, field.name) for field in dataclasses.fields(held)}
    return fields | {defense.field: defense for defense in fields.pop("defenses", ())}


@pytest.mark.parametrize(
    ("row", "of", "changes"),
    [
        ("plain", "reg", {"reg": None}),
        ("mpd-sgr-with-reg", "mpd-sgr", {"reg": REG(beta=0.001)}),
        ("decay-0.99-reg", "reg", {"model.neuron.decay": 0.99}),
        ("decay-0.99-mpd-sgr", "mpd-sgr", {"model.neuron.decay": 0.99}),
        ("decay-0.5-mpd-sgr", "mpd-sgr", {"model.neuron.decay": 0.5}),
        ("t-2-mpd-sgr", "mpd-sgr", {"model.num_steps": 2}),
        ("t-8-reg", "reg", {"model.num_steps": 8}),
        ("mpd-sgr-all-sites", "mpd-sgr", {"mpd_sgr.eta": 0.01, "mpd_sgr.sites": "all"}),
        ("tgo-quadratic", "tgo", {"tgo.hinge": "quadratic"}),
        ("tgo-carried-eot", "tgo", {"tgo.noise": "potential"}),
        ("tgo-noise-one-draw", "tgo", {}),
        ("tgo-noise-eot", "tgo", {}),
    ],
)
def test_a_row_is_one_setting_away(row, of, changes):
    assert differing(ROWS[of].recipe, ROWS[row].recipe) == changes


def test_the_first_rows_are_those_of_the_papers_tables():
    for name, table, theirs in (
        ("reg", "mpd-sgr-table2", "c10-vgg11-reg"),
        ("mpd-sgr", "mpd-sgr-table2", "c10-vgg11-mpd-sgr"),
        ("t-8-reg", "mpd-sgr-table1", "c10-vanilla-reg"),
        ("vanilla", "tgo-main", "bptt"),
        ("tgo", "tgo-main", "bptt-tgo"),
    ):
        assert ROWS[name].recipe == next(row.recipe for row in find_table(table).rows if row.name == theirs)
    assert ROWS["mpd-sgr"].published == {"Clean": 90.62, "FGSM": 42.12, "PGD7": 17.18, "CW as published": 18.85}
    assert ROWS["t-8-mpd-sgr"].published == {"Clean": 91.63, "FGSM": 47.59, "PGD7": 20.55}
    assert ROWS["tgo"].published == {"Clean": 88.79, "FGSM": 51.40, "PGD40": 0.45}
    assert not any(row.published for name, row in ROWS.items() if "noise" in name or "decay" in name or "t-2" in name)


def test_every_candidate_keeps_the_reading_of_its_row():
    by_name = {held.name: held.candidates for held in TABLE.calibrations}
    assert all(isinstance(each, MPDSGR) and each.sites == "all" for each in by_name["all-sites"])
    assert all(each.noise == "potential" for each in by_name["carried"])
    assert all(each.hinge == "quadratic" for each in by_name["quadratic"])
    dropped = {held.name: held.drop for held in TABLE.calibrations}
    assert dropped["all-sites"] == dropped["c10-vgg11-mpd-sgr"] == 1.83
    assert dropped["carried"] == dropped["quadratic"] == dropped["tgo"] == 4.53


@pytest.mark.parametrize("scale", ["mini", "full"])
def test_rows_of_noise_are_one_network_under_audits_of_their_own(scale, tmp_path):
    plan = TablePlan.of(TABLE, scale, seeds=(0,))
    tasks = {}
    for name in ("tgo", "tgo-noise-one-draw", "tgo-noise-eot"):
        (tasks[name],) = TablePlan.of(TABLE, scale, seeds=(0,), only=(name,)).waiting(Store(tmp_path))
    assert len({task.key for task in tasks.values()}) == 1
    asked = {
        name: {(audit.config.noise, audit.config.eot_iter, audit.config.judge_draws) for audit in task.audits}
        for name, task in tasks.items()
    }
    assert asked == {
        "tgo": {(None, None, None)},
        "tgo-noise-one-draw": {(True, 1, None)},
        "tgo-noise-eot": {(True, 20, None)},
    }
    folders = {Store(tmp_path).audit(t.recipe, audit) for t in tasks.values() for audit in t.audits}
    assert len(folders) == 6 and len(plan.places()) == 1


@pytest.mark.parametrize("network", ["vgg11", "wrn16"])
def test_these_networks_are_the_same_with_tdbn(network):
    """Which is why it has no row."""
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for batch_norm in ("merged", "td"):
        torch.manual_seed(0)
        model = create_model(network, num_classes=10, num_steps=2, width=0.125, batch_norm=batch_norm).train()
        logits = model(images)
        logits.square().sum().backward()
        found.append([logits, *(parameter.grad for parameter in model.parameters())])
        assert len(sites(model)) == (10 if network == "vgg11" else 13)
    assert all(torch.equal(merged, td) for merged, td in zip(*found, strict=True))
