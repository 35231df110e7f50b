"""config.json and metrics.jsonl of a run, and what a store of tables keeps beside them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from spikeproof.errors import SpikeproofError
from spikeproof.former_names import todays
from spikeproof.records.reading import as_record, sealed_lines
from spikeproof.records.record import RunRecord
from spikeproof.records.values import Number, Share, Text, Truth, Whole


class ConfigRecord(RunRecord):
    """config.json: the settings of a run, what the run is and what it ran with.

    Attributes:
        recipe: the settings, by today's names.
        precision, threads: what ran; None where no training did, or in a run from before they were kept.
        images: fingerprints of the run's own data; identity: what the run is.
        perturbed: whether a defense makes the images that training accuracy is of.
        labels: how people write each defense that the recipe names.
    """

    name: Text
    recipe: Annotated[dict[str, Any], AfterValidator(todays)]
    spikeproof: Text
    torch: Text
    python: Text
    device: Text
    machine: Text = ""
    precision: Text | None = None
    threads: Whole | None = None
    images: Any = None
    identity: Any = None
    perturbed: Truth = False
    labels: dict[str, Text] = {}
    command: Text


class Epoch(RunRecord):
    """One line of metrics.jsonl.

    Attributes:
        step: of the optimiser, from the run's beginning on.
        precision: what was asked for.
        beyond: what sites have learned beyond the bounds of a neuron's own setting.
    """

    epoch: Whole
    step: Whole | None = None
    loss: Number
    penalties: dict[str, Number]
    train_accuracy: Share
    validation_accuracy: Share | None = None
    learning_rate: Number
    seconds: Number
    precision: Text | None = None
    firing_rates: dict[str, Number]
    beyond: dict[str, Number] = {}


class Note(RunRecord):
    """In what the files at hand differ from the published data set, in words; "" where they do not."""

    data_note: Text


class NetworkFacts(Note):
    """facts.json of a network in a store: what its result row says of its data and its training."""

    images: dict[str, Any]
    classes: Whole
    train_images: Whole
    synaptic_operations: Number
    peak_memory_bytes: Whole | None = None


class Taken(RunRecord):
    """A measure of a network in a store."""

    measure: Text
    value: Number


def read_epochs(path: Path) -> tuple[Epoch, ...]:
    """The lines of metrics.jsonl.

    Raises:
        SpikeproofError: the file is missing or damaged, or epochs do not increase.
    """
    mend = "train the run again, or resume it from its last state"
    epochs = [as_record(Epoch, held, where, mend) for where, held in sealed_lines(path, mend)]
    for before, after in itertools.pairwise(epochs):
        if after.epoch <= before.epoch:
            raise SpikeproofError(
                f"{path}: epochs should increase, got {after.epoch} after {before.epoch}; {mend}, or remove the lines "
                f"that came twice."
            )
    return tuple(epochs)
