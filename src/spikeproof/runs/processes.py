"""One run over several processes, as `torchrun` starts them.

W processes compute what one process computes on the whole batch, up to the order of sums; what draws random numbers
inside a step (random starts, firing noise, gates, codings) draws them per process, so those are equal in distribution
only. Each process takes its slice of every part of a batch; a part holds W times ``TrainConfig.microbatch`` images.

Gradients are summed once an optimiser step. Statistics of the batch (batch norm's, the moments that penalties read) are
those of all slices, exchanged in the forward and in the backward; crafting forwards, in eval mode, exchange nothing.
Gloo on the CPU; NCCL on CUDA, which has not been tested.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import pad

from spikeproof.errors import SpikeproofError

_Value = TypeVar("_Value")
_Kind = TypeVar("_Kind", bound="Processes")

_PATIENCE = timedelta(days=7)


@dataclasses.dataclass(frozen=True)
class Processes:
    """The ``world`` processes that work together, and which of them this is; the first of one outside `torchrun`.

    Alone every method gives what it was given; nothing is exchanged.

    Example:
        >>> Processes().gather("mine")
        ['mine']
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_this_process(cls: type[_Kind]) -> _Kind:
        """From RANK and WORLD_SIZE in the environment.

        Raises:
            SpikeproofError: they are no numbers, or there is no such process.
        """
        rank, world = whole_number("RANK", 0), whole_number("WORLD_SIZE", 1)
        if rank >= world:
            raise SpikeproofError(
                f"RANK is {rank} and WORLD_SIZE {world} in the environment, but ranks begin at 0; start the processes "
                "with torchrun, or unset both."
            )
        return cls(rank, world)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.rank == 0

    def device(self, picked: torch.device) -> torch.device:
        """This process's own GPU (LOCAL_RANK), where GPUs were picked.

        Raises:
            SpikeproofError: this machine has fewer GPUs than processes.
        """
        if picked.type != "cuda" or "LOCAL_RANK" not in os.environ:
            return picked
        local, gpus = whole_number("LOCAL_RANK", 0), torch.cuda.device_count()
        if local >= gpus:
            raise SpikeproofError(
                f"Each process needs a GPU of its own, and this machine has {gpus}, none for LOCAL_RANK {local}; give "
                f"torchrun --nproc-per-node {gpus}."
            )
        return torch.device("cuda", local)

    def meet(self, device: torch.device | None = None) -> None:
        """Find the other processes, to exchange tensors of this device (None: the CPU) and Python objects.

        They may be hours apart, where an audit's batch was harder: be patient.

        Raises:
            SpikeproofError: nothing says where they are.
        """
        cuda = device is not None and device.type == "cuda"
        if self.world > 1 and device is not None and cuda and device.index is not None:
            torch.cuda.set_device(device)  # or what names no GPU would be on the first one, for all processes
        if self.world > 1 and not dist.is_initialized():
            if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
                raise SpikeproofError(
                    f"WORLD_SIZE is {self.world} without {' and '.join(missing)}, so the processes cannot find each "
                    "other; start them with torchrun, or unset WORLD_SIZE for one process."
                )
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_PATIENCE)

    def lead(self, work: Callable[[], _Value]) -> _Value:
        """What ``work`` gives in the first process, which alone does it; the others wait for it.

        Raises:
            SpikeproofError: the first process's, in all of them.
        """
        if self.world == 1:
            return work()
        told: list[tuple[_Value | None, str | None]] = [(None, None)]
        if self.first:
            try:
                told = [(work(), None)]
            except SpikeproofError as error:
                told = [(None, str(error))]
        dist.broadcast_object_list(told, src=0)
        value, refusal = told[0]
        if refusal is not None:
            raise SpikeproofError(refusal)
        return value  # type: ignore[return-value]

    def gather(self, own: _Value) -> list[_Value]:
        """Every process's value, in their order."""
        if self.world == 1:
            return [own]
        gathered: list[_Value] = [own] * self.world
        dist.all_gather_object(gathered, own)
        return gathered

    def total(self, sums: dict[str, float]) -> dict[str, float]:
        """The sums of all processes' numbers by name; all have the same names."""
        if self.world == 1:
            return sums
        added = torch.tensor(list(sums.values()), dtype=torch.float64)
        dist.all_reduce(added)
        return dict(zip(sums, added.tolist(), strict=True))

    def share(self, count: int) -> tuple[int, ...]:
        """How many of so many images each process takes.

        Example:
            >>> Processes(rank=0, world=2).share(5)
            (3, 2)
        """
        return tuple(count // self.world + (rank < count % self.world) for rank in range(self.world))

    def check_part(self, batch_size: int, part_size: int) -> None:
        """Refuse a batch in parts of so many images, over all processes, if the last leaves a process without any.

        Raises:
            SpikeproofError: fewer images than processes.
        """
        least = batch_size % part_size or min(part_size, batch_size)
        if least < self.world:
            which = "a batch" if least == batch_size else "the last part of a batch"
            raise SpikeproofError(
                f"With batch_size={batch_size}, {which} has {least} images, fewer than the {self.world} processes; "
                "give another batch_size or microbatch, or start fewer processes."
            )

    def slice(self, part: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "m ..."]:
        """This process's images of a part of a batch."""
        return part.tensor_split(self.world)[self.rank]

    def add_up(self, tensors: Sequence[Tensor], numbers: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Fill the tensors with their sums over all processes, and give the numbers' sums, in one exchange."""
        if self.world == 1:
            return numbers
        flat = torch.cat([*(tensor.reshape(-1) for tensor in tensors), numbers.to(tensors[0].dtype)])
        dist.all_reduce(flat)
        *parts, sums = flat.split([*(tensor.numel() for tensor in tensors), len(numbers)])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))
        return sums.to(numbers.dtype)

    def agree(self, model: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.world == 1:
            return
        for held in model.state_dict().values():
            sent = held.contiguous()
            dist.broadcast(sent, src=0)
            held.copy_(sent)


def whole_number(name: str, default: int) -> int:
    """A number >= 0 that `torchrun` puts into the environment.

    Raises:
        SpikeproofError: it is something else.

    Example:
        >>> whole_number("NOT_SET_ANYWHERE", 1)
        1
    """
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise SpikeproofError(f"{name} is {text!r} in the environment, not a number; start with torchrun, or unset it.")
    return int(text)


@dataclasses.dataclass(frozen=True)
class SharedBatch:
    """A batch (or a part of one) of which the process of each rank has so many images; see ``spiking.norm.Across``."""

    rank: int
    images: tuple[int, ...]

    def count(self, own: int) -> int:
        return own * sum(self.images) // self.images[self.rank]

    def sum(self, part: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        summed: Tensor = _Sum.apply(part)
        return summed

    def moments(
        self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"]
    ) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """From every process's own, as Chan et al. (1979) join them: no large sums are subtracted."""
        own = torch.stack([mean, variance])[None]
        # Everyone's beside each other: a sum, whose gradient is known, of what is zero but in one process.
        every = self.sum(pad(own, (0, 0, 0, 0, self.rank, len(self.images) - self.rank - 1)))
        weights = every.new_tensor(self.images)[:, None] / sum(self.images)
        means, variances = every.unbind(1)
        joint = (weights * means).sum(0)
        return joint, (weights * (variances + (means - joint).square())).sum(0)


class _Sum(torch.autograd.Function):
    """All processes have the sum, so each part's gradient is the sum of the gradients by all of them."""

    @staticmethod
    def forward(ctx, part):  # type: ignore[no-untyped-def]  # noqa: ANN001
        summed = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]  # noqa: ANN001
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed
