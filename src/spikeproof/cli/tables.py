"""The commands around published tables: reproduce, leaderboard, push."""

from __future__ import annotations

from pathlib import Path

from spikeproof.cli.arguments import (
    LeaderboardArguments,
    PushArguments,
    ReproduceArguments,
    asks_for_help,
    named,
    read_arguments,
)
from spikeproof.cli.one_process import refuse_torchrun
from spikeproof.errors import SpikeproofError
from spikeproof.hub import push
from spikeproof.machine.device import pick_device
from spikeproof.reproduce import (
    CURVE,
    Circumstances,
    CurvePlan,
    Plan,
    Pool,
    Store,
    check_folders,
    dry_run,
    make_pool,
    reproduce,
    reproduce_curve,
)
from spikeproof.results import check_results, write_pages
from spikeproof.tables import TABLES, find_table


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
    table = None if name == CURVE else find_table(name)
    arguments = read_arguments(ReproduceArguments, words, prog=f"spikeproof reproduce {name}")
    refuse_torchrun("reproduce", "use --jobs or --cluster")
    if arguments.jobs < 1:
        raise SpikeproofError(f"--jobs is how many networks are done at once, 1 or more, not {arguments.jobs}.")
    if table is None:
        return _reproduce_curve(arguments, command)
    store, device = Store(arguments.out), pick_device("auto").type
    plan = Plan.of(table, arguments.scale, seeds=arguments.seeds, only=arguments.rows)
    if arguments.dry_run:
        print(dry_run(plan, store, slots=arguments.jobs, device=device))
        return 0
    results = arguments.results or arguments.out / "results"
    check_folders(store.root, results)
    page = _page(arguments.page, results)
    text, failed = reproduce(
        plan,
        _pool(arguments),
        store=store,
        results=results,
        data_dir=arguments.data_dir,
        device=device,
        command=command,
    )
    print(text)
    write_pages(results, page, page.with_suffix(".html"))
    print(f"\nPage: {page} and {page.with_suffix('.html')}")
    return 1 if failed else 0


def _reproduce_curve(arguments: ReproduceArguments, command: str) -> int:
    if arguments.rows or len(arguments.seeds) != 1 or arguments.page is not None:
        raise SpikeproofError(f"{CURVE} is one network with one seed, and has no rows and no page; leave these out.")
    store, device = Store(arguments.out), pick_device("auto").type
    plan = CurvePlan(arguments.scale, arguments.seeds[0])
    if arguments.dry_run:
        print(dry_run(plan, store, slots=1, device=device))
        return 0
    around = Circumstances(store, arguments.data_dir, command, show=arguments.jobs == 1 and arguments.cluster is None)
    results = arguments.results or arguments.out / "results"
    check_folders(store.root, results)
    print(reproduce_curve(plan, _pool(arguments), around, device=device, results=results))
    return 0


def _page(asked: Path | None, results: Path) -> Path:
    """Where the page goes, checked before there are hours of work."""
    page = asked or results / "results.md"
    if page.suffix != ".md" or page.is_dir() or any(part.is_file() for part in page.parents):
        raise SpikeproofError(f"{page} cannot be a page; name a file that ends in .md, in a folder.")
    return page


def table_list() -> str:
    """Every table by its name, a line each."""
    lines = [f"{name:18} {table.title}; {len(table.rows)} rows" for name, table in TABLES.items()]
    return "\n".join([*lines, f"{CURVE:18} the training curve of SNN-RAT's published WRN16, epoch by epoch"])


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


def _pool(arguments: ReproduceArguments) -> Pool:
    options: dict[str, int | str] = {}
    for option in arguments.cluster_options:
        key, equals, value = option.partition("=")
        if not (key and equals and value):
            raise SpikeproofError(f"--cluster-options takes NAME=VALUE, such as timeout_min=600, not {option!r}.")
        options[key] = int(value) if value.isdecimal() else value
    if options and arguments.cluster is None:
        raise SpikeproofError("--cluster-options are for --cluster slurm or local; give that too.")
    return make_pool(arguments.cluster, arguments.jobs, Path(arguments.out) / "jobs", options)
