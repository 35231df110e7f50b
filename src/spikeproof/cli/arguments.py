"""What each command takes, read by tyro; its complaints shortened to one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from spikeproof.audit import AuditConfig, BatteryName, Split
from spikeproof.cli.recipe_options import recipe_options
from spikeproof.defenses import find_defense
from spikeproof.disk import user_path
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import Adapting, Recipe
from spikeproof.tables import Scale
from spikeproof.threat import Eps

_Arguments = TypeVar("_Arguments")
_CONFIG = (tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff)


@dataclasses.dataclass(kw_only=True)
class DemoArguments:
    """Train, audit and report six small networks on 8x8 digits: offline, about two minutes."""

    out: Path = Path("runs/demo")
    """Folder for the six runs and report.html."""
    quiet: bool = False
    """Say nothing on the way."""


@dataclasses.dataclass(kw_only=True)
class RecipesArguments:
    """List the named experiments, a line each."""

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """Only those that have all of these words: vgg11 at, cifar100, poisson."""
    json: bool = False
    """All fields of each, as JSON."""


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
    quiet: bool = False
    """Say nothing on the way."""


@dataclasses.dataclass(kw_only=True)
class CompareArguments:
    """Train and audit every recipe of a family, resumably, and write one page; overrides hold for every row."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    out: Path | None = None
    """Folder for the runs; runs/compare-FAMILY by default."""
    page: Path | None = None
    """The Markdown page; comparison.md in that folder by default. report.html and comparison.svg go in the folder."""
    seeds: tuple[int, ...] = (0,)
    """Each row is trained with each of these."""
    rows: tuple[str, ...] = ()
    """The recipes to run, without the family's name; all by default."""
    share: str = "0/1"
    """I/N: this process does every N-th row from the I-th on; the page shows what all have done."""
    jobs: int = 1
    """How many networks at once, in processes of their own. The same command in another shell helps too."""
    quiet: bool = False
    """Say nothing on the way."""
    json: bool = False
    """Print the rows as JSON instead of the table."""


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
    """Attack a run's network with a battery; the recipe's audit settings can be overridden.

    A network of one's own: `spikeproof audit FILE.py:FUNCTION --help`.
    """

    config: Annotated[AuditConfig, tyro.conf.arg(name="")]
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to attack."""
    substitutes: tuple[Path, ...] = ()
    """Run folders of other networks, whose adversarial images are tried on this one (black-box transfer)."""
    out: Path | None = None
    """Another folder for the result, with what the run says of itself; the run's own audits by default."""
    force: bool = False
    """Replace an audit that was asked the same."""
    quiet: bool = False
    """Say nothing on the way."""
    json: bool = False
    """Print audit.json instead of the table."""


@dataclasses.dataclass(kw_only=True)
class OwnNetworkArguments:
    """Attack the network that a function of your own file returns: ours, an adapted one, one of SpikingJelly, snnTorch,
    Norse or sinabs that --num-steps adapts, or an ANN."""

    config: Annotated[AuditConfig, tyro.conf.arg(name="")]
    data: str | None = None
    """digits, digits-events, cifar10, cifar100, tiny_imagenet, or the path of a folder or an .npz; it must be given."""
    weights: Path | None = None
    """The network's weights: safetensors, or a state_dict that torch.save wrote."""
    adapting: Annotated[Adapting, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Adapting)
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to attack."""
    out: Path | None = None
    """Folder of its audits and report; runs/FILE-FUNCTION by default."""
    force: bool = False
    """Replace an audit that was asked the same."""
    quiet: bool = False
    """Say nothing on the way."""
    json: bool = False
    """Print audit.json instead of the table."""


@dataclasses.dataclass(kw_only=True)
class HardenArguments:
    """Fine-tune a run's network by the best known defense for some minutes, and audit it before and after.

    A network of one's own: `spikeproof harden FILE.py:FUNCTION --help`.
    """

    eps: Eps = 8 / 255
    """Of the Linf threat, in training and audits; by default the radius of the run's own audit."""
    minutes: float = 30.0
    """Of training; the two audits take their own time."""
    battery: BatteryName = "quick"
    """Of the audits."""
    samples: int = 200
    """Images that both audits attack."""
    split: Split = "test"
    """Whose images these are; validation while choosing settings."""
    learning_rate: float = 1e-3
    """Of AdamW at the first step."""
    batch_size: int = 64
    """Images in a step."""
    seed: int = 0
    """Of training."""
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train and to attack."""
    out: Path | None = None
    """The new run folder; RUN-hardened by default."""
    quiet: bool = False
    """Say nothing on the way."""
    json: bool = False
    """Print the result as JSON instead of the table."""


@dataclasses.dataclass(kw_only=True)
class HardenOwnArguments(HardenArguments):
    """Fine-tune the network that a function of your own file returns by the best known defense for some minutes, and
    audit it before and after. The run folder has the new weights by your network's own keys."""

    eps: Eps = 8 / 255
    """Of the Linf threat, in training and audits."""
    data: str | None = None
    """digits, digits-events, cifar10, cifar100, tiny_imagenet, or the path of a folder or an .npz; it must be given."""
    weights: Path | None = None
    """The network's weights: safetensors, or a state_dict that torch.save wrote."""
    adapting: Annotated[Adapting, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Adapting)
    out: Path | None = None
    """The new run folder; runs/FILE-FUNCTION-hardened by default."""


