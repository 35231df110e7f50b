"""Signs of life where there is no terminal to draw a bar on."""

import pytest

from spikeproof import progress
from spikeproof.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def walk(clock, seconds, *, start=0, show=True):
    with Progress(100, "training", start=start, show=show) as shown:
        for _ in range(100 - start):
            clock[0] += seconds
            shown.advance()


def test_a_line_a_minute_with_how_far_and_how_long(clock, capsys):
    walk(clock, 7.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11  # every ninth step of seven seconds
    assert lines[0] == "training: 9 %, about 11 min left" and lines[-1] == "training: 99 %, about 7 s left"


def test_a_resumed_run_counts_from_where_it_was(clock, capsys):
    walk(clock, 61.0, start=98)
    assert capsys.readouterr().err.splitlines() == [
        "training: 99 %, about 61 s left",
        "training: 100 %, about 0 s left",
    ]


@pytest.mark.parametrize(("seconds", "show"), [(0.1, True), (61.0, False)], ids=["quick", "not shown"])
def test_nothing_where_nothing_is_to_be_told(clock, capsys, seconds, show):
    walk(clock, seconds, show=show)
    assert capsys.readouterr().err == ""
