"""The page of all results and the leaderboard: whole, comparable rows only, safe to show what strangers wrote."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from result_rows import count, make_header, make_row, make_worst

from spikeproof.results import ResultRow, render_table, write_header, write_pages, write_row

BAD = "<b>x</b>\"'&"


class Balanced(HTMLParser):
    """Fails on a tag that closes nothing, and keeps tags, texts and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(folder: Path, rows: list[ResultRow]) -> tuple[str, str]:
    results, page, html = folder / "results", folder / "docs" / "results.md", folder / "docs" / "board.html"
    for row in rows:
        columns = tuple(row.cells)
        write_header(make_header(table=row.table, scale=row.scale, columns=columns, verdicts=()), results)
        write_row(row, results)
    write_pages(results, page, html)
    return page.read_text(encoding="utf-8"), html.read_text(encoding="utf-8")


def some_rows() -> list[ResultRow]:
    best = {"label": "Best", "command": "spikeproof reproduce best", "synaptic_operations": None}
    return [
        make_row(),
        make_row(
            "at",
            label="AT",
            clean=count(150),
            worst=make_worst(60, 65, flags=("zero gradients",)),
            defenses=("AdversarialTraining(eps=0.03, attack='pgd')",),
        ),
        *(make_row("best", seed=seed, worst=make_worst(70 + 4 * seed, 75), **best) for seed in range(2)),
        make_row("plain", label="Plain", worst=None),
        make_row(
            "vanilla", table="other-table", network="resnet18", recipe_hash="0" * 16, width=1.0, coding="Poisson()"
        ),
    ]


def test_the_page_has_every_table_and_how_it_was_made(tmp_path: Path) -> None:
    rows = some_rows()
    page, _ = pages(tmp_path, rows)
    header = make_header(columns=tuple(rows[0].cells), verdicts=())
    table = render_table(header, rows[:5])
    made = (
        "Made with cpu (1 thread); spikeproof 0.4.0; torch 2.11.0; trained in fp32, attacks crafted in fp32; seeds 0, "
        "1; training 5 min and audits 2 min, added up over 5 rows; submitted by spikeproof. The first row's command: "
        "`spikeproof reproduce toy-table1 --scale mini --rows vanilla --seeds 0`."
    )
    assert f"{table}\n\n{made}\n\n## Leaderboard" in page
    assert page.index("## Toy Table 1") < page.index("## Leaderboard")
    for link in ("../results", "../results/schema.json", "board.html"):
        assert f"]({link})" in page and (tmp_path / "docs" / link).exists()
    assert "Without a rank, as no battery was run: Plain (CIFAR-10, no AT) of toy-table1 (mini)." in page


