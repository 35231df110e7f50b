"""An audit over several processes, as `torchrun` starts them. Each does a share of the work, all get all results."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from spikeproof.runs import Processes

_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class Shard(Processes):
    """Which of ``world`` processes this is, and which of an audit's jobs are its own."""

    def owns(self, job: int) -> bool:
        """Whether this process does the job of this number (from 0): every ``world``-th is its own."""
        return job % self.world == self.rank

    def of_the_first(self, own: _Value) -> _Value:
        """The value of the first process, in every process. All must call this.

        Args:
            own: this process's value, which can be pickled.
        """
        merged = self.merge({str(self.rank): own})
        return merged[min(merged, key=int)]

    def merge(self, own: dict[str, _Value]) -> dict[str, _Value]:
        """The results of all processes together. All must call this.

        Args:
            own: this process's results by name, which can be pickled. No other process has the same names.
        """
        if self.world == 1:
            return own
        self.meet()
        return {name: value for results in self.gather(own) for name, value in results.items()}
