"""The model card: what the network is, how it was trained, what an audit found, and what that does not prove."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeproof.data.public_sets import PUBLIC_SETS
from spikeproof.models import ModelDescription, SpikingModel, load_model
from spikeproof.records.reading import read_record
from spikeproof.records.run_json import Note
from spikeproof.report import Run
from spikeproof.report.picks import clean_of
from spikeproof.report.records import Audit, Measured
from spikeproof.report.trained import defenses_of
from spikeproof.report.wording import (
    checks_text,
    conditions,
    further,
    interval,
    listed,
    percent,
    reservations,
    worst_case,
    worst_interval,
)

_LONGEST = 300  # of any words that are a run's own
_MARKS = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
NOT_AUDITED = "Not audited: nothing is known about its robustness."
_TRAINING = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "momentum": "momentum",
    "weight_decay": "weight decay",
    "precision": "precision",
    "augmentation": "augmentation",
    "seed": "seed",
}

_PARTS_OF_DATA = {
    "classes": "only the classes {}",
    "train_limit": "at most {} training images",
    "test_limit": "at most {} test images",
}


def model_card(run: Run, *, source: str = "hub:FOLDER", license: str | None = None) -> str:
    """README.md of a pushed model: front matter that the hub reads, then Markdown for people.

    The network is described as its weights describe it, the training as config.json does, and the results as
    audit.json does; the front matter repeats clean accuracy and worst case as evaluation results.

    Args:
        run: a finished run; one without an audit gets a card that says so where the results would be.
        source: what ``load_model`` takes to load it.
        license: of the weights, as the hub calls licences; only their owner can know it.

    Raises:
        SpikeproofError: the run has no weights, or they are damaged.
    """
    from huggingface_hub import ModelCardData

    model = load_model(run.folder / "model.safetensors")
    data = _Data(run)
    front = ModelCardData(
        library_name="spikeproof",
        license=license,
        pipeline_tag="image-classification",
        tags=["spiking-neural-network", "adversarial-robustness", *data.tags],
        datasets=data.repositories,
        metrics=None if run.audit is None else ["accuracy"],
        model_name=_one_line(run.name),
        eval_results=None if run.audit is None else _evaluations(run.audit, data),
    )
    parts = [
        f"# {_plain(run.name)}",
        _summary(run, model.description, data),
        *_results(run.audit),
        "## What the numbers do not say",
        *_limits(run, data),
        "## Network",
        _network(model),
        "## Training",
        _training(run, data),
        "## Use",
        _use(model.description, source),
        _files(run),
    ]
    return f"---\n{front.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


class _Data:
    """What a run's config says of its images; a run that was started from Python says nothing."""

    def __init__(self, run: Run) -> None:
        settings = _part(run, "data")
        name = settings.get("name")
        self.name = _plain(Path(name).name) if isinstance(name, str) else None
        public = PUBLIC_SETS.get(name) if isinstance(name, str) else None
        self.repositories = [public.repo] if public else None
        self.tags = [_one_line(Path(name).name)] if isinstance(name, str) else []
        self.limits = [
            words.format(_plain(_listed(settings[name])))
            for name, words in _PARTS_OF_DATA.items()
            if settings.get(name) is not None
        ]
        self.note = _note(run.folder / "facts.json")

    @property
    def title(self) -> str:
        return self.name or "data that the run does not name"

    @property
    def subset(self) -> str:
        """The name, with what was left out of it."""
        return f"{self.title} ({', '.join(self.limits)})" if self.limits else self.title


def _recipe(run: Run) -> Mapping[str, Any]:
    recipe = run.config["recipe"]
    assert isinstance(recipe, dict)  # `read_run` has looked
    return recipe


def _part(run: Run, name: str) -> Mapping[str, Any]:
    """A part of the recipe; a run that was started from Python may have anything under that name, or nothing."""
    held = _recipe(run).get(name)
    return held if isinstance(held, dict) else {}


def _note(facts: Path) -> str:
    """In what the files differed from the published data set; `spikeproof reproduce` writes that beside a run."""
    if not facts.is_file():
        return ""
    return _plain(read_record(Note, facts, "remove it and reproduce again").data_note)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _evaluations(audit: Audit, data: _Data) -> list[Any]:
    from huggingface_hub import EvalResult

    under = {"norm": audit.norm, "eps": audit.eps, "battery": audit.battery, "samples": audit.samples}
    clean = clean_of(audit)
    measured: list[tuple[str, Measured, dict[str, Any]]] = [
        *([("clean accuracy (%)", clean, {"samples": audit.samples})] if clean else []),
        *([] if audit.no_number else [("worst-case accuracy (%)", audit.worst_case, under)]),
    ]
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=data.repositories[0] if data.repositories else data.title,
            dataset_name=data.subset,
            dataset_split=audit.split,
            metric_type="accuracy",
            metric_name=name,
            metric_value=round(100 * value.accuracy, 2),
            metric_args=arguments,
        )
        for name, value, arguments in measured
    ]


def _summary(run: Run, described: ModelDescription, data: _Data) -> str:
    what = (
        f"A spiking neural network ({described.name}, T = {described.num_steps}) that classifies images of {data.title}"
    )
    if run.audit is None:
        return f"{what}.\n\n**{NOT_AUDITED}**"
    audit, worst = run.audit, run.audit.worst_case
    if audit.no_number:
        return f"{what}.\n\n**Robustness: {worst_case(audit)}.** {_plain(audit.no_number)}"
    return (
        f"{what}. Of {audit.samples} images **{percent(worst.accuracy)} %** stay right under every attack of "
        f"the battery {_code(audit.battery)} ({conditions(audit)['Threat']}; 95 % interval {interval(worst)})."
    )


