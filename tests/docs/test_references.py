"""The page of references and the lists of methods: each knows what the other has."""

import importlib
import io
import re
import tokenize
from pathlib import Path

import pytest

import spikeproof as sp
from spikeproof.attacks import ATTACKS
from spikeproof.coding import CODINGS
from spikeproof.defenses import DEFENSES
from spikeproof.gradients import SOURCES, TUNABLES
from spikeproof.models import MODELS
from spikeproof.spiking import SURROGATES
from spikeproof.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "references.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("| paper |", "|---"))
]
WHERE = [name for row in ROWS for name in re.findall(r"`([^`]+)`", row[3])]

# "Ding et al. 2022", "Wu, Xia and Wang, NeurIPS 2020", "Wilson 1927", "Carlini et al. (2019": first author and year.
_CITED = re.compile(
    r"\b([A-Z][a-z]+(?:[A-Z][a-z]+)?)(?: et al\.,?|(?:, [A-Z][a-z]+)* and [A-Z][a-z]+,?)? \(?"
    r"(?:(?:AAAI|CVPR|ECCV|ICCV|ICLR|ICML|IJCAI|ISSCC|NeurIPS|Patterns|TMLR|iScience|ACM MM),? )?((?:19|20)\d\d)\b"
)
# A method or a table by its own name, or a month.
_NO_AUTHORS = {"ASSG", "TGO", "Deflation", "Optimization", "Xiv", "November", "December"}


def resolved(name):
    """What a name in the last column stands for; the name itself where the command line takes it."""
    if name.startswith("sp."):
        return getattr(sp, name.removeprefix("sp."))
    if name.startswith("spikeproof."):
        room, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(room), attribute, None)
        return importlib.import_module(name) if found is None else found
    assert name in {*MODELS, *TABLES}
    return name


def test_rows_have_four_columns():
    assert len(ROWS) > 70
    assert {len(row) for row in ROWS} == {4}


@pytest.mark.parametrize("name", sorted(set(WHERE)))
def test_each_place_is_there(name):
    assert resolved(name) is not None


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(set(DEFENSES.values()), id="defenses"),
        pytest.param(set(CODINGS.values()), id="codings"),
        pytest.param(set(SURROGATES.values()), id="surrogates"),
        pytest.param(set(MODELS), id="networks"),
        pytest.param(set(TABLES), id="tables"),
        pytest.param({form.attack for form in ATTACKS.values()}, id="attacks"),
        pytest.param(
            {type(each.make({name: value.default for name, value in TUNABLES.items()})) for each in SOURCES.values()},
            id="sources",
        ),
    ],
)
def test_every_method_has_a_reference(members):
    missing = members - {resolved(name) for name in WHERE}
    assert not missing, "docs/references.md has no row whose last column names them"


def cited():
    """Who is cited in docstrings and comments of the library, with the year, and where."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING) and (token.string[0] in "#\"'"):
                for author, year in _CITED.findall(token.string.replace("\n", " ")):
                    if author not in _NO_AUTHORS:
                        yield author, year, path.relative_to(ROOT)


def test_every_paper_that_the_code_names_is_on_the_page():
    listed = [" ".join(row[:2]) for row in ROWS]
    found = set(cited())
    assert len({(author, year) for author, year, _ in found}) > 40
    missing = {each for each in found if not any(each[0] in row and each[1] in row for row in listed)}
    assert missing == set()
