"""What a run is, by what its network, its defenses and its training hold: to be gone on with by no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spikeproof.contents import contents
from spikeproof.defenses import Defense
from spikeproof.interop import Adapted, identity_of_adapted
from spikeproof.models import SpikingModel, as_described, differences
from spikeproof.train.config import TrainConfig


def identity(defenses: Sequence[Defense], config: TrainConfig) -> dict[str, Any]:
    """Of defenses and training, plain values that are equal where a run would go on as it began.

    Not in it: the data, which have fingerprints of their own; the precision, which the run folder keeps as it ran; the
    device, which changes roundings alone.

    Example:
        >>> identity([], TrainConfig(epochs=3))["train"]["epochs"]
        3
    """
    train = _fields(contents(config))
    return {
        "order": [type(defense).__name__ for defense in defenses],
        "defenses": {type(defense).__name__: _fields(contents(defense)) for defense in defenses},
        "train": {name: value for name, value in train.items() if name not in ("precision", "device")},
    }


def identity_of_network(model: SpikingModel | Adapted) -> dict[str, Any]:
    """The same of a network: its description, in what it is not as described, and what of it may not learn.

    Not in it: the values of weights, which a state replaces, and kernels, which change roundings alone.

    Args:
        model: with its defenses installed, as the network of a run that was stopped has them too.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> identity_of_network(model)["num_steps"]
        4
    """
    if isinstance(model, Adapted):
        return identity_of_adapted(model)
    described = model.description
    return {
        **_fields(contents(described)),
        "changed": contents(differences(model, as_described(described))),
        # HoSNN turns that of its thresholds as training goes on, by what the state remembers.
        "frozen": [
            name
            for name, parameter in model.named_parameters()
            if not parameter.requires_grad and not name.endswith(".adaptation")
        ],
    }


def _fields(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name != "class"}