def test_the_leaderboard_ranks_by_the_worst_case(tmp_path: Path) -> None:
    page, _ = pages(tmp_path, some_rows())
    board = page.split("## Leaderboard")[1].split("Without a rank")[0]
    rows = [line.strip("| ").split(" | ") for line in board.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == ["1", "2", "3", "3"]
    assert rows[0][1:] == [
        *("no defense (Best)", "toy-table1 (mini)", "vgg11, width 0.125, T = 4", "90.0, 90.0–90.0"),
        *("45.0, 45.0–45.0 (PGD-7)", "**72.0**, 70.0–74.0 [65.4, 77.8]", "3.0, 1.0–5.0", "–", "2", "cpu"),
    ]
    assert rows[1][6] == "**60.0** [50.2, 69.1] ⚑" and rows[1][8] == "1.23"
    assert rows[2][3] == "resnet18, T = 4, Poisson()"


@pytest.mark.parametrize(
    ("changes", "heading"),
    [
        ({"dataset": "cifar100"}, "CIFAR-100 (JPEG-recompressed), 3 classes, L∞ 8/255, scale mini, {}"),
        ({"data_note": ""}, "CIFAR-10, 3 classes, L∞ 8/255, scale mini, {}"),
        ({"classes": 10}, "CIFAR-10 (JPEG-recompressed), 10 classes, L∞ 8/255, scale mini, {}"),
        ({"eps": 0.01}, "CIFAR-10 (JPEG-recompressed), 3 classes, L∞ 2.55/255, scale mini, {}"),
        ({"scale": "full"}, "CIFAR-10 (JPEG-recompressed), 3 classes, L∞ 8/255, scale full, {}"),
        (
            {"worst": make_worst(battery="quick")},
            "CIFAR-10 (JPEG-recompressed), 3 classes, L∞ 8/255, scale mini, battery quick on 100 test images, crafted "
            "in fp32",
        ),
        (
            {"worst": make_worst(samples=120)},
            "CIFAR-10 (JPEG-recompressed), 3 classes, L∞ 8/255, scale mini, battery reliable on 120 test images, "
            "crafted in fp32",
        ),
        (
            {"crafting_precision": "bf16"},
            "CIFAR-10 (JPEG-recompressed), 3 classes, L∞ 8/255, scale mini, battery reliable on 100 test images, "
            "crafted in bf16",
        ),
        (
            {"images": "0123456789abcdef"},
            "CIFAR-10 (JPEG-recompressed), 3 classes, L∞ 8/255, scale mini, battery reliable on 100 test images "
            "(01234567), crafted in fp32",
        ),
    ],
)
def test_what_cannot_be_compared_is_not_ranked_together(tmp_path: Path, changes: dict, heading: str) -> None:
    heading = heading.format("battery reliable on 100 test images, crafted in fp32")
    page, html = pages(tmp_path, [make_row(), make_row("at", **changes)])
    assert page.count("\n### ") == html.count("<h2>") == 2
    assert f"\n### {heading}\n" in page and f"<h2>{heading}</h2>" in html


SR, AT, REG = "SR(strength=0.001)", "AdversarialTraining(eps=0.03, attack='pgd')", "REG(beta=0.001)"


@pytest.mark.parametrize(
    ("defenses", "name"),
    [((), "no defense"), ((SR,), "SR"), ((AT, SR), "AT + SR"), ((AT, REG, SR), "RAT + SR"), (("Mine()",), "Mine")],
)
def test_rows_are_called_what_people_call_them(tmp_path: Path, defenses: tuple[str, ...], name: str) -> None:
    page, html = pages(tmp_path, [make_row(defenses=defenses)])
    assert f"| 1 | {name} | toy-table1 (mini) |" in page.replace("\\", "")
    assert f'scope="row">{name}<span' in html


def test_rows_of_one_name_are_told_apart(tmp_path: Path) -> None:
    rows = [make_row(f"sr-{i}", defenses=(SR,), group=f"group {i}", label="SR (2024)") for i in range(2)]
    page, _ = pages(tmp_path, [*rows, make_row("sr-wide", defenses=(SR,), width=1.0)])
    assert "| SR (group 0) |" in page and "| SR (group 1) |" in page and "| SR | toy-table1 (mini) | vgg11, T" in page


@pytest.mark.parametrize("source", ["Doe, arXiv 2501.01234, Table 1", "Doe, arXiv:2501.01234", "Doe, Table 1", BAD])
def test_papers_are_linked_where_they_are_known(tmp_path: Path, source: str) -> None:
    write_header(make_header(source=source, columns=tuple(make_row().cells), verdicts=()), tmp_path / "results")
    write_row(make_row(), tmp_path / "results")
    write_pages(tmp_path / "results", tmp_path / "page.md", tmp_path / "page.html")
    known = "2501.01234" in source
    page, html = (tmp_path / "page.md").read_text(), (tmp_path / "page.html").read_text()
    assert ("| toy-table1 (mini) [paper](https://arxiv.org/abs/2501.01234) |" in page) == known
    assert ('<a href="https://arxiv.org/abs/2501.01234">paper</a>' in html) == known


def test_the_board_can_be_sorted(tmp_path: Path) -> None:
    _, text = pages(tmp_path, some_rows())
    html = Balanced(text)
    heads = [attributes for tag, attributes in html.tags if tag == "th" and attributes["scope"] == "col"]
    first = {"Clean": "descending", "Protocol": "descending", "Worst case": "descending", "Gap": "ascending"}
    assert [head.get("data-first") for head in heads] == [None, None, *first.values(), "ascending", None]
    assert [head.get("aria-sort") for head in heads] == [None] * 4 + ["descending"] + [None] * 3
    for label in (*first, "Operations (M)"):
        assert f'><button type="button">{label}</button></th>' in text
    cells = [attributes for tag, attributes in html.tags if tag == "td"]
    held = {label: [cell["data-value"] for cell in cells if cell["data-label"] == label] for label in first}
    assert held["Worst case"] == ["72", "60", "50", "50"] and held["Gap"] == ["3", "5", "30", "30"]
    operations = [cell["data-value"] for cell in cells if cell["data-label"] == "Operations (M)"]
    assert operations == ["", *["1234567"] * 3]


def test_the_board_loads_nothing_and_runs_its_own_script_only(tmp_path: Path) -> None:
    _, text = pages(tmp_path, some_rows())
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in text
    assert not re.search(r"https?:|url\(|@import|<link|<img|\son[a-z]+=", text)


def test_what_strangers_write_is_escaped(tmp_path: Path) -> None:
    texts = ("label", "group", "dataset", "data_note", "network", "coding", "protocol_attack", "device", "command")
    bad = dict.fromkeys((*texts, "code_version", "torch_version", "submitted_by", "training_precision"), BAD)
    worst = make_worst(battery=BAD, protocol_trial=BAD, flags=(BAD,))
    row = make_row(worst=worst, cells={BAD: make_row().cells["Clean"]}, **bad)
    page, html = pages(tmp_path, [row])
    assert "<b>x" not in html and Balanced(html).text.count(BAD) >= 8
    # In Markdown every bracket has a backslash before it, except in code.
    assert "<b>x" not in page.replace(f"`{BAD}`", "")


def test_equal_results_make_equal_pages(tmp_path: Path) -> None:
    assert pages(tmp_path / "a", some_rows()) == pages(tmp_path / "b", some_rows()[::-1])


def test_no_result_at_all(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page, html = pages(tmp_path, [])
    assert "## Leaderboard" in page and "There is no result with a worst case yet." in html


def test_pages_that_cannot_be_written(tmp_path: Path, refuses: Callable) -> None:
    write_row(make_row(), tmp_path / "results")
    with refuses("table.json"):
        write_pages(tmp_path / "results", tmp_path / "page.md", tmp_path / "board.html")
    write_header(make_header(), tmp_path / "results")
    with refuses(tmp_path, "cannot be a page"):
        write_pages(tmp_path / "results", tmp_path / "page.md", tmp_path)
    assert not (tmp_path / "page.md").exists()


def test_an_audit_without_a_number_has_no_rank(tmp_path: Path) -> None:
    """Of two seeds one has none: their line has none, in the table and on the leaderboard."""
    why = "Something hides the gradient."
    rows = [make_row(), make_row("other", label="Other"), make_row("other", label="Other", seed=1)]
    rows[1] = rows[1].model_copy(update={"worst": make_worst(95, 96, no_number=why)})
    page, board = pages(tmp_path, rows)
    assert f"No number:\n\n- Other: {why}" in page
    assert "Without a rank, as something hides the gradient: Other (CIFAR-10, no AT) of toy-table1 (mini)." in page
    line = next(line for line in page.splitlines() if line.startswith("| Other"))
    assert "**none**" in line and "95.0" not in line
    assert "Other" not in page[page.index("| Rank") : page.index("Without a rank")] and "Other" not in board
