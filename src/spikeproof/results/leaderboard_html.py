"""The leaderboards as one HTML file that loads nothing. Its columns can be sorted; without a script they are read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from html import escape
from statistics import fmean

from spikeproof.report.style import STYLE
from spikeproof.results.leaderboard import Board, Place, full_label, millions
from spikeproof.results.lines import Line
from spikeproof.results.records import Count, ResultRow
from spikeproof.results.wording import NONE, interval, listed, network, paper_link, percent, value_range

TITLE = "Robustness of spiking networks: the leaderboard"
FINDING = (
    "Ranked by the <b>worst case</b>: the share of test images that a network still gets right under every attack of a "
    "battery. The <b>gap</b> is what its protocol attack alone did not show. Rows are comparable within one table of "
    "this page only, and where the intervals of two rows overlap, their order is not settled."
)

# Tables wider than the report's, and heads that stay on a small screen, as they are what one sorts by.
BOARD_STYLE = """
.board thead th{white-space:nowrap;vertical-align:middle}
.board th:nth-child(2){text-align:left}
.board button{font:inherit;color:inherit;background:none;border:0;border-radius:4px;padding:.15rem .2rem;cursor:pointer}
.board button:hover{color:var(--ink)}
.board button:focus-visible{outline:3px solid var(--accent);outline-offset:1px}
.board button::after{content:"\\2195" / "";display:inline-block;width:1em;text-align:right;opacity:.5}
.board [aria-sort] button{color:var(--ink);font-weight:700}
.board [aria-sort=descending] button::after{content:"\\25BE" / "";opacity:1}
.board [aria-sort=ascending] button::after{content:"\\25B4" / "";opacity:1}
.board td:first-child{width:3rem}
@media screen and (max-width:720px){
.board thead{position:static;width:auto;height:auto;overflow:visible;clip-path:none;display:block}
.board thead tr{display:flex;flex-wrap:wrap;padding:.4rem .6rem;border-bottom:1px solid var(--rule)}
.board thead th{display:none}.board thead th:has(button){display:block;border:0;padding:.1rem}
.board td:first-child{width:auto}}
"""

# A second click turns the order round. A row without the number stays last; equal ones stand by rank.
SCRIPT = """
for (const table of document.querySelectorAll("table.board")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const number = (row, column) => parseFloat(row.cells[column].dataset.value);
  for (const head of heads.filter((each) => each.querySelector("button"))) {
    head.querySelector("button").addEventListener("click", () => {
      const turned = {ascending: "descending", descending: "ascending"}[head.getAttribute("aria-sort")];
      const order = turned || head.dataset.first, sign = order === "ascending" ? 1 : -1;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const compare = (a, b) => {
        const x = number(a, head.cellIndex), y = number(b, head.cellIndex);
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return sign * (x - y);
      };
      body.append(...[...body.rows].sort((a, b) => compare(a, b) || number(a, 0) - number(b, 0)));
    });
  }
}
"""
_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
# Rows come from strangers: the browser itself is told to load nothing and to run nothing but the script above.
POLICY = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'"

_DOWN, _UP = "descending", "ascending"
# Of each column its head and, where one can sort by it, in which direction first: the better first.
_HEADS = (
    ("Rank", None),
    ("Row", None),
    ("Clean", _DOWN),
    ("Protocol", _DOWN),
    ("Worst case", _DOWN),
    ("Gap", _UP),
    ("Operations (M)", _UP),
    ("Seeds", None),
)


def leaderboard_html(found: Sequence[Board]) -> str:
    """The page with a table for each board, the best worst case first.

    Args:
        found: the boards, in the order in which they are to stand.
    """
    sections = "".join(f"<section><h2>{escape(board.setting)}</h2>{_table(board)}</section>" for board in found)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE}{BOARD_STYLE}</style></head><body><header><p>spikeproof leaderboard</p>"
        f'<h1>{TITLE}</h1><p class="finding">{FINDING}</p></header><main>'
        f"{sections or '<p>There is no result with a worst case yet.</p>'}</main><footer>Accuracies in percent, means "
        "over the seeds. Below a worst case stands its 95 % Wilson interval, of all seeds together; below other "
        "numbers the range over the seeds. Operations: synaptic operations, additions caused by spikes, of one image, "
        "in millions. ⚑: the audit raised a red flag, so the worst case may be too high.</footer>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _table(board: Board) -> str:
    heads = "".join(_head(words, first) for words, first in _HEADS)
    rows = "".join(map(_row, board.places))
    return (
        f'<table class="board" role="table" aria-label="{escape(board.setting)}"><thead role="rowgroup">'
        f'<tr role="row">{heads}</tr></thead><tbody role="rowgroup">{rows}</tbody></table>'
        f"<details><summary>How these rows were made</summary><dl>{''.join(map(_made, board.places))}</dl></details>"
    )


def _head(words: str, first: str | None) -> str:
    if first is None:
        return f'<th role="columnheader" scope="col">{words}</th>'
    now = ' aria-sort="descending"' if words == "Worst case" else ""
    return f'<th role="columnheader" scope="col" data-first="{first}"{now}><button type="button">{words}</button></th>'


def _row(place: Place) -> str:
    line, row = place.line, place.line.first
    devices = listed([each.device for each in line.seeds])
    link = paper_link(place.source)
    paper = f' · <a href="{link}">paper</a>' if link else ""
    about = f'<span class="conditions">{escape(f"{row.table} · {network(row)} · {devices}")}{paper}</span>'
    counts = [worst.count for worst in line.worsts]
    flags = f"; red flags: {', '.join(line.flags)}" if line.flags else ""
    operations = line.operations()
    cells = (
        _cell("Rank", str(place.rank), "", place.rank),
        f'<th role="rowheader" scope="row">{escape(place.name)}{about}</th>',
        _accuracy("Clean", line, lambda row: row.clean, ""),
        _accuracy("Protocol", line, lambda row: row.protocol, row.protocol_attack),
        _cell(
            "Worst case",
            f"{percent(line.worst)}{' ⚑' if line.flags else ''}",
            interval(counts).strip("[]").replace(", ", "–"),
            line.worst,
            style="worst",
            title=f"right under every attack; {counts[0].samples} test images{flags}",
        ),
        _cell("Gap", percent(fmean(line.gaps)), _range(line.gaps), fmean(line.gaps), style="gap"),
        _cell("Operations (M)", millions(line), "", operations),
        _cell("Seeds", str(len(line.seeds)), "", None),
    )
    return f'<tr role="row">{"".join(cells)}</tr>'


def _accuracy(label: str, line: Line, of: Callable[[ResultRow], Count], small: str) -> str:
    values = [of(row).percent for row in line.seeds]
    spread = " · ".join(each for each in (small, _range(values)) if each)
    return _cell(label, percent(fmean(values)), spread, fmean(values))


def _range(values: Sequence[float]) -> str:
    return value_range(values, percent) if len(values) > 1 else ""


def _cell(label: str, value: str, small: str, sort_by: float | None, *, style: str = "", title: str = "") -> str:
    number = "" if sort_by is None else f"{sort_by:.12g}"
    return (
        f'<td role="cell" class="{style}" data-label="{label}" data-value="{number}" title="{escape(title)}">'
        f"<span>{escape(value or NONE)}</span><small>{escape(small)}</small></td>"
    )


def _made(place: Place) -> str:
    """For each seed the command, and by whom and with which code it was run."""
    said = "".join(f"<dd>{_seed(row)}</dd>" for row in place.line.seeds)
    row = place.line.first
    label = f"{row.table}: {full_label(row)}"
    return f"<dt>{place.rank}. {escape(place.name)}</dt><dd>{escape(label)}</dd>{said}"


def _seed(row: ResultRow) -> str:
    by = f", submitted by {row.submitted_by}" if row.submitted_by else ""
    made = f"spikeproof {row.code_version}, torch {row.torch_version}, recipe {row.recipe_hash}{by}"
    return f"<code>{escape(row.command)}</code><br>{escape(made)}"