@dataclasses.dataclass(kw_only=True)
class WatchArguments:
    """Print each epoch of a run that another process trains, until it is finished."""

    every: float = 2.0
    """Seconds between two looks."""
    tensorboard: bool = False
    """Write the curves for TensorBoard, too (pip install 'spikeproof[tensorboard]')."""
    out: Path | None = None
    """Where TensorBoard's files go; RUN/tensorboard by default."""


@dataclasses.dataclass(kw_only=True)
class ReportArguments:
    """One HTML file that compares runs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders."""
    out: Path | None = None
    """The file; report.html in the first run folder by default."""


def asks_for_help(words: list[str]) -> bool:
    """Whether a command is asked for its help before it is told what to work on."""
    return words[:1] in (["-h"], ["--help"])


def named(words: list[str], command: str, what: str, example: str) -> tuple[str, list[str]]:
    """The first word, which a command is about, and the others.

    Raises:
        SpikeproofError: there is none.
    """
    if not words or words[0].startswith("-"):
        raise SpikeproofError(f"`spikeproof {command}` needs a {what} first, such as {example}.")
    return words[0], words[1:]


def read_arguments(
    kind: type[_Arguments],
    words: Sequence[str],
    *,
    prog: str,
    default: _Arguments | None = None,
    about: str | None = None,
) -> _Arguments:
    """Parse a command's words.

    Args:
        about: what its help says first; the docstring of ``kind`` by default.

    Raises:
        SpikeproofError: words that do not fit, in one sentence.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), recipe_options():
            parsed = tyro.cli(
                kind,
                prog=prog,
                description=about,
                args=list(words),
                default=tyro.MISSING_NONPROP if default is None else default,
                config=_CONFIG,
            )
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        raise SpikeproofError(_one_sentence(complaint.getvalue(), prog, _options_of(kind, default))) from None
    sys.stderr.write(complaint.getvalue())  # what tyro had to say about words that fit
    for value in vars(parsed).values():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Path):
                user_path(each)  # one that no path can be called says so before anything is read or written
    return parsed


def _options_of(kind: type[Any], default: Any) -> list[str]:
    """Every option that a command has, as its help tells them."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit), recipe_options():
        tyro.cli(
            kind,
            args=["--help"],
            default=tyro.MISSING_NONPROP if default is None else default,
            config=_CONFIG,
        )
    return re.findall(r"(?<![\w-])--[a-z][\w.-]*", told.getvalue())


# What people type who come from other tools, and what the option is called here.
_ALIASES = {
    "lr": "learning-rate",
    "bs": "batch-size",
    "epoch": "epochs",
    "steps": "num-steps",
    "timesteps": "num-steps",
    "model": "model.name",
    "arch": "model.name",
    "dataset": "data.name",
    "radius": "eps",
    "epsilon": "eps",
    "leak": "decay",
    "draws": "eot-iter",
    "wd": "weight-decay",
    "surrogate": "neuron.surrogate",
    "amp": "precision",
}


def _meant(option: str, options: Sequence[str]) -> str | None:
    """The option that does what was meant: of equal last names the one of training, whose is most of a recipe.

    Example:
        >>> _meant("--seed", ["--data.seed", "--train.seed", "--audit.seed"])
        '--train.seed'
        >>> _meant("--lr", ["--train.learning-rate"])
        '--train.learning-rate'
        >>> _meant("--at.precision", ["--at.eps", "--audit.precision", "--train.precision"])
        '--train.precision'
    """
    word = option.lstrip("-").partition("=")[0].replace("_", "-")
    part, _, last = word.rpartition(".")
    # A setting that another part of the recipe has: inner attacks run in the precision of training.
    elsewhere = last if part and any(known.startswith(f"--{part}.") for known in options) else word
    for wanted in (word, _ALIASES.get(word, word), elsewhere):
        fitting = [known for known in options if known[2:] == wanted or known.endswith(f".{wanted}")]
        if fitting:
            return min(fitting, key=lambda known: (known.count("."), not known.startswith("--train."), len(known)))
    near = difflib.get_close_matches(f"--{word}", options, n=1, cutoff=0.75)
    return near[0] if near else None


def _defense_of(option: str) -> str | None:
    """The name of the defense that an option such as --mpd-sgr.eta is of."""
    word, dot, _ = option.removeprefix("--").partition(".")
    with contextlib.suppress(SpikeproofError):
        return find_defense(word).name if dot else None
    return None


def _one_sentence(box: str, prog: str, options: Sequence[str]) -> str:
    """tyro's box of text as its first paragraph, with the option that was meant."""
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
    unknown = re.search(r"Unrecognized options: (--[^\s,]+)", said)
    hint = f"see {prog} --help"
    if unknown:
        option = unknown[1]
        meant, defense = _meant(option, options), _defense_of(option)
        if meant:
            hint = f"perhaps you meant {meant}"
        elif defense:
            hint = f"add that defense with --with {defense}"
    # A value of thousands of letters, which the box has broken into lines, is known by its beginning.
    said = re.sub(r"\S{70,}(?:\s+\S{70,})*", lambda long: f"{long[0][:40]}...", said)
    return re.sub(r"\s+", " ", f"{said}; {hint}.")
