"""Training one network over several processes: statistics of a batch are taken over the batches of all processes."""

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
    """Take every batch norm, and every moment that a site records, over the batches of all processes, for a while.

    Forwards in training mode then exchange numbers with the other processes, and so do their backwards: all processes
    must make the same ones in the same order. Forwards in eval mode exchange nothing.

    Args:
        model: of this process; every process has the same network.
        across: sums and moments over the processes.
    """
    modules = [each for each in model.modules() if isinstance(each, Site | PerStepNorm)]
    norms = [each for each in model.modules() if isinstance(each, _BatchNorm)]
    try:
        for module in modules:
            module.across = across
        for norm in norms:
            # On the object, not by another class: the module stays of its class for whoever refers to it.
            norm.forward = functools.partial(joint_batch_norm, norm, across)  # type: ignore[method-assign]
        yield
    finally:
        for module in modules:
            module.across = None
        for norm in norms:
            vars(norm).pop("forward", None)
