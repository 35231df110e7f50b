"""The end of an epoch: accuracy on the validation split, and the epoch's metrics as a sentence."""

from __future__ import annotations

from typing import Any

from torch import nn

from spikeproof.attacks import judged
from spikeproof.data import ImageSet
from spikeproof.errors import SpikeproofError
from spikeproof.runs import Processes
from spikeproof.spiking import probe, sites
from spikeproof.train.beyond import in_words
from spikeproof.train.tally import Tally


def validated(model: nn.Module, images: ImageSet, epoch: int, processes: Processes) -> tuple[float, dict[str, float]]:
    """Measure accuracy and the firing rate of every site. Each process judges its share of the batches.

    Args:
        model: on the images' device.
        images: the validation split.
        epoch: the epoch that has just ended, for the error message.
        processes: those of this run; all must call this.

    Returns:
        The accuracy in [0, 1], and by the name of each site its mean firing rate (spikes per neuron and step).

    Raises:
        SpikeproofError: outputs that are not finite.

    Example:
        >>> from spikeproof.data import load_data
        >>> from spikeproof.models import create_model
        >>> data = load_data("digits", validation=100, classes=(3, 8))
        >>> model = create_model("conv", num_classes=2, image_size=8, in_channels=1)
        >>> accuracy, rates = validated(model, data.validation, 0, Processes())
        >>> 0 <= accuracy <= 1, list(rates)
        (True, ['body.0', 'body.2', 'body.5'])
    """
    count, broken = len(images), 0
    device = images.images.device
    seen, rates = Tally(device, {"correct": 0.0}), Tally(device, dict.fromkeys(sites(model), 0.0))
    with probe(model, "rate") as record:
        for number, (pixels, labels) in enumerate(images.batches(250)):
            if number % processes.world != processes.rank:
                continue
            try:
                seen.add("correct", (judged(model, pixels).argmax(1) == labels).sum())
            except SpikeproofError:  # outputs are not finite here; in the other processes they may be
                broken = 1
                break
            for site, left in record.items():
                assert left.rate is not None
                rates.add(site, left.rate, len(pixels), count)
    right, troubled = processes.total(seen.read() | {"broken": broken}).values()
    if troubled:  # all processes end here, or one would wait for another
        raise SpikeproofError(
            f"The loss is not usable after epoch {epoch}, because the network's outputs are not finite; lower the "
            "learning rate or the weight of a defense."
        )
    return right / count, processes.total(rates.read())


def sentence(label: str, line: dict[str, Any], epochs: int, compiling: float = 0.0) -> str:
    """The line that is printed after an epoch.

    Args:
        label: of the run, at the beginning of the line.
        line: the epoch's line of metrics.jsonl.
        epochs: how many the run has.
        compiling: seconds that the compiling of kernels took; the epoch's own seconds do not include them.
    """
    penalties = "".join(f", {key} {value:.3f}" for key, value in line["penalties"].items())
    validated = ""
    if line["validation_accuracy"] is not None:
        mean_rate = sum(line["firing_rates"].values()) / len(line["firing_rates"])
        validated = f"validation {100 * line['validation_accuracy']:.1f} %, mean rate {mean_rate:.3f}, "
    learned = f", {in_words(line['beyond'])}" if line.get("beyond") else ""
    apart = f" + {compiling:.0f} s compiling" if compiling >= 1 else ""
    return (
        f"{label}: epoch {line['epoch'] + 1}/{epochs}, loss {line['loss']:.3f}{penalties}, "
        f"train {100 * line['train_accuracy']:.1f} %, {validated}{line['seconds']:.0f} s{apart}{learned}"
    )
