"""The command line: parse, call, print. A mistake of the user's is one sentence and exit code 2."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from spikeproof.audit import Shard
from spikeproof.cli.arguments import (
    AuditArguments,
    CompareArguments,
    DemoArguments,
    ReportArguments,
    TrainArguments,
    read_arguments,
)
from spikeproof.cli.one_process import refuse_torchrun
from spikeproof.cli.tables import leaderboard_command, push_command, reproduce_command, table_list
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import (
    COMPARISONS,
    DIGITS,
    RECIPES,
    Share,
    audit_run,
    find_recipe,
    overridden,
    recorded_audit_config,
    run_comparison,
    train_recipe,
    with_defense,
    write_comparison,
)
from spikeproof.report import read_page, read_run, text_table, write_report
from spikeproof.train import Interrupted
from spikeproof.version import __version__

USAGE = """spikeproof: train, attack, audit and report robust spiking neural networks

  spikeproof demo                 train and audit six small networks on real digits, offline, in minutes
  spikeproof recipes              the named experiments
  spikeproof train RECIPE         train one, into runs/RECIPE; override any field, e.g. --train.epochs 5,
                                  or add a defense: --with mpd-sgr --mpd-sgr.eta 2
  spikeproof audit RUN            attack a trained run: nominal accuracy, worst case, gap
  spikeproof compare FAMILY       train and audit a whole family of recipes, resumably, into one table
  spikeproof report RUN...        one HTML file that compares runs
  spikeproof reproduce TABLE      rebuild a published table beside the paper's numbers, resumably
  spikeproof leaderboard RESULTS  one page of all result files, one's own and others'
  spikeproof push RUN TARGET      share a run's weights with a model card

