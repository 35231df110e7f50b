"""The contract every network here keeps: images [N,C,H,W] in [0,1] to logits [N,K], stateless."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.spiking import Kernels, Neuron, Site


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What network this is: everything but the weights and the kernels. Two equal descriptions have equal shapes."""

    name: str
    num_classes: int
    num_steps: int
    width: float
    image_size: int
    in_channels: int
    neuron: Neuron
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, the surrogate by its name and parameter."""
        plain = dataclasses.asdict(self)
        surrogate = self.neuron.surrogate
        plain["neuron"]["surrogate"] = {"name": type(surrogate).__name__, **dataclasses.asdict(surrogate)}
        return plain


class SpikingModel(nn.Module):
    """Normalise, encode by direct coding, run ``stem`` once and ``body`` over T steps; logits are the step mean.

    Direct coding feeds the same image at every step, so the stem (affine layers before the first site) gives the same
    current at every step: it is computed on N images, and the first site takes it as constant (see ``Site``).

    Args:
        stem: [N,C,H,W] -> [N,c,h,w], without a site in it.
        body: [N,c,h,w] -> merged [T*N,K]; sites inside, the first of them constant.
        num_steps: T.
        mean, std: the channels' normalisation constants.
        description: the arguments of ``create_model`` that made this network.

    Shapes: T steps, N samples, C input channels, K classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stem: nn.Module,
        body: nn.Module,
        *,
        num_steps: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        description: ModelDescription,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.body = body
        self.num_steps = num_steps
        self.description = description
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward_steps(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "t n k"]:
        """Logits of every step."""
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.body(self.stem(normalised))
        # One copy comes out, not T, where a rate-based gradient source runs the mean over steps (Site.collapsed).
        steps = len(logits) // len(images) if len(images) else self.num_steps
        return logits.unflatten(0, (steps, -1))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Mean logits over the steps, in float32 at least (float64 stays)."""
        steps = self.forward_steps(images)
        return steps.to(torch.promote_types(steps.dtype, torch.float32)).mean(0)


class SiteFactory:
    """Makes the sites of one network: the same neuron, steps and kernels everywhere."""

    def __init__(self, neuron: Neuron, num_steps: int, kernels: Kernels) -> None:
        self._arguments = (neuron, num_steps, kernels)

    def __call__(self, *, norm: nn.BatchNorm2d | None = None, pool: int = 1, constant: bool = False) -> Site:
        return Site(*self._arguments, norm=norm, pool=pool, constant=constant)


def initialise(model: nn.Module) -> None:
    """SNN-RAT's start: conv Kaiming-normal (fan-out, relu), linear bias 0, everything else PyTorch's default."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
