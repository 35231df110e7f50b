"""What was trained, in words: network, data, defenses and how long. What the config leaves out is not mentioned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikeproof.report.numbers import listed, percent
from spikeproof.report.records import SavedRun
from spikeproof.report.wording import method_name

# Every other field of a recipe is a defense.
NO_DEFENSE = ("name", "data", "model", "train", "audit", "defenses", "network")
_LONGEST = 200


def trained_sentences(run: SavedRun) -> list[str]:
    """One to four sentences about the training.

    Args:
        run: also one that is unfinished, or that was trained elsewhere.

    Example: "vgg11 (width 0.125, T = 8, Triangle surrogate, Direct coding) on cifar10 (classes 0, 1, 3; at most 2000
    training images), with AT (eps 0.00784, attack fgsm)."
    """
    recipe = run.config["recipe"]
    assert isinstance(recipe, dict)  # `read_run` has checked it
    sentences = [_what(run.config)] if "model" in recipe or "defenses" in recipe else []
    if "network" in recipe:
        made_by = setting(part_of(recipe, "network").get("made_by", "The network"))
        return [f"{made_by}: trained elsewhere, and nothing is known of how."]
    if not run.epochs:
        return [*sentences, "No epoch is finished yet."]
    last, minutes = run.epochs[-1], sum(epoch.seconds for epoch in run.epochs) / 60
    train = part_of(recipe, "train")
    how = [f"batches of {train['batch_size']}"] if "batch_size" in train else []
    how += [setting(train["optimizer"])] if train.get("optimizer", "sgd") != "sgd" else []
    how += [f"learning rate {setting(train['learning_rate'])}"] if "learning_rate" in train else []
    how += [run.precision] if run.precision else []
    sentences.append(f"{len(run.epochs)} epochs{_bracketed(how)} took {minutes:.1f} minutes on {run.config['device']}.")
    validation = (
        "" if last.validation_accuracy is None else f", validation accuracy {percent(last.validation_accuracy)} %"
    )
    perturbed = run.config.get("perturbed", _perturbed_once(run.config))
    attacked = " (on the images as a defense perturbs them)" if perturbed else ""
    sentences.append(
        f"The last, epoch {last.epoch + 1}: loss {last.loss:.4g}, training accuracy {percent(last.train_accuracy)} %"
        f"{attacked}{validation}."
    )
    if last.beyond:
        name, value = max(last.beyond.items(), key=lambda item: abs(item[1] - 0.5))
        sentences.append(
            f"Beyond the bounds that a neuron's own setting has (decays in [0, 1], gains above 0) {len(last.beyond)} "
            f"learned values lie, {name} = {setting(value)} the farthest."
        )
    return [sentence[:1000] for sentence in sentences]


def defenses_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Each defense of a recorded run by the name that people use, with its settings in words.

    Args:
        config: config.json. Its ``labels`` say how each is written; without them the usual names are taken.
    """
    recipe, labels = config["recipe"], config.get("labels", {})

    def written(name: str) -> str:
        return labels.get(name) or method_name(name)

    if isinstance(recipe.get("defenses"), list):  # a run that was started from Python
        calls = [str(words).partition("(") for words in recipe["defenses"]]
        return {written(name): rest.removesuffix(")")[:_LONGEST] for name, _, rest in calls}
    defenses = {name: value for name, value in recipe.items() if name not in NO_DEFENSE and value is not None}
    return {written(name): setting(value) for name, value in defenses.items()}


def _what(config: Mapping[str, Any]) -> str:
    recipe = config["recipe"]
    model, data = part_of(recipe, "model"), part_of(recipe, "data")
    neuron = part_of(model, "neuron")
    network = [f"width {setting(model['width'])}"] if model.get("width", 1) != 1 else []
    network += [f"T = {setting(model['num_steps'])}"] if "num_steps" in model else []
    network += [f"{_named(neuron['surrogate'])} surrogate"] if "surrogate" in neuron else []
    network += [f"{_named(model['coding'])} coding"] if "coding" in model else []
    limits = [f"classes {setting(data['classes'])}"] if data.get("classes") is not None else []
    limits += [f"at most {setting(data['train_limit'])} training images"] if data.get("train_limit") is not None else []
    words = f"{setting(model.get('name', 'A network'))}{_bracketed(network)}"
    if "name" in data:
        words += f" on {str(data['name']).replace(chr(92), '/').rpartition('/')[2]}{_bracketed(limits, '; ')}"
    defenses = [f"{name}{_bracketed([each] if each else [])}" for name, each in defenses_of(config).items()]
    return f"{words}, {f'with {listed(defenses)}' if defenses else 'without a defense'}."


def _perturbed_once(config: Mapping[str, Any]) -> bool:
    """Whether a defense made the training images, for older runs, whose config.json does not say so."""
    return bool({"AT", "Free AT", "TRADES", "MART", "HIRE", "DLIF"} & defenses_of(config).keys())


def part_of(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The field of a recipe, such as "train", if it is an object; else an empty one.

    A run that was started from Python may have anything under that name, or nothing.
    """
    fields = recipe.get(name)
    return fields if isinstance(fields, dict) else {}


def _named(value: Any) -> str:
    """A surrogate or a coding with its settings."""
    if not isinstance(value, dict) or "name" not in value:
        return setting(value)
    rest = {name: each for name, each in value.items() if name != "name"}
    return f"{setting(value['name'])}{_bracketed([setting(rest)] if rest else [])}"


def setting(value: Any) -> str:
    """A value of config.json in words, at most 200 letters; for an object each field and its value."""
    if isinstance(value, dict):
        fields = {str(name).replace("_", " "): setting(each) for name, each in value.items() if each is not None}
        words = ", ".join(f"{name} {each}" for name, each in fields.items())
    elif isinstance(value, list):
        words = ", ".join(map(str, value))
    else:
        words = f"{value:.3g}" if isinstance(value, float) else str(value)
    return words[:_LONGEST]


def _bracketed(words: list[str], between: str = ", ") -> str:
    return f" ({between.join(words)})" if words else ""
