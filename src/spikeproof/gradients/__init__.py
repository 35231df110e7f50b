"""Gradient sources: which backward an attack uses. Any attack runs on any source."""

from spikeproof.gradients.around import NAMED as _AROUND
from spikeproof.gradients.around import Around
from spikeproof.gradients.assg import ASSG
from spikeproof.gradients.assg import NAMED as _ASSG
from spikeproof.gradients.bptt import BPTT
from spikeproof.gradients.bptt import NAMED as _BPTT
from spikeproof.gradients.mixed import NAMED as _MIXED
from spikeproof.gradients.mixed import Mixed
from spikeproof.gradients.named import Named, Tunable
from spikeproof.gradients.pdsg import NAMED as _PDSG
from spikeproof.gradients.pdsg import PDSG
from spikeproof.gradients.rate import BPTR, HART, RGA
from spikeproof.gradients.rate import NAMED as _RATE
from spikeproof.gradients.relu_transfer import NAMED as _RELU_TRANSFER
from spikeproof.gradients.relu_transfer import ReluTransfer
from spikeproof.gradients.source import Attached, GradientSource, check_source

# Every source that a trial can name; a new one needs its file's NAMED here.
SOURCES: dict[str, Named] = {
    source.name: source
    for sources in (_BPTT, _RATE, _PDSG, _ASSG, _RELU_TRANSFER, _AROUND, _MIXED)
    for source in sources
}
TUNABLES: dict[str, Tunable] = {
    tunable.name: tunable
    for tunable in sorted((each.tunable for each in SOURCES.values() if each.tunable), key=lambda each: each.name)
}

__all__ = [
    "SOURCES",
    "TUNABLES",
    "Around",
    "ASSG",
    "Attached",
    "BPTR",
    "BPTT",
    "GradientSource",
    "HART",
    "Mixed",
    "Named",
    "PDSG",
    "ReluTransfer",
    "RGA",
    "Tunable",
    "check_source",
]
