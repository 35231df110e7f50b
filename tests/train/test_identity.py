"""A run is gone on with by the network, defenses and training that it began with, and by no others: at every door."""

import dataclasses
import json
import logging

import pytest

from spikeproof.coding import Poisson
from spikeproof.defenses import LSG, TGO, AdversarialTraining, Defense
from spikeproof.disk import sealed
from spikeproof.recipes import train_recipe
from spikeproof.recipes.recipe import DataConfig, ModelConfig, Recipe
from spikeproof.runs import RunFolder
from spikeproof.spiking import Neuron, Sigmoid, sites
from spikeproof.train import train
from spikeproof.train.identity import identity_of_network
from stops import stopped_at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(Defense):
    """One that does not print what it holds."""

    weight: float = dataclasses.field(repr=False, compare=False)

    def penalty(self, step):
        return self.weight * step.logits.square().mean()


class Late(Defense):
    """One whose setting is no field."""

    def __init__(self, weight):
        object.__setattr__(self, "weight", weight)

    penalty = Mine.penalty


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(Defense):
    """One that holds a function, which prints with its address."""

    weight: object

    def penalty(self, step):
        return self.weight(step.progress) * step.logits.square().mean()


def rising(most):
    return lambda progress: most * progress


@pytest.fixture
def stopped(new_model, few_digits, quick, tmp_path):
    """Begin a run and stop it halfway; gives how to go on with it."""

    def begin(model=None, defenses=(), *, finish=False, settings=None, **config):
        shared = {"out": tmp_path / "run", "settings": settings, "show": False}
        if finish:
            train(model or new_model(), few_digits, defenses, quick(**config), **shared)
        else:
            with stopped_at(0.5):
                train(model or new_model(), few_digits, defenses, quick(**config), **shared)

        def resume(model=None, defenses=(), **changes):
            model = model or new_model(8)
            return train(model, few_digits, defenses, quick(**(config | changes)), resume=True, **shared)

        return resume

    return begin


NETWORKS = {
    "steps": ({"num_steps": 8}, "model.num_steps: 4 then, 8 now"),
    "threshold": ({"neuron": Neuron(threshold=4.0)}, "model.neuron.threshold: 1.0 then, 4.0 now"),
    "decay": ({"neuron": Neuron(decay=0.5)}, "model.neuron.decay: 1.0 then, 0.5 now"),
    "reset": ({"neuron": Neuron(reset="soft")}, "model.neuron.reset: hard then, soft now"),
    "surrogate": ({"neuron": Neuron(surrogate=Sigmoid())}, "model.neuron.surrogate.class: Triangle then, Sigmoid now"),
    "coding": ({"coding": Poisson()}, "model.coding.class: Direct then, Poisson now"),
    "mean": ({"mean": (0.9,)}, "model.mean: "),
    "std": ({"std": (0.01,)}, "model.std: "),
    "batch norm": ({"batch_norm": "td"}, "model.batch_norm: merged then, td now"),
}


@pytest.mark.sweep
@pytest.mark.parametrize("finish", [False, True], ids=["stopped", "finished"])
@pytest.mark.parametrize(("change", "says"), NETWORKS.values(), ids=NETWORKS)
def test_another_network_of_the_same_shapes(stopped, new_model, refuses, tmp_path, finish, change, says):
    resume = stopped(finish=finish)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with refuses(tmp_path / "run", "other settings", says, "--out"):
        resume(new_model(**change))
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def set_at_a_site(model):
    next(iter(sites(model).values())).neuron = Neuron(threshold=2.0)


def other_momentum(model):
    sites(model)["body.0"].norm.momentum = 0.5


def frozen(model):
    model.stem.requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_at_a_site, "model.changed.body.0.neuron"),
        (other_momentum, "model.changed.body.0.norm.momentum: None then, 0.5 now"),
        (frozen, "model.frozen: [] then, ['stem.weight', 'stem.bias'] now"),
        (lambda model: LSG().install(model), "model.changed.body.0.decay: None then, float32 [1, 1] now"),
    ],
    ids=["a site", "batch norm's momentum", "frozen", "learned decays"],
)
def test_what_was_made_of_a_network_counts(stopped, new_model, refuses, change, says):
    resume = stopped()
    model = new_model()
    change(model)
    with refuses("other settings", says):
        resume(model)


