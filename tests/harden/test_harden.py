"""Hardening: it fits its budget, takes the best defense that fits, and tells what that gained and cost."""

import dataclasses
import json

import pytest
import torch

import spikeproof as sp
from digit_networks import network
from spikeproof.cli.main import main
from spikeproof.data import Augmentation, load_data
from spikeproof.harden import budget, harden, plan
from spikeproof.recipes import load_run
from spikeproof.report import read_runs
from spikeproof.train import Interrupted
from stops import sent_at

QUICK = sp.AuditConfig(battery=None, trials=("FGSM", "PGD-3"), samples=30, diagnostics=False)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=50)


@pytest.fixture(scope="module")
def few():
    return load_data("digits", validation=20, train_limit=128)


def planned(model, data, seconds, **changes):
    settings = {"eps": 0.1, "learning_rate": 1e-3, "batch_size": 32, "augmentation": None, "seed": 0, "device": "cpu"}
    return plan(model, data, seconds=seconds, **(settings | changes))


@pytest.fixture
def timed(monkeypatch):
    """Seconds that a step of each defense takes, in the place of a clock."""

    def tell(with_sr, at, free):
        def step(model, data, defenses, config, steps):
            labels = {defense.label for defense in defenses}
            return with_sr if "SR" in labels else free if "Free AT" in labels else at

        monkeypatch.setattr(budget, "_seconds_a_step", step)

    return tell


# 128 images in batches of 32: four batches are a pass.
@pytest.mark.parametrize(
    ("seconds", "method", "epochs", "images"),
    [
        (16.0, "AT + SR", 4, 128),
        (15.9, "AT", 7, 128),
        (4.0, "AT", 2, 128),
        (3.9, "Free AT", 3, 128),
        (0.6, "Free AT", 1, 64),
    ],
)
def test_the_best_defense_that_the_budget_allows(few, timed, seconds, method, epochs, images):
    timed(with_sr=1.0, at=0.5, free=0.3)
    found = planned(network("tiny"), few, seconds)
    assert (found.method, found.config.epochs, len(found.data.train)) == (method, epochs, images)
    assert found.steps == epochs * images // 32
    assert found.seconds <= seconds
    assert [defense.label for defense in found.defenses][-1] == "EMA"


def test_a_network_that_draws_random_numbers_has_no_sr(few, timed):
    timed(with_sr=1.0, at=0.5, free=0.3)
    model = network("tiny")
    for site in sp.sites(model).values():
        site.noise_std = 0.1
    assert planned(model, few, 100.0).method == "AT"


def test_a_budget_in_which_nothing_is_seen(few, timed, refuses):
    timed(with_sr=100.0, at=50.0, free=30.0)
    with refuses("not a tenth of the 128 training images", "takes 30 s", "minutes=0.2 or more"):
        planned(network("tiny"), few, 6.0)


def test_the_timing_leaves_nothing_behind(few):
    model = network("tiny").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = planned(model, few, 1e6)
    assert found.method == "AT + SR" and found.config.epochs > 4
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.thorough
def test_two_rows_tell_what_was_gained(digits, tmp_path):
    model = network("tiny")
    found = harden(model, digits, eps="25/255", minutes=0.05, config=QUICK, out=tmp_path / "run", show=False)
    assert found.model is model and not model.training
    assert found.before.audited_images == found.after.audited_images
    assert found.gained == found.after.worst_case.accuracy - found.before.worst_case.accuracy
    assert found.won - found.lost == found.after.worst_case.correct - found.before.worst_case.correct
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["before", "after"]
    assert f"{100 * found.after.worst_case.accuracy:.1f}" in lines[2]
    assert f"{100 * found.gained:+.1f} points" in lines[4] and "Linf 0.098" in lines[4]
    assert json.loads(json.dumps(found.to_json()))["gained"] == found.gained
    (after,), (before,) = (read_runs(folder) for folder in (tmp_path / "run", tmp_path / "run" / "before"))
    assert (len(after.epochs) > 0, len(before.epochs)) == (True, 0)
    assert sp.load_model(tmp_path / "run" / "model.safetensors").num_steps == model.num_steps


