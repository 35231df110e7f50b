"""The contract every network here keeps: images [N,C,H,W] or frames [N,T,C,H,W] in [0,1] to logits [N,K], stateless."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.checked import whole
from spikeproof.coding import Coding
from spikeproof.errors import SpikeproofError
from spikeproof.models.current_norm import CurrentNorm
from spikeproof.models.description import BatchNormKind, ModelDescription
from spikeproof.spiking import Kernels, Neuron, PerStepNorm, Site, sites

MOST_STEPS = 10_000


class SpikingModel(nn.Module):
    """Encode and normalise, run ``stem`` and ``body`` over T steps; logits are the step mean.

    Direct coding feeds the same image at every step, so the stem (affine layers before the first site) gives the same
    current at every step: it is computed on N images, and the first site takes it as constant (see ``Site``). With a
    coding whose frames differ by step the stem runs on all of them.

    Args:
        stem: [N,C,H,W] -> [N,c,h,w], without a site in it.
        body: [N,c,h,w] -> merged [T*N,K]; sites inside, the first of them constant.
        description: the arguments of ``create_model`` that made this network.

    Shapes: T steps, N samples, C input channels, K classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stem: nn.Module, body: nn.Module, *, description: ModelDescription) -> None:
        super().__init__()
        self.stem = stem
        self.body = body
        self._description = description
        self._entry = [site for site in sites(body).values() if site.constant]
        self.set_coding(description.coding)
        self.register_buffer("mean", torch.tensor(description.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(description.std).view(1, -1, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def num_steps(self) -> int:
        """T. Set it to run the same weights for another number of steps, at every site and in the coding.

        Raises:
            SpikeproofError: on setting, fewer than one step, or a network that has learned something for each step.
        """
        return self._description.num_steps

    @num_steps.setter
    def num_steps(self, steps: int) -> None:
        whole(steps, "A network", "num_steps", 1, MOST_STEPS)
        if steps == self.num_steps:
            return
        by_name = sites(self.body)
        by_step = [name for name, site in by_name.items() if site.holds_steps]
        by_step += [name for name, module in self.named_modules() if isinstance(module, PerStepNorm)]
        if by_step:
            raise SpikeproofError(
                f"This network has learned parameters for each of its {self.num_steps} steps (at {by_step[0]}), so it "
                f"cannot run for {steps}; train one for {steps} steps."
            )
        for site in by_name.values():
            site.num_steps = steps
        self._description = dataclasses.replace(self._description, num_steps=steps)

    @property
    def coding(self) -> Coding:
        """How images become frames."""
        return self._coding

    def set_coding(self, coding: Coding) -> None:
        """Take another coding from now on.

        Args:
            coding: how images become frames. Weights and statistics stay as they are.
        """
        self._coding = coding
        for site in self._entry:
            site.constant = coding.constant

    @property
    def description(self) -> ModelDescription:
        """What network this is now."""
        return dataclasses.replace(self._description, coding=self._coding)

    def forward_steps(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, "t n k"]:
        """Logits of every step.

        Args:
            images: in [0, 1]; frames [N,T,C,H,W] where the coding is :class:`spikeproof.coding.Frames`.

        Returns:
            [T, N, K]; [1, N, K] where one copy stands for all steps (``Site.collapsed``).
        """
        frames = self._coding.encode(images, self.num_steps)
        # One copy goes through, not T, where a rate-based gradient source runs the mean over steps (Site.collapsed).
        collapsed = any(site.collapsed for site in self._entry)
        if collapsed and len(frames) > 1:
            frames = frames.mean(0, keepdim=True)  # all that follows, up to the first site, is affine
        merged = frames.flatten(0, 1)
        if self._coding.normalised:
            merged = (merged - self.mean) / self.std
        logits: Tensor = self.body(self.stem(merged.contiguous(memory_format=torch.channels_last)))
        return logits.unflatten(0, (1 if collapsed else self.num_steps, -1))

    def forward(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, "n k"]:
        """Mean logits over the steps, in float32 at least (float64 stays).

        Args:
            images: in [0, 1].
        """
        steps = self.forward_steps(images)
        return steps.to(torch.promote_types(steps.dtype, torch.float32)).mean(0)


class SiteFactory:
    """Makes the sites of one network: the same neuron, steps, kernels and kind of batch norm everywhere.

    Args:
        neuron, num_steps, kernels, batch_norm: as in :func:`spikeproof.models.create_model`.
    """

    def __init__(self, neuron: Neuron, num_steps: int, kernels: Kernels, batch_norm: BatchNormKind = "merged") -> None:
        self._arguments = (neuron, num_steps, kernels)
        self._batch_norm = batch_norm

    def __call__(self, normed: int | None = None, *, pool: int = 1, constant: bool = False) -> Site:
        """A site.

        Args:
            normed: channels of its batch norm; None for a site without one.
            pool, constant: as in :class:`spikeproof.spiking.Site`.
        """
        norm = None if normed is None else self._norm(normed, 1)
        return Site(*self._arguments, norm=norm, pool=pool, constant=constant)

    def norm(self, channels: int, site: Site, *, summands: int = 1) -> CurrentNorm:
        """A batch norm of a current beside a site (see :class:`CurrentNorm`).

        Args:
            channels: of the current.
            site: of the same network; says how many steps there are.
            summands: how many such currents are added; tdBN's scales begin at the threshold over the root of it.
        """
        return CurrentNorm(self._norm(channels, summands), site)

    def _norm(self, channels: int, summands: int) -> nn.BatchNorm2d | PerStepNorm:
        neuron, num_steps, _ = self._arguments
        if self._batch_norm == "per-step":
            return PerStepNorm(channels, num_steps)
        norm = nn.BatchNorm2d(channels)
        if self._batch_norm == "td":
            nn.init.constant_(norm.weight, neuron.threshold / math.sqrt(summands))
        return norm


def draws_at_random(model: nn.Module) -> bool:
    """Whether the next forward of this model draws random numbers, by its sites or its coding.

    Args:
        model: any; of networks other than ours only their sites are looked at.
    """
    coded = any(isinstance(module, SpikingModel) and module.coding.random for module in model.modules())
    return coded or any(site.stochastic for site in sites(model).values())


def initialise(model: nn.Module) -> None:
    """SNN-RAT's start: conv Kaiming-normal (fan-out, relu), linear bias 0, everything else PyTorch's default.

    Args:
        model: changed in place, by torch's generator.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
