"""Codings: how an image becomes the frames of T steps. One file a coding."""

from spikeproof.coding.coding import Coding
from spikeproof.coding.direct import Direct
from spikeproof.coding.registry import CODINGS, CodingField, coding_from_json, coding_to_json, parse_coding

__all__ = ["CODINGS", "Coding", "CodingField", "Direct", "coding_from_json", "coding_to_json", "parse_coding"]
