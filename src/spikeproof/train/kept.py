"""A network's weights in a run folder: ours with their description, an adapted one's by the user's own keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from spikeproof.former_names import todays_tensors
from spikeproof.interop import Adapted, check_adapted_writable, load_adapted, save_adapted
from spikeproof.models import SpikingModel, check_writable, load_model, make_room, save_model


def check_keepable(model: SpikingModel | Adapted) -> None:
    """Refuse a network that could not be loaded again from a file.

    Args:
        model: with its defenses installed.

    Raises:
        SpikeproofError: see :func:`spikeproof.models.check_writable`. Of an adapted network: its ``state_dict`` has an
            entry that is no tensor.
    """
    if isinstance(model, Adapted):
        check_adapted_writable(model)
    else:
        check_writable(model)


def keep(model: SpikingModel | Adapted, path: Path) -> None:
    """Write the network's weights to a safetensors file at ``path``."""
    if isinstance(model, Adapted):
        save_adapted(model, path)
    else:
        save_model(model, path)


def kept(model: SpikingModel | Adapted, path: Path) -> dict[str, Tensor]:
    """Read the weights that ``keep`` wrote.

    Args:
        model: the network that they must be of. It is not changed.
        path: the file.

    Returns:
        The weights by the names of the network's ``state_dict``.

    Raises:
        SpikeproofError: no such file, a damaged one, or one of another network.
    """
    if isinstance(model, Adapted):
        return load_adapted(model, path)
    return dict(load_model(path, expected=model.description).state_dict())


def take(model: SpikingModel | Adapted, weights: Mapping[str, Tensor]) -> None:
    """Load weights into the network, and with them what defenses have added to its sites.

    Args:
        model: changed in place.
        weights: by the names of its ``state_dict``. For our networks the names of earlier versions do too.

    Raises:
        RuntimeError: they do not fit.
    """
    if isinstance(model, SpikingModel):
        weights = todays_tensors(weights)
        make_room(model, weights)
    model.load_state_dict(dict(weights))