def _results(audit: Audit | None) -> list[str]:
    if audit is None:
        return []
    clean = clean_of(audit)
    rows = [("Clean images", clean)] if clean else []
    rows += [(f"Protocol: {_code(audit.protocol_trial)}", audit.protocol)]
    table = ["| On the same images | Accuracy (%) | 95 % interval |", "|---|--:|--:|"]
    table += [f"| {label} | {percent(value.accuracy)} | {interval(value)} |" for label, value in rows]
    table += [f"| **Worst case: right under every attack** | **{worst_case(audit)}** | {worst_interval(audit)} |"]
    counted = [trial.name for trial in audit.trials if trial.counts and trial.kind != "clean"]
    gap = (
        f"Masking gap, protocol minus worst case: {percent(audit.masking_gap)} points. "
        f"Checks that raised a red flag: {checks_text(audit)}."
    )
    return [
        "## Results",
        "\n".join(table),
        gap if audit.search is None else f"{gap} {further(audit.search, audit.samples)}",
        f"Conditions: {_plain('; '.join(conditions(audit).values()))}.",
        f"The worst case is over {listed([_code(name) for name in counted])}.",
    ]


def _limits(run: Run, data: _Data) -> list[str]:
    audit = run.audit
    said = []
    if audit is None:
        said.append(f"{NOT_AUDITED} Accuracy on clean images says nothing about it either.")
    else:
        said.append(
            "The worst case is an upper bound of the network's robustness: it holds for the attacks that were tried, "
            "and one that was not may break more."
        )
        said.append(
            f"It was measured within one threat ({conditions(audit)['Threat']}) on {audit.samples} images of the "
            f"{_plain(audit.split)} split; of other threats, corruptions and images it says nothing."
        )
        said += [_plain(sentence) for sentence in reservations(audit)]
    if data.limits:
        said.append(f"The run took a part of {data.title}: {', '.join(data.limits)}.")
    if data.note:
        said.append(f"The files of {data.title} at hand differed from the published ones: {data.note}.")
    return ["\n".join(f"- {sentence}" for sentence in said)]


def _network(model: SpikingModel) -> str:
    held = model.description
    neuron, size = held.neuron, held.image_size
    weights = sum(parameter.numel() for parameter in model.parameters())
    fires = f"decay {neuron.decay:g}, threshold {neuron.threshold:g}, {neuron.reset} reset"
    return _table(
        {
            "Architecture": f"`{held.name}`, width {held.width:g}, {weights:,} weights",
            "Images to logits": f"[N, {held.in_channels}, {size}, {size}] in [0, 1] to [N, {held.num_classes}]",
            "Steps T": str(held.num_steps),
            "Neuron": f"{fires}, surrogate `{neuron.surrogate}`",
            "Coding": f"`{held.coding}`",
            "Batch norm": held.batch_norm,
        }
    )


def _training(run: Run, data: _Data) -> str:
    settings = _part(run, "train")
    settings = {**settings, "precision": run.precision}
    given = {words: settings[name] for name, words in _TRAINING.items() if settings.get(name) is not None}
    versions = ", ".join(f"{name} {_plain(run.config[name])}" for name in ("spikeproof", "torch", "python"))
    rows = {"Defenses": _defenses(run.config), "Data": data.subset}
    rows["Settings"] = ", ".join(f"{words} {_value(value)}" for words, value in given.items())
    if run.epochs:
        last = run.epochs[-1]
        rows["Last epoch"] = f"training accuracy {percent(last.train_accuracy)} % (attacked where a defense attacks)"
        if last.validation_accuracy is not None:
            rows["Last epoch"] += f", validation accuracy {percent(last.validation_accuracy)} % (clean)"
        rows["Time"] = f"{sum(epoch.seconds for epoch in run.epochs) / 60:.1f} minutes"
    rows["Made with"] = f"{versions}, on {_plain(run.config['device'])}"
    return _table({name: words for name, words in rows.items() if words})


def _defenses(config: Mapping[str, Any]) -> str:
    held = {_plain(name): _plain(said) for name, said in defenses_of(config).items()}
    return "; ".join(f"{name} ({said})" if said else name for name, said in held.items()) or "none"


def _value(value: Any) -> str:
    """A setting as words: a field and what it holds."""
    if isinstance(value, dict):
        return ", ".join(f"{_plain(name)} {_value(held)}" for name, held in value.items())
    return f"{value:g}" if isinstance(value, float) else _plain(_listed(value))


def _plain(text: Any) -> str:
    """Words of a run or of its data as nothing but words: on one line, and no Markdown or HTML in them."""
    return re.sub(r"([\\`*_\[\]!|~<>&])", lambda found: _MARKS.get(found[1], f"\\{found[1]}"), _one_line(text))


def _code(text: Any) -> str:
    """The same as a span of code, which a mark within cannot end."""
    return f"`{_one_line(text).replace('`', chr(39)).replace('|', '/')}`"


def _one_line(text: Any) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())[:_LONGEST]


def _use(described: ModelDescription, source: str) -> str:
    shape = f"[N, {described.in_channels}, {described.image_size}, {described.image_size}]"
    return (
        "```python\n"
        "import spikeproof as sp\n\n"
        f'model = sp.load_model("{source}")  # in eval mode\n'
        f"logits = model(images)  # {shape} in [0, 1]; normalisation and coding are inside\n"
        "```"
    )


def _files(run: Run) -> str:
    audited = "" if run.audit is None else " `audit.json` and `outcomes.parquet` (every verdict) are the audit's."
    return (
        f"`config.json` and `metrics.jsonl` are the training run's.{audited} Left out of them: command lines, and of "
        "absolute paths all but the last part. A copy of these files is a run folder for `spikeproof audit` and "
        "`spikeproof report`."
    )


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {words} |" for name, words in rows.items())])
