"""Outcomes on disk: for each sample, trial and radius, whether the model was still right. Everything else follows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from jaxtyping import Bool, Int64
from torch import Tensor

from spikeproof.records.trials import Counted
from spikeproof.records.verdicts import standing

_SCHEMA = pa.schema(
    [
        ("sample", pa.int64()),
        ("label", pa.int64()),
        ("trial", pa.string()),
        ("kind", pa.string()),
        ("attack", pa.string()),
        ("source", pa.string()),
        ("norm", pa.string()),
        ("eps", pa.float64()),
        ("seed", pa.int64()),
        ("eot_iter", pa.int64()),
        ("judge_draws", pa.int64()),
        ("noise", pa.string()),
        ("correct", pa.bool_()),
    ]
)


class Outcomes:
    """A growing table of outcomes."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}

    def add(
        self, samples: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], correct: Bool[Tensor, " n"], **same: Any
    ) -> None:
        """Some samples of the audited split under one trial; ``same`` are the columns that all of them share."""
        count = len(labels)
        self._columns["sample"] += samples.tolist()
        self._columns["label"] += labels.tolist()
        self._columns["correct"] += correct.tolist()
        for name, value in same.items():
            self._columns[name] += [value] * count

    def table(self) -> pa.Table:
        return pa.table(self._columns, schema=_SCHEMA)

    def standing(self, eps: float, norm: str = "linf") -> dict[int, bool]:
        """Whether each sample, by its number in the split, is right under every trial so far."""
        return standing(self.table(), eps, norm)


def worst_case(outcomes: pa.Table, eps: float, norm: str = "linf") -> Counted:
    """How many samples stay right on the clean image and under *every* trial of this norm and radius.

    A sample that a trial did not attack was broken before, or wrong from the start.

    Example:
        >>> import torch
        >>> outcomes, right = Outcomes(), torch.tensor([True, True, False])
        >>> shared = dict(kind="", attack="", source="", norm="linf", eps=0.1, seed=0, eot_iter=1, judge_draws=1)
        >>> shared |= dict(noise="off")
        >>> outcomes.add(torch.arange(3), torch.tensor([0, 1, 2]), right, trial="a", **shared)
        >>> outcomes.add(torch.arange(3), torch.tensor([0, 1, 2]), right.flip(0), trial="b", **shared)
        >>> worst_case(outcomes.table(), 0.1).correct
        1
    """
    still = standing(outcomes, eps, norm)
    return Counted.of(sum(still.values()), len(still))
