"""The commands around tables: demo, compare, reproduce, leaderboard, push."""

from __future__ import annotations

import json
import re
from pathlib import Path

from spikeproof.cli.arguments import (
    CompareArguments,
    DemoArguments,
    LeaderboardArguments,
    PushArguments,
    ReproduceArguments,
    asks_for_help,
    named,
    read_arguments,
)
from spikeproof.cli.audited import show_runs
from spikeproof.cli.one_process import check_jobs, refuse_torchrun
from spikeproof.engine import (
    Circumstances,
    InProcess,
    NamedStore,
    Store,
    TablePlan,
    TaskPool,
    check_folders,
    compare,
    dry_run,
    make_pool,
    reproduce,
    training_costs,
)
from spikeproof.errors import SpikeproofError
from spikeproof.hub import push
from spikeproof.recipes import CLAIMED, COMPARISONS, DIGITS, one_more, overridden
from spikeproof.report import comparison_json, comparison_table, read_page, write_comparison
from spikeproof.results import check_results, write_pages
from spikeproof.tables import TABLES, comparison, find_table


def demo_command(words: list[str], command: str) -> int:
    """Train, audit and show six small networks; the exit code is 1 where some of them failed."""
    arguments = read_arguments(DemoArguments, words, prog="spikeproof demo")
    refuse_torchrun("demo", "start it without torchrun")
    check_folders(arguments.out)
    rows, failed = compare(
        TablePlan.of(comparison("demo-digits", DIGITS), seeds=(0,)),
        InProcess(),
        Circumstances(NamedStore(arguments.out, family="demo-digits"), command=command, show=not arguments.quiet),
    )
    runs = [run for each in rows.values() for run in each]
    if not runs:
        raise SpikeproofError(next(iter(failed.values())))
    show_runs(runs, arguments.out / "report.html")
    return 1 if failed else 0


def compare_command(words: list[str], command: str) -> int:
    """Train and audit a family of recipes, and write its page; the exit code is 1 where some of them failed."""
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
    refuse_torchrun("compare", "use --jobs or --share here")
    check_jobs(arguments.jobs)
    chosen = overridden(recipes, recipes[0], arguments.recipe)
    plan = TablePlan.of(
        comparison(family, chosen),
        seeds=arguments.seeds,
        only=[f"{family}-{row.removeprefix(f'{family}-')}" for row in arguments.rows],
        share=_share(arguments.share),
    )
    out = arguments.out or Path("runs") / f"compare-{family}"
    page, report = arguments.page or out / "comparison.md", out / "report.html"
    read_page(page)  # a page that cannot be written says so now, and not after hours
    check_folders(out)
    rows, failed = compare(
        plan,
        make_pool(None, arguments.jobs, out, {}),
        Circumstances(NamedStore(out), arguments.data_dir, command, show=not arguments.quiet),
    )
    costs = training_costs([recipe for recipe in chosen if recipe.name in rows])
    write_comparison(rows, costs, page, report, [*one_more(chosen), *CLAIMED])
    if arguments.json:
        print(json.dumps(comparison_json(rows), indent=1))
    else:
        print(comparison_table(rows, costs))
        print(f"Page: {page}\nReport: {report}")
    return 1 if failed else 0


def _share(text: str) -> tuple[int, int]:
    """From "0/2"."""
    index, _, of = text.partition("/")
    if not (re.fullmatch("[0-9]+/[0-9]+", text) and int(index) < int(of)):
        raise SpikeproofError(f"A share of the rows is I/N with 0 <= I < N, such as 0/2, not {text!r}.")
    return int(index), int(of)


def reproduce_command(words: list[str], command: str) -> int:
    """Rebuild a table and print it; the exit code is 1 where some of its networks failed."""
    if asks_for_help(words):
        read_arguments(ReproduceArguments, ["--help"], prog="spikeproof reproduce TABLE")
    name, rest = named(words, "reproduce", "TABLE", "mpd-sgr-table1; `spikeproof reproduce list` names them all")
    if name == "list":
        print(table_list())
        return 0
    return _reproduce_table(name, rest, command)


def _reproduce_table(name: str, words: list[str], command: str) -> int:
    table = find_table(name)
    arguments = read_arguments(ReproduceArguments, words, prog=f"spikeproof reproduce {name}")
    refuse_torchrun("reproduce", "use --jobs or --cluster")
    check_jobs(arguments.jobs)
    store = Store(arguments.out)
    plan = TablePlan.of(table, arguments.scale, seeds=arguments.seeds, only=arguments.rows)
    if arguments.dry_run:
        print(dry_run(plan, store, arguments.jobs, arguments.data_dir))
        return 0
    results = arguments.results or arguments.out / "results"
    check_folders(store.root, results)
    page = _page(arguments.page, results)
    text, failed = reproduce(plan, _pool(arguments), Circumstances(store, arguments.data_dir, command), results)
    print(text)
    write_pages(results, page, page.with_suffix(".html"))
    print(f"\nPage: {page} and {page.with_suffix('.html')}")
    return 1 if failed else 0


def _page(asked: Path | None, results: Path) -> Path:
    """Where the page goes, checked before there are hours of work."""
    page = asked or results / "results.md"
    if page.suffix != ".md" or page.is_dir() or any(part.is_file() for part in page.parents):
        raise SpikeproofError(f"{page} cannot be a page; name a file that ends in .md, in a folder.")
    return page


def table_list() -> str:
    """Every table by its name, a line each."""
    return "\n".join(f"{name:18} {table.title}; {len(table.rows)} rows" for name, table in TABLES.items())


def leaderboard_command(words: list[str], command: str) -> None:
    """Check result files and make the page of them."""
    arguments = read_arguments(LeaderboardArguments, words, prog="spikeproof leaderboard")
    print(check_results([arguments.results]))
    if not arguments.check:
        page = _page(arguments.page, arguments.results)
        write_pages(arguments.results, page, page.with_suffix(".html"))
        print(f"Page: {page} and {page.with_suffix('.html')}")


def push_command(words: list[str], command: str) -> None:
    """Share a run's weights with a model card."""
    arguments = read_arguments(PushArguments, words, prog="spikeproof push")
    print(
        push(
            arguments.run,
            arguments.target,
            audit=arguments.audit,
            license=arguments.license,
            private=arguments.private,
        )
    )


def _pool(arguments: ReproduceArguments) -> TaskPool:
    options: dict[str, int | str] = {}
    for option in arguments.cluster_options:
        key, equals, value = option.partition("=")
        if not (key and equals and value):
            raise SpikeproofError(f"--cluster-options takes NAME=VALUE, such as timeout_min=600, not {option!r}.")
        options[key] = int(value) if value.isdecimal() else value
    if options and arguments.cluster is None:
        raise SpikeproofError("--cluster-options are for --cluster slurm or local; give that too.")
    return make_pool(arguments.cluster, arguments.jobs, Path(arguments.out) / "jobs", options)
