"""The press: what fills a template is escaped, what is missing is an error, and the templates are installed with it."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

import spikeproof
from spikeproof.doubt import Doubt
from spikeproof.report.press import Markdown, asset, cells, code, html, macro, markdown, markdown_table, plain, short

TEMPLATES = files("spikeproof.report").joinpath("templates")
BAD = "<b>a|b</b> [x](y) `c`"


def test_templates_are_installed_with_the_package() -> None:
    """What pyproject.toml names is what a wheel carries."""
    names = {path.name for path in TEMPLATES.iterdir()}
    assert {"report.html", "board.html", "results.md", "table.md", "card.md", "comparison.md", "report.css"} <= names
    assert all(TEMPLATES.joinpath(name).read_text(encoding="utf-8").strip() for name in names)
    project = Path(spikeproof.__file__).parents[2] / "pyproject.toml"
    patterns = tomllib.loads(project.read_text())["tool"]["setuptools"]["package-data"]["spikeproof"]
    assert all(any(fnmatch(f"report/templates/{name}", pattern) for pattern in patterns) for name in names)


def test_html_is_escaped_unless_it_is_html_already() -> None:
    drawn = macro("figure", BAD, BAD, Markup("<svg></svg>"))
    assert "<b>" not in drawn and "<svg></svg>" in drawn and Markup(drawn).unescape().count(BAD) == 2


def test_markdown_is_escaped_unless_it_is_markdown_already() -> None:
    text = markdown("paired.md", table=markdown_table(["Row", BAD], [[Markdown("**1**"), 2]], words=["Row"]), tests=3)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == r"| Row | \<b\>a\|b\</b\> \[x\](y) \`c\` |" and lines[2] == "| **1** | 2 |"
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert (
        plain("p < .05 </a> <!-- <3") == r"p < .05 \</a\> \<!-- <3"
        and plain("a\nb") == "a b"
        and code("a`b") == "`` a`b ``"
        and cells([1, ""]) == "| 1 |  |"
    )


def test_a_name_that_nobody_gave_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="tests"):
        markdown("paired.md", table=[])
    with pytest.raises(UndefinedError, match="filled"):
        html("pictures.html", trial="PGD")


def test_words_of_a_run_are_one_line_and_not_endless() -> None:
    assert short("a\n b\x1b[31m") == "a b [31m" and len(short("x" * 1000)) == 300


def test_assets_hold_nothing_that_is_loaded() -> None:
    for name in ("report.css", "board.css", "board.js"):
        assert not re.search(r"https?:|url\(|@import", asset(name))


def test_a_doubt_keeps_a_text_that_only_looks_like_a_place() -> None:
    assert str(Doubt("note", "a {} b")) == "a {} b"
    assert str(Doubt("toy", "{} of {}", ("1", "{}"))) == "1 of {}"
