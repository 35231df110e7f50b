"""Progress for a person: a bar on a terminal, a line a minute elsewhere, nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

_SIGN_OF_LIFE = 60.0  # seconds between two lines where there is no terminal to draw a bar on


class Progress:
    """Count ``total`` units of work on stderr.

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
        self._first = start
        self._total, self._done, self._began = total, 0, time.monotonic()
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, units: int = 1) -> None:
        self._done += units
        self._bar.update(units)
        now = time.monotonic()
        if self._show and self._bar.disable and now - self._told > _SIGN_OF_LIFE:
            self._told = now
            share = (self._first + self._done) / max(self._total, 1)
            self.line(f"{self._label}: {100 * min(share, 1):.0f} %, {self.left()}")

    def left(self) -> str:
        """About how long the rest takes, at the pace so far.

        Example:
            >>> Progress(3, "train", show=False).left()
            'time left unknown'
        """
        if self._done == 0:
            return "time left unknown"
        rest = max(self._total - self._first - self._done, 0)
        seconds = (time.monotonic() - self._began) / self._done * rest
        return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"

    def line(self, text: str) -> None:
        """One line of news, above the bar on a terminal."""
        if self._show:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()
