"""Progress for a person: a bar on a terminal, a line a minute elsewhere, nothing where nobody looks."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from types import TracebackType

from tqdm import tqdm

from spikeproof.machine.compiling import compiling_seconds, is_compiling, working_time

_SIGN_OF_LIFE = 60.0  # seconds between two lines where there is no terminal to draw a bar on
_LOOK = 1.0  # seconds between two looks at whether a kernel is compiled: a step that waits for it advances nothing
_COMPILING = "compiling kernels (once on this machine)"


class Progress:
    """Count ``total`` units of work on stderr. The time that kernels are compiled in is said, and counts for no pace.

    Args:
        total: units in all.
        label: what is being done.
        start: units already done (a resumed run).
        show: False prints nothing at all.

    Example:
        >>> with Progress(3, "train", show=False) as progress:
        ...     progress.advance()
    """

    def __init__(self, total: int, label: str, *, start: int = 0, show: bool = True) -> None:
        self._show, self._label, self._told = show, label, time.monotonic()
        self._first, self._total, self._done = start, total, 0
        self._compiled = compiling_seconds()
        # Units done and when, the first at half of what is done by now: the pace is that of the later half.
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
        self._done += units
        self._mark()
        self._bar.update(units)
        if self._due():
            share = (self._first + self._done) / max(self._total, 1)
            self.line(f"{self._label}: {100 * min(share, 1):.0f} %, {self.left()}")

    def left(self) -> str:
        """About how long the rest takes, at the pace of the later half of what is done.

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
        """One line of news, above the bar on a terminal."""
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
        said = False
        while not self._over.wait(_LOOK):
            if is_compiling() != said:
                said = not said
                if not said:
                    self._bar.unpause()  # the bar's own clock stood still too
                self._bar.set_postfix_str(_COMPILING if said else "")
            if said and self._due():
                spent = compiling_seconds() - self._compiled
                self.line(f"{self._label}: {_COMPILING}, {spent:.0f} s so far")
