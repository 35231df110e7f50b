"""Weights on disk: safetensors that say which network they belong to."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from spikeproof.atomic import write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.models.create import create_model
from spikeproof.models.spiking_model import ModelDescription, SpikingModel
from spikeproof.spiking import SURROGATES, Kernels, Neuron, sites


def save_model(model: SpikingModel, path: str | Path) -> None:
    """Write weights, description and the sites' noise to a safetensors file, whole or not at all."""
    noise = {name: [site.noise_std, site.noise_at_inference] for name, site in sites(model).items()}
    metadata = {"spikeproof": json.dumps(model.description.to_json()), "noise": json.dumps(noise)}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(save(weights, metadata)))


def load_model(
    path: str | Path, *, expected: ModelDescription | None = None, kernels: Kernels = "reference"
) -> SpikingModel:
    """The network a file describes, with its weights, in eval mode.

    Args:
        expected: refuse a file that describes another network than this.

    Raises:
        SpikeproofError: no such file, a damaged one, one that spikeproof did not write, or one of another model.
    """
    path = Path(path)
    if not path.is_file():
        raise SpikeproofError(f"There are no weights at {path}; train the model first or give another path.")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise SpikeproofError(f"{path} is damaged ({error}); train again or restore it from a copy.") from None
    if "spikeproof" not in metadata:
        raise SpikeproofError(
            f"{path} does not say which model it holds; give a model.safetensors that spikeproof wrote."
        )
    described = _parse_description(metadata["spikeproof"], path)
    if expected is not None and described != expected:
        theirs, ours = described.to_json(), expected.to_json()
        differing = [
            f"{field} {theirs[field]} instead of {ours[field]}" for field in ours if theirs[field] != ours[field]
        ]
        raise SpikeproofError(f"{path} holds another model: {'; '.join(differing)}. Give this run's own weights.")
    model = create_model(kernels=kernels, **{name: getattr(described, name) for name in described.__dataclass_fields__})
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise SpikeproofError(
            f"The weights in {path} do not fit the {described.name} that it says it holds; train again."
        ) from None
    for name, (std, at_inference) in json.loads(metadata.get("noise", "{}")).items():
        site = sites(model)[name]
        site.noise_std, site.noise_at_inference = std, at_inference
    return model.eval()


def _parse_description(text: str, path: Path) -> ModelDescription:
    try:
        plain = json.loads(text)
        surrogate = dict(plain["neuron"].pop("surrogate"))
        neuron = Neuron(surrogate=SURROGATES[surrogate.pop("name")](**surrogate), **plain.pop("neuron"))
        mean, std = tuple(plain.pop("mean")), tuple(plain.pop("std"))
        return ModelDescription(neuron=neuron, mean=mean, std=std, **plain)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpikeproofError(
            f"{path} describes a model this version does not know ({error}); use the version that wrote it."
        ) from None
