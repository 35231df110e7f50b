"""The page of all results: every table with how it was made, the leaderboards, and how to hand in more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from spikeproof.disk import write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.records.result_json import ResultRow, TableHeader
from spikeproof.report.numbers import time
from spikeproof.report.press import Markdown, markdown
from spikeproof.results.files import read_results, write_schema
from spikeproof.results.leaderboard import board_table, boards, unranked
from spikeproof.results.leaderboard_html import leaderboard_html
from spikeproof.results.lines import SeededRow
from spikeproof.results.submissions import Submission, read_submissions
from spikeproof.results.submitted import submitted_boards, submitted_table, without_place
from spikeproof.results.table_page import render_table
from spikeproof.results.wording import each_once, full_label


def write_pages(folder: Path, page: Path, html: Path) -> None:
    """Write all results below ``folder`` to a page of Markdown, and their leaderboards to a page of HTML too.

    The schema that the page speaks of is written into ``folder``, as schema.json.

    Args:
        folder: of all tables.
        page: the Markdown file; html: the other one.

    Raises:
        SpikeproofError: a result is not as it should be, or a page cannot be written; see :func:`read_results`.
    """
    tables, handed_in = read_results(folder), read_submissions(folder)
    found = boards(tables)
    submitted = submitted_boards(handed_in)
    texts = {
        page: _markdown(tables, handed_in, folder, page, html),
        html: leaderboard_html(found, submitted),
    }
    for path in texts:
        if path.is_dir() or any(part.is_file() for part in path.parents):
            raise SpikeproofError(f"{path} cannot be a page: a folder or a file is in its way; name another file.")
    write_schema(folder / "schema.json")
    for path, text in texts.items():
        write_atomically(path, lambda target, text=text: target.write_text(text, encoding="utf-8"))  # type: ignore[misc]


def _markdown(
    tables: Sequence[tuple[TableHeader, list[ResultRow]]],
    handed_in: Sequence[Submission],
    folder: Path,
    page: Path,
    html: Path,
) -> str:
    linked = {"folder": folder, "schema": folder / "schema.json", "html": html}
    left = unranked(tables)
    text = markdown(
        "results.md",
        folder=folder,
        links={name: _link(path, page) for name, path in linked.items()},
        tables=[(render_table(header, rows), _made(rows), rows[0].command if rows else "") for header, rows in tables],
        boards=[(board.setting, board_table(board)) for board in boards(tables)],
        submitted=[(board.setting, submitted_table(board)) for board in submitted_boards(handed_in)],
        without_place=without_place(handed_in),
        unranked=[
            ("no battery was run", _names([line for line in left if not line.no_number])),
            ("something hides the gradient", _names([line for line in left if line.no_number])),
        ],
    )
    return f"{text}\n"


def _names(lines: Sequence[SeededRow]) -> dict[str, None]:
    """Each line once, as the table has it."""
    rows = [line.first for line in lines]
    return dict.fromkeys(f"{full_label(row)} of {row.table} ({row.scale})" for row in rows)


def _link(path: Path, page: Path) -> Markdown:
    return Markdown(Path(os.path.relpath(path, page.parent)).as_posix().replace(" ", "%20"))


def _made(rows: Sequence[ResultRow]) -> list[str]:
    """Under which conditions a table was made, and how long it took; nothing of no rows."""
    if not rows:
        return []
    devices = [f"{row.device} ({row.threads} thread{'s' * (row.threads > 1)})" for row in rows]
    versions = [f"spikeproof {row.code_version}" for row in rows], [f"torch {row.torch_version}" for row in rows]
    precisions = [f"trained in {row.training_precision}, attacks crafted in {row.crafting_precision}" for row in rows]
    training, audits = (sum(map(float, times)) for times in zip(*map(_seconds, rows), strict=True))
    peaks = [row.peak_memory_bytes for row in rows if row.peak_memory_bytes is not None]
    memory = [f"at most {max(peaks) / 2**30:.1f} GiB of GPU memory in training"] if peaks else []
    submitters = sorted({row.submitted_by for row in rows if row.submitted_by})
    seeds = sorted({row.seed for row in rows})
    return [
        *(each_once(sorted(each)) for each in (devices, *versions, precisions)),
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
        f"training {time(training)} and audits {time(audits)}, added up over {len(rows)} row{'s' * (len(rows) > 1)}",
        *memory,
        *([f"submitted by {', '.join(submitters)}"] if submitters else []),
    ]


def _seconds(row: ResultRow) -> tuple[float, float]:
    return row.training_seconds, row.audit_seconds