@pytest.mark.sweep
@pytest.mark.parametrize("settings", [None, {"mine": 1}], ids=["its own settings", "settings of the caller's"])
@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ([Mine(weight=0.0)], [Mine(weight=5.0)], "defenses.Mine.weight: 0.0 then, 5.0 now"),
        ([Late(0.0)], [Late(5.0)], "defenses.Late.weight: 0.0 then, 5.0 now"),
        ([Schedule(weight=rising(0.1))], [Schedule(weight=rising(0.2))], "defenses.Schedule.weight"),
        ([TGO(sigma=0.3)], [TGO(sigma=0.2)], "defenses.TGO.sigma: 0.3 then, 0.2 now"),
        ([], [TGO()], "defenses.TGO: None then"),
        ([AdversarialTraining(), TGO()], [TGO(), AdversarialTraining()], "order: ['AdversarialTraining', 'TGO'] then"),
    ],
    ids=["hidden", "no field", "a function", "one of ours", "one more", "another order"],
)
def test_other_defenses(stopped, refuses, settings, before, after, says):
    resume = stopped(defenses=before, settings=settings)
    with refuses("other settings", says):
        resume(defenses=after)


def test_another_training_under_settings_of_the_callers(stopped, refuses):
    resume = stopped(settings={"mine": 1})
    with refuses("train.learning_rate: 0.1 then, 0.2 now"):
        resume(learning_rate=0.2)


@pytest.mark.parametrize("finish", [False, True], ids=["stopped", "finished"])
def test_the_same_goes_on_however_it_prints(stopped, finish):
    def defenses():
        return [Mine(weight=0.1), Schedule(weight=rising(0.2)), Late(0.3)]

    resume = stopped(defenses=defenses(), finish=finish)
    assert len(resume(defenses=defenses()).metrics) == 2


def older(folder, **recipe):
    """The run as versions before the identity left it."""
    config = json.loads((folder / "config.json").read_text())
    del config["identity"], config["perturbed"]
    config["recipe"] |= recipe
    (folder / "config.json").write_text(json.dumps(sealed(config)))


def test_a_run_of_an_older_version_goes_on_and_says_what_it_does_not_know(
    stopped, refuses, tmp_path, caplog, same_weights, weights_of, new_model, few_digits, quick
):
    whole = train(new_model(), few_digits, [TGO(sigma=0.3)], quick(), show=False).model.state_dict()
    resume = stopped(defenses=[TGO(sigma=0.3)])
    older(tmp_path / "run")
    with refuses("other settings", "sigma=0.2"):
        resume(defenses=[TGO(sigma=0.2)])
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        resume(defenses=[TGO(sigma=0.3)])
    (said,) = caplog.messages
    assert str(tmp_path / "run") in said and "goes on with the one at hand" in said
    assert same_weights(whole, weights_of(tmp_path / "run"))


def test_an_older_run_whose_settings_describe_its_network_has_nothing_to_say(stopped, tmp_path, caplog):
    resume = stopped(settings={"model": {"name": "conv"}})
    older(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        resume()
    assert not caplog.records


@pytest.mark.parametrize("spoilt", ["text", [1], 3], ids=str)
def test_an_identity_that_is_none(stopped, refuses, tmp_path, spoilt):
    resume = stopped()
    config = json.loads((tmp_path / "run" / "config.json").read_text()) | {"identity": spoilt}
    (tmp_path / "run" / "config.json").write_text(json.dumps(sealed(config)))
    with refuses(tmp_path / "run" / "config.json", "damaged"):
        resume()


@pytest.mark.thorough
def test_the_command_line_says_the_same(new_model, few_digits, quick, refuses, tmp_path):
    """Its settings say more than a network has; what the run is, is kept in the same words."""

    def of_steps(steps):
        data = DataConfig(name="digits", validation=50, train_limit=320)
        return Recipe(name="mine", data=data, model=ModelConfig(name="conv", num_steps=steps), train=quick(epochs=1))

    train_recipe(of_steps(4), data_dir=None, out=tmp_path, show=False)
    with refuses("model.num_steps: 4 then, 8 now", "other settings"):
        train_recipe(of_steps(8), data_dir=None, out=tmp_path, resume=True, show=False)
    RunFolder(tmp_path).settle(identity_of_network(new_model()))
    with refuses("model.num_steps: 4 then, 8 now", "other settings"):
        RunFolder(tmp_path).settle(identity_of_network(new_model(num_steps=8)))


@pytest.mark.parametrize("finish", [False, True], ids=["stopped", "finished"])
def test_the_very_network_that_was_stopped_goes_on(stopped, new_model, finish):
    """As in a notebook, where the cell is run again: the network has the defense's changes already."""
    model = new_model()
    resume = stopped(model, [TGO(sigma=0.3), LSG()], finish=finish)
    assert sites(model)["body.0"].noise_std == 0.3
    assert len(resume(model, [TGO(sigma=0.3), LSG()]).metrics) == 2
