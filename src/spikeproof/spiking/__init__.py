"""Spiking dynamics: neurons, surrogates, sites and the probe that watches them."""

from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.ops.drive import Drive
from spikeproof.spiking.probe import Record, probe
from spikeproof.spiking.site import Kernels, Site, SiteRecord, inference_noise, joint_moments, override_gradient, sites
from spikeproof.spiking.surrogate import (
    SURROGATES,
    ArcTan,
    Exponential,
    Gaussian,
    Rectangular,
    Sigmoid,
    StraightThrough,
    SuperSpike,
    Surrogate,
    Triangle,
    parse_surrogate,
)

__all__ = [
    "SURROGATES",
    "ArcTan",
    "Drive",
    "Exponential",
    "Gaussian",
    "Kernels",
    "Neuron",
    "Record",
    "Rectangular",
    "Sigmoid",
    "Site",
    "SiteRecord",
    "StraightThrough",
    "SuperSpike",
    "Surrogate",
    "Triangle",
    "inference_noise",
    "joint_moments",
    "override_gradient",
    "parse_surrogate",
    "probe",
    "sites",
]
