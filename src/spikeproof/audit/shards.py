"""An audit over several processes, as `torchrun` starts them: each does its share of the work, all know all of it."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from spikeproof.runs import Processes

_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class Shard(Processes):
    """Which of ``world`` processes this is, and which of an audit's jobs are its own."""

    def owns(self, job: int) -> bool:
        """Whether the job of this number is for this process."""
        return job % self.world == self.rank

    def of_the_first(self, own: _Value) -> _Value:
        """The first process's value, in every process."""
        merged = self.merge({str(self.rank): own})
        return merged[min(merged, key=int)]

    def merge(self, own: dict[str, _Value]) -> dict[str, _Value]:
        """The results of all processes, by name; every process gets them all."""
        if self.world == 1:
            return own
        self.meet()
        return {name: value for results in self.gather(own) for name, value in results.items()}
