"""What a defense is: a small object whose hooks change training. A recipe lists defenses, and lists compose."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import Crafting
from spikeproof.checked import check_sizes
from spikeproof.errors import SpikeproofError
from spikeproof.models import SpikingModel
from spikeproof.spiking import Cost, Record, probe, sites


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a defense wants the sites to record in the training forward.

    Attributes:
        moments, cost: see :func:`spikeproof.spiking.probe`.
        after_reset: whether these are of the potential after reset.
        currents: what the last site integrates, in the graph.
    """

    moments: bool = False
    cost: Cost | None = None
    after_reset: bool = False
    currents: bool = False


@dataclasses.dataclass(kw_only=True)
class Step:
    """One training step on one batch (or a part of it), as the hooks see it; filled as the step goes on.

    Attributes:
        model: in train mode from the forward on.
        clean: the batch after augmentation, in [0, 1].
        labels: their classes.
        images: what the network trains on: ``clean``, or what a defense made of it. ``images.grad`` is there in
            ``learned`` where a defense ``wants_image_gradient``.
        logits, record: of the training forward of ``images``.
        progress: the share of training done, in [0, 1).
        replay: which time the network is trained on this batch, from 0.
        part: which part of the batch this is, from 0; one that is not split has one part.
        seed: of the random numbers of this step.
        noise: the seed with which the training forward begins.
        bf16: whether training forwards, and a defense's inner attacks, run under bfloat16 autocast.
        memory: tensors that a defense keeps from step to step, under names of its own; saved with the run's state.
    """

    model: nn.Module
    clean: Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    images: Float[Tensor, "n c h w"] = dataclasses.field(default_factory=lambda: torch.empty(0, 0, 0, 0))
    logits: Float[Tensor, "n k"] = dataclasses.field(default_factory=lambda: torch.empty(0, 0))
    record: Record = dataclasses.field(default_factory=Record)
    progress: float = 0.0
    replay: int = 0
    part: int = 0
    seed: int = 0
    noise: int = 0
    bf16: bool = False
    memory: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def crafting(self) -> Crafting:
        """How an inner attack obtains its gradients: in the precision of training, seeded by the step."""
        return Crafting(precision="bf16" if self.bf16 else "fp32", seed=self.seed)

    def count(self, name: str) -> int:
        """How often this name was counted before; it is kept in ``memory``, on the host, since the host asks."""
        before = self.memory.get(name, torch.zeros((), dtype=torch.int64)).cpu()
        self.memory[name] = before + 1
        return int(before)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """A further forward of the network as it trains, in the graph; it moves batch norm's running statistics."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.model(images)
        return logits

    def forward_steps(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "t n k"]:
        """The same of a spikeproof model, as the logits of every step, in float32 at least."""
        assert isinstance(self.model, SpikingModel)  # the training loop lets no other have a loss by steps
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            steps = self.model.forward_steps(images)
        return steps.to(torch.promote_types(steps.dtype, torch.float32))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defense:
    """A defense that does nothing; each real one overrides the hooks it has a use for.

    A defense knows itself, and everything that names defenses asks it: ``label`` is how its paper writes it, for
    messages and tables, by default the class's name. ``name`` is what a recipe's settings and the command line call it
    (``--with mpd-sgr``, ``--mpd-sgr.eta``), by default the label in lower case with dashes. Those of the library are
    listed once, in ``spikeproof.defenses.DEFENSES``.

    In a step the hooks are called in this order: ``begin`` and ``perturb`` for every part of the batch; within
    ``moved_weights``, for every part, the training forward, ``loss``, ``penalty``, the backward, ``learned``; and then
    ``after_backward``, the optimiser, ``after_step``. ``outcome`` is asked for where the network is looked at: at
    validation, and at the end.
    """

    label: ClassVar[str] = "Defense"
    name: ClassVar[str] = "defense"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "label" not in vars(cls):
            cls.label = cls.__name__
        if "name" not in vars(cls):
            cls.name = cls.label.lower().replace(" ", "-")

    @property
    def field(self) -> str:
        """Its name where dashes cannot stand: the key of its settings in a recipe."""
        return self.name.replace("-", "_")

    @property
    def step_cost(self) -> float:
        """What a training step takes with it, beside one of plain training: for estimates of hours."""
        return 1.0

    @property
    def needs(self) -> Needs:
        return Needs()

    @property
    def perturbs(self) -> bool:
        """Whether it makes the batch that is trained on and that training accuracy is of; at most one of a list may."""
        return False

    @property
    def replaces_loss(self) -> bool:
        """Whether its ``loss`` stands in the place of the cross-entropy; at most one defense of a list may."""
        return False

    @property
    def wants_image_gradient(self) -> bool:
        """Whether it wants the gradient by ``step.images``."""
        return False

    @property
    def replays(self) -> int:
        """How many optimiser steps are made on each batch; at most one defense of a list may ask for more than 1."""
        return 1

    @property
    def forwards(self) -> int:
        """How many training forwards of a batch it needs in memory at once, the one that all need counted."""
        return 1

    @property
    def whole_batch(self) -> bool:
        """Whether it needs the batch as a whole beyond what sites record, so that no process may have a slice of it."""
        return False

    @property
    def weight_decay(self) -> float | None:
        """What belongs to it where the training config leaves the weight decay open; None for no wish."""
        return None

    @property
    def takes(self) -> frozenset[str]:
        """What it alone may set at the sites or of the network, in words; no two defenses of a list share one."""
        return frozenset()

    @property
    def elsewhere(self) -> str | None:
        """What it does in a network whose neurons are another library's, where it cannot have all that it ``takes``.

        In words that follow "there it"; None where nothing is left.
        """
        return None

    def clashes(self, other: Defense) -> str | None:
        """Why it cannot work together with another defense, as a sentence; None where it can."""
        return None

    def install(self, model: nn.Module) -> None:
        """Change the network once, before training; what it puts at the sites is saved with the weights."""

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The optimiser's parameter groups for what it installed, with options of their own (not the learning rate)."""
        return []

    def begin(self, step: Step) -> None:
        """Before the step's batch is made."""

    def perturb(self, step: Step) -> Float[Tensor, "n c h w"]:
        """The batch to train on, made of ``step.clean``."""
        raise NotImplementedError

    def moved_weights(
        self, model: nn.Module, gradient: Callable[[], None], progress: float
    ) -> contextlib.AbstractContextManager[None]:
        """A context in which the weights are others, for the gradient that the optimiser will see.

        ``gradient()`` fills the parameters' ``grad`` with that of the loss of the whole batch by the weights as they
        are, by the same images and random numbers as the training forward, and leaves all else as it was.
        """
        return contextlib.nullcontext()

    def loss(self, step: Step) -> Float[Tensor, ""]:
        """The task's loss, after the training forward."""
        raise NotImplementedError

    def penalty(self, step: Step) -> Float[Tensor, ""] | None:
        """A further term of the loss."""
        return None

    def learned(self, step: Step) -> None:
        """After the backward of a batch (or of a part of it)."""

    def after_backward(self, model: nn.Module, progress: float) -> None:
        """Change the gradients, which are complete."""

    def after_step(self, model: nn.Module, seed: int) -> None:
        """Change the weights, which the optimiser has just moved."""

    def outcome(self, model: nn.Module, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the network that comes out of training, the values that are not the running ones, by name.

        ``memory`` is that of the steps. It is asked between steps, at any time, and must change nothing.
        """
        return {}


def compose(defenses: Sequence[Defense]) -> Needs:
    """Check that the defenses work together; returns what they need recorded.

    Raises:
        SpikeproofError: a setting that float32 cannot count with, the same defense twice, two that make the batch, the
            loss or replays, or set the same thing at the sites, two that ask for other costs of the margins or for
            margins before and after reset, or a pair that says it clashes.
    """
    for defense in defenses:
        check_sizes(defense.label, vars(defense))
    kinds = [type(defense) for defense in defenses]
    for kind in set(kinds):
        if kinds.count(kind) > 1:
            raise SpikeproofError(f"{kind.__name__} is listed twice; list each defense once.")
    for does, what in (
        ([d.label for d in defenses if d.perturbs], "make the training batch"),
        ([d.label for d in defenses if d.replaces_loss], "replace the loss"),
        ([d.label for d in defenses if d.replays > 1], "replay each batch"),
    ):
        if len(does) > 1:
            raise SpikeproofError(f"{' and '.join(does)} both {what}; keep one of them.")
    taken: dict[str, Defense] = {}
    for defense in defenses:
        for part in sorted(defense.takes):
            if part in taken:
                raise SpikeproofError(f"{taken[part].label} and {defense.label} both set {part}; keep one of them.")
            taken[part] = defense
    for defense in defenses:
        for other in defenses:
            if other is not defense and (reason := defense.clashes(other)):
                raise SpikeproofError(f"{defense.label} and {other.label} do not go together: {reason}")
    needs = [defense.needs for defense in defenses]
    costs = {need.cost for need in needs if need.cost is not None}
    if len(costs) > 1:
        raise SpikeproofError(f"Two defenses ask for different sums at the sites {sorted(map(str, costs))}; keep one.")
    watching = {need.after_reset for need in needs if need.moments or need.cost is not None}
    if len(watching) > 1:
        raise SpikeproofError("One defense watches potentials before reset and another after it; give them the same.")
    return Needs(
        moments=any(need.moments for need in needs),
        cost=next(iter(costs), None),
        after_reset=watching == {True},
        currents=any(need.currents for need in needs),
    )


def watch(model: nn.Module, needs: Needs) -> contextlib.AbstractContextManager[Record]:
    """The probe that records what is needed.

    Raises:
        SpikeproofError: a model without sites.
    """
    last = list(sites(model))[-1:] if needs.currents else []
    asked = ("moments",) if needs.moments else ()
    return probe(model, *asked, cost=needs.cost, after_reset=needs.after_reset, currents_at=last)
