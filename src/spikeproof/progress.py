"""Progress for people: a bar on a terminal, a line a minute elsewhere, or nothing if it is switched off."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from types import TracebackType

from tqdm import tqdm

from spikeproof.machine.compiling import compiling_seconds, is_compiling, working_time

_SIGN_OF_LIFE = 60.0  # seconds between two lines where there is no terminal to draw a bar on
_LOOK = 1.0  # seconds between two looks at whether a kernel is compiled, which stops all progress
_COMPILING = "compiling kernels (once on this machine)"


class Progress:
    """Shows on stderr how much of some work is done, and how long the rest takes.

    It says when kernels are compiled. That time does not count for the pace.

    Args:
        total: units of work in all.
        label: what is being done.
        start: units that were done before (by a run that goes on).
        show: False prints nothing.

    Example:
        >>> with Progress(3, "train", show=False) as progress:
        ...     progress.advance()
    """

    def __init__(self, total: int, label: str, *, start: int = 0, show: bool = True) -> None:
        self._show, self._label, self._told = show, label, time.monotonic()
        self._first, self._total, self._done = start, total, 0
        self._compiled = compiling_seconds()
        # Pairs of units done and the time then; the first is from when half of the present units were done.
        self._marks = deque([(0, working_time())])
        self._over = threading.Event()
        self._watch: threading.Thread | None = None
        self._bar = tqdm(
            total=total,
            initial=start,
            desc=label,
            file=sys.stderr,
            leave=False,
            dynamic_ncols=True,
            disable=not (show and sys.stderr.isatty()),
        )

    def __enter__(self) -> Progress:
        if self._show:
            self._watch = threading.Thread(target=self._watch_compiling, daemon=True)
            self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._watch is not None:
            self._watch.join()
        self._bar.close()

    def advance(self, units: int = 1) -> None:
        """Say that so many further units of work are done."""
        self._done += units
        self._mark()
        self._bar.update(units)
        if self._due():
            share = (self._first + self._done) / max(self._total, 1)
            self.line(f"{self._label}: {100 * min(share, 1):.0f} %, {self.left()}")

    def left(self) -> str:
        """In words how long the rest takes, at the pace of the later half of what is done.

        Example:
            >>> Progress(3, "train", show=False).left()
            'time left unknown'
        """
        if self._done == 0:
            return "time left unknown"
        rest = max(self._total - self._first - self._done, 0)
        done, since = self._marks[0]
        seconds = (working_time() - since) / (self._done - done) * rest
        return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"

    def line(self, text: str) -> None:
        """Print one line; on a terminal it stands above the bar."""
        if self._show:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()

    def _mark(self) -> None:
        now = working_time()
        if now - self._marks[-1][1] >= 1:
            self._marks.append((self._done, now))
        while len(self._marks) > 1 and self._marks[1][0] <= self._done / 2:
            self._marks.popleft()

    def _due(self) -> bool:
        """Whether it is time for a line where there is no bar."""
        now = time.monotonic()
        due = self._show and self._bar.disable and now - self._told > _SIGN_OF_LIFE
        if due:
            self._told = now
        return due

    def _watch_compiling(self) -> None:
        shown = False
        while not self._over.wait(_LOOK):
            if is_compiling() != shown:
                shown = not shown
                if not shown:
                    self._bar.unpause()  # leaves the time of compiling out of the bar's own pace
                self._bar.set_postfix_str(_COMPILING if shown else "")
            if shown and self._due():
                spent = compiling_seconds() - self._compiled
                self.line(f"{self._label}: {_COMPILING}, {spent:.0f} s so far")
