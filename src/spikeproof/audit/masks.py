"""Whether something hides the gradient from the attacks, and what is said where nothing goes round it.

Athalye, Carlini and Wagner (2018) name the signs: gradients that are zero, that are shattered, or that saturate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.audit.config import AuditConfig
from spikeproof.audit.engine import Engine
from spikeproof.audit.shards import Shard
from spikeproof.audit.trials import Trial, Tuned, make_trial
from spikeproof.doubt import Doubt
from spikeproof.gradients import BPTT, PDSG, Around, GradientSource
from spikeproof.private_rng import private_rng
from spikeproof.spiking import sites
from spikeproof.threat import Threat

# Measured (docs/log.md): networks that hide nothing have 0 % and 0.97 or more, masks 100 %, or 0.76 or less; what goes
# round them has 0.94 or more.
_ZERO = 0.05
_ALIKE, _LOST = 0.9, 0.5
_NEAR = 0.1  # of the radius: how far the neighbour is whose gradient is compared
_SURVIVORS = 0.03
_ANYWHERE = "PGD-ANY-20@AROUND"


@dataclasses.dataclass(frozen=True)
class Look:
    """What gradients say of themselves, on images that are right when clean.

    Attributes:
        zero: the share of images whose gradient of the cross-entropy is zero.
        alike: the mean cosine of an image's gradient with that of a random image near it.
        probabilities: whether the outputs are none negative and sum to one.
    """

    zero: float
    alike: float
    probabilities: bool

    def doubts(self, least: float) -> tuple[Doubt, ...]:
        """Why the gradients may lead nowhere: many are zero, or they are less alike than this."""
        doubts = []
        if self.zero > _ZERO:
            text = "{} % of the images have a gradient of zero"
            doubts.append(Doubt("zero gradients", text, (f"{100 * self.zero:.0f}",)))
        if self.zero < 1 and self.alike < least:
            text = "the gradients of an image and of its neighbour have a cosine of {}"
            doubts.append(Doubt("shattered gradients", text, (f"{self.alike:.2f}",)))
        return tuple(doubts)

    @property
    def signs(self) -> tuple[Doubt, ...]:
        """Why to go round something."""
        even = (Doubt("probabilities", "the outputs are probabilities"),) if self.probabilities else ()
        return (*self.doubts(_ALIKE), *even)


def look_at_gradients(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting,
    batch_size: int,
) -> Look:
    """Gradients of each image by ``how.source``: at it, and a tenth of the radius from it, with equal noise."""
    zero, alike, right, even = [], [], [], []
    for chunk in torch.arange(len(labels), device=labels.device).split(batch_size):
        clean, objective = images[chunk], cross_entropy_of(labels[chunk])
        with private_rng():
            torch.manual_seed(how.seed)
            near = threat.project(clean + _NEAR * threat.eps * threat.random_direction(clean), clean)
        gradients = []
        for point in (clean, near):
            with crafting(model, how) as craft:
                gradient, logits = craft.gradient(point, objective)
            gradients.append(gradient.flatten(1).float())
            if point is clean:
                right.append(logits.argmax(1) == labels[chunk])
                even.append(_probabilities(logits))
        zero.append((gradients[0] == 0).all(1))
        # Not where the box has kept a value as it was. A confident network's gradients have squares of zero.
        one, other = (each / each.abs().amax(1, keepdim=True).clamp_min(1e-45) for each in gradients)
        moved = (near != clean).flatten(1)
        one, other = one * moved, other * moved
        alike.append(torch.cosine_similarity(one, other))
    chosen = torch.cat(right)
    if not chosen.any():
        return Look(0.0, 1.0, False)
    hidden = torch.cat(zero)[chosen]
    cosines = torch.cat(alike)[chosen][~hidden]
    return Look(
        hidden.float().mean().item(),
        cosines.mean().item() if len(cosines) else 1.0,
        bool(torch.cat(even).all()),
    )


def _probabilities(outputs: Float[Tensor, "n k"]) -> Bool[Tensor, " n"]:
    return (outputs >= 0).all(1) & ((outputs.sum(1) - 1).abs() < 1e-3)


def why_no_number(seen: Look, round_masks: Look, anywhere: Bool[Tensor, " n"]) -> Doubt | None:
    """What takes the number's place; None where what went round the masks can be believed.

    Args:
        seen: the look by the battery's own source; round_masks: that by the source that goes round.
        anywhere: who is still right where the attack that goes round was allowed any image.
    """
    left = int(anywhere.sum()) / max(len(anywhere), 1)
    over = left > max(_SURVIVORS, 1.5 / max(len(anywhere), 1))
    why = [*round_masks.doubts(_LOST)]
    survivors = Doubt("survivors", "{} % of the images survive where any image is allowed", (f"{100 * left:.0f}",))
    why += [survivors] if over else []
    if not why:
        return None
    text = (
        f"Something hides the gradient of this network ({_listed(seen.signs)}), and what goes round it leads nowhere "
        f"either ({_listed(why)}): no number of this audit says how robust it is."
    )
    return Doubt("hidden gradient", text, _numbers([*seen.signs, *why]))


class Masks:
    """One audit's look at what hides the gradient: which trials go round it, and what is said at the end."""

    def __init__(
        self,
        model: nn.Module,
        images: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, " n"],
        config: AuditConfig,
        tuned: Tuned,
        batch_size: int,
    ) -> None:
        self._inputs = (model, images, labels, batch_size)
        self._config, self._tuned = config, tuned
        # PDSG follows the potentials from the first forward on, so a surrogate that is too narrow is no sign.
        own = PDSG() if sites(model) else BPTT()
        self._around = Around(own)
        self._seen = self._look(own)
        self._names: tuple[str, ...] = ()

    def with_what_goes_round(self, trials: list[Trial]) -> list[Trial]:
        """The trials, and where something hides the gradient those that go round it."""
        if not self._seen.signs:
            return trials
        longer = self._config.going_round(trials, self._tuned)
        self._names = tuple(trial.name for trial in longer if isinstance(trial.source, Around))
        return longer

    def conclusion(self, engine: Engine, right: Bool[Tensor, " n"]) -> tuple[list[Doubt], str | None]:
        """What is to be said of what hides the gradient, and why there is no number, if there is none."""
        if not self._seen.signs:
            return [], None
        _, images, _, _ = self._inputs
        whole = 1.0 if self._config.norm == "linf" else images[0].numel() ** 0.5
        point = ("round the masks, any image", make_trial(_ANYWHERE, self._config.norm).tuned(self._tuned), whole)
        anywhere = engine.curve([point], right, len(images))[point[0]].correct
        no_number = why_no_number(self._seen, self._look(self._around), anywhere)
        text = (
            f"Something may hide the gradient of this network ({_listed(self._seen.signs)}), so "
            f"{' and '.join(self._names)} went round it; what they broke counts."
        )
        doubt = Doubt("hidden gradient", text, _numbers(self._seen.signs))
        return [no_number or doubt], None if no_number is None else str(no_number)

    def _look(self, source: GradientSource) -> Look:
        model, images, labels, batch_size = self._inputs
        how = dataclasses.replace(self._config.crafting(), source=source, precision="fp32")
        look = look_at_gradients(model, images, labels, self._config.threat, how, batch_size)
        return Shard.of_this_process().of_the_first(look)


def _listed(doubts: Sequence[Doubt]) -> str:
    return "; ".join(doubt.text for doubt in doubts)


def _numbers(doubts: Sequence[Doubt]) -> tuple[str, ...]:
    return tuple(number for doubt in doubts for number in doubt.numbers)
