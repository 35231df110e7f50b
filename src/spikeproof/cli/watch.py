"""Watch a run while another process trains it: each epoch in a line, and in TensorBoard if that is wanted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeproof.cli.arguments import WatchArguments, asks_for_help, named, read_arguments
from spikeproof.errors import SpikeproofError
from spikeproof.runs import RunFolder
from spikeproof.train.epoch import sentence

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


def watch_command(words: list[str], command: str) -> None:
    """Print what a run has done, and each epoch from then on, until it is finished or nobody is at it."""
    if asks_for_help(words):
        read_arguments(WatchArguments, ["--help"], prog="spikeproof watch RUN")
    name, rest = named(words, "watch", "RUN", "runs/demo/vanilla")
    arguments = read_arguments(WatchArguments, rest, prog=f"spikeproof watch {name}")
    if arguments.every <= 0:
        raise SpikeproofError(f"--every should be seconds above 0, got {arguments.every}.")
    folder = RunFolder(name)
    config = folder.config()
    epochs = config["recipe"].get("train", {}).get("epochs", "?")
    with _curves(arguments.tensorboard and (arguments.out or folder.path / "tensorboard")) as draw:
        for line in _lines(folder, arguments.every):
            print(sentence(config["name"], line, epochs), flush=True)
            draw(line)
    if folder.finished:
        print(f"The run is finished: {folder.weights}", flush=True)
    else:
        print(f"Nobody trains {name} now; its own command goes on with it: {_again(config['command'])}", flush=True)


def _lines(folder: RunFolder, every: float) -> Iterator[dict[str, Any]]:
    """The lines of metrics.jsonl, those that come later too; ends when no more can come."""
    shown = 0
    while True:
        ended = folder.finished or _nobody_is_at(folder)  # asked first, so that no line can come after the look
        lines = folder.metrics()
        yield from lines[shown:]
        shown = len(lines)
        if ended:
            return
        time.sleep(every)


def _again(command: str) -> str:
    """A run's own command, as it goes on with the run.

    Example:
        >>> _again("spikeproof train RECIPE"), _again("spikeproof compare FAMILY")
        ('spikeproof train RECIPE --resume', 'spikeproof compare FAMILY')
    """
    goes_on_by_itself = command.split()[1:2] in (["demo"], ["compare"], ["reproduce"])
    return command if goes_on_by_itself or command.endswith(" --resume") else f"{command} --resume"


def _nobody_is_at(folder: RunFolder) -> bool:
    try:
        with folder.lock():
            return True
    except SpikeproofError:
        return False


@contextlib.contextmanager
def _curves(out: Path | bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What takes each line: TensorBoard's files in ``out``, or nothing.

    Raises:
        SpikeproofError: TensorBoard is not installed.
    """
    if not isinstance(out, Path):
        yield lambda line: None
        return
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise SpikeproofError("--tensorboard needs TensorBoard: pip install 'spikeproof[tensorboard]'.") from None
    # purge_step: what an earlier watch wrote is not shown twice
    writer = SummaryWriter(str(out), purge_step=0)
    try:
        yield lambda line: _draw(writer, line)
    finally:
        writer.close()


def _draw(writer: SummaryWriter, line: dict[str, Any]) -> None:
    values = {
        "loss/all": line["loss"],
        "accuracy/training": line["train_accuracy"],
        "accuracy/validation": line["validation_accuracy"],
        "learning rate": line["learning_rate"],
        "seconds of an epoch": line["seconds"],
        **{f"loss/{name}": value for name, value in line["penalties"].items()},
        **{f"firing rate/{name}": value for name, value in line["firing_rates"].items()},
    }
    for name, value in values.items():
        if value is not None:
            writer.add_scalar(name, value, line["epoch"] + 1)
    writer.flush()
