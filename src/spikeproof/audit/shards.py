"""An audit over several processes, as `torchrun` starts them: each does its share of the work, all know all of it."""

from __future__ import annotations

import dataclasses
import os
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

_Value = TypeVar("_Value")

_PATIENCE = timedelta(days=7)


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which of ``world`` processes this is; the first of one outside `torchrun`."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of_this_process(cls) -> Shard:
        """From RANK and WORLD_SIZE in the environment."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def owns(self, job: int) -> bool:
        """Whether the job of this number is for this process."""
        return job % self.world == self.rank

    def device(self, picked: torch.device) -> torch.device:
        """This process's own GPU (LOCAL_RANK), where GPUs were picked."""
        local = os.environ.get("LOCAL_RANK")
        return torch.device("cuda", int(local)) if picked.type == "cuda" and local is not None else picked

    def meet(self) -> None:
        """Find the other processes. They may be hours apart, where one has the harder batches: be patient."""
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("gloo", timeout=_PATIENCE)

    def merge(self, own: dict[str, _Value]) -> dict[str, _Value]:
        """The results of all processes, by name; every process gets them all."""
        if self.world == 1:
            return own
        self.meet()
        gathered: list[dict[str, _Value]] = [{} for _ in range(self.world)]
        dist.all_gather_object(gathered, own)
        return {name: value for part in gathered for name, value in part.items()}
