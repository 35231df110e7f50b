"""An epoch's sums, and whether the loss is finite. Both stay on the device: only reading them waits for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

from spikeproof.errors import SpikeproofError


class Tally:
    """Sums by name, in float64 on a device.

    Args:
        device: where the values that will be added lie.
        sums: what to begin with, as ``read`` gave them; None for no sums.

    Example:
        >>> tally = Tally(torch.device("cpu"))
        >>> tally.add("correct", torch.tensor([True, False, True]).sum())
        >>> tally.read()
        {'correct': 2.0}
    """

    def __init__(self, device: torch.device, sums: Mapping[str, float] | None = None) -> None:
        # Filled in, not copied: a copy from the host would wait for the device.
        self._sums = {
            name: torch.full((), value, dtype=torch.float64, device=device) for name, value in (sums or {}).items()
        }

    def add(self, name: str, value: Shaped[Tensor, ""], share: float = 1.0, parts: int = 1) -> None:
        """Add ``value * share / parts`` to the sum of this name, which begins at 0."""
        weighted = value.detach().double() * share / parts
        before = self._sums.get(name)
        self._sums[name] = weighted if before is None else before + weighted

    def read(self) -> dict[str, float]:
        """All sums as numbers. This waits for the device, once for all of them."""
        if not self._sums:
            return {}
        return dict(zip(self._sums, torch.stack(list(self._sums.values())).tolist(), strict=True))


class Finite:
    """Remembers, on the device, the first step whose loss was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.full((), -1.0, dtype=torch.float64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)

    def note(self, loss: Shaped[Tensor, ""], step: int) -> None:
        """Remember this step if its loss is not finite and no earlier one was; without waiting for the device."""
        first = (self._step < 0) & ~loss.isfinite()
        self._step = torch.where(first, float(step), self._step)
        self._loss = torch.where(first, loss.double(), self._loss)

    def check(self) -> None:
        """Wait for the device, and refuse to go on where some loss was not finite.

        Raises:
            SpikeproofError: one was not.

        Example:
            >>> finite = Finite(torch.device("cpu"))
            >>> finite.note(torch.tensor(2.3), 0)
            >>> finite.check()
        """
        step, loss = torch.stack([self._step, self._loss]).tolist()
        if step >= 0:
            raise SpikeproofError(
                f"The loss is {loss} at step {int(step)}; lower the learning rate or the weight of a defense."
            )
