"""The pages as a site: every public name has its place, every link its file, and nothing is loaded from elsewhere."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spikeproof as sp

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def hook(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_pages_have_every_public_name_once():
    places = [
        place
        for page in sorted((DOCS / "api").glob("*.md"))
        for place in re.findall(r"^::: (\S+)", page.read_text(), re.M)
    ]
    names = [place.rpartition(".")[2] for place in places]
    assert sorted(set(sp.__all__) - set(names)) == [], "a page in docs/api needs a line `::: FILE.NAME` for each"
    assert sorted(names) == sorted(sp.__all__)
    for place, name in zip(places, names, strict=True):
        assert getattr(importlib.import_module(place.rpartition(".")[0]), name) is getattr(sp, name)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *sorted(path.name for path in DOCS.glob("*.md"))])
def test_relative_links_lead_to_files(page):
    path = ROOT / page if (ROOT / page).exists() else DOCS / page
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_a_link_out_of_the_pages_becomes_a_path():
    without = hook("outside_links").without_outside_links
    text = "[results](../results), [its schema](../results/schema.json), [here](faq.md#x), ![p](../p.png), [w](https://w.org)"
    wanted = "`results`, its schema (`results/schema.json`), [here](faq.md#x), ![p](../p.png), [w](https://w.org)"
    assert without(text, "results.md") == wanted
    assert without("[up](../faq.md), [out](../../README.md)", "api/index.md") == "[up](../faq.md), out (`README.md`)"


def test_docstrings_become_markdown():
    pytest.importorskip("griffe")
    given = "As in :class:`spikeproof.Site`::\n\n    x = 1\n\nArgs:\n    a, b: > 0.\n\nExample:\n    >>> 1\n    1\n"
    wanted = "As in `spikeproof.Site`:\n\n    x = 1\n\nArgs:\n    a, b: \\> 0.\n\nExamples:\n    >>> 1\n    1\n"
    assert hook("docstrings").as_markdown(given) == wanted


@pytest.mark.thorough
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text()):
            if 'rel="canonical"' not in tag:
                assert not re.search(r"\b(?:src|href)=[\"']?(?:https?:)?//", tag), (page, tag)
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", style.read_text()), style
