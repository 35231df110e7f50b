"""Files by the names that fields had first are read, gone on with and addressed as they were."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from digit_networks import network
from small_runs import few_digits, new_model, quick, same_weights, weights_of  # noqa: F401
from spikeproof.audit import AuditConfig, audit
from spikeproof.audit.findings import audit_name
from spikeproof.defenses import DEFENSES, DLIF, FEEL
from spikeproof.disk import sealed, unsealed
from spikeproof.engine.keys import audit_key, network_key
from spikeproof.former_names import former_audit, former_recipe, todays
from spikeproof.models import load_model, save_model
from spikeproof.recipes import RECIPES, find_recipe
from spikeproof.report import read_outcomes, read_run
from spikeproof.runs import RunFolder
from spikeproof.spiking import Neuron, sites
from spikeproof.train import train
from stops import stopped_at

FORMER = {"eps": "radius", "eot_iter": "draws", "protocol": "nominal", "protocol_trial": "nominal_trial"}
FORMER |= {"decay": "leak", "random_decay": "random_leak", "protocol_attack": "nominal_attack"}


def former(held, kept=("feel", "at", "dlif", "FEEL", "train")):
    """Today's names undone, but where a defense or training has a field of such a name."""
    if isinstance(held, dict):
        return {
            FORMER.get(name, name.replace(".decay", ".leak")): part if name in kept else former(part)
            for name, part in held.items()
        }
    if isinstance(held, list):
        return [former(part) for part in held]
    return FORMER.get(held, held) if isinstance(held, str) else held


def rewrite(path, change):
    """A sealed JSON file, changed, with the seal of what it then says."""
    path.write_text(json.dumps(sealed(change(unsealed(json.loads(path.read_text()), "it", "mend")))))


def test_addresses_and_names_are_those_of_the_first_results():
    """Written down before any field had another name."""
    found = {name: find_recipe(f"mini-cifar10-{name}") for name in ("vanilla", "at-tgo", "dlif", "feel")}
    keys = {name: network_key(recipe) for name, recipe in found.items()}
    assert keys["vanilla"] == "a800b291084e9110" and keys["at-tgo"] == "f0d04bb26b719ab5"
    assert keys["dlif"] == "d1d09ae975f81f50" and keys["feel"] == "4cf6acdbd8526926"
    assert audit_key("a" * 16, found["vanilla"].audit) == "24cb359be748ea44"
    assert audit_name(found["vanilla"].audit) == "reliable-linf-8_255-n500-914bc6"


def test_every_recipe_has_todays_names_and_comes_back_from_its_former_ones():
    for recipe in RECIPES.values():
        settings = json.loads(json.dumps(recipe.settings()))
        before = former_recipe(settings) | {"audit": former_audit(settings["audit"])}
        assert before["model"]["neuron"].keys() >= {"leak", "threshold"} and "radius" in before["audit"]
        assert todays(before) == settings


def test_no_defense_has_a_field_that_a_former_name_would_change():
    changed = {
        (kind.name, field)
        for kind in DEFENSES.values()
        for field in kind.__dataclass_fields__
        if list(todays({field: None})) != [field]
    }
    assert changed == {("feel", "leak")}  # whose name is the paper's, and which is left alone


@pytest.mark.thorough
def test_an_audit_by_former_names_is_read(few_digits, tmp_path):  # noqa: F811
    config = AuditConfig(eps=0.1, samples=10, battery=None, trials=("PGD-2", "SA-PGD-2@ASSG"), sweep=(0.05,))
    place = audit(network("tiny"), few_digits.test, config, show=False).save(tmp_path)
    today = read_run(tmp_path, place)
    rewrite(place / "audit.json", lambda said: former(said) | {"version": 3})
    table = pq.read_table(place / "outcomes.parquet")
    rows = [former(row) for row in table.to_pylist()]
    assert {"radius", "draws"} <= rows[0].keys() and "nominal" in {row["kind"] for row in rows}
    before = read_run(tmp_path, place)
    assert before.audit == today.audit
    old = table.rename_columns([FORMER.get(name, name) for name in table.column_names])
    at = old.schema.get_field_index("kind")
    pq.write_table(old.set_column(at, "kind", [[row["kind"] for row in rows]]), place / "outcomes.parquet")
    rewrite(place / "audit.json", lambda said: {name: part for name, part in said.items() if name != "files"})
    assert read_outcomes(place / "outcomes.parquet").to_pylist() == table.to_pylist()


@pytest.mark.parametrize("defense", [DLIF(decay=0.9), FEEL(frequency=False)], ids=["DLIF", "FEEL"])
def test_weights_by_former_names_are_read(defense, new_model, tmp_path):  # noqa: F811
    model = new_model(neuron=Neuron(decay=0.7))
    defense.install(model)
    path, old = tmp_path / "model.safetensors", tmp_path / "old.safetensors"
    save_model(model, path)
    with safe_open(path, framework="pt") as opened:
        said = json.loads(opened.metadata()["spikeproof"])
        weights = {former({name: 0}).popitem()[0]: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    said = former(unsealed(said, "it", "mend"))
    del said["weights"]  # as of a file from before there were checksums: those of names that it lacks would not fit
    assert said["model"]["neuron"]["leak"] == 0.7
    save_file(weights, old, {"spikeproof": json.dumps(sealed(said))})
    today, before = load_model(path), load_model(old)
    assert before.description == today.description
    assert all(torch.equal(before.state_dict()[name], tensor) for name, tensor in today.state_dict().items())
    assert [site.neuron for site in sites(before).values()] == [site.neuron for site in sites(today).values()]


def test_a_run_by_former_names_goes_on(
    new_model,  # noqa: F811
    few_digits,  # noqa: F811
    quick,  # noqa: F811
    weights_of,  # noqa: F811
    same_weights,  # noqa: F811
    tmp_path,
):
    def run(folder, config, **more):
        model = new_model(neuron=Neuron(decay=0.9))
        return train(model, few_digits, [FEEL(frequency=False)], config, out=folder, show=False, **more)

    run(tmp_path / "whole", quick())
    with stopped_at(0.5):
        run(tmp_path / "old", quick())
    folder = RunFolder(tmp_path / "old")
    state = folder.read_state()
    assert state is not None and any(name.endswith(".decay") for name in state["model"])
    folder.write_state({**state, "model": former(state["model"])})
    rewrite(tmp_path / "old" / "config.json", lambda said: said | {"identity": former(said["identity"])})
    text = (tmp_path / "old" / "config.json").read_text()
    assert '"leak"' in text and '"decay"' not in text.replace('"weight_decay"', "")
    run(tmp_path / "old", quick(), resume=True)
    assert same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "old"))
