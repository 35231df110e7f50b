"""Every command in the pages and in the README can be parsed: its options are there, and take what they are given."""

import re
import shlex
from pathlib import Path

import pytest

from spikeproof.audit import AuditConfig
from spikeproof.cli import arguments, certify, harden, listing, own_network, runs, submissions, tables, watch
from spikeproof.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "log.md")]
PAGES += [ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
# What a page writes for any of a kind, and one of that kind.
EXAMPLES = {
    "RECIPE": "demo-digits-at",
    "TABLE": "tgo-main",
    "FAMILY": "mini-cifar10",
    "...": None,
    "RUN...": "runs/mine",
}


def commands(page):
    """The words of each command: lines of their own, and code within a line that says more than the command's name."""
    text = page.read_text()
    lines, inline = re.findall(r"^    spikeproof (.*)$", text, re.M), re.findall(r"`spikeproof (\w+ [^-`][^`]*)`", text)
    for written in lines + inline:
        words = [EXAMPLES.get(word, word.partition("|")[0]) for word in shlex.split(written, comments=True)]
        yield [word for word in words if word is not None]


CASES = sorted({tuple(words) for page in PAGES for words in commands(page)})


class _ParsedError(Exception):
    """The words were understood; what the command would do is not the question."""


@pytest.fixture
def only_parses(monkeypatch):
    def parse(*given, **settings):
        raise _ParsedError(arguments.read_arguments(*given, **settings))

    for file in (certify, harden, listing, own_network, runs, submissions, tables, watch):
        monkeypatch.setattr(file, "read_arguments", parse)
    for file in (harden, runs):
        monkeypatch.setattr(file, "recorded_audit_config", lambda folder: AuditConfig())


def test_commands_were_found():
    assert len(CASES) > 25
    assert {"train", "audit", "reproduce", "push"} <= {words[0] for words in CASES}


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_command_can_be_parsed(only_parses, words):
    try:
        main(list(words))  # one that has nothing to parse prints a list
    except _ParsedError as parsed:
        assert parsed.args[0] is not None
    except SystemExit as ended:
        assert ended.code == 0, "a page asks for help"
