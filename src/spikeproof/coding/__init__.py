"""Codings: how an image becomes the frames of T steps. One file a coding."""

from spikeproof.coding.coding import Coding
from spikeproof.coding.direct import Direct
from spikeproof.coding.frequency import Frequency
from spikeproof.coding.poisson import Poisson
from spikeproof.coding.randomized_smoothing import RSC
from spikeproof.coding.registry import (
    CODINGS,
    CodingField,
    coding_from_json,
    coding_to_json,
    coding_to_text,
    parse_coding,
)
from spikeproof.coding.signed_rate import SignedRate
from spikeproof.coding.stochastic_quantisation import SQE

__all__ = [
    "CODINGS",
    "RSC",
    "SQE",
    "Coding",
    "CodingField",
    "Direct",
    "Frequency",
    "Poisson",
    "SignedRate",
    "coding_from_json",
    "coding_to_json",
    "coding_to_text",
    "parse_coding",
]
