"""Signs of life where there is no terminal to draw a bar on."""

import threading
import time

import pytest

from spikeproof import progress
from spikeproof.machine.compiling import compiling, is_compiling
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


def test_compiling_counts_for_no_pace(clock, capsys):
    with Progress(100, "training") as shown:
        with compiling():
            clock[0] += 1453.0
            assert is_compiling()
        clock[0] += 7.0
        shown.advance()
    assert not is_compiling()
    assert capsys.readouterr().err == "training: 1 %, about 12 min left\n"  # 99 steps of 7 s


def test_the_pace_is_that_of_the_later_half(clock):
    with Progress(100, "training", show=False) as shown:
        for seconds in [50.0] * 10 + [2.0] * 10:
            clock[0] += seconds
            shown.advance()
        assert shown.left() == "about 3 min left"  # 80 steps of 2 s


def test_a_line_while_a_kernel_is_compiled(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SIGN_OF_LIFE", 0.0)
    monkeypatch.setattr(progress, "_LOOK", 0.01)
    told = threading.Event()
    monkeypatch.setattr(progress.tqdm, "write", lambda text, file: (print(text, file=file), told.set()))
    with Progress(100, "training"), compiling():
        assert told.wait(30)
    assert capsys.readouterr().err.startswith("training: compiling kernels (once on this machine), 0 s so far\n")


def test_no_line_where_none_is_compiled(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SIGN_OF_LIFE", 0.0)
    monkeypatch.setattr(progress, "_LOOK", 0.01)
    with Progress(100, "training"):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
