"""A run keeps the precision that it began in, wherever it goes on, and says which that is."""

import dataclasses
import json
import warnings

import pytest
import torch

from spikeproof.audit import AuditConfig
from spikeproof.defenses import DLIF, MART, TRADES, AdversarialTraining
from spikeproof.disk import sealed, write_atomically
from spikeproof.recipes import Recipe
from spikeproof.runs import RunFolder
from spikeproof.spiking import sites
from spikeproof.train import TrainConfig, train
from stops import stopped_at


@pytest.fixture
def go(new_model, few_digits, quick, tmp_path):
    """Train in the folder "run", or go on there."""

    def run(defenses=(), settings=None, folder="run", **config):
        config = quick(**{"precision": "auto", "batch_size": 64} | config)
        shared = {"out": tmp_path / folder, "resume": True, "settings": settings, "show": False}
        return train(new_model(), few_digits, [AdversarialTraining(eps=0.05), *defenses], config, **shared)

    return run


@pytest.fixture
def begun(go, machine, tmp_path):
    """A run that was stopped in its second epoch, on a machine that has bfloat16 or has not."""

    def make(*, native, settings=None, **config):
        machine(native=native)
        with stopped_at(0.65):
            go(settings=settings or {"mine": 1}, **config)
        return RunFolder(tmp_path / "run")

    return make


@pytest.mark.parametrize("native", [True, False])
def test_what_ran_is_recorded(go, machine, native, tmp_path):
    machine(native=native)
    run = go()
    ran = "bf16" if native else "fp32"
    config = RunFolder(tmp_path / "run").config()
    assert config["precision"] == ran and config["recipe"]["train"]["precision"] == "auto"
    assert {line["precision"] for line in run.metrics} == {ran}
    exact = go(folder="exact", precision=ran)
    weights = run.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in exact.model.state_dict().items())


@pytest.mark.thorough
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.filterwarnings("ignore:bf16 is emulated")
def test_a_resumed_run_goes_on_as_it_began(go, begun, machine, same_weights, native, tmp_path):
    """Begun on a machine with bfloat16 and resumed on one without, and the other way round."""
    folder, ran = begun(native=native), "bf16" if native else "fp32"
    assert folder.precision == ran
    whole = go(folder="whole", precision=ran)
    machine(native=not native)
    resumed = go(settings={"mine": 1})
    assert same_weights(whole.model.state_dict(), resumed.model.state_dict())
    assert {line["precision"] for line in resumed.metrics} == {ran}
    assert folder.precision == ran


def test_going_on_where_bf16_is_emulated_is_said(go, begun, machine):
    begun(native=True)
    machine(native=False)
    with pytest.warns(RuntimeWarning, match="bf16 is emulated on this CPU") as said:
        go(settings={"mine": 1})
    assert len(said) == 1


def test_going_on_in_fp32_is_not_said(go, begun, machine):
    begun(native=False)
    machine(native=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(settings={"mine": 1})


@pytest.mark.thorough
@pytest.mark.parametrize("settings", [{"mine": 1}, {"train": {"precision": "auto"}}], ids=str)
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.filterwarnings("ignore:bf16 is emulated")
def test_another_precision_is_refused(go, begun, refuses, native, settings):
    folder, (ran, other) = begun(native=native, settings=settings), ("bf16", "fp32")[:: 1 if native else -1]
    with refuses(folder.path, f"train.precision: {ran} then, {other} now"):
        go(settings=settings, precision=other)
    assert folder.precision == ran
    go(settings=settings, precision=ran)  # what runs, by its name, is no other


# Runs from before there was one precision.

OLD = Recipe(
    name="old",
    defenses=(AdversarialTraining(eps=0.05),),
    train=TrainConfig(epochs=2, batch_size=64, augmentation=None, device="cpu"),
    audit=AuditConfig(eps=0.1),
)


def made_old(folder, *, train="bf16", at="bf16", audit="bf16"):
    """Take back in config.json what this version writes and earlier ones did not."""
    config = folder.config()
    del config["precision"]
    config["recipe"]["train"]["precision"] = train
    config["recipe"]["at"]["precision"] = at
    config["recipe"]["audit"]["precision"] = audit
    write_atomically(folder.path / "config.json", lambda path: path.write_text(json.dumps(sealed(config))))


def test_an_old_run_goes_on_in_its_precision(go, begun, machine):
    folder = begun(native=True, settings=OLD.settings())
    made_old(folder)
    assert folder.precision == "bf16"
    machine(native=False)
    with pytest.warns(RuntimeWarning, match="bf16 is emulated"):
        assert go(settings=OLD.settings()).metrics[-1]["precision"] == "bf16"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("old", "now", "says"),
    [
        ({"at": "fp32"}, {}, "at.precision: fp32 then, None now"),
        ({}, {"audit": "fp32"}, "audit.precision: bf16 then, fp32 now"),
        ({"audit": "fp32"}, {"audit": "bf16"}, "audit.precision: fp32 then, bf16 now"),
    ],
    ids=str,
)
def test_an_old_run_that_computed_otherwise_is_refused(go, begun, refuses, old, now, says):
    """Its inner attacks had another precision than training, or its audits another than is asked for."""
    made_old(begun(native=True, settings=OLD.settings()), **old)
    audit = dataclasses.replace(OLD.audit, precision=now.get("audit", "auto"))
    with refuses(says):
        go(settings=dataclasses.replace(OLD, audit=audit).settings())


@pytest.mark.filterwarnings("ignore:bf16 is emulated")
def test_fp32_audits_are_the_ones_that_auto_means(go, begun):
    made_old(begun(native=True, settings=OLD.settings()), audit="fp32")
    go(settings=OLD.settings())


def test_a_run_that_does_not_say_it_goes_on_as_asked(go, begun):
    folder = begun(native=False)
    config = folder.config()
    del config["precision"]
    write_atomically(folder.path / "config.json", lambda path: path.write_text(json.dumps(sealed(config))))
    assert folder.precision is None
    assert go(settings={"mine": 1}, precision="fp32").metrics[-1]["precision"] == "fp32"


@pytest.mark.sweep
@pytest.mark.parametrize("held", ["fp16", "auto", 32, ["bf16"], {"a": 1}], ids=str)
def test_a_damaged_precision(go, begun, refuses, held):
    folder = begun(native=False)
    config = folder.config() | {"precision": held}
    write_atomically(folder.path / "config.json", lambda path: path.write_text(json.dumps(sealed(config))))
    with refuses(folder.path / "config.json", "is damaged"):
        go(settings={"mine": 1})


@pytest.mark.sweep
@pytest.mark.parametrize("defense", [AdversarialTraining(), TRADES(), MART(), DLIF()], ids=lambda d: d.label)
@pytest.mark.parametrize("ran", ["fp32", "bf16"])
@pytest.mark.filterwarnings("ignore:bf16 is emulated")
def test_inner_attacks_run_in_the_precision_of_training(new_model, few_digits, quick, defense, ran):
    """Every forward of the network in training, the attack's (in eval mode) and the one that learns."""
    model, seen = new_model(), {True: set(), False: set()}
    config = quick(precision=ran, epochs=1, batch_size=160)

    def look(site, inputs, output):
        if torch.is_grad_enabled():
            seen[site.training].add(torch.is_autocast_enabled("cpu"))

    next(iter(sites(model).values())).register_forward_hook(look)
    train(model, few_digits, [defense], config, show=False)
    assert seen == {True: {ran == "bf16"}, False: {ran == "bf16"}}
