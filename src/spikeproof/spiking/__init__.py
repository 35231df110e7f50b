"""Spiking dynamics: neurons, surrogates, sites and the probe that watches them."""

from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.ops.drive import Drive
from spikeproof.spiking.probe import Record, probe
from spikeproof.spiking.site import Kernels, Site, SiteRecord, inference_noise, joint_moments, override_gradient, sites
from spikeproof.spiking.surrogate import (
    SURROGATES,
    ArcTan,
    Rectangular,
    Sigmoid,
    SuperSpike,
    Triangle,
)

__all__ = [
    "SURROGATES",
    "ArcTan",
    "Drive",
    "Kernels",
    "Neuron",
    "Record",
    "Rectangular",
    "Sigmoid",
    "Site",
    "SiteRecord",
    "SuperSpike",
    "Triangle",
    "inference_noise",
    "joint_moments",
    "override_gradient",
    "probe",
    "sites",
]
