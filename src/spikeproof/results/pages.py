"""The page of all results: every table with how it was made, the leaderboards, and how to hand in more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from spikeproof.disk import write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.results.files import read_results
from spikeproof.results.leaderboard import board_markdown, boards, full_label, unranked
from spikeproof.results.leaderboard_html import leaderboard_html
from spikeproof.results.records import ResultRow, TableHeader
from spikeproof.results.schema import write_schema
from spikeproof.results.table_page import render_table
from spikeproof.results.wording import code, listed, plain, time

_LEADERBOARD = (
    "Ranked by the worst case, the share of test images that a network still gets right under every attack of the "
    "battery. Rows are comparable within one of these tables only, and where two intervals overlap, the order of the "
    "two is not settled. Operations: additions that spikes cause in one image, in millions; the first layer's "
    "multiplications are not in it. ⚑: a red flag was raised, so the worst case may be too high."
)


def write_pages(folder: Path, page: Path, html: Path) -> None:
    """Write all results below ``folder`` to a page of Markdown, and their leaderboards to a page of HTML too.

    The schema that the page speaks of is written into ``folder``, as schema.json.

    Raises:
        SpikeproofError: a result is not as it should be, or a page cannot be written; see :func:`read_results`.
    """
    tables = read_results(folder)
    found = boards(tables)
    texts = {page: _markdown(tables, folder, page, html), html: leaderboard_html(found)}
    for path in texts:
        if path.is_dir() or any(part.is_file() for part in path.parents):
            raise SpikeproofError(f"{path} cannot be a page: a folder or a file is in its way; name another file.")
    write_schema(folder / "schema.json")
    for path, text in texts.items():
        write_atomically(path, lambda target, text=text: target.write_text(text, encoding="utf-8"))  # type: ignore[misc]


def _markdown(tables: Sequence[tuple[TableHeader, list[ResultRow]]], folder: Path, page: Path, html: Path) -> str:
    parts = [_intro(folder, page, html)]
    for header, rows in tables:
        parts += [render_table(header, rows), *([_made(rows)] if rows else [])]
    parts.append(f"## Leaderboard\n\n{_LEADERBOARD}")
    parts += [board_markdown(board) for board in boards(tables)]
    left = unranked(tables)
    for why, lines in (
        ("no battery was run", [line for line in left if not line.no_number]),
        ("something hides the gradient", [line for line in left if line.no_number]),
    ):
        if lines:
            named = [f"{full_label(line.first)} of {line.first.table} ({line.first.scale})" for line in lines]
            parts.append(f"Without a rank, as {why}: {plain(listed(named))}.")
    return "\n\n".join(parts) + "\n"


def _intro(folder: Path, page: Path, html: Path) -> str:
    files, schema, sortable = (_link(path, page) for path in (folder, folder / "schema.json", html))
    return (
        "# Results: the papers' tables, rebuilt\n\n"
        f"`spikeproof leaderboard` makes this page from the files in [{plain(folder.name)}]({files}), so do not edit "
        "it by hand. Each file is one row with one seed, as `spikeproof reproduce TABLE --scale mini|short|full` "
        "writes it. Scale mini has few images, few classes and narrow networks: its numbers do not reproduce the "
        "paper's, they are the smallest test of what it claims. The leaderboards are also "
        f"[a page to sort]({sortable}).\n\n"
        "To hand in rows, of a table below or of one of your own, open a pull request with a folder `TABLE-SCALE`, in "
        "it `table.json` and for each row and seed `ROW-sSEED.json`. `spikeproof leaderboard --check FOLDER` must "
        f"pass; the fields are described in [schema.json]({schema})."
    )


def _link(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page.parent)).as_posix().replace(" ", "%20")


def _made(rows: Sequence[ResultRow]) -> str:
    """Under which conditions a table was made, and how long it took."""
    devices = [f"{row.device} ({row.threads} thread{'s' * (row.threads > 1)})" for row in rows]
    versions = [f"spikeproof {row.code_version}" for row in rows], [f"torch {row.torch_version}" for row in rows]
    precisions = [f"trained in {row.training_precision}, attacks crafted in {row.crafting_precision}" for row in rows]
    training, audits = (sum(map(float, times)) for times in zip(*map(_seconds, rows), strict=True))
    peaks = [row.peak_memory_bytes for row in rows if row.peak_memory_bytes is not None]
    memory = [f"at most {max(peaks) / 2**30:.1f} GiB of GPU memory in training"] if peaks else []
    submitters = sorted({row.submitted_by for row in rows if row.submitted_by})
    seeds = sorted({row.seed for row in rows})
    words = [
        *(listed(sorted(each)) for each in (devices, *versions, precisions)),
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
        f"training {time(training)} and audits {time(audits)}, added up over {len(rows)} row{'s' * (len(rows) > 1)}",
        *memory,
        *([f"submitted by {', '.join(submitters)}"] if submitters else []),
    ]
    return f"Made with {plain('; '.join(words))}. The first row's command: {code(rows[0].command)}."


def _seconds(row: ResultRow) -> tuple[float, float]:
    return row.training_seconds, row.audit_seconds
