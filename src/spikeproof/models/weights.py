"""Weights on disk: safetensors that say which network they belong to, and what defenses made of its sites."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from spikeproof.atomic import write_atomically
from spikeproof.coding import coding_from_json
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds
from spikeproof.models.create import create_model
from spikeproof.models.hub import weights_at
from spikeproof.models.spiking_model import ModelDescription, SpikingModel, neuron_to_json
from spikeproof.models.wrapped import unwrapped
from spikeproof.sealed import sealed, unsealed
from spikeproof.spiking import LEARNED, SURROGATES, BernoulliGate, Kernels, Neuron, sites


@check_kinds
def save_model(model: nn.Module, path: str | Path) -> None:
    """Write weights, description and what was changed at the sites to a safetensors file, whole or not at all.

    Of a network that ``torch.compile`` or DataParallel holds, the weights inside are written.

    Raises:
        SpikeproofError: a network that ``create_model`` did not make: no file could say which it is.
    """
    inner = unwrapped(model)
    if not isinstance(inner, SpikingModel):
        raise SpikeproofError(
            f"save_model writes networks of spikeproof.create_model, not a {type(inner).__name__}; save its "
            "state_dict with torch.save or safetensors."
        )
    model = inner
    changed = {
        name: {
            "noise": [site.noise_std, site.noise_at_inference],
            "random_leak": site.random_leak,
            "neuron": neuron_to_json(site.neuron),
            "fixed": [part for part in LEARNED if _is_fixed(getattr(site, part))],
        }
        for name, site in sites(model).items()
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    said = sealed({"model": model.description.to_json(), "sites": changed, "weights": _digest(weights)})
    # One entry: safetensors writes several in any order, and equal weights are to have equal bytes.
    content = save(weights, {"spikeproof": json.dumps(said, sort_keys=True)})
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


@check_kinds
def load_model(
    path: str | Path, *, expected: ModelDescription | None = None, kernels: Kernels = "reference"
) -> SpikingModel:
    """The network a file describes, with its weights, in eval mode.

    Args:
        path: a file that ``save_model`` or a run wrote; ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION`` for a model
            of the Hugging Face hub; or ``hub:FOLDER`` for a folder that ``spikeproof push`` wrote.
        expected: refuse a file that describes another network than this.

    Raises:
        SpikeproofError: no such file, a damaged one, one that spikeproof did not write, one of another model, or one
            that the hub does not give.
    """
    path = weights_at(path)
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
    said = _parse_metadata(metadata, path)
    if "weights" in said and said["weights"] != _digest(weights):
        raise SpikeproofError(
            f"{path} is damaged: its weights are not those that were written (their checksum differs); restore it from "
            "a copy or train again."
        )
    described = _parse_description(said["model"], path)
    if expected is not None and described != expected:
        theirs, ours = described.to_json(), expected.to_json()
        differing = [
            f"{field} {theirs[field]} instead of {ours[field]}" for field in ours if theirs[field] != ours[field]
        ]
        raise SpikeproofError(f"{path} holds another model: {'; '.join(differing)}. Give this run's own weights.")
    model = _create(described, kernels, path)
    try:
        make_room(model, weights)
        model.load_state_dict(weights)
    except RuntimeError:
        raise SpikeproofError(
            f"The weights in {path} do not fit the {described.name} that it says it holds; train again."
        ) from None
    try:
        for name, changed in said["sites"].items():
            site = sites(model)[name]
            site.noise_std, site.noise_at_inference = _parse_noise(changed["noise"])
            site.random_leak = _parse_random_leak(changed["random_leak"])
            site.neuron = _parse_neuron(changed["neuron"])
            for part in changed.get("fixed", ()):
                getattr(site, part).requires_grad_(False)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpikeproofError(
            f"{path} describes its sites in a way this version does not know ({error}); use the version that wrote it."
        ) from None
    return model.eval()


def _is_fixed(part: Tensor | None) -> bool:
    """Whether a defense put it there and sets it by a rule of its own, not by its gradient."""
    return part is not None and not part.requires_grad


def make_room(model: SpikingModel, weights: Mapping[str, Tensor]) -> None:
    """Give the sites the parameters, buffers and gates that these weights have for them (learned leaks, ...)."""
    for name, site in sites(model).items():
        for learned in LEARNED:
            held = weights.get(f"{name}.{learned}")
            if held is not None and getattr(site, learned) is None:
                setattr(site, learned, nn.Parameter(torch.empty_like(held)))
        held = weights.get(f"{name}.setpoint")
        if held is not None and site.setpoint is None:
            site.setpoint = torch.empty_like(held)
        held = weights.get(f"{name}.gate.rate")
        if held is not None and site.gate is None:
            site.gate = BernoulliGate(held.shape)


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Of all tensors with their names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parse_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The parts of what a file says of its network. A file from before there were checksums has two entries for it."""
    try:
        said = json.loads(metadata["spikeproof"])
        if "sites" in metadata:
            said = {"model": said, "sites": json.loads(metadata["sites"])}
        if not isinstance(said, dict) or not {"model", "sites"} <= said.keys():
            raise ValueError("it names no model and sites")
    except (ValueError, RecursionError) as error:
        raise _unknown(path, error) from None
    return unsealed(said, str(path), "restore it from a copy or train again")


def _parse_description(plain: Any, path: Path) -> ModelDescription:
    try:
        neuron, coding = _parse_neuron(plain.pop("neuron")), coding_from_json(plain.pop("coding"))
        mean, std = tuple(plain.pop("mean")), tuple(plain.pop("std"))
        return ModelDescription(neuron=neuron, coding=coding, mean=mean, std=std, **plain)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unknown(path, error) from None


def _create(described: ModelDescription, kernels: Kernels, path: Path) -> SpikingModel:
    asked = {name: getattr(described, name) for name in described.__dataclass_fields__}
    counts = ("num_classes", "num_steps", "image_size", "in_channels")
    if odd := [name for name in counts if type(asked[name]) is not int]:
        raise _unknown(path, TypeError(f"{odd[0]} {asked[odd[0]]!r}"))
    try:
        return create_model(kernels=kernels, **asked)
    except SpikeproofError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:  # a field that is not of its kind
        raise _unknown(path, error) from None


def _unknown(path: Path, error: Exception) -> SpikeproofError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return SpikeproofError(
        f"{path} describes a model this version does not know ({reason}); use the version that wrote it."
    )


def _parse_noise(plain: Any) -> tuple[float, bool]:
    std, at_inference = plain
    if not (_is_number(std) and std >= 0 and isinstance(at_inference, bool)):
        raise TypeError(f"noise {plain}")
    return std, at_inference


def _parse_random_leak(plain: Any) -> tuple[float, float] | None:
    if plain is None:
        return None
    low, high = plain
    if not (_is_number(low) and _is_number(high)):
        raise TypeError(f"random_leak {plain}")
    return low, high


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parse_neuron(plain: Any) -> Neuron:
    surrogate = dict(plain["surrogate"])
    made = SURROGATES[surrogate.pop("name")](**surrogate)
    return Neuron(**{**plain, "surrogate": made})
