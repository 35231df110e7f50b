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
from spikeproof.private_rng import private_rng
from spikeproof.sending import sent
from spikeproof.spiking import Cost, Record, probe, sites


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a defense wants the sites to record in the training forward.

    Attributes:
        moments, cost: see :func:`spikeproof.spiking.probe`.
        after_reset: whether these are of the potential after reset.
        currents: whether the last site's currents are recorded, in the graph.
    """

    moments: bool = False
    cost: Cost | None = None
    after_reset: bool = False
    currents: bool = False


@dataclasses.dataclass(kw_only=True)
class Step:
    """One training step on one batch (or a part of it), as the hooks see it; its fields are filled during the step.

    Attributes:
        model: in train mode from the forward on.
        clean: the batch after augmentation, in [0, 1].
        labels: their classes.
        images: what the network trains on: ``clean``, or what a defense made of it. ``images.grad`` is there in
            ``learned`` where a defense ``wants_image_gradient``.
        logits, record: of the training forward of ``images``.
        progress: the share of training done, in [0, 1).
        replay: how often the network was trained on this batch before.
        part: which part of the batch this is, from 0; a batch that is not split has one part.
        seed: of the random numbers of this step.
        noise: the seed with which the training forward begins.
        bf16: whether training forwards, and a defense's inner attacks, run under bfloat16 autocast.
        memory: tensors that a defense keeps from step to step, under names of its own; saved with the run's state.
    """

    model: nn.Module
    clean: Float[Tensor, " n *chw"]
    labels: Int64[Tensor, " n"]
    images: Float[Tensor, " n *chw"] = dataclasses.field(default_factory=lambda: torch.empty(0, 0, 0, 0))
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
        """How often this name was counted before, and count it once more.

        Args:
            name: the key in ``memory``. The number is kept on the CPU, so that reading it does not wait for a GPU.
        """
        before = self.memory.get(name, torch.zeros((), dtype=torch.int64)).cpu()
        self.memory[name] = before + 1
        return int(before)

    def gaussian(self) -> Float[Tensor, " n *chw"]:
        """Independent normal numbers, one for each pixel, by the step's seed; all devices have the same."""
        with private_rng():
            torch.manual_seed(self.seed)
            return sent(torch.randn(self.clean.shape).to(self.clean.dtype), self.clean.device)

    def forward(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, "n k"]:
        """A further forward of the network as it trains, in the graph; it moves batch norm's running statistics.

        Args:
            images: of the shape of ``clean``.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.model(images)
        return logits

    def forward_steps(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, "t n k"]:
        """The same of a spikeproof model, as the logits of every step, in float32 at least.

        Args:
            images: of the shape of ``clean``.
        """
        assert isinstance(self.model, SpikingModel)  # the training loop lets no other have a loss by steps
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            steps = self.model.forward_steps(images)
        return steps.to(torch.promote_types(steps.dtype, torch.float32))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defense:
    """A defense that does nothing; each real one overrides the hooks that it needs.

    ``label`` is how its paper writes it, for messages and tables; by default the class's name. ``name`` is what recipes
    and the command line call it (``--with mpd-sgr``, ``--mpd-sgr.eta``); by default the label in lower case with
    dashes. Those of the library are listed once, in ``spikeproof.defenses.DEFENSES``.

    In a step the hooks are called in this order: ``begin`` and ``perturb`` for every part of the batch; within
    ``moved_weights``, for every part, the training forward, ``loss``, ``penalty``, the backward, ``learned``; and then
    ``after_backward``, the optimiser, ``after_step``. ``outcome`` is called at validation and at the end of training.

    Example:
        >>> class Clipped(Defense):
        ...     def after_step(self, model, seed):
        ...         for parameter in model.parameters():
        ...             parameter.data.clamp_(-1, 1)
        >>> Clipped().label, Clipped().name
        ('Clipped', 'clipped')

    Source: the order of the hooks is ours; each defense names its paper.
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
        """Its name with underscores for dashes: the key of its settings in a recipe."""
        return self.name.replace("-", "_")

    @property
    def step_cost(self) -> float:
        """The time of a training step with it, over that of plain training: for estimates of hours.

        Each of the library's says its own; 1 is that of a penalty that costs nothing that shows.
        """
        return 1.0

    @property
    def needs(self) -> Needs:
        """What the sites record in the training forward."""
        return Needs()

    @property
    def perturbs(self) -> bool:
        """Whether it makes the batch that is trained on, whose accuracy is reported; at most one of a list may."""
        return False

    @property
    def replaces_loss(self) -> bool:
        """Whether its ``loss`` replaces the cross-entropy; at most one defense of a list may."""
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
        """How many training forwards of a batch are in memory at once, including the usual one."""
        return 1

    @property
    def whole_batch(self) -> bool:
        """Whether a batch must not be shared by several processes; sums that sites record need not say so."""
        return False

    @property
    def weight_decay(self) -> float | None:
        """The weight decay that goes with it where the training config names none; None for no preference."""
        return None

    @property
    def takes(self) -> frozenset[str]:
        """What it alone may set, at the sites or in the network, in words; no two defenses of a list share one."""
        return frozenset()

    @property
    def elsewhere(self) -> str | None:
        """What is left of it in another library's network, whose sites do not let it set all that it ``takes``.

        In words that follow "there it"; None where nothing is left.
        """
        return None

    def clashes(self, other: Defense) -> str | None:
        """Why it cannot work together with another defense, as a sentence; None where it can.

        Args:
            other: another defense of the list.
        """
        return None

    def install(self, model: nn.Module) -> None:
        """Change the network once, before training. What it puts at the sites is saved with the weights.

        Args:
            model: changed in place; a network that already has what it learns keeps it.

        Raises:
            SpikeproofError: a network that it cannot change.
        """

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The optimiser's parameter groups for what it installed, with options of their own (not the learning rate).

        Args:
            model: after ``install``.
        """
        return []

    def begin(self, step: Step) -> None:
        """Before the step's batch is made: for measurements.

        Args:
            step: images, logits and record are not there yet.
        """

    def perturb(self, step: Step) -> Float[Tensor, " n *chw"]:
        """The batch to train on, made of ``step.clean``; called only if it ``perturbs``.

        Args:
            step: logits and record are not there yet.
        """
        raise NotImplementedError

    def moved_weights(
        self, model: nn.Module, gradient: Callable[[], None], progress: float
    ) -> contextlib.AbstractContextManager[None]:
        """A context in which the weights are others, for the gradient that the optimiser will see.

        Args:
            model: its weights are put back afterwards.
            gradient: fills the parameters' ``grad`` with that of the whole batch's loss at the present weights, by the
                same images and random numbers as the training forward; it changes nothing else.
            progress: the share of training done, in [0, 1).
        """
        return contextlib.nullcontext()

    def loss(self, step: Step) -> Float[Tensor, ""]:
        """The task's loss, after the training forward; called only if it ``replaces_loss``.

        Args:
            step: with images, logits and record.
        """
        raise NotImplementedError

    def penalty(self, step: Step) -> Float[Tensor, ""] | None:
        """A further term of the loss; None for none.

        Args:
            step: with images, logits and record.
        """
        return None

    def learned(self, step: Step) -> None:
        """After the backward of a batch (or of a part of it).

        Args:
            step: complete; with ``images.grad`` if it ``wants_image_gradient``.
        """

    def after_backward(self, model: nn.Module, progress: float) -> None:
        """Change the gradients, which are complete.

        Args:
            model: its parameters have their ``grad``.
            progress: the share of training done, in [0, 1).
        """

    def after_step(self, model: nn.Module, seed: int) -> None:
        """Change the weights, which the optimiser has just moved.

        Args:
            model: changed in place.
            seed: of this step's random numbers.
        """

    def outcome(self, model: nn.Module, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values of the trained network that differ from the running ones, by name.

        It is called between steps, at any time, and must change nothing.

        Args:
            model: with the running values.
            memory: that of the steps.
        """
        return {}


def compose(defenses: Sequence[Defense]) -> Needs:
    """Check that the defenses work together.

    Args:
        defenses: in the order in which their hooks are called.

    Returns:
        What they need recorded, together.

    Raises:
        SpikeproofError: a setting outside float32's range, the same defense twice, two that make the batch, the loss or
            replays, or set the same thing at the sites, two that ask for different costs of the margins or for margins
            before and after reset, or a pair that says it clashes.
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
        for thing in sorted(defense.takes):
            if thing in taken:
                raise SpikeproofError(f"{taken[thing].label} and {defense.label} both set {thing}; keep one of them.")
            taken[thing] = defense
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

    Args:
        model: with sites.
        needs: what :func:`compose` returned.

    Returns:
        A context that gives the record.

    Raises:
        SpikeproofError: a model without sites.
    """
    last = list(sites(model))[-1:] if needs.currents else []
    moments = ("moments",) if needs.moments else ()
    return probe(model, *moments, cost=needs.cost, after_reset=needs.after_reset, currents_at=last)
