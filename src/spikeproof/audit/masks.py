"""Whether something hides the gradient from the attacks, and what the audit says where nothing goes round it.

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

# Measured (docs/log.md): networks that hide nothing have 0 % zero gradients and a cosine of 0.97 or more; masks have
# 100 %, or 0.76 or less; what goes round masks has a cosine of 0.94 or more.
_ZERO = 0.05
_ALIKE, _LOST = 0.9, 0.5
_NEAR = 0.1  # how far away the neighbour is whose gradient is compared, as a share of the radius
_SURVIVORS = 0.03
_ANYWHERE = "PGD-ANY-20@AROUND"


@dataclasses.dataclass(frozen=True)
class Look:
    """How the gradients look, on images that are right when clean.

    Attributes:
        zero: the share of images whose gradient of the cross-entropy is zero, in [0, 1].
        alike: the mean cosine of an image's gradient with that of a random image near it, in [-1, 1].
        probabilities: whether all outputs are >= 0 and each image's sum to 1.
    """

    zero: float
    alike: float
    probabilities: bool

    def doubts(self, least: float) -> tuple[Doubt, ...]:
        """Why the gradients may lead nowhere: many are zero, or neighbours' gradients differ.

        Args:
            least: the cosine from which on neighbours' gradients are alike enough.
        """
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
        """The signs that something hides the gradient; empty where there are none."""
        even = (Doubt("probabilities", "the outputs are probabilities"),) if self.probabilities else ()
        return (*self.doubts(_ALIKE), *even)


def look_at_gradients(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting,
    batch_size: int,
) -> Look:
    """Take the gradient of each image, and of a random image a tenth of the radius away, with the same noise.

    Args:
        model: the audited network.
        images: in [0, 1].
        labels: one for each image.
        threat: its ball is where the neighbour lies.
        how: the gradient source, the draws that are averaged, and the seed.
        batch_size: images at a time.

    Returns:
        What was seen on the images that are right when clean; no sign of anything where none is.
    """
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
        # Scaled, because squares of a confident network's gradients underflow. Without the values that the box left as
        # they were.
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
    """The warning that stands in the number's place; None where what went round the masks can be believed.

    Args:
        seen: how the gradients of the network's own source look.
        round_masks: how those of the source that goes round the masks look.
        anywhere: for each sample whether it is still right where the attack that goes round was allowed any image.
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
    """Decides for one audit whether something hides the gradient, which trials go round it, and what it says of that.

    Args:
        model: the audited network.
        images, labels: some of the audited samples; the gradients of these are looked at.
        config: of the audit.
        tuned: settings of gradient sources.
        batch_size: images at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Float[Tensor, " n *chw"],
        labels: Int64[Tensor, " n"],
        config: AuditConfig,
        tuned: Tuned,
        batch_size: int,
    ) -> None:
        self._inputs = (model, images, labels, batch_size)
        self._config, self._tuned = config, tuned
        # PDSG follows the potentials from the first forward on, so that a narrow surrogate is not taken for a mask.
        own = PDSG() if sites(model) else BPTT()
        self._around = Around(own)
        self._seen = self._look(own)
        self._names: tuple[str, ...] = ()

    def with_what_goes_round(self, trials: list[Trial]) -> list[Trial]:
        """Add the trials that go round what hides the gradient, where something does.

        Args:
            trials: of the audit, in the order in which they are run.
        """
        if not self._seen.signs:
            return trials
        longer = self._config.going_round(trials, self._tuned)
        self._names = tuple(trial.name for trial in longer if isinstance(trial.source, Around))
        return longer

    def conclusion(self, engine: Engine, right: Bool[Tensor, " n"]) -> tuple[list[Doubt], str | None]:
        """Say what hides the gradient, after an attack round it that is allowed any image.

        Args:
            engine: of the audit; it runs that attack.
            right: for each audited image whether it is right when clean.

        Returns:
            The warnings, and in a sentence why the audit has no number, or None where it has one.
        """
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
