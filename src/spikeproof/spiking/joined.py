"""Training one network over several processes: what is taken over a batch is taken over the batches of all."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spikeproof.spiking.norm import Across, PerStepNorm, joint_batch_norm
from spikeproof.spiking.site import Site


@contextlib.contextmanager
def joined(model: nn.Module, across: Across) -> Iterator[None]:
    """Every batch norm, wherever it is, and every moment that a site records, of the whole batch; restored after.

    Forwards in training mode then exchange numbers with the other processes, and so do their backwards: all processes
    must make the same ones in the same order. Forwards in eval mode exchange nothing.
    """
    here = [module for module in model.modules() if isinstance(module, Site | PerStepNorm)]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    try:
        for place in here:
            place.across = across
        for norm in norms:
            # On the object, not by another class: the module stays what it was to all who hold it.
            norm.forward = functools.partial(joint_batch_norm, norm, across)  # type: ignore[method-assign]
        yield
    finally:
        for place in here:
            place.across = None
        for norm in norms:
            vars(norm).pop("forward", None)
