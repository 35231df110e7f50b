"""One run over several processes, as `torchrun` starts them.

W processes compute what one process computes on the whole batch, up to the order of sums. Random numbers inside a step
(random starts, firing noise, gates, codings) are drawn per process, so they are equal in distribution only. Each
process takes its slice of every part of a batch; a part has W times ``TrainConfig.microbatch`` images.

Gradients are summed once an optimiser step. Statistics of the batch (batch norm's, the moments that penalties read) are
those of all slices, exchanged in the forward and in the backward. Crafting forwards, in eval mode, exchange nothing.
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
    """The processes that work together, and which of them this is.

    A process that works alone exchanges nothing: every method gives back what it was given.

    Attributes:
        rank: the number of this process, from 0.
        world: how many there are; 1 outside `torchrun`.

    Example:
        >>> Processes().gather("mine")
        ['mine']
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_this_process(cls: type[_Kind]) -> _Kind:
        """Read RANK and WORLD_SIZE from the environment; without them the process is alone.

        Raises:
            SpikeproofError: one is not a number, or RANK is not below WORLD_SIZE.
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
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def device(self, picked: torch.device) -> torch.device:
        """The device of this process: under `torchrun` on CUDA the GPU number LOCAL_RANK, else ``picked``.

        Args:
            picked: from ``pick_device``.

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
        """Connect to the other processes. All must call this before they exchange anything.

        The timeout is seven days, because in an audit some processes finish hours before others.

        Args:
            device: whose tensors will be exchanged; None for the CPU.

        Raises:
            SpikeproofError: MASTER_ADDR or MASTER_PORT is missing in the environment.
        """
        cuda = device is not None and device.type == "cuda"
        if self.world > 1 and device is not None and cuda and device.index is not None:
            torch.cuda.set_device(device)  # else "cuda" without a number is the first GPU in all processes
        if self.world > 1 and not dist.is_initialized():
            if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
                raise SpikeproofError(
                    f"WORLD_SIZE is {self.world} without {' and '.join(missing)}, so the processes cannot find each "
                    "other; start them with torchrun, or unset WORLD_SIZE for one process."
                )
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_PATIENCE)

    def lead(self, work: Callable[[], _Value]) -> _Value:
        """Do ``work`` in the first process alone, and return its result in all. All must call this.

        Args:
            work: its result can be pickled.

        Raises:
            SpikeproofError: in all processes, where ``work`` raised one.
        """
        if self.world == 1:
            return work()
        results: list[tuple[_Value | None, str | None]] = [(None, None)]
        if self.first:
            try:
                results = [(work(), None)]
            except SpikeproofError as error:
                results = [(None, str(error))]
        dist.broadcast_object_list(results, src=0)
        value, refusal = results[0]
        if refusal is not None:
            raise SpikeproofError(refusal)
        return value  # type: ignore[return-value]

    def gather(self, own: _Value) -> list[_Value]:
        """The values of all processes, by rank. All must call this.

        Args:
            own: this process's value, which can be pickled.
        """
        if self.world == 1:
            return [own]
        gathered: list[_Value] = [own] * self.world
        dist.all_gather_object(gathered, own)
        return gathered

    def total(self, sums: dict[str, float]) -> dict[str, float]:
        """Add up the numbers of all processes. All must call this.

        Args:
            sums: this process's numbers. A name that a process lacks counts as 0 there.
        """
        if self.world == 1:
            return sums
        gathered = self.gather(sums)
        names = dict.fromkeys(name for each in gathered for name in each)
        return {name: sum(each.get(name, 0.0) for each in gathered) for name in names}

    def share(self, count: int) -> tuple[int, ...]:
        """How many of ``count`` images each process takes, by rank.

        Args:
            count: images in a part of a batch.

        Example:
            >>> Processes(rank=0, world=2).share(5)
            (3, 2)
        """
        return tuple(count // self.world + (rank < count % self.world) for rank in range(self.world))

    def check_part(self, batch_size: int, part_size: int) -> None:
        """Refuse a size of parts that leaves some process without an image.

        Args:
            batch_size: images in a step.
            part_size: images in a part of it, over all processes.

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
        """This process's rows of ``part``, which is the same in all processes: as many as ``share`` says."""
        return part.tensor_split(self.world)[self.rank]

    def add_up(self, tensors: Sequence[Tensor], numbers: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Add up tensors and numbers over all processes, in one exchange. All must call this.

        Args:
            tensors: replaced in place by their sums. All have one dtype and lie on one device.
            numbers: a few numbers on the same device.

        Returns:
            The sums of ``numbers``.
        """
        if self.world == 1:
            return numbers
        flat = torch.cat([*(tensor.reshape(-1) for tensor in tensors), numbers.to(tensors[0].dtype)])
        dist.all_reduce(flat)
        *summed, sums = flat.split([*(tensor.numel() for tensor in tensors), len(numbers)])
        for tensor, total in zip(tensors, summed, strict=True):
            tensor.copy_(total.view(tensor.shape))
        return sums.to(numbers.dtype)

    def agree(self, model: nn.Module) -> None:
        """Give every process the parameters and buffers of the first. All must call this.

        Args:
            model: changed in place.
        """
        if self.world == 1:
            return
        for tensor in model.state_dict().values():
            sent = tensor.contiguous()
            dist.broadcast(sent, src=0)
            tensor.copy_(sent)


def whole_number(name: str, default: int) -> int:
    """Read a number >= 0 that `torchrun` puts into the environment.

    Args:
        name: of the variable.
        default: taken where it is not set.

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
    """A part of a batch whose images lie in several processes, as ``spiking.norm.Across`` wants it.

    Attributes:
        rank: the number of this process.
        images: how many images of the part each process has, by rank.
    """

    rank: int
    images: tuple[int, ...]

    def count(self, own: int) -> int:
        """How many values all processes have of something of which this one has ``own``."""
        return own * sum(self.images) // self.images[self.rank]

    def sum(self, part: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sum of all processes' tensors, with its gradient. All must call this, in the forward and the backward."""
        summed: Tensor = _Sum.apply(part)
        return summed

    def moments(
        self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"]
    ) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """The mean and variance over all processes' values, as Chan et al. (1979) join them: without large sums.

        Args:
            mean, variance: of this process's values, by channel; the variance is the biased one.
        """
        own = torch.stack([mean, variance])[None]
        # All processes' values beside each other, as a sum, whose gradient is known: each adds its own to zeros.
        every = self.sum(pad(own, (0, 0, 0, 0, self.rank, len(self.images) - self.rank - 1)))
        weights = every.new_tensor(self.images)[:, None] / sum(self.images)
        means, variances = every.unbind(1)
        joint = (weights * means).sum(0)
        return joint, (weights * (variances + (means - joint).square())).sum(0)


class _Sum(torch.autograd.Function):
    """A sum that all processes get, so the gradient of each summand is the sum of all processes' gradients."""

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
