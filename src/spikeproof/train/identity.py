"""What a run is: the contents of its network, defenses and training. Only an equal run may go on with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spikeproof.contents import contents
from spikeproof.defenses import Defense
from spikeproof.interop import Adapted, identity_of_adapted
from spikeproof.models import SpikingModel, as_described, differences
from spikeproof.train.config import TrainConfig


def identity(defenses: Sequence[Defense], config: TrainConfig) -> dict[str, Any]:
    """Describe defenses and training as plain values. They are equal where a run would go on as it began.

    Left out are the data, which have fingerprints of their own, the precision, which the run folder keeps as it ran,
    and the device, which changes roundings alone.

    Args:
        defenses: in the order in which they are given to ``train``.
        config: of the run.

    Returns:
        What config.json keeps under "identity", but for the network.

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
    """Describe a network in the same way: its settings, where it differs from them, and its frozen parameters.

    Left out are the values of weights, which a state replaces, and kernels, which change roundings alone.

    Args:
        model: with its defenses installed, as in the run that was stopped.

    Returns:
        What config.json keeps under "identity" for the network.

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
        # HoSNN freezes and unfreezes its thresholds as training goes on; the state remembers which.
        "frozen": [
            name
            for name, parameter in model.named_parameters()
            if not parameter.requires_grad and not name.endswith(".adaptation")
        ],
    }


def _fields(described: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in described.items() if name != "class"}
