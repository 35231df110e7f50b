"""SGD, Adam and AdamW are PyTorch's own; a run goes on with the state of its own."""

import dataclasses

import pytest
import torch

from spikeproof.cli.arguments import TrainArguments, read_arguments
from spikeproof.defenses import HIRE, REG
from spikeproof.engine import keys
from spikeproof.recipes import find_recipe
from spikeproof.runs.same_settings import differing_identity, differing_settings
from spikeproof.train import TrainConfig, train
from spikeproof.train.identity import identity
from spikeproof.train.optimizer import make_optimizer
from stops import stopped_at

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("name", KINDS)
def test_it_is_pytorchs_own_with_the_groups_of_defenses(new_model, name):
    model = new_model()
    HIRE().install(model)
    config = TrainConfig(optimizer=name, learning_rate=0.01, weight_decay=0.2)
    made = make_optimizer(model, [HIRE()], config)
    assert type(made) is KINDS[name]
    assert [group["weight_decay"] for group in made.param_groups] == [0.2, 0.0]
    assert all(group["lr"] == 0.01 for group in made.param_groups)
    assert make_optimizer(model, [REG()], TrainConfig(optimizer=name)).param_groups[0]["weight_decay"] == 0.0


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_stopped_and_resumed_bit_by_bit(
    new_model, few_digits, quick, all_defenses, weights_of, metrics_of, same_weights, tmp_path, name
):
    config = quick(optimizer=name, learning_rate=1e-3)
    shared = {"data": few_digits, "config": config, "show": False}
    train(new_model(), defenses=all_defenses(), out=tmp_path / "whole", **shared)
    with stopped_at(0.65):
        train(new_model(), defenses=all_defenses(), out=tmp_path / "cut", **shared)
    train(new_model(8), defenses=all_defenses(), out=tmp_path / "cut", resume=True, **shared)
    assert same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "cut")


def test_a_run_goes_on_with_its_own_optimizer(new_model, few_digits, quick, refuses, tmp_path):
    with stopped_at(0.5):
        train(new_model(), few_digits, config=quick(optimizer="adam", learning_rate=1e-3), out=tmp_path, show=False)
    with refuses("optimizer", "adam then, adamw now"):
        train(
            new_model(), few_digits, config=quick(optimizer="adamw", learning_rate=1e-3), out=tmp_path, resume=True,
            show=False,
        )  # fmt: skip


def test_what_is_none_is_refused(refuses):
    config = TrainConfig()
    object.__setattr__(config, "optimizer", "lion")
    with refuses("sgd, adam, adamw", "'lion'"):
        config.__post_init__()
    with refuses("Only sgd takes a momentum", "adam"):
        TrainConfig(optimizer="adam", momentum=0.5)


def test_runs_from_before_had_sgd():
    now = identity([], TrainConfig())
    before = {**now, "train": {name: value for name, value in now["train"].items() if name != "optimizer"}}
    assert differing_identity(before, now) == []
    assert differing_identity(before, identity([], TrainConfig(optimizer="adam"))) == [
        "train.optimizer: sgd then, adam now"
    ]
    settings = {"train": dataclasses.asdict(TrainConfig())}
    old = {"train": {name: value for name, value in settings["train"].items() if name != "optimizer"}}
    assert differing_settings(old, settings, None, "auto") == []


def test_addresses_in_a_store_are_as_before(monkeypatch):
    recipe = find_recipe("mini-cifar10-vanilla")
    found = keys.network_key(recipe)
    adam = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, optimizer="adam", learning_rate=1e-3))
    assert keys.network_key(adam) != found
    addressed = []
    monkeypatch.setattr(keys, "_address", lambda content: addressed.append(content) or "")
    keys.network_key(recipe)
    keys.network_key(adam)
    assert "optimizer" not in addressed[0]["train"] and addressed[1]["train"]["optimizer"] == "adam"


def test_the_command_line_takes_it():
    default = TrainArguments(recipe=find_recipe("demo-digits-vanilla"))
    words = ["--train.optimizer", "adamw", "--train.learning-rate", "1e-3"]
    chosen = read_arguments(TrainArguments, words, prog="spikeproof train", default=default)
    assert chosen.recipe.train.optimizer == "adamw"
