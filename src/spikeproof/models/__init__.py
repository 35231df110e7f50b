"""Networks by name, all keeping one contract: images in [0,1] to logits, stateless."""

from spikeproof.models.create import MODELS, create_model
from spikeproof.models.spiking_model import ModelDescription, SpikingModel
from spikeproof.models.weights import load_model, save_model

__all__ = ["MODELS", "ModelDescription", "SpikingModel", "create_model", "load_model", "save_model"]
