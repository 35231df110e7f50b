"""Dspike (Li et al., NeurIPS 2021): the surrogate's temperature is chosen by a finite-difference gradient.

The surrogate's gradient by the first layer's weights is compared with their finite-difference gradient, for the present
temperature and one step to either side; the best aligned is kept. Deviations: the temperature is a common sharpness of
the neurons' own surrogate, in the place of the paper's tanh; the finite differences are taken at some randomly chosen
weights, every so many steps, of a model in eval mode.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from spikeproof.attacks import evaluating
from spikeproof.defenses.defense import Defense, Step
from spikeproof.defenses.surrogate_width import give_sharpness, sharpness_of
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.private_rng import private_rng


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dspike(Defense):
    """Every ``every`` steps all sites take that sharpness among a / ratio, a and a * ratio for which, over weights w,

        cos(dL/dw by the surrogate a h(a v), (L(w + epsilon) - L(w - epsilon)) / (2 epsilon))

    is greatest. The w are ``weights`` of the first layer, drawn anew each time. It costs 2 * weights forwards and 3
    backwards.

    Args:
        start: a at the beginning; 1 is the neuron's own surrogate. A network that comes with one goes on with it.
        ratio: > 1, of one temperature to the next.
        least, most: 0 < least <= start <= most.
        epsilon: the finite step, > 0; large enough for spikes to change.
        weights: how many weights are looked at, >= 2.
        every: training steps from one choice to the next.

    Raises:
        SpikeproofError: an impossible setting; on installing, a model without sites, or sites whose sharpness differ.

    Example:
        >>> Dspike(every=20).label
        'Dspike'

    Source: Li et al. 2021 (NeurIPS). Deviations: a common sharpness of the neurons' own surrogate in place of the
    paper's tanh; finite differences at some random weights, every so many steps, in eval mode.
    """

    start: float = 1.0
    ratio: float = 1.2
    least: float = 0.1
    most: float = 10.0
    epsilon: float = 0.05
    weights: int = 16
    every: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.start <= self.most < math.inf:
            raise SpikeproofError(
                f"Dspike needs 0 < least <= start <= most, got {self.least}, {self.start} and {self.most}."
            )
        if not 1 < self.ratio < math.inf:
            raise SpikeproofError(f"Dspike needs a ratio > 1 of one temperature to the next, got {self.ratio}.")
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise SpikeproofError(f"Dspike needs epsilon > 0, got {self.epsilon}.")
        if self.weights < 2 or self.every < 1:
            raise SpikeproofError(f"Dspike needs weights >= 2 and every >= 1, got {self.weights} and {self.every}.")

    @property
    def step_cost(self) -> float:
        return 1 + (0.35 * 2 * self.weights + 3) / self.every

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the surrogate"})

    @property
    def whole_batch(self) -> bool:
        return True

    def install(self, model: nn.Module) -> None:
        """Give every site the same sharpness."""
        give_sharpness("Dspike", model, self.start, learned=False)
        values = torch.cat([sharpness.flatten() for sharpness in sharpness_of(model)])
        if values.device.type != "meta" and (values != values[0]).any():
            raise SpikeproofError(
                "Dspike sets one sharpness for all sites, and this network has learned one for each; train one without."
            )

    def begin(self, step: Step) -> None:
        """Choose the sharpness, every so many steps."""
        if step.part > 0 or step.replay > 0:
            return
        if step.count("Dspike steps") % self.every:
            return
        now = next(sharpness_of(step.model)).item()
        candidates = [min(max(a, self.least), self.most) for a in (now, now / self.ratio, now * self.ratio)]
        aligned = alignments(
            step.model, step.clean, step.labels, candidates, self.epsilon, self.weights, seed=step.seed
        )
        # On a tie, as where no spike changes, the first: the sharpness as it is.
        best = max(range(len(candidates)), key=lambda at: aligned[at])
        _set(step.model, candidates[best])


def alignments(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    candidates: list[float],
    epsilon: float,
    count: int,
    *,
    seed: int,
) -> list[float]:
    """Of each sharpness the cosine of the surrogate's gradient with the finite-difference one; the model is unchanged.

    Args:
        model: with one sharpness for all sites; used in eval mode.
        images: in [0, 1].
        labels: their classes.
        candidates: the values of the sharpness.
        epsilon: the finite step of a weight.
        count: how many weights of the first layer, chosen at random.
        seed: of the choice and of what the model draws.

    Returns:
        A cosine in [-1, 1] for each candidate.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> Dspike().install(model)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> len(alignments(model, images, labels, [0.5, 1.0], 0.05, 4, seed=0))
        2
    """
    first = next(parameter for parameter in model.parameters() if parameter.ndim > 1)
    before = next(sharpness_of(model)).item()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(first.numel(), generator=generator)[:count].to(first.device)

    def loss() -> Tensor:
        torch.manual_seed(seed)  # what the model draws, it draws alike
        return cross_entropy(model(images).float(), labels)

    with private_rng(), evaluating(model):
        differences = torch.zeros(len(chosen), device=first.device)
        with torch.no_grad():
            for at, index in enumerate(chosen.tolist()):
                position = _position(first, index)
                value = first[position].item()
                sides = []
                for side in (1, -1):
                    first[position] = value + side * epsilon
                    sides.append(loss())
                first[position] = value
                differences[at] = (sides[0] - sides[1]) / (2 * epsilon)
        first.requires_grad_(True)
        cosines = []
        try:
            for candidate in candidates:
                _set(model, candidate)
                (gradient,) = torch.autograd.grad(loss(), first)
                cosines.append(cosine_similarity(gradient.flatten()[chosen].float(), differences, dim=0).item())
        finally:
            _set(model, before)
    return cosines


def _position(parameter: Tensor, index: int) -> tuple[int, ...]:
    return tuple(int(coordinate) for coordinate in torch.unravel_index(torch.tensor(index), parameter.shape))


@torch.no_grad()
def _set(model: nn.Module, value: float) -> None:
    for sharpness in sharpness_of(model):
        sharpness.fill_(value)
