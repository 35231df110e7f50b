"""What a network is, in one record: what its maker decides, and what the data decide."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from typing_extensions import Doc

from spikeproof.coding import CODINGS, Coding, Direct, Frames
from spikeproof.spiking import Neuron, Surrogate

BatchNormKind = Literal["merged", "td", "per-step"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The settings of a network that do not depend on the data: what recipes and tables name.

    Example:
        >>> list(NetworkSettings(name="conv").arguments)
        ['name', 'num_steps', 'width', 'neuron', 'coding', 'batch_norm']
    """

    name: str
    num_steps: int = 4
    """T, the number of time steps."""
    width: float = 1.0
    """Factor on every number of channels."""
    neuron: Neuron = Neuron()
    coding: Annotated[Coding, Doc(f"How images become frames: {', '.join(map(str.lower, CODINGS))}.")] = Direct()
    batch_norm: BatchNormKind = "merged"
    """Over steps and images merged, the same with tdBN's scales, or of each step."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Every field by its name, as :func:`spikeproof.models.create_model` takes it."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelDescription(NetworkSettings):
    """What network this is: everything but the weights and the kernels. Two equal descriptions have equal shapes.

    Args:
        num_classes: K.
        image_size: H = W, in pixels.
        in_channels: C.
        mean, std: normalisation constants, one for each channel.
    """

    num_classes: int
    image_size: int
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """What one sample is: [C,H,W], and [T,C,H,W] where the coding is of frames."""
        image = (self.in_channels, self.image_size, self.image_size)
        return (self.num_steps, *image) if isinstance(self.coding, Frames) else image

    def to_json(self) -> dict[str, Any]:
        """The description as plain values; surrogate and coding are dictionaries that begin with their "name"."""
        plain: dict[str, Any] = plain_values(self)
        return plain


def plain_values(value: Any) -> Any:
    """A dataclass as plain values that JSON has, a tuple as a list; surrogates and codings begin with their "name".

    Args:
        value: a dataclass, or what a field of one holds; anything else comes back as it is.

    Example:
        >>> plain_values(Neuron())["surrogate"]
        {'name': 'Triangle', 'gamma': 1.0}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain_values(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"name": type(value).__name__, **fields} if isinstance(value, Surrogate | Coding) else fields
    return list(value) if isinstance(value, tuple) else value
