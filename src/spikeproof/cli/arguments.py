"""What each command takes, read by tyro; its complaints shortened to one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from spikeproof.audit import AuditConfig
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import Recipe
from spikeproof.tables import Scale

_Arguments = TypeVar("_Arguments")


@dataclasses.dataclass(kw_only=True)
class DemoArguments:
    """Train, audit and report six small networks on 8x8 digits: offline, about two minutes."""

    out: Path = Path("runs/demo")
    """Folder for the six runs and report.html."""


@dataclasses.dataclass(kw_only=True)
class TrainArguments:
    """Train a recipe; every field of it can be overridden."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    out: Path | None = None
    """Run folder; runs/<recipe name> by default."""
    resume: bool = False
    """Go on with the run in that folder."""


@dataclasses.dataclass(kw_only=True)
class CompareArguments:
    """Train and audit every recipe of a family, resumably, and write one page; overrides hold for every row."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    out: Path | None = None
    """Folder for the runs; runs/compare-FAMILY by default."""
    page: Path | None = None
    """The Markdown page; comparison.md in that folder by default. report.html and comparison.png go in the folder."""
    seeds: tuple[int, ...] = (0,)
    """Each row is trained with each of these."""
    rows: tuple[str, ...] = ()
    """The recipes to run, without the family's name; all by default."""
    share: str = "0/1"
    """I/N: this process does every N-th row from the I-th on; the page shows what all have done."""


@dataclasses.dataclass(kw_only=True)
class ReproduceArguments:
    """Rebuild a published table, or some of its rows, and print it beside the paper's; killed and restarted at will."""

    scale: Scale = "mini"
    """Changes width, data and epochs only: mini (minutes a network on a CPU core), short, full (for GPUs)."""
    seeds: tuple[int, ...] = (0,)
    """Each row is trained with each of these."""
    rows: tuple[str, ...] = ()
    """Names of the rows to do; all by default (`--dry-run` lists what that is)."""
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    out: Path = Path("runs/reproduce")
    """Networks and audits, by content; shared by all tables, and by all processes that are at them."""
    results: Path | None = None
    """Folder of the result files; OUT/results by default."""
    page: Path | None = None
    """The page made of all result files; results.md beside them by default. An HTML page of the same name joins it."""
    jobs: int = 1
    """How many networks at once, in processes of their own."""
    cluster: Literal["slurm", "local"] | None = None
    """Send each network as a job through submitit (pip install 'spikeproof[cluster]'); JOBS of them at once."""
    cluster_options: tuple[str, ...] = ()
    """NAME=VALUE as submitit calls them: timeout_min=600 slurm_partition=gpu gpus_per_node=1."""
    dry_run: bool = False
    """Print the networks, what is done of them, and the hours; do nothing."""


@dataclasses.dataclass(kw_only=True)
class LeaderboardArguments:
    """Check result files and make the page of them."""

    results: tyro.conf.Positional[Path]
    """The folder of the result files."""
    page: Path | None = None
    """The Markdown page; results.md in that folder by default. An HTML page of the same name joins it."""
    check: bool = False
    """Check the files and write nothing."""


@dataclasses.dataclass(kw_only=True)
class PushArguments:
    """Share a run's weights with a model card."""

    run: tyro.conf.Positional[Path]
    """A finished run folder."""
    target: tyro.conf.Positional[str]
    """hub:OWNER/NAME, or a folder."""
    audit: Path | None = None
    """The folder of its audit, if that is not in the run folder."""
    license: str | None = None
    """Of the weights, as the hub calls licences: mit, cc-by-4.0, ..."""
    private: bool = False
    """Whether a new repository is private."""


@dataclasses.dataclass(kw_only=True)
class AuditArguments:
    """Attack a run's network with a battery; the recipe's audit settings can be overridden."""

    config: Annotated[AuditConfig, tyro.conf.arg(name="")]
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to attack."""
    substitutes: tuple[Path, ...] = ()
    """Run folders of other networks, whose adversarial images are tried on this one (black-box transfer)."""


@dataclasses.dataclass(kw_only=True)
class ReportArguments:
    """One HTML file that compares runs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders."""
    out: Path | None = None
    """The file; report.html in the first run folder by default."""


def read_arguments(
    kind: type[_Arguments], words: Sequence[str], *, prog: str, default: _Arguments | None = None
) -> _Arguments:
    """Parse a command's words.

    Raises:
        SpikeproofError: words that do not fit, in one sentence.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(
                kind,
                prog=prog,
                args=list(words),
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        raise SpikeproofError(_one_sentence(complaint.getvalue(), prog)) from None
    sys.stderr.write(complaint.getvalue())  # what tyro had to say about words that fit
    return parsed


def _one_sentence(box: str, prog: str) -> str:
    """tyro's box of text as its first paragraph, with the option it thinks was meant."""
    lines = [line.strip("│ \t") for line in box.splitlines() if line[:1] != "╭"]
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if set(line) <= set("─-╰╯"):  # tyro draws in ASCII where stdout is not UTF-8
            paragraphs.append([])
        else:
            paragraphs[-1].append(line)
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    if not box.startswith("╭"):
        del paragraphs[0]  # the title, a line of its own in ASCII
    said = " ".join(paragraphs[0]).rstrip(".")
    meant = next((p[1] for p in paragraphs if p[:1] == ["Perhaps you meant:"] and len(p) > 1), None)
    hint = f"perhaps you meant {meant.split()[0]}" if meant else f"see {prog} --help"
    return re.sub(r"\s+", " ", f"{said}; {hint}.")
