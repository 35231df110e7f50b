"""The leaderboards as one HTML file that loads nothing. Its columns can be sorted; without a script they are read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from statistics import fmean

from markupsafe import Markup

from spikeproof.report.numbers import points, value_range
from spikeproof.report.press import asset, html
from spikeproof.results.leaderboard import Board, millions
from spikeproof.results.submitted import SubmittedBoard, checked_with
from spikeproof.results.wording import full_label, network, paper_link


def leaderboard_html(found: Sequence[Board], submitted: Sequence[SubmittedBoard] = ()) -> str:
    """The page with a table for each board, the best worst case first.

    Args:
        found: the boards, in the order in which they are to stand.
        submitted: those of submissions, which stand below.
    """
    script = asset("board.js")
    only_this = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return html(
        "board.html",
        kind="spikeproof leaderboard",
        title="Robustness of spiking networks: the leaderboard",
        # Rows come from strangers: the browser itself is told to load nothing and to run nothing but this script.
        policy=Markup(f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{only_this}'"),
        styles=[Markup(asset(name)) for name in ("report.css", "board.css")],
        script=Markup(script),
        boards=found,
        submitted=submitted,
        mean=fmean,
        range_of=_range,
        **{of.__name__: of for of in (checked_with, full_label, millions, network, paper_link)},
    )


def _range(values: Sequence[float]) -> str:
    """From the least to the largest seed's, where there are several."""
    return value_range(values, points) if len(values) > 1 else ""
