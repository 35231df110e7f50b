"""The press: pages are templates, and what fills them is escaped unless it says that it is HTML or Markdown already.

An HTML template escapes by jinja2's autoescape, a Markdown template by :func:`plain`, which marks of Markdown and HTML
cannot pass. A name that a template asks for and nobody gave is an error, never an empty place.
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
# What Markdown or HTML in it could take for more than a letter. "p < .05" begins no tag.
_MARK = re.compile(r"([\\`*_\[\]>|~&$#]|<(?=[A-Za-z/!?]))")
# What every template may use: as filters how numbers are written, and by name what picks and words an audit's parts.
_FILTERS = (numbers.interval, numbers.listed, numbers.percent, numbers.points, numbers.share, numbers.significant)
_FUNCTIONS = (
    *(picks.clean_of, picks.heading, picks.is_headline, picks.strongest_other, picks.trial_named),
    *(wording.checks_text, wording.conditions, wording.further, wording.kind_of, wording.masking_gap),
    *(wording.reservations, wording.worst_case, wording.worst_interval),
    *(numbers.threat_text, svg.histogram, svg.swatch),
)


class Markdown(str):
    """Text that is Markdown already."""


def html(template: str, **values: Any) -> Markup:
    """The HTML that a template makes of these values, each of which is escaped unless it is ``Markup``."""
    return Markup(_environment(markdown=False).get_template(template).render(values))


def macro(name: str, *values: Any, **named: Any) -> Markup:
    """What a macro of macros.html makes of these values."""
    macros = _environment(markdown=False).get_template("macros.html").module
    return Markup(getattr(macros, name)(*values, **named))


def markdown(template: str, **values: Any) -> Markdown:
    """The Markdown that a template makes of these values, each of which is escaped unless it is ``Markdown``."""
    text = _environment(markdown=True).get_template(template).render(values)
    return Markdown(re.sub(r"\n{3,}", "\n\n", text).strip())


def asset(name: str) -> str:
    """A style sheet or a script, as it stands beside the templates."""
    return files(_PACKAGE).joinpath("templates", name).read_text(encoding="utf-8")


def plain(text: object) -> Markdown:
    """Text that Markdown shows as it is, on one line, in a cell of a table too.

    Example:
        >>> print(plain("SR* | <b> a_b"))
        SR\\* \\| \\<b\\> a\\_b
    """
    return Markdown(_MARK.sub(r"\\\1", _printable(text)))


def code(text: object) -> Markdown:
    """Text as code in Markdown, outside of tables; no mark within can end it.

    Example:
        >>> print(code("a `b`"))
        `` a `b` ``
    """
    line = one_line(text)
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return Markdown(f"{fence}{pad}{line}{pad}{fence}")


def cells(row: Iterable[object]) -> Markdown:
    """One line of a Markdown table.

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
    """Text without line ends and without letters that cannot be seen."""
    return " ".join(_printable(text).split())


def short(text: object) -> str:
    """Words of a run's own, on one line and not so many that they drown the page."""
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
