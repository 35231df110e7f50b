"""The model card: what the network is, how it was trained, what an audit found, and what that does not prove."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeproof.data.public_sets import PUBLIC_SETS
from spikeproof.models import ModelDescription, SpikingModel, load_model
from spikeproof.records.reading import read_record
from spikeproof.records.run_json import Note
from spikeproof.report import SavedRun
from spikeproof.report.numbers import percent, threat_text
from spikeproof.report.picks import clean_of
from spikeproof.report.press import Markdown, code, markdown, plain, short
from spikeproof.report.records import Audit, Measured
from spikeproof.report.trained import defenses_of, part_of, setting

NOT_AUDITED = "Not audited: nothing is known about its robustness."
# Settings of the training that the card has, in this order.
_TRAINING = (
    *("epochs", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay", "precision", "augmentation"),
    "seed",
)
_PARTS_OF_DATA = {
    "classes": "only the classes {}",
    "train_limit": "at most {} training images",
    "test_limit": "at most {} test images",
}


def model_card(run: SavedRun, *, source: str = "hub:FOLDER", license: str | None = None) -> str:
    """README.md of a pushed model: front matter that the hub reads, then Markdown for people.

    The network is described by its weights, the training by config.json, and the results by audit.json. The front
    matter repeats clean accuracy and worst case as evaluation results.

    Args:
        run: a finished run. Without an audit the card says so in the place of the results.
        source: what ``load_model`` takes to load it.
        license: of the weights, as the hub calls licences; None to name none.

    Raises:
        SpikeproofError: the run has no weights, or they are damaged.
    """
    from huggingface_hub import ModelCardData

    model = load_model(run.folder / "model.safetensors")
    network, data, audit = model.description, _Data(run), run.audit
    front = ModelCardData(
        library_name="spikeproof",
        license=license,
        pipeline_tag="image-classification",
        tags=["spiking-neural-network", "adversarial-robustness", *data.tags],
        datasets=data.repositories,
        metrics=None if audit is None else ["accuracy"],
        model_name=short(run.name),
        eval_results=None if audit is None else _evaluations(audit, data),
    )
    text = markdown(
        "card.md",
        front=Markdown(front.to_yaml()),
        name=run.name,
        network=network,
        data=data,
        audit=audit,
        not_audited=NOT_AUDITED,
        threat="" if audit is None else threat_text(audit.norm, audit.eps),
        clean=None if audit is None else clean_of(audit),
        attacks=[] if audit is None else [each.name for each in audit.trials if each.counts and each.kind != "clean"],
        network_rows=_network(model),
        training_rows=_training(run, data),
        source=Markdown(source),
        shape=Markdown(_shape(network)),
    )
    return f"{text}\n"


class _Data:
    """What a run's config says about its images; for a run that was started from Python that is nothing."""

    def __init__(self, run: SavedRun) -> None:
        settings = part_of(_recipe(run), "data")
        name = settings.get("name")
        self.title = Path(name).name if isinstance(name, str) else "data that the run does not name"
        public = PUBLIC_SETS.get(name) if isinstance(name, str) else None
        self.repositories = [public.repo] if public else None
        self.tags = [short(Path(name).name)] if isinstance(name, str) else []
        self.limits = [
            words.format(short(setting(settings[name])))
            for name, words in _PARTS_OF_DATA.items()
            if settings.get(name) is not None
        ]
        self.note = _note(run.folder / "facts.json")

    @property
    def subset(self) -> str:
        """The name of the data, with the limits that were set."""
        name = short(self.title)
        return f"{name} ({', '.join(self.limits)})" if self.limits else name


def _recipe(run: SavedRun) -> Mapping[str, Any]:
    recipe = run.config["recipe"]
    assert isinstance(recipe, dict)  # `read_run` has checked it
    return recipe


def _note(facts: Path) -> str:
    """In what the files differed from the published data set, if `spikeproof reproduce` wrote that beside the run."""
    if not facts.is_file():
        return ""
    return read_record(Note, facts, "remove it and reproduce again").data_note


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
            dataset_type=data.repositories[0] if data.repositories else short(data.title),
            dataset_name=data.subset,
            dataset_split=audit.split,
            metric_type="accuracy",
            metric_name=name,
            metric_value=round(100 * value.accuracy, 2),
            metric_args=arguments,
        )
        for name, value, arguments in measured
    ]


def _shape(network: ModelDescription) -> str:
    return f"[N, {', '.join(map(str, network.sample_shape))}]"


def _network(model: SpikingModel) -> list[tuple[str, str]]:
    network = model.description
    neuron = network.neuron
    weights = sum(parameter.numel() for parameter in model.parameters())
    fires = f"decay {neuron.decay:g}, threshold {neuron.threshold:g}, {neuron.reset} reset"
    images = f"{_shape(network)} in [0, 1] to [N, {network.num_classes}]"
    return [
        ("Architecture", Markdown(f"{code(network.name)}, width {network.width:g}, {weights:,} weights")),
        ("Images to logits", Markdown(images)),
        ("Steps T", str(network.num_steps)),
        ("Neuron", Markdown(f"{plain(fires)}, surrogate {code(neuron.surrogate)}")),
        ("Coding", code(network.coding)),
        ("Batch norm", network.batch_norm),
    ]


def _training(run: SavedRun, data: _Data) -> list[tuple[str, str]]:
    """What is known about the training: names and the words for each, which may be ""."""
    settings = {**part_of(_recipe(run), "train"), "precision": run.precision}
    given = {name.replace("_", " "): settings[name] for name in _TRAINING if settings.get(name) is not None}
    words = {short(name): short(fields) for name, fields in defenses_of(run.config).items()}
    defenses = [f"{name} ({fields})" if fields else name for name, fields in words.items()]
    versions = ", ".join(f"{name} {short(run.config[name])}" for name in ("spikeproof", "torch", "python"))
    last, minutes = "", ""
    if run.epochs:
        epoch = run.epochs[-1]
        last = f"training accuracy {percent(epoch.train_accuracy)} % (attacked where a defense attacks)"
        if epoch.validation_accuracy is not None:
            last += f", validation accuracy {percent(epoch.validation_accuracy)} % (clean)"
        minutes = f"{sum(each.seconds for each in run.epochs) / 60:.1f} minutes"
    return [
        ("Defenses", "; ".join(defenses) or "none"),
        ("Data", data.subset),
        ("Settings", ", ".join(f"{words} {short(setting(value))}" for words, value in given.items())),
        ("Last epoch", last),
        ("Time", minutes),
        ("Made with", f"{versions}, on {short(run.config['device'])}"),
    ]
