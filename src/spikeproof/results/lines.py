"""A row of a table with all its seeds, as the pages show it: one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean

from spikeproof.records.result_json import ResultRow, Worst
from spikeproof.report.numbers import NONE, bracketed, over_seeds, points, value_range
from spikeproof.report.press import Markdown
from spikeproof.results.wording import bounds, each_once


@dataclasses.dataclass(frozen=True)
class SeededRow:
    """The seeds of one row, of which there is one at least; reading has made sure that they share their setting."""

    seeds: tuple[ResultRow, ...]

    @property
    def first(self) -> ResultRow:
        """For what all seeds share."""
        return self.seeds[0]

    @property
    def images(self) -> str:
        """The fingerprint of the audited images, which seeds share; "" where none knows."""
        return next((row.images for row in self.seeds if row.images), "")

    @property
    def worsts(self) -> list[Worst]:
        """One a seed; none where no battery was run, or where the audit of a seed has no number."""
        return [] if self.no_number else [row.worst for row in self.seeds if row.worst is not None]

    @property
    def no_number(self) -> str:
        """Why the audit of a seed says nothing of robustness; "" where all say something."""
        return next((row.worst.no_number for row in self.seeds if row.worst and row.worst.no_number), "")

    @property
    def worst(self) -> float:
        """Mean of the worst cases in percent; to be asked only where there are some."""
        return fmean(worst.count.percent for worst in self.worsts)

    @property
    def gaps(self) -> list[float]:
        """For each seed, the battery's protocol accuracy less the worst case, in points."""
        return [worst.protocol.percent - worst.count.percent for worst in self.worsts]

    @property
    def flags(self) -> list[str]:
        """What the audits of any seed raised."""
        return list(dict.fromkeys(flag for worst in self.worsts for flag in worst.flags))

    @property
    def devices(self) -> str:
        """What the seeds ran on."""
        return each_once(row.device for row in self.seeds)

    def percents(self, of: str) -> list[float]:
        """For each seed an accuracy in percent.

        Args:
            of: "clean" or "protocol".
        """
        return [getattr(row, of).percent for row in self.seeds]

    @property
    def worst_range(self) -> str:
        """The 95 % interval of the worst case, of all seeds together: 65.4–77.8."""
        return value_range(bounds([worst.count for worst in self.worsts]), points)

    def worst_text(self) -> Markdown | str:
        """Mean, range and interval of the worst case, with a mark where a red flag was raised."""
        if self.no_number:
            return Markdown("**none**")
        if not self.worsts:
            return NONE
        counts = [worst.count for worst in self.worsts]
        spread = f", {value_range([count.percent for count in counts], points)}" if len(counts) > 1 else ""
        return Markdown(f"**{points(self.worst)}**{spread} {bracketed(*bounds(counts))}{' ⚑' if self.flags else ''}")

    def gap_text(self) -> str:
        """Mean and range of the gap."""
        return over_seeds(self.gaps, points) if self.gaps else NONE

    def operations(self) -> float | None:
        """Mean of the synaptic operations, where every seed has them."""
        held = [row.synaptic_operations for row in self.seeds if row.synaptic_operations is not None]
        return fmean(held) if len(held) == len(self.seeds) else None


def lines_of(order: Sequence[str], rows: Sequence[ResultRow]) -> list[SeededRow]:
    """The seeds of each row together.

    Args:
        order: names of rows. Those that it does not name come last, by name.
        rows: of one table, in any order.
    """
    places = {name: place for place, name in enumerate(order)}
    found: dict[str, list[ResultRow]] = {}
    for row in sorted(rows, key=lambda row: (places.get(row.row, len(places)), row.row, row.seed)):
        found.setdefault(row.row, []).append(row)
    return [SeededRow(tuple(seeds)) for seeds in found.values()]
