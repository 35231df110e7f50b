"""The commands around runs: train, audit, report."""

from __future__ import annotations

import shlex
from pathlib import Path

from spikeproof.audit import AuditConfig, Shard
from spikeproof.cli.arguments import (
    AuditArguments,
    ReportArguments,
    TrainArguments,
    asks_for_help,
    named,
    read_arguments,
)
from spikeproof.cli.audited import check_radius, show_audit, show_runs
from spikeproof.cli.own_network import audit_own_network
from spikeproof.defenses import DEFENSES
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import (
    audit_folder,
    audit_run,
    find_recipe,
    fitted_to_own_data,
    is_own_network,
    recorded_audit_config,
    train_recipe,
    with_defense,
)
from spikeproof.report import read_runs


def train(words: list[str], command: str) -> None:
    """Train a recipe into a run folder."""
    if asks_for_help(words):
        read_arguments(TrainArguments, ["--help"], prog="spikeproof train RECIPE", about=_train_help())
    name, rest = named(words, "train", "RECIPE", "vgg11-cifar10-vanilla; see `spikeproof recipes`")
    recipe = find_recipe(name)
    added, rest = _take_values(rest, "--with")
    for defense in added:
        recipe = with_defense(recipe, defense)
    default, prog = TrainArguments(recipe=recipe), f"spikeproof train {name}"
    arguments = read_arguments(TrainArguments, rest, prog=prog, default=default, about=_train_help())
    chosen = fitted_to_own_data(arguments.recipe, recipe)
    folder = arguments.out or Path("runs") / chosen.name
    train_recipe(
        chosen,
        data_dir=arguments.data_dir,
        out=folder,
        resume=arguments.resume,
        command=command,
        show=not arguments.quiet,
    )
    if Shard.of_this_process().first:
        print(f"{folder} is trained; audit it with: spikeproof audit {shlex.quote(str(folder))}")


def audit(words: list[str], command: str) -> None:
    """Attack a run's network, or one of the user's own file, and show the audit."""
    if asks_for_help(words):
        read_arguments(
            AuditArguments, ["--help"], prog="spikeproof audit RUN", default=AuditArguments(config=AuditConfig())
        )
    name, rest = named(words, "audit", "RUN", "runs/demo/vanilla, or FILE.py:FUNCTION")
    if is_own_network(name):
        audit_own_network(name, rest, command)
        return
    folder = Path(name)
    recorded = recorded_audit_config(folder)
    default = AuditArguments(config=recorded)
    arguments = read_arguments(AuditArguments, rest, prog=f"spikeproof audit {name}", default=default)
    asked = arguments.config
    check_radius("The run's recipe asks for", asked, recorded)
    audit_run(
        folder,
        asked,
        data_dir=arguments.data_dir,
        device=arguments.device,
        substitutes=arguments.substitutes,
        command=command,
        into=arguments.out,
        force=arguments.force,
        show=not arguments.quiet,
    )
    if Shard.of_this_process().first:
        place = arguments.out or audit_folder(folder, asked, arguments.substitutes)
        shown = arguments.out or folder
        show_audit(shown, place, json=arguments.json)


def report(words: list[str], command: str) -> None:
    """Write one HTML file about runs, and print their table."""
    arguments = read_arguments(ReportArguments, words, prog="spikeproof report")
    if not arguments.runs:
        raise SpikeproofError("`spikeproof report` needs at least one run folder, such as runs/demo/vanilla.")
    runs = [run for folder in arguments.runs for run in read_runs(folder)]
    show_runs(runs, arguments.out or arguments.runs[0] / "report.html")


def _train_help() -> str:
    defenses = ", ".join(DEFENSES)
    return (
        "Train a recipe (`spikeproof recipes` lists them); every field of it can be overridden. Add defenses with "
        f"--with NAME, as often as wanted: {defenses}. Those of the recipe and those added have options of their own, "
        "such as --sr.strength."
    )


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
