"""Every block of Python in the pages runs as it stands, where its library is installed, or says why it is not run.

A comment above a block says so (``<!-- not run: it needs a GPU -->``), or that it is slow (``<!-- thorough: why -->``).
"""

import ast
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
_BLOCK = re.compile(
    r"(?:^<!-- (?P<how>not run|thorough): (?P<why>[^\n]+) -->\n)?^```python\n(?P<code>.*?)^```$", re.M | re.S
)
LIBRARIES = {"SpikingJelly": "spikingjelly", "snnTorch": "snntorch", "Norse": "norse", "sinabs": "sinabs"}


def blocks(page):
    """Of a page's blocks the line of each, what its comment says, and the code."""
    text = page.read_text()
    return [
        (text[: found.start("code")].count("\n") + 1, found["how"], found["code"]) for found in _BLOCK.finditer(text)
    ]


def imported(code):
    """The packages that a block imports."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


CASES = [
    pytest.param(
        page, line, code, id=f"{page.relative_to(ROOT)}:{line}", marks=[pytest.mark.thorough] * (how == "thorough")
    )
    for page in PAGES
    for line, how, code in blocks(page)
    if how != "not run"
]


def test_blocks_were_found_on_many_pages():
    pages = {case.values[0].name for case in CASES}
    assert {"index.md", "your-network.md", "training.md", "faq.md"} <= pages
    assert len(CASES) > 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_of_python_is_a_block_that_was_found(page):
    fences = [line for line in page.read_text().splitlines() if re.match(r"\s*(```|~~~)", line)]
    assert sum("py" in fence.lower() for fence in fences) == len(blocks(page))
    assert set(fences) <= {"```", "```python", "```console", "```text", "```json"}


@pytest.mark.parametrize(("page", "line", "code"), CASES)
def test_block(page, line, code, tmp_path, monkeypatch):
    for library in sorted(imported(code) & set(LIBRARIES.values())):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile("\n" * (line - 1) + code, str(page), "exec"), {"__name__": "block"})


def test_every_library_has_a_block():
    named = [imported(code) for _, _, code in blocks(ROOT / "docs" / "your-network.md")]
    assert set(LIBRARIES.values()) <= set().union(*named)
