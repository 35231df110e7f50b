"""A network's weights in a run folder: ours with their description, an adapted one's by the user's own keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from spikeproof.former_names import todays_tensors
from spikeproof.interop import Adapted, check_adapted_writable, load_adapted, save_adapted
from spikeproof.models import SpikingModel, check_writable, load_model, make_room, save_model


def check_keepable(model: SpikingModel | Adapted) -> None:
    """Refuse a network of which no file could give back what it is.

    Raises:
        SpikeproofError: see :func:`spikeproof.models.check_writable`; of an adapted one an entry that is no tensor.
    """
    if isinstance(model, Adapted):
        check_adapted_writable(model)
    else:
        check_writable(model)


def keep(model: SpikingModel | Adapted, path: Path) -> None:
    """Write the weights."""
    if isinstance(model, Adapted):
        save_adapted(model, path)
    else:
        save_model(model, path)


def kept(model: SpikingModel | Adapted, path: Path) -> dict[str, Tensor]:
    """The weights that ``keep`` wrote of such a network, by the names of its ``state_dict``.

    Raises:
        SpikeproofError: no such file, a damaged one, or one of another network.
    """
    if isinstance(model, Adapted):
        return load_adapted(model, path)
    return dict(load_model(path, expected=model.description).state_dict())


def take(model: SpikingModel | Adapted, weights: Mapping[str, Tensor]) -> None:
    """Give the network these weights, and at its sites what they have for defenses.

    Of ours they may be called as they were formerly; of an adapted one the names are the user's.

    Raises:
        RuntimeError: they do not fit.
    """
    if isinstance(model, SpikingModel):
        weights = todays_tensors(weights)
        make_room(model, weights)
    model.load_state_dict(dict(weights))
