"""HoSNN (Geng and Li, TMLR 2025, arXiv 2308.10373): thresholds that rise where a potential is above its usual course.

Deviations. The usual course (the paper's neural dynamic signature, NDS) is not that of another network that was trained
before: this network trains with fixed thresholds until ``warmup``, gives its own mean potentials on clean images then,
and goes on with moving thresholds. There is no synaptic current: spikes go on as they are. Gradients are the true ones,
through thresholds and potentials over all steps; the code's backward looks at the fixed threshold only and follows no
potential from step to step, so that its attacks do not see the defense, and it learns theta_v by a rule of its own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import nn

from spikeproof.defenses.defense import Defense, Step
from spikeproof.defenses.foreign import own_neurons
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.private_rng import private_rng
from spikeproof.spiking import Site, probe, sites

# The share of training in which the mean potentials are taken, one batch a step.
_MEASURING = 0.05
# So many images at once: every potential of every site is in memory for a moment.
_CHUNK = 32
_SEEN, _MOVING, _STANDING = "HoSNN images seen", "HoSNN thresholds move", "HoSNN thresholds stand"


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class HoSNN(Defense):
    """The threshold of each neuron moves with its potential, from that of the model at step 0::

        th[t] = th[t-1] + theta (u[t] - NDS[t]),   s[t] = 1[u[t] >= th[t]]
        NDS[t] = mean over clean images of u[t], in eval mode

    with a theta >= 0 for each neuron, learned without weight decay, and an NDS for each neuron and step, fixed. A
    network whose thresholds have learned to move goes on with both, from the first step.

    Args:
        warmup: share of training, in [0, 0.9], after which the NDS is taken (over a twentieth of training) and
            thresholds begin to move. A training of so few steps that none falls between and after is left without it.
        start: theta at that moment, > 0; 0.2 published for CIFAR-10, 2/3 for MNIST.

    Raises:
        SpikeproofError: a warm-up or start out of bounds; on installing, a model that is not of create_model, or one
            whose learned thresholds are frozen.

    Example:
        >>> HoSNN(warmup=0.5).label
        'HoSNN'

    Source: Geng and Li 2025 (TMLR, arXiv 2308.10373). Deviations: the NDS is this network's own, from its training
    before ``warmup``; no synaptic current; true gradients through thresholds and potentials.
    """

    warmup: float = 0.25
    start: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= 0.9:
            raise SpikeproofError(f"HoSNN's warmup is a share of training in [0, 0.9], got {self.warmup}.")
        if not (math.isfinite(self.start) and self.start > 0):
            raise SpikeproofError(f"HoSNN's start must be a positive number, got {self.start}.")

    @property
    def step_cost(self) -> float:
        return 1.5

    @property
    def takes(self) -> frozenset[str]:
        return frozenset({"the thresholds"})

    @property
    def whole_batch(self) -> bool:
        return True

    def install(self, model: nn.Module) -> None:
        """Give every neuron a theta of 0 and an NDS, unless a training before has learned them."""
        parameter, learned = next(model.parameters()), _learned(model)
        for name, neurons in own_neurons(self.label, model).items():
            site = sites(model)[name]
            if name in learned:
                continue
            # A theta of 0 moves nothing. It has no gradient until thresholds move, and so no momentum.
            site.adaptation = nn.Parameter(parameter.new_zeros(1, *neurons), requires_grad=False)
            site.setpoint = parameter.new_zeros(site.num_steps, *neurons)

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The thetas, without weight decay."""
        thetas = [site.adaptation for site in sites(model).values() if site.adaptation is not None]
        return [{"params": thetas, "weight_decay": 0.0}]

    def begin(self, step: Step) -> None:
        """Measure the NDS after ``warmup``, then let the thresholds move."""
        watched = sites(step.model)
        if _MOVING not in step.memory and _STANDING not in step.memory:
            # The first step of a run. From then on the memory says it, whatever network the run continues with.
            came_so = any(_theta(site).requires_grad for site in watched.values())
            step.memory[_MOVING if came_so else _STANDING] = torch.ones(())
        if _MOVING not in step.memory:
            for site in watched.values():
                _theta(site).requires_grad_(False)
        if step.progress < self.warmup:
            return
        if _MOVING not in step.memory and _SEEN in step.memory and step.progress >= self.warmup + _MEASURING:
            step.memory[_MOVING] = torch.ones(())
            with torch.no_grad():
                for site in watched.values():
                    _theta(site).fill_(self.start)
        if _MOVING in step.memory:
            for site in watched.values():
                _theta(site).requires_grad_(True)
        elif step.replay == 0:
            _measure(step, watched)

    def after_step(self, model: nn.Module, seed: int) -> None:
        """Keep theta >= 0."""
        with torch.no_grad():
            for site in sites(model).values():
                if _theta(site).requires_grad:
                    _theta(site).clamp_(min=0)


def _measure(step: Step, watched: dict[str, Site]) -> None:
    """Take the step's clean images into the mean potentials, which stand in ``setpoint`` from the first image on."""
    training = step.model.training
    seen = int(step.memory.get(_SEEN, torch.zeros(())).item())
    with private_rng(), torch.no_grad(), probe(step.model.eval(), "margins") as record:
        torch.manual_seed(step.seed)  # of noise at inference, where another defense leaves it on
        for images in step.clean.split(_CHUNK):
            step.model(images)
            for name, site in watched.items():
                margins, mean = record[name].margins, site.setpoint
                assert margins is not None and mean is not None
                total = (margins + site.neuron.threshold).sum(1).movedim(1, -1)
                mean += (total - len(images) * mean) / (seen + len(images))
            seen += len(images)
    step.model.train(training)
    step.memory[_SEEN] = torch.tensor(float(seen))


def _learned(model: nn.Module) -> set[str]:
    """The sites, if a training before has learned to move their thresholds.

    Raises:
        SpikeproofError: they are frozen.
    """
    thetas = {name: site.adaptation for name, site in sites(model).items() if site.adaptation is not None}
    if not any(theta.any() for theta in thetas.values()):
        return set()
    if frozen := [name for name, theta in thetas.items() if not theta.requires_grad]:
        raise SpikeproofError(
            f"HoSNN learns how thresholds move, and the adaptation of site {frozen[0]} is frozen; call "
            "requires_grad_(True) on it, or leave HoSNN out."
        )
    return set(thetas)


def _theta(site: Site) -> nn.Parameter:
    assert isinstance(site.adaptation, nn.Parameter)  # install puts it there
    return site.adaptation
