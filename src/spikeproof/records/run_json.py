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
    """config.json: the settings of a run, what the run is, and what it ran with.

    Attributes:
        recipe: the settings, by today's names.
        precision, threads: with which training ran; None without training, and in older runs.
        images: ``Data.fingerprints`` of the run's own data.
        identity: what the run is (``spikeproof.train.identity``).
        perturbed: whether a defense makes the images on which training accuracy is measured.
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
        step: optimiser steps since the run's beginning.
        penalties: the mean of each defense's penalty.
        train_accuracy, validation_accuracy: in [0, 1]; the latter is None where nobody looked after this epoch.
        learning_rate: at the epoch's last step.
        seconds: without validation and compiling.
        precision: in which the epoch ran; in older runs as it was asked for.
        firing_rates: by site, on the validation images; empty where nobody looked.
        beyond: learned decays and gains beyond a neuron's bounds, by name.
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
    """``data_note``: in what the files at hand differ from the published data set, in words; "" where they do not."""

    data_note: Text


class NetworkFacts(Note):
    """facts.json of a network in a store: what its result row says about its data and its training."""

    images: dict[str, Any]
    classes: Whole
    train_images: Whole
    synaptic_operations: Number
    peak_memory_bytes: Whole | None = None


class Taken(RunRecord):
    """A measured number of a network in a store, and the name of its measure."""

    measure: Text
    value: Number


def read_epochs(path: Path) -> tuple[Epoch, ...]:
    """Read and check metrics.jsonl.

    Args:
        path: the file.

    Returns:
        One record a line; epochs increase.

    Raises:
        SpikeproofError: the file is missing or damaged, or epochs do not increase.
    """
    mend = "train the run again, or resume it from its last state"
    epochs = [as_record(Epoch, line, where, mend) for where, line in sealed_lines(path, mend)]
    for before, after in itertools.pairwise(epochs):
        if after.epoch <= before.epoch:
            raise SpikeproofError(
                f"{path}: epochs should increase, got {after.epoch} after {before.epoch}; {mend}, or remove the lines "
                f"that came twice."
            )
    return tuple(epochs)
