"""The commands around runs: demo, train, audit, compare, report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from spikeproof.audit import AuditConfig, Shard
from spikeproof.cli.arguments import (
    AuditArguments,
    CompareArguments,
    DemoArguments,
    ReportArguments,
    TrainArguments,
    asks_for_help,
    named,
    read_arguments,
)
from spikeproof.cli.one_process import refuse_torchrun
from spikeproof.defenses import DEFENSES
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import (
    CLAIMED,
    COMPARISONS,
    DIGITS,
    Share,
    audit_folder,
    audit_run,
    comparison_json,
    find_recipe,
    fitted_to_own_data,
    one_more,
    overridden,
    recorded_audit_config,
    run_comparison,
    train_recipe,
    with_defense,
    write_comparison,
)
from spikeproof.report import Run, comparison_table, read_page, read_run, read_runs, text_table, write_report
from spikeproof.threat import NORMS


def demo(words: list[str], command: str) -> None:
    arguments = read_arguments(DemoArguments, words, prog="spikeproof demo")
    refuse_torchrun("demo", "start it without torchrun")
    runs = []
    for recipe in DIGITS:
        folder = arguments.out / recipe.name.removeprefix("demo-digits-")
        # A demo that was stopped goes on; one that is complete is shown again from its files.
        train_recipe(recipe, data_dir=None, out=folder, resume=True, command=command, show=not arguments.quiet)
        place = audit_folder(folder, recipe.audit)
        if not (place / "audit.json").exists():
            audit_run(folder, recipe.audit, data_dir=None, command=command, show=not arguments.quiet)
        runs.append(read_run(folder, place))
    _show(runs, arguments.out / "report.html")


def train(words: list[str], command: str) -> None:
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
    if asks_for_help(words):
        read_arguments(
            AuditArguments, ["--help"], prog="spikeproof audit RUN", default=AuditArguments(config=AuditConfig())
        )
    name, rest = named(words, "audit", "RUN", "runs/demo/vanilla")
    folder = Path(name)
    recorded = recorded_audit_config(folder)
    default = AuditArguments(config=recorded)
    arguments = read_arguments(AuditArguments, rest, prog=f"spikeproof audit {name}", default=default)
    asked = arguments.config
    if asked.norm != recorded.norm and asked.eps == recorded.eps:
        raise SpikeproofError(
            f"The run's recipe asks for a radius in {NORMS[recorded.norm]}, which is none in {NORMS[asked.norm]}; give "
            f"--eps too, such as {'128/255' if asked.norm == 'l2' else '8/255'}."
        )
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
        report = write_report([arguments.out or folder], (arguments.out or folder) / "report.html")
        if arguments.json:
            print((place / "audit.json").read_text(), end="")
        else:
            print(text_table([read_run(folder, place)]))
            print(f"\nAudit: {place}\nReport: {report}")


def compare(words: list[str], command: str) -> None:
    if asks_for_help(words):
        first = COMPARISONS["mini-cifar10"][0]
        read_arguments(
            CompareArguments, ["--help"], prog="spikeproof compare FAMILY", default=CompareArguments(recipe=first)
        )
    family, rest = named(words, "compare", "FAMILY", " or ".join(COMPARISONS))
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
        show=not arguments.quiet,
    )
    rows = write_comparison(folders, page, report, [*one_more(chosen), *CLAIMED])
    if arguments.json:
        print(json.dumps(comparison_json(rows), indent=1))
        return
    print(comparison_table(rows))
    print(f"Page: {page}\nReport: {report}")


def report(words: list[str], command: str) -> None:
    arguments = read_arguments(ReportArguments, words, prog="spikeproof report")
    if not arguments.runs:
        raise SpikeproofError("`spikeproof report` needs at least one run folder, such as runs/demo/vanilla.")
    runs = [run for folder in arguments.runs for run in read_runs(folder)]
    _show(runs, arguments.out or arguments.runs[0] / "report.html")


def _show(runs: list[Run], out: Path) -> None:
    report = write_report(runs, out)  # first: whoever reads what is printed may stop reading
    print(text_table(runs))
    print(f"\nReport: {report}")


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
