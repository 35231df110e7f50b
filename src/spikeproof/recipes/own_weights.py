"""Weights of a network of the user's own, from a file that can hold nothing but tensors."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikeproof.contents import contents
from spikeproof.disk import user_path
from spikeproof.errors import SpikeproofError, first_line

_SAVE = "safetensors.torch.save_file(net.state_dict(), 'net.safetensors')"
_LISTED = 4


def load_weights(net: nn.Module, path: Path) -> None:
    """Give a network the weights in a file, all of them and no others.

    What is empty in the network as it was made is a state that its first forward fills (sinabs's potentials), and no
    weight: it is not asked for, and not taken.

    Args:
        path: a .safetensors, or else what ``torch.save`` wrote, which is read as tensors alone (``weights_only``).

    Raises:
        SpikeproofError: no such file, one that is damaged or holds other things, or weights of another network.
    """
    path = user_path(path)
    if not path.is_file():
        raise SpikeproofError(f"There are no weights at {path}; give the file of the network's state_dict.")
    weights = _from_safetensors(path) if path.suffix == ".safetensors" else _from_torch(path)
    held = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    states = {name for name, value in held.items() if not is_lazy(value) and value.numel() == 0}
    weights = {name: value for name, value in weights.items() if name not in states}
    shapes = {name: tuple(value.shape) for name, value in held.items() if not is_lazy(value)}
    others = [
        f"{name} {tuple(value.shape)} instead of {shapes[name]}"
        for name, value in weights.items()
        if name in shapes and tuple(value.shape) != shapes[name]
    ]
    said = [
        *_said("it lacks", [name for name in held if name not in weights and name not in states]),
        *_said("it has besides", [name for name in weights if name not in held]),
        *_said("of another shape are", others),
    ]
    if said:
        raise SpikeproofError(
            f"{path} does not hold the weights of this {type(net).__name__}: {'; '.join(said)}. Give those of the "
            "network that the function makes."
        )
    try:
        net.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise SpikeproofError(f"The weights in {path} cannot be loaded ({first_line(error)}); give others.") from error


def digest_of(net: nn.Module) -> str:
    """A hash of all weights that a network has."""
    held = {name: value for name, value in net.state_dict().items() if not is_lazy(value)}
    return hashlib.sha256(json.dumps(contents(held), sort_keys=True).encode()).hexdigest()


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise SpikeproofError(f"{path} is damaged ({first_line(error)}); restore it from a copy.") from None


def _from_torch(path: Path) -> dict[str, Tensor]:
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise SpikeproofError(
            f"{path} holds more than tensors, or is no file of torch.save: to read it would run code of whoever made "
            f"it. Where you trust it, load it and keep its weights: {_SAVE}."
        ) from None
    except (RuntimeError, ValueError, EOFError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise SpikeproofError(f"{path} cannot be read as weights ({first_line(error)}); give another file.") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        what = ", ".join(map(str, list(found)[:_LISTED])) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise SpikeproofError(f"{path} holds {what} and no weights by their names; keep these alone: {_SAVE}.")
    return {str(name): value for name, value in found.items()}


def _said(how: str, names: Sequence[str]) -> list[str]:
    more = [f"{len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return [f"{how} {', '.join([*names[:_LISTED], *more])}"] if names else []
