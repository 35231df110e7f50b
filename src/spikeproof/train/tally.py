"""What an epoch adds up, and whether the loss is still finite: on the device, which nobody waits for but to read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

from spikeproof.errors import SpikeproofError


class Tally:
    """Sums by name, in float64 on a device.

    Args:
        device: of the values that will come.
        sums: to begin with, as ``read`` gave them.

    Example:
        >>> tally = Tally(torch.device("cpu"))
        >>> tally.add("correct", torch.tensor([True, False, True]).sum())
        >>> tally.read()
        {'correct': 2.0}
    """

    def __init__(self, device: torch.device, sums: Mapping[str, float] | None = None) -> None:
        # By a fill: a number that is copied would be waited for.
        self._sums = {
            name: torch.full((), value, dtype=torch.float64, device=device) for name, value in (sums or {}).items()
        }

    def add(self, name: str, value: Shaped[Tensor, ""], share: float = 1.0, parts: int = 1) -> None:
        """Add ``value * share / parts``."""
        part = value.detach().double() * share / parts
        held = self._sums.get(name)
        self._sums[name] = part if held is None else held + part

    def read(self) -> dict[str, float]:
        """All sums as numbers; this waits, once for all of them."""
        if not self._sums:
            return {}
        return dict(zip(self._sums, torch.stack(list(self._sums.values())).tolist(), strict=True))


class Finite:
    """Remembers, on the device, the first step whose loss was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.full((), -1.0, dtype=torch.float64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)

    def note(self, loss: Shaped[Tensor, ""], step: int) -> None:
        """See a step's loss."""
        first = (self._step < 0) & ~loss.isfinite()
        self._step = torch.where(first, float(step), self._step)
        self._loss = torch.where(first, loss.double(), self._loss)

    def check(self) -> None:
        """Wait, and refuse to go on where there was such a step.

        Raises:
            SpikeproofError: there was.

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
