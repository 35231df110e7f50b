"""Gradient sources: which backward an attack uses. Any attack runs on any source."""

from spikeproof.gradients.assg import Assg
from spikeproof.gradients.bptt import Bptt
from spikeproof.gradients.rate import Bptr, Rga
from spikeproof.gradients.source import Attached, GradientSource

__all__ = ["Assg", "Attached", "Bptr", "Bptt", "GradientSource", "Rga"]
