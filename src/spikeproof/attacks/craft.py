"""What every attack shares: a frozen model and one gradient source."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.confirm import FEWEST, confirm
from spikeproof.attacks.evaluating import evaluating, working_dtype
from spikeproof.attacks.judge import checked, outputs
from spikeproof.attacks.objective import Objective
from spikeproof.checked import MOST_DRAWS, check_seed, whole
from spikeproof.gradients import BPTT, Attached, GradientSource, check_source
from spikeproof.machine.precision import Precision, check_precision, for_verdicts, resolved
from spikeproof.models import is_compiled, unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.spiking import override_gradient, sites


@dataclasses.dataclass(frozen=True)
class Attacked:
    """An attack's images and the judge's verdict on them, sample by sample.

    Attributes:
        images: what the attack found, in [0, 1].
        correct: whether the model is still right about the image; a random network is wrong only where fresh draws,
            which had no part in the attack, confirm it.
        reached: whether the model now says the target; None where there was no target.
        nearest: of each sample the image of least margin that the attack saw, from which another may go on; None where
            the attack compared none.
        queries: of each sample how many it took to break it, or were spent in vain; None where none were counted.
        undecided: of a random network where fresh draws could not decide, so that it counts as not broken (with
            targets, as not reached); None of other networks.

    Example:
        >>> attacked = Attacked(torch.zeros(2, 1, 4, 4), correct=torch.tensor([True, False]))
        >>> attacked.correct.float().mean()  # accuracy under this attack
        tensor(0.5000)
    """

    images: Float[Tensor, " n *chw"]
    correct: Bool[Tensor, " n"]
    reached: Bool[Tensor, " n"] | None = None
    nearest: Float[Tensor, " n *chw"] | None = None
    queries: Int64[Tensor, " n"] | None = None
    undecided: Bool[Tensor, " n"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crafting:
    """How gradients are obtained, the same for every attack.

    Args:
        source: which backward gives the gradients; BPTT is the network's own.
        eot_iter: E, forwards with fresh noise averaged in each gradient (EoT, Athalye et al. 2018); for noisy models.
        judge_draws: R, forwards with fresh noise whose logits are averaged where an attack looks at its images; None
            for as many as E. A break of a random network is confirmed by max(R, 100) fresh draws or more.
        precision: of the crafting forwards and backwards, "auto" for fp32; the judge is float32 always.
        seed: of every random number the attack draws.

    Raises:
        SpikeproofError: a source that is no gradient source, draws below 1, an unknown precision, or a seed that is
            no whole number >= 0.

    Example:
        >>> Crafting(eot_iter=4, seed=1).judge_draws is None
        True

    Source: averaging over draws is EoT (Athalye et al. 2018); that fresh draws confirm each break is ours.
    """

    source: GradientSource = BPTT()
    eot_iter: int = 1
    judge_draws: int | None = None
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_source(self.source)
        whole(self.eot_iter, "An attack", "eot_iter", 1, MOST_DRAWS)
        if self.judge_draws is not None:
            whole(self.judge_draws, "An attack", "judge_draws", 1, MOST_DRAWS)
        check_precision(self.precision, "An attack crafts")
        check_seed(self.seed, "An attack")

    @property
    def look_draws(self) -> int:
        """R, with the default filled in."""
        return self.judge_draws or self.eot_iter

    @property
    def least_draws(self) -> int:
        """The least number of draws that confirm a break of a random network: max(R, 100)."""
        return max(self.look_draws, FEWEST)


class OfRandom(Crafting):
    """:class:`Crafting` for a network that draws random numbers. Attacks make it from what a user gave."""


def fitted(how: Crafting, *, random: bool) -> Crafting:
    """The same settings, as the class that says whether the network draws random numbers.

    Args:
        how: the settings.
        random: whether it does; then the result is an :class:`OfRandom`.
    """
    kind = OfRandom if random else Crafting
    if type(how) is kind:
        return how
    return kind(**{field.name: getattr(how, field.name) for field in dataclasses.fields(how)})


class Craft:
    """A model under attack: gradients of an objective by the chosen source, verdicts by the judge.

    Args:
        model: frozen and in eval mode, as :func:`crafting` leaves it.
        attached: the gradient source, attached to it.
        how: draws and precision.
    """

    def __init__(self, model: nn.Module, attached: Attached, how: Crafting) -> None:
        self._model = model
        self._attached = attached
        self._how = how
        self._dtype, self._compiled = working_dtype(model), is_compiled(model)
        first = next(model.parameters(), torch.empty(0))
        self._bf16 = resolved(for_verdicts(how.precision), first.device) == "bf16"
        self._cast_weights = _cast_weights(model) if self._bf16 else {}

    @property
    def random(self) -> bool:
        """Whether the network draws random numbers."""
        return isinstance(self._how, OfRandom)

    def gradient(
        self, images: Float[Tensor, " n *chw"], objective: Objective, *, finite: bool = True
    ) -> tuple[Float[Tensor, " n *chw"], Float[Tensor, "n k"]]:
        """The gradient of each sample's objective by its image, and the logits, both averaged over the draws.

        Args:
            images: x, where the gradient is taken; any float tensor that the network takes.
            objective: of logits [n,K] a number for each sample.
            finite: True sets entries that are not finite to zero; False leaves them, for callers that count them.

        Returns:
            The gradient, and the logits in float32. Of a random network both are means over E draws.
        """
        images = images.detach().requires_grad_()
        gradient, mean_logits = torch.zeros_like(images), None
        for draw in range(self._how.eot_iter):
            self._attached.hold(draw > 0)
            with torch.enable_grad():
                of_draw, logits = self._attached.gradient(self._call, images, objective)
            if finite:
                of_draw = torch.where(of_draw.isfinite(), of_draw, 0.0)
            gradient = gradient + of_draw / self._how.eot_iter
            share = logits.detach().float() / self._how.eot_iter
            mean_logits = share if mean_logits is None else mean_logits + share
        self._attached.hold(False)
        assert mean_logits is not None
        return gradient.detach(), mean_logits

    @torch.no_grad()
    def logits(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, "n k"]:
        """A forward without a gradient at crafting precision, averaged over the E draws: for attacks by queries.

        Args:
            images: any float tensor that the network takes.
        """
        with override_gradient(self._model, dict.fromkeys(sites(self._model))):  # a source must not learn from queries
            return torch.stack([self._call(images).float() for _ in range(self._how.eot_iter)]).mean(0)

    def _call(self, images: Tensor) -> Tensor:
        # A copy, since a network may work in place; the compiler wants the leaf itself.
        images = images.to(self._dtype, copy=not self._compiled)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bf16):
            if not self._cast_weights:
                logits: Tensor = self._model(images)
            else:
                logits = torch.func.functional_call(self._model, self._cast_weights, (images,))
        return logits

    def judge(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, "n k"]:
        """The judge's logits, averaged over the R draws; the gradient source has no part in them.

        Args:
            images: in [0, 1].

        Raises:
            SpikeproofError: logits that are not finite.
        """
        return checked(self.unchecked(images))

    def unchecked(self, images: Float[Tensor, " n *chw"]) -> Float[Tensor, "n k"]:
        """The same logits, finite or not. The check would wait for a GPU; without it no verdict may follow.

        Args:
            images: in [0, 1].
        """
        with override_gradient(self._model, dict.fromkeys(sites(self._model))):
            return outputs(self._model, images, draws=self._how.look_draws)

    def breaks(
        self, images: Float[Tensor, " n *chw"], labels: Int64[Tensor, " n"], targets: Int64[Tensor, " n"] | None = None
    ) -> Bool[Tensor, " n"]:
        """Which images are broken: the network errs on them or, with targets, says the target.

        Args:
            images: in [0, 1].
            labels: the true classes.
            targets: the classes to be reached, or None.

        Returns:
            The judge's verdict; of a random network what fresh draws confirm, 100 or more for each break.

        Raises:
            SpikeproofError: logits that are not finite.
        """
        if not self.random:
            return errs(self.judge(images), labels, targets)
        with override_gradient(self._model, dict.fromkeys(sites(self._model))):
            confirmation = confirm(
                lambda batch: outputs(self._model, batch),
                images,
                labels,
                targets,
                least=self._how.least_draws,
                patient=False,
            )
        return confirmation.broken

    def confirmed(
        self,
        broken: Bool[Tensor, " n"],
        images: Float[Tensor, " n *chw"],
        labels: Int64[Tensor, " n"],
        targets: Int64[Tensor, " n"] | None = None,
    ) -> Bool[Tensor, " n"]:
        """Which images that the judge's logits call broken are so.

        Args:
            broken: what the judge's logits say.
            images, labels, targets: as in :meth:`breaks`.

        Returns:
            ``broken`` itself; of a random network those of them that fresh draws confirm.
        """
        suspected = broken.nonzero().flatten() if self.random else broken[:0].long()
        if len(suspected) == 0:
            return broken
        aims = None if targets is None else targets[suspected]
        return broken.index_copy(0, suspected, self.breaks(images[suspected], labels[suspected], aims))

    def verdict(
        self, images: Float[Tensor, " n *chw"], labels: Int64[Tensor, " n"], targets: Int64[Tensor, " n"] | None = None
    ) -> Attacked:
        """These images as they are, judged; of a random network all are claimed broken, as :func:`last_word` follows.

        Args:
            images, labels, targets: as in :meth:`breaks`.

        Raises:
            SpikeproofError: logits that are not finite.
        """
        if self.random:
            every = torch.ones_like(labels, dtype=torch.bool)
            return Attacked(images, ~every, None if targets is None else every)
        predicted = self.judge(images).argmax(1)
        return Attacked(images, predicted == labels, None if targets is None else predicted == targets)

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        """Go on with some samples only: the source forgets the others.

        Args:
            kept: their places among the samples so far, in rising order.
        """
        self._attached.keep(kept)


def errs(
    logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], targets: Int64[Tensor, " n"] | None = None
) -> Bool[Tensor, " n"]:
    """Where these logits name another class than the label; with targets, where they name the target.

    Args:
        logits: one row for each sample.
        labels: the true classes.
        targets: the classes to be reached, or None.
    """
    predicted = logits.argmax(1)
    return predicted != labels if targets is None else predicted == targets


def _cast_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights in bfloat16: they stand still, so they are cast once, where autocast would in every forward.

    Not those of a wrapper (DataParallel, a compiled model), nor a weight that is computed from others (weight norm):
    autocast serves them.
    """
    if unwrapped(model) is not model:
        return {}
    parameters = dict(model.named_parameters())
    weights = {
        f"{name}.weight" if name else "weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    return {
        name: weight.to(torch.bfloat16)
        for name, weight in weights.items()
        if name in parameters and weight.dtype == torch.float32
    }


@contextlib.contextmanager
def crafting(model: nn.Module, how: Crafting) -> Iterator[Craft]:
    """Freeze ``model`` (eval, no parameter gradients), seed a private generator and attach the source, for a while.

    Args:
        model: the network under attack.
        how: source, draws, precision and seed.

    Yields:
        The :class:`Craft` that gives gradients and verdicts. Afterwards every flag of the model and the caller's
        generators are as before, exception or not.
    """
    with private_rng(), evaluating(model), how.source.attach(model) as attached:
        torch.manual_seed(how.seed)
        yield Craft(model, attached, how)