`spikeproof COMMAND --help` tells a command's options; train and audit want their RECIPE or RUN before it.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (a mistake the user can mend) or 130 (stopped by Ctrl-C)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except SpikeproofError as error:
        print(f"spikeproof: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted:
        again = "the same command" if words[0] in ("demo", "compare", "reproduce") else "the same command with --resume"
        print(f"spikeproof: stopped; {again} goes on from this step.", file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        again = (
            "; the same command goes on with the attack it was at"
            if words[:1] in (["audit"], ["compare"], ["reproduce"])
            else ""
        )
        print(f"spikeproof: stopped{again}.", file=sys.stderr)
        sys.exit(130)


def _dispatch(words: list[str]) -> None:
    commands: dict[str, Callable[[list[str], str], None]] = {
        "demo": _demo,
        "recipes": _recipes,
        "train": _train,
        "audit": _audit,
        "compare": _compare,
        "report": _report,
        "reproduce": _reproduce,
        "leaderboard": lambda words, _: leaderboard_command(words),
        "push": lambda words, _: push_command(words),
    }
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
    elif words[0] == "--version":
        print(f"spikeproof {__version__}")
    elif words[0] in commands:
        commands[words[0]](words[1:], shlex.join(["spikeproof", *words]))
    else:
        raise SpikeproofError(f"There is no command {words[0]!r}; the commands are {', '.join(commands)}.")


def _demo(words: list[str], command: str) -> None:
    arguments = read_arguments(DemoArguments, words, prog="spikeproof demo")
    refuse_torchrun("demo", "start it without torchrun")
    folders = []
    for recipe in DIGITS:
        folder = arguments.out / recipe.name.removeprefix("demo-digits-")
        # A demo that was stopped goes on; one that is complete is shown again from its files.
        train_recipe(recipe, data_dir=None, out=folder, resume=True, command=command)
        if not (folder / "audit.json").exists():
            audit_run(folder, recipe.audit, data_dir=None, command=command)
        folders.append(folder)
    _show(folders, arguments.out / "report.html")


def _recipes(words: list[str], command: str) -> None:
    if words:
        raise SpikeproofError(f"`spikeproof recipes` takes no options, got {' '.join(words)}.")
    for recipe in RECIPES.values():
        defenses = " + ".join(str(defense) for defense in recipe.defenses()) or "no defense"
        print(f"{recipe.name:28} {recipe.model.name} on {recipe.data.name}, {recipe.train.epochs} epochs; {defenses}")


def _train(words: list[str], command: str) -> None:
    name, rest = _named(words, "train", "RECIPE", "vgg11-cifar10-vanilla; see `spikeproof recipes`")
    recipe = find_recipe(name)
    added, rest = _take_values(rest, "--with")
    for defense in added:
        recipe = with_defense(recipe, defense)
    arguments = read_arguments(
        TrainArguments, rest, prog=f"spikeproof train {name}", default=TrainArguments(recipe=recipe)
    )
    folder = arguments.out or Path("runs") / arguments.recipe.name
    train_recipe(arguments.recipe, data_dir=arguments.data_dir, out=folder, resume=arguments.resume, command=command)
    if Shard.of_this_process().first:
        print(f"{folder} is trained; audit it with: spikeproof audit {shlex.quote(str(folder))}")


def _audit(words: list[str], command: str) -> None:
    name, rest = _named(words, "audit", "RUN", "runs/demo/vanilla")
    folder = Path(name)
    default = AuditArguments(config=recorded_audit_config(folder))
    arguments = read_arguments(AuditArguments, rest, prog=f"spikeproof audit {name}", default=default)
    audit_run(
        folder,
        arguments.config,
        data_dir=arguments.data_dir,
        device=arguments.device,
        substitutes=arguments.substitutes,
        command=command,
    )
    if Shard.of_this_process().first:
        _show([folder], folder / "report.html")


def _compare(words: list[str], command: str) -> None:
    family, rest = _named(words, "compare", "FAMILY", " or ".join(COMPARISONS))
    if family not in COMPARISONS:
        raise SpikeproofError(f"There is no family {family!r}; the families are {', '.join(COMPARISONS)}.")
    recipes = COMPARISONS[family]
    arguments = read_arguments(
        CompareArguments, rest, prog=f"spikeproof compare {family}", default=CompareArguments(recipe=recipes[0])
    )
    refuse_torchrun("compare", "use --share here")
    if not arguments.seeds or len(set(arguments.seeds)) < len(arguments.seeds):
        raise SpikeproofError("--seeds needs one number at least, and each once.")
    chosen = overridden(recipes, recipes[0], arguments.recipe)
    if arguments.rows:
        wanted = [find_recipe(f"{family}-{row}").name for row in arguments.rows]
        chosen = [recipe for recipe in chosen if recipe.name in wanted]
    out = arguments.out or Path("runs") / f"compare-{family}"
    page, report = arguments.page or out / "comparison.md", out / "report.html"
    read_page(page)  # a page that cannot be written says so now, and not after hours
    folders = run_comparison(
        chosen,
        out,
        seeds=arguments.seeds,
        data_dir=arguments.data_dir,
        share=Share.parse(arguments.share),
        command=command,
    )
    write_comparison(folders, page, report)
    print(f"Page: {page}\nReport: {report}")


def _reproduce(words: list[str], command: str) -> None:
    name, rest = _named(words, "reproduce", "TABLE", "mpd-sgr-table1; `spikeproof reproduce list` names them all")
    if name == "list":
        print(table_list())
        return
    code = reproduce_command(name, rest, command)
    if code:
        sys.exit(code)


def _report(words: list[str], command: str) -> None:
    arguments = read_arguments(ReportArguments, words, prog="spikeproof report")
    if not arguments.runs:
        raise SpikeproofError("`spikeproof report` needs at least one run folder, such as runs/demo/vanilla.")
    _show(list(arguments.runs), arguments.out or arguments.runs[0] / "report.html")


def _show(folders: list[Path], out: Path) -> None:
    print(text_table([read_run(folder) for folder in folders]))
    print(f"\nReport: {write_report(folders, out)}")


def _take_values(words: list[str], option: str) -> tuple[list[str], list[str]]:
    """The values of an option that may be given several times, and the other words."""
    values, rest = [], []
    left = iter(words)
    for word in left:
        if word != option:
            rest.append(word)
            continue
        value = next(left, None)
        if value is None:
            raise SpikeproofError(f"{option} needs a name after it, such as mpd-sgr.")
        values.append(value)
    return values, rest


def _named(words: list[str], command: str, what: str, example: str) -> tuple[str, list[str]]:
    if not words or words[0].startswith("-"):
        raise SpikeproofError(f"`spikeproof {command}` needs a {what} first, such as {example}.")
    return words[0], words[1:]


if __name__ == "__main__":
    main()
