"""The libraries whose networks can be handed over. A new one is its file and a line here."""

from __future__ import annotations

from torch import nn

from spikeproof.interop.norse import Norse
from spikeproof.interop.seam import Library
from spikeproof.interop.sinabs import Sinabs
from spikeproof.interop.snntorch import SnnTorch
from spikeproof.interop.spikingjelly import SpikingJelly

LIBRARIES: tuple[Library, ...] = (SpikingJelly(), SnnTorch(), Norse(), Sinabs())


def libraries_in(net: nn.Module) -> list[Library]:
    """Those whose layers a network has, adapted or not."""
    return [library for library in LIBRARIES if library.here(net)]
