"""How long kernels have been compiled, so that measured times can leave it out: it happens once on a machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class _Stopwatch:
    """Counts the time in which one or more threads compile; two at once count once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running, self._began, self._finished = 0, 0.0, 0.0

    def start(self) -> None:
        with self._lock:
            if self._running == 0:
                self._began = time.monotonic()
            self._running += 1

    def stop(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running == 0:
                self._finished += time.monotonic() - self._began

    def read(self) -> tuple[float, float, bool]:
        """The time now, the seconds spent compiling until now, and whether a compilation runs."""
        with self._lock:
            now, running = time.monotonic(), self._running > 0
            return now, self._finished + (now - self._began if running else 0.0), running


_stopwatch = _Stopwatch()


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """A context, or a decorator (``@compiling()``), for code that compiles a kernel.

    Example:
        >>> with compiling():
        ...     is_compiling()
        True
        >>> is_compiling()
        False
    """
    _stopwatch.start()
    try:
        yield
    finally:
        _stopwatch.stop()


def is_compiling() -> bool:
    """Whether a kernel is compiled just now, in any thread of this process."""
    return _stopwatch.read()[2]


def compiling_seconds() -> float:
    """How long this process has spent compiling, a compilation that still runs included."""
    return _stopwatch.read()[1]


def working_time() -> float:
    """A clock in seconds, like ``time.monotonic``, that stands still while kernels are compiled."""
    now, spent, _ = _stopwatch.read()
    return now - spent
