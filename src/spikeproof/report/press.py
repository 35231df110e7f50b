"""The press: fills the templates of all pages. Every value is escaped unless its type says that it is a page's text.

In HTML templates jinja2's autoescape does this; in Markdown templates :func:`plain` escapes what Markdown or HTML would
take for markup. A name that a template uses and nobody gave is an error, never an empty place.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spikeproof.report import numbers, picks, svg, wording

_PACKAGE = "spikeproof.report"
_LONGEST = 300
# What Markdown, or HTML within it, would take for markup. "p < .05" begins no tag.
_MARK = re.compile(r"([\\`*_\[\]>|~&$#]|<(?=[A-Za-z/!?]))")
# What every template may use: ways to write numbers as filters, and functions that pick and word an audit's parts.
_FILTERS = (numbers.interval, numbers.listed, numbers.percent, numbers.points, numbers.share, numbers.significant)
_FUNCTIONS = (
    *(picks.clean_of, picks.heading, picks.is_headline, picks.strongest_other, picks.trial_named),
    *(wording.checks_text, wording.conditions, wording.further, wording.kind_of, wording.masking_gap),
    *(wording.reservations, wording.worst_case, wording.worst_interval),
    *(numbers.threat_text, svg.histogram, svg.swatch),
)


class Markdown(str):
    """Text that is Markdown already, so that nothing in it is escaped."""


def html(template: str, **values: Any) -> Markup:
    """Fill an HTML template.

    Args:
        template: its file in ``report/templates``.
        values: by the names that the template uses. Each is escaped unless it is ``Markup``.

    Raises:
        jinja2.UndefinedError: the template uses a name that is not among them.
    """
    return Markup(_environment(markdown=False).get_template(template).render(values))


def macro(name: str, *values: Any, **named: Any) -> Markup:
    """The HTML of a macro of macros.html, called with these values. Each is escaped unless it is ``Markup``."""
    macros = _environment(markdown=False).get_template("macros.html").module
    return Markup(getattr(macros, name)(*values, **named))


def markdown(template: str, **values: Any) -> Markdown:
    """Fill a Markdown template.

    Args:
        template: its file in ``report/templates``.
        values: by the names that the template uses. Each is escaped unless it is ``Markdown``.

    Raises:
        jinja2.UndefinedError: the template uses a name that is not among them.
    """
    text = _environment(markdown=True).get_template(template).render(values)
    return Markdown(re.sub(r"\n{3,}", "\n\n", text).strip())


def asset(name: str) -> str:
    """The text of a style sheet or a script in ``report/templates``."""
    return files(_PACKAGE).joinpath("templates", name).read_text(encoding="utf-8")


def plain(text: object) -> Markdown:
    """Escape text for Markdown, on one line and also for a cell of a table.

    Args:
        text: anything that can be written as text.

    Example:
        >>> print(plain("SR* | <b> a_b"))
        SR\\* \\| \\<b\\> a\\_b
    """
    return Markdown(_MARK.sub(r"\\\1", _printable(text)))


def code(text: object) -> Markdown:
    """Text as inline code of Markdown, outside of tables. No backtick in it can end the code.

    Args:
        text: anything that can be written as text.

    Example:
        >>> print(code("a `b`"))
        `` a `b` ``
    """
    line = one_line(text)
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return Markdown(f"{fence}{pad}{line}{pad}{fence}")


def cells(row: Iterable[object]) -> Markdown:
    """One line of a Markdown table. Each cell is escaped unless it is ``Markdown``.

    Args:
        row: the values of the cells.

    Example:
        >>> print(cells(["a|b", Markdown("**1**")]))
        | a\\|b | **1** |
    """
    return Markdown(f"| {' | '.join(map(_finished, row))} |")


def markdown_table(heads: Sequence[object], rows: Iterable[Sequence[object]], words: Collection[object]) -> Markdown:
    """A table of Markdown.

    Args:
        heads: of the columns.
        rows: a cell for each column.
        words: the heads of columns that hold words. The others hold numbers and stand right.

    Example:
        >>> print(markdown_table(["Row", "Clean"], [["SR", 99.5]], words=["Row"]))
        | Row | Clean |
        | --- | --: |
        | SR | 99.5 |
    """
    rule = ["---" if head in words else "--:" for head in heads]
    return Markdown("\n".join(cells(row) for row in (heads, rule, *rows)))


def _paragraph(text: str) -> str:
    return f"{' '.join(text.split())}\n"


def one_line(text: object) -> str:
    """Text on one line, with a space for each run of spaces, line ends and letters that cannot be printed."""
    return " ".join(_printable(text).split())


def short(text: object) -> str:
    """Text from a run's files: on one line, and cut after 300 letters."""
    return one_line(text)[:_LONGEST]


def _printable(text: object) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def _finished(value: object) -> str:
    return value if isinstance(value, Markdown) else plain(value)


@functools.cache
def _environment(*, markdown: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=not markdown,
        finalize=_finished if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {each.__name__: each for each in _FILTERS}
    environment.globals |= {each.__name__: each for each in _FUNCTIONS}
    if markdown:
        environment.filters |= {"cells": cells, "code": code, "paragraph": _paragraph, "short": short}
    return environment
