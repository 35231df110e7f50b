"""Insight: why a model is or is not robust, drawn from its sites, its loss and its operations."""

from spikeproof.insight.energy import SynapticOperations, synaptic_operations
from spikeproof.insight.landscape import Landscape, landscape
from spikeproof.insight.membrane import describe_sites

__all__ = [
    "Landscape",
    "SynapticOperations",
    "describe_sites",
    "landscape",
    "synaptic_operations",
]
