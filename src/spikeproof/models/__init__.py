"""Networks by name, all keeping one contract: images in [0,1] to logits, stateless."""

from spikeproof.models.create import MODELS, create_model
from spikeproof.models.site_shapes import site_shapes
from spikeproof.models.spiking_model import BatchNormKind, ModelDescription, SpikingModel, draws_at_random
from spikeproof.models.weights import load_model, make_room, save_model
from spikeproof.models.workload import multiply_accumulates
from spikeproof.models.wrapped import is_compiled, unwrapped

__all__ = [
    "MODELS",
    "BatchNormKind",
    "ModelDescription",
    "SpikingModel",
    "create_model",
    "is_compiled",
    "draws_at_random",
    "load_model",
    "make_room",
    "multiply_accumulates",
    "save_model",
    "site_shapes",
    "unwrapped",
]
