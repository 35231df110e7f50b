"""A network as its file describes it: written as plain values, and made again from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.coding import coding_from_json
from spikeproof.errors import SpikeproofError
from spikeproof.models.create import create_model
from spikeproof.models.description import ModelDescription, plain_values
from spikeproof.models.spiking_model import SpikingModel
from spikeproof.spiking import LEARNED, SURROGATES, BernoulliGate, Kernels, Neuron, sites


class Unknown(Exception):
    """A description that this version does not know.

    Args:
        part: what is unknown, as the message says it: "a model" or "its sites in a way".
        error: why; its first line becomes the text.
    """

    def __init__(self, part: str, error: Exception) -> None:
        super().__init__((str(error) or type(error).__name__).splitlines()[0])
        self.part = part


def said_of(model: SpikingModel) -> dict[str, Any]:
    """The description of a network, and what was changed at its sites, as plain values for JSON.

    Args:
        model: of ``create_model``.
    """
    changed = {
        name: {
            "noise": [site.noise_std, site.noise_at_inference],
            "random_decay": site.random_decay,
            "neuron": plain_values(site.neuron),
            "fixed": [part for part in LEARNED if _is_fixed(getattr(site, part))],
        }
        for name, site in sites(model).items()
    }
    return {"model": model.description.to_json(), "sites": changed}


def description_of(said: Mapping[str, Any]) -> ModelDescription:
    """The network's description, from what ``said_of`` gave.

    Args:
        said: "model" and "sites".

    Raises:
        Unknown: the values describe no network of this version.
    """
    plain: Any = said["model"]
    try:
        plain = dict(plain)
        if missing := {field.name for field in dataclasses.fields(ModelDescription)} - plain.keys():
            raise KeyError(min(missing))  # every field must be there, also one with a default
        neuron, coding = _parse_neuron(plain.pop("neuron")), coding_from_json(plain.pop("coding"))
        mean, std = tuple(plain.pop("mean")), tuple(plain.pop("std"))
        return ModelDescription(neuron=neuron, coding=coding, mean=mean, std=std, **plain)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unknown("a model", error) from None


def made_again(
    described: ModelDescription, said: Mapping[str, Any], weights: Mapping[str, Tensor], kernels: Kernels = "reference"
) -> SpikingModel:
    """The network that is described, with untrained weights, room for the given ones, and its sites as they were.

    Args:
        described: what ``create_model`` is given.
        said: what ``said_of`` gave; of it only "sites" is read.
        weights: give the shapes of what defenses learned at the sites.
        kernels: of the new network.

    Raises:
        Unknown: the values describe no network of this version.
        SpikeproofError: ``create_model`` refuses them.
        RuntimeError: the weights have a shape for which the sites have no room.
    """
    arguments = described.arguments
    counts = ("num_classes", "num_steps", "image_size", "in_channels")
    if odd := [name for name in counts if type(arguments[name]) is not int]:
        raise Unknown("a model", TypeError(f"{odd[0]} {arguments[odd[0]]!r}"))
    try:
        model = create_model(kernels=kernels, **arguments)
    except SpikeproofError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:  # a field that is not of its kind
        raise Unknown("a model", error) from None
    make_room(model, weights)
    try:
        for name, changed in said["sites"].items():
            site = sites(model)[name]
            site.noise_std, site.noise_at_inference = _parse_noise(changed["noise"])
            site.random_decay = _parse_random_decay(changed["random_decay"])
            site.neuron = _parse_neuron(changed["neuron"])
            for part in changed.get("fixed", ()):
                getattr(site, part).requires_grad_(False)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unknown("its sites in a way", error) from None
    return model


def make_room(model: SpikingModel, weights: Mapping[str, Tensor]) -> None:
    """Give the sites the parameters, buffers and gates that these weights have for them (learned decays, ...).

    Args:
        model: changed in place.
        weights: by their names in a state dict. Their values are not copied.
    """
    for name, site in sites(model).items():
        for learned in LEARNED:
            tensor = weights.get(f"{name}.{learned}")
            if tensor is not None and getattr(site, learned) is None:
                setattr(site, learned, nn.Parameter(torch.empty_like(tensor)))
        tensor = weights.get(f"{name}.setpoint")
        if tensor is not None and site.setpoint is None:
            site.setpoint = torch.empty_like(tensor)
        tensor = weights.get(f"{name}.gate.rate")
        if tensor is not None and site.gate is None:
            site.gate = BernoulliGate(tensor.shape)


def _is_fixed(part: Tensor | None) -> bool:
    """Whether it is a parameter that a defense sets by a rule, not by its gradient."""
    return part is not None and not part.requires_grad


def _parse_noise(plain: Any) -> tuple[float, bool]:
    std, at_inference = plain
    if not (_is_number(std) and std >= 0 and isinstance(at_inference, bool)):
        raise TypeError(f"noise {plain}")
    return std, at_inference


def _parse_random_decay(plain: Any) -> tuple[float, float] | None:
    if plain is None:
        return None
    low, high = plain
    if not (_is_number(low) and _is_number(high)):
        raise TypeError(f"random_decay {plain}")
    return low, high


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parse_neuron(plain: Any) -> Neuron:
    surrogate = dict(plain["surrogate"])
    made = SURROGATES[surrogate.pop("name")](**surrogate)
    return Neuron(**{**plain, "surrogate": made})
