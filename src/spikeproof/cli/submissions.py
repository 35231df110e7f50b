"""The commands around submissions for the leaderboard: submit, check."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Literal

import tyro

from spikeproof.cli.arguments import read_arguments
from spikeproof.cli.one_process import refuse_torchrun
from spikeproof.recipes import check_submission, submit
from spikeproof.report.numbers import interval, percent


@dataclasses.dataclass(kw_only=True)
class SubmitArguments:
    """Pack a finished run for the leaderboard: its weights, and what its audit found, as a claim."""

    run: tyro.conf.Positional[Path]
    """A finished run folder with an audit of its test split by a battery."""
    folder: tyro.conf.Positional[Path]
    """The new folder of the submission."""
    by: str
    """Whose submission it is."""
    paper: str = ""
    """An address where the method can be read."""
    name: str | None = None
    """Of the row; the run's name by default."""
    audit: Path | None = None
    """The folder of the audit, if the run has several."""
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""


@dataclasses.dataclass(kw_only=True)
class CheckArguments:
    """Audit the weights of a submission again and compare what that finds with what it claims."""

    folder: tyro.conf.Positional[Path]
    """With submission.json and model.safetensors."""
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to attack."""
    quiet: bool = False
    """Say nothing on the way."""


def submit_command(words: list[str], command: str) -> None:
    """Pack a run, and say how it is checked."""
    arguments = read_arguments(SubmitArguments, words, prog="spikeproof submit")
    submit(
        arguments.run,
        arguments.folder,
        by=arguments.by,
        paper=arguments.paper,
        name=arguments.name,
        audit=arguments.audit,
        data_dir=arguments.data_dir,
    )
    print(f"{arguments.folder} is packed; check it with: spikeproof check {shlex.quote(str(arguments.folder))}")


def check_command(words: list[str], command: str) -> int:
    """Check a submission; the exit code is 1 where its claim does not hold."""
    arguments = read_arguments(CheckArguments, words, prog="spikeproof check")
    refuse_torchrun("check", "start it without torchrun")
    compared, found = check_submission(
        arguments.folder, data_dir=arguments.data_dir, device=arguments.device, show=not arguments.quiet
    )
    for line in compared.differing:
        print(line)
    worst = found.audit.worst_case
    print(
        f"The audit found a worst case of {percent(worst.accuracy)} % ({interval(worst)} %) of {worst.samples} images."
    )
    for sentence in compared.too_good:
        print(f"Too good: {sentence}.")
    print("The claim holds." if compared.holds else "The claim does not hold.")
    return 0 if compared.holds else 1
