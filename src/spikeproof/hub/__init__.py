"""Weights for others: a finished run as a model repository of the Hugging Face hub or as a folder, with a card."""

from spikeproof.hub.card import model_card
from spikeproof.hub.nir import export_nir
from spikeproof.hub.onnx import export_onnx
from spikeproof.hub.private_words import without_paths
from spikeproof.hub.push import push

__all__ = ["export_nir", "export_onnx", "model_card", "push", "without_paths"]
