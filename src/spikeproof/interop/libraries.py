"""The libraries whose networks can be handed over. A new one is its file and a line here."""

from __future__ import annotations

from spikeproof.interop.seam import Library
from spikeproof.interop.spikingjelly import SpikingJelly

LIBRARIES: tuple[Library, ...] = (SpikingJelly(),)
