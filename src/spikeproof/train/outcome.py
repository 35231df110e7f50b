"""The network that comes out of training, where a defense (EMA) gives it other values than the last step left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from spikeproof.defenses import Defense


def settle_outcome(model: nn.Module, defenses: Sequence[Defense], memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the model the values that defenses want it to have at the end.

    Args:
        model: changed in place.
        defenses: those of the run; each says in ``Defense.outcome`` which values it sets.
        memory: what defenses keep from step to step.

    Returns:
        The replaced values, by their names in ``state_dict``.

    Example:
        >>> settle_outcome(nn.Linear(1, 1), [Defense()], {})
        {}
    """
    values: dict[str, Tensor] = {}
    for defense in defenses:
        values |= defense.outcome(model, memory)
    own = model.state_dict()
    before = {name: own[name].clone() for name in values}
    _put(model, values)
    return before


@contextlib.contextmanager
def as_it_comes_out(model: nn.Module, defenses: Sequence[Defense], memory: Mapping[str, Tensor]) -> Iterator[None]:
    """The same as a context: on leaving it the model has its former values again.

    Args:
        model, defenses, memory: as in ``settle_outcome``.

    Example:
        >>> with as_it_comes_out(nn.Linear(1, 1), [Defense()], {}):
        ...     pass
    """
    before = settle_outcome(model, defenses, memory)
    try:
        yield
    finally:
        _put(model, before)


def _put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
