"""Gradient sources: which backward an attack uses. Any attack runs on any source."""

from spikeproof.gradients.around import Around
from spikeproof.gradients.assg import Assg
from spikeproof.gradients.bptt import Bptt
from spikeproof.gradients.mixed import Mixed
from spikeproof.gradients.pdsg import Pdsg
from spikeproof.gradients.rate import Bptr, Hart, Rga
from spikeproof.gradients.relu_transfer import ReluTransfer
from spikeproof.gradients.source import Attached, GradientSource, check_source

__all__ = [
    "Around",
    "Assg",
    "Attached",
    "Bptr",
    "Bptt",
    "GradientSource",
    "Hart",
    "Mixed",
    "Pdsg",
    "ReluTransfer",
    "Rga",
    "check_source",
]
