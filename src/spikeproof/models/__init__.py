"""Networks by name, all keeping one contract: images in [0,1] to logits, stateless."""

from spikeproof.models.create import MODELS, create_model
from spikeproof.models.spiking_model import SpikingModel

__all__ = ["MODELS", "SpikingModel", "create_model"]
