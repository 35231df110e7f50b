"""Networks by name, all keeping one contract: images in [0,1] to logits, stateless."""

from spikeproof.models.as_made import as_described, differences
from spikeproof.models.create import MODELS, create_model
from spikeproof.models.current_norm import CurrentNorm
from spikeproof.models.described import make_room
from spikeproof.models.description import BatchNormKind, ModelDescription, NetworkSettings, plain_values
from spikeproof.models.finite import check_finite
from spikeproof.models.fit import check_fits
from spikeproof.models.site_shapes import shapes_seen, site_shapes
from spikeproof.models.spiking_model import SpikingModel, draws_at_random
from spikeproof.models.weights import load_model, save_model
from spikeproof.models.workload import multiply_accumulates
from spikeproof.models.wrapped import is_compiled, is_scripted, unwrapped
from spikeproof.models.writable import check_writable

__all__ = [
    "MODELS",
    "BatchNormKind",
    "CurrentNorm",
    "ModelDescription",
    "NetworkSettings",
    "SpikingModel",
    "as_described",
    "check_finite",
    "check_fits",
    "check_writable",
    "create_model",
    "differences",
    "draws_at_random",
    "is_compiled",
    "is_scripted",
    "load_model",
    "make_room",
    "multiply_accumulates",
    "plain_values",
    "save_model",
    "shapes_seen",
    "site_shapes",
    "unwrapped",
]
