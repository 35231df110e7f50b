"""Codings: how an image becomes the frames of T steps. One file a coding; ``registry.py`` lists them."""

from spikeproof.coding.registry import *  # noqa: F403
from spikeproof.coding.registry import CODINGS as CODINGS
from spikeproof.coding.registry import Coding as Coding
from spikeproof.coding.registry import Direct as Direct
from spikeproof.coding.registry import coding_from_json as coding_from_json
from spikeproof.coding.registry import coding_to_json as coding_to_json
from spikeproof.coding.registry import coding_to_text as coding_to_text
from spikeproof.coding.registry import parse_coding as parse_coding
