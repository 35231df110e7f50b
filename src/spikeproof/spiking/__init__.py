"""Spiking dynamics: neurons, surrogates, sites and the probe that watches them."""

from spikeproof.spiking.cost import Cost, Hinge, QuantisationError
from spikeproof.spiking.gate import BernoulliGate
from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.norm import PerStepNorm
from spikeproof.spiking.ops.drive import LEARNED, Drive
from spikeproof.spiking.probe import Record, probe
from spikeproof.spiking.record import SiteRecord, joint_moments
from spikeproof.spiking.site import Kernels, Site, inference_noise, override_gradient, sites
from spikeproof.spiking.surrogate import (
    SURROGATES,
    ArcTan,
    Exponential,
    Gaussian,
    Rectangular,
    RectifiedTriangle,
    Sigmoid,
    StraightThrough,
    SuperSpike,
    Surrogate,
    Triangle,
    parse_surrogate,
)

__all__ = [
    "LEARNED",
    "SURROGATES",
    "ArcTan",
    "BernoulliGate",
    "Cost",
    "Drive",
    "Exponential",
    "Gaussian",
    "Hinge",
    "Kernels",
    "Neuron",
    "PerStepNorm",
    "QuantisationError",
    "Record",
    "Rectangular",
    "RectifiedTriangle",
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