@pytest.mark.parametrize("name", ["spikingjelly", "snntorch"])
def test_a_network_of_another_library(few, name):
    pytest.importorskip(name)
    from interop_nets import adapted

    model = adapted(name)
    config = dataclasses.replace(QUICK, split="validation", samples=10)
    found = harden(model, few, eps=0.1, minutes=0.01, config=config, show=False)
    assert found.model is model
    assert found.after.config.split == "validation"
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ({"eps": 0}, ("eps > 0",)),
        ({"eps": "12"}, ("[0, 1]",)),
        ({"minutes": 0.0}, ("minutes > 0",)),
        ({"minutes": -1.0}, ("minutes > 0",)),
        ({"minutes": 1e-9}, ("not a tenth", "minutes=")),
        ({"learning_rate": 0.0}, ("learning_rate > 0",)),
        ({"batch_size": 0}, ("batch_size",)),
        ({"config": sp.AuditConfig(norm="l2", battery="quick")}, ("Linf",)),
    ],
    ids=str,
)
def test_what_is_asked_wrongly(few, refuses, given, pieces):
    with refuses(*pieces):
        harden(network("tiny"), few, show=False, **given)


def test_a_folder_that_holds_a_run_and_several_processes(few, refuses, tmp_path, monkeypatch):
    (tmp_path / "state.pt").write_bytes(b"")
    with refuses("already holds a run"):
        harden(network("tiny"), few, out=tmp_path, show=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with refuses("without torchrun"):
        harden(network("tiny"), few, show=False)
    monkeypatch.delenv("WORLD_SIZE")
    with refuses("create_model", "adapt"):
        harden(torch.nn.Linear(2, 2), few, show=False)


def test_a_network_that_is_stopped_has_its_weights_again(few, timed):
    timed(with_sr=0.01, at=0.01, free=0.01)
    model = network("tiny")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(Interrupted), sent_at(0.5):
        harden(model, few, eps=0.1, minutes=0.004, config=QUICK, show=False)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


@pytest.mark.thorough
def test_weights_that_do_worse_are_not_kept(digits):
    model = network("tiny")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train = dataclasses.replace(digits.train, labels=(digits.train.labels + 1) % 10)  # so that training does harm
    wrong = dataclasses.replace(digits, train=train)
    hardened = harden(model, wrong, eps=0.1, minutes=0.05, config=QUICK, learning_rate=0.01, show=False)
    assert hardened.stands.correct < hardened.stood.correct
    assert not hardened.kept
    assert "has its old weights again" in str(hardened)
    assert hardened.to_json()["kept"] is False
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.thorough
def test_the_command_line(tmp_path, capsys):
    """A recipe trained and hardened into a run that can be loaded; nothing is replaced."""
    run, out = tmp_path / "run", tmp_path / "better"
    small = ["--train.epochs", "1", "--data.train-limit", "128", "--model.num-steps", "2", "--model.width", "0.25"]
    small += ["--train.device", "cpu"]
    main(["train", "demo-digits-vanilla", *small, "--out", str(run), "--quiet"])
    words = ["--minutes", "0.01", "--samples", "3", "--out", str(out), "--device", "cpu", "--quiet"]
    main(["harden", str(run), *words])
    said = capsys.readouterr().out
    assert "before" in said and "after" in said and f"Run: {out}" in said
    config = json.loads((out / "config.json").read_text())
    assert config["name"] == "demo-digits-vanilla-hardened"
    assert {"at", "ema"} & set(config["recipe"]) and config["recipe"]["train"]["optimizer"] == "adamw"
    assert config["recipe"]["train"]["augmentation"] == dataclasses.asdict(
        Augmentation(crop_padding=0, flip=False, cutout=0)
    )
    model, _ = load_run(out, None)
    assert model.num_steps == 2
    with pytest.raises(SystemExit):
        main(["harden", str(run), *words])
    assert "already holds a run" in capsys.readouterr().err
