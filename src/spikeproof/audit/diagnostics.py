"""Red flags: signs that an attack failed for another reason than the model's robustness, each with what to do.

After Athalye et al. (2018, obfuscated gradients), Carlini et al. (2019, on evaluating robustness) and AutoAttack's own
checks (Croce and Hein 2020), with further ones for spiking networks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeproof.attacks import Crafting, SteepestStep, crafting, cross_entropy_of, evaluating
from spikeproof.doubt import Doubt
from spikeproof.private_rng import private_rng
from spikeproof.threat import Threat

# Shares of samples.
_ZERO_GRADIENT = 0.01
_SPARSITY = 0.5
_CHANCE = 0.03
_STALLED_RISE = 0.1
_EOT_DRAWS = 10


@dataclasses.dataclass(frozen=True)
class Flag:
    """One check.

    Attributes:
        name: what is looked for.
        measures, raises: what was measured, and from which value on the flag is raised; in words, with ``{}`` for each
            number.
        numbers: those of both, in order and as they are written.
        raised: whether the flag is raised.
        advice: what to do then.
    """

    name: str
    measures: str
    raises: str
    numbers: tuple[str, ...]
    raised: bool
    advice: str

    @property
    def value(self) -> str:
        """What was measured, in words."""
        return str(Doubt(self.name, self.measures, self.numbers[: self.measures.count("{}")]))

    @property
    def threshold(self) -> str:
        """From which value on the flag is raised, in words."""
        return str(Doubt(self.name, self.raises, self.numbers[self.measures.count("{}") :]))

    @property
    def doubt(self) -> Doubt:
        """The warning that an audit gives where the flag is raised."""
        named = self.name[0].upper() + self.name[1:]
        return Doubt(self.name, f"{named}: {self.measures} (raised {self.raises}); {self.advice}.", self.numbers)


@dataclasses.dataclass(frozen=True)
class Curves:
    """Accuracies in [0, 1] of the protocol attack, among the samples that are right when clean.

    Attributes:
        by_eps: from radius to accuracy; at the last radius any image is allowed.
        by_steps: from steps to accuracy, at the audit's radius.
        one_step: what FGSM leaves.
        black_box: what the protocol attack and 300 queries leave together.
        anywhere: what is left where any image is allowed.
        samples: how many samples these are.
    """

    by_eps: dict[float, float]
    by_steps: dict[int, float]
    one_step: float
    black_box: float
    anywhere: float
    samples: int

    @property
    def chance(self) -> float:
        """A difference that may be chance: 3 %, or one sample."""
        return max(_CHANCE, 1.5 / self.samples)

    def less(self, larger: float, smaller: float) -> float:
        """``larger - smaller``, rounded to a whole number of samples, which a difference of floats may miss.

        Args:
            larger, smaller: accuracies in [0, 1]; the result is negative where ``smaller`` is the larger one.
        """
        return round((larger - smaller) * self.samples) / self.samples

    @property
    def wobble(self) -> float:
        """A difference of two runs that may be chance: two standard errors where a tenth of the samples turn."""
        return max(_CHANCE, 2 * math.sqrt(0.1 / self.samples))


def flags_of(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting,
    curves: Curves,
    gradients: InputGradients,
    *,
    noisy: bool,
    exact: bool,
    batch_size: int,
) -> list[Flag]:
    """Every check, raised or not.

    Args:
        model: the audited network.
        images, labels: samples that are right when clean.
        threat: of the audit.
        how: the protocol attack's crafting, with its own source.
        curves: what was measured on these samples.
        gradients: of all audited samples, those that are wrong when clean included.
        noisy: whether the model draws noise in this audit.
        exact: whether the network has no spikes, so that there is no surrogate to blame.
        batch_size: images at a time.
    """
    return [
        _zero_gradients(gradients, exact),
        _sparse_gradients(gradients, exact),
        _broken_gradients(gradients),
        *_against_expectation(curves, threat.eps),
        _survivors_of_everything(curves),
        _stalled(model, images, labels, threat, how, batch_size),
        _expectation(how, noisy),
        _neighbours(model, images, noisy),
    ]


@dataclasses.dataclass(frozen=True)
class InputGradients:
    """How the gradients of the cross-entropy by the images look, in float32, through the model's own surrogate.

    Attributes:
        zero: for each sample whether its whole gradient is exactly zero (a value that is not finite counts as zero).
        sparsity: for each sample the share of zeros in its gradient, in [0, 1].
        broken: for each sample the share of values that are not finite, in [0, 1].
    """

    zero: Bool[Tensor, " n"]
    sparsity: Float[Tensor, " n"]
    broken: Float[Tensor, " n"]

    @property
    def zero_share(self) -> float:
        """The share of samples whose whole gradient is zero."""
        return int(self.zero.sum()) / max(len(self.zero), 1)


def input_gradients(
    model: nn.Module,
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    how: Crafting,
    batch_size: int,
) -> InputGradients:
    """Take every sample's gradient and count its zeros and what is not finite.

    Args:
        model: the audited network.
        images: in [0, 1].
        labels: one for each image.
        how: the source, and how many draws are averaged; gradients are taken in fp32 whatever it says.
        batch_size: images at a time.
    """
    zero, sparsity, broken = [], [], []
    how = dataclasses.replace(how, precision="fp32")
    for chunk in torch.arange(len(labels), device=labels.device).split(batch_size):
        with crafting(model, how) as craft:
            gradient, _ = craft.gradient(images[chunk], cross_entropy_of(labels[chunk]), finite=False)
        odd = ~gradient.flatten(1).isfinite()
        still = (gradient.flatten(1) == 0) | odd
        zero.append(still.all(1))
        sparsity.append(still.float().mean(1))
        broken.append(odd.float().mean(1))
    return InputGradients(torch.cat(zero).cpu(), torch.cat(sparsity).cpu(), torch.cat(broken).cpu())


def _zero_gradients(gradients: InputGradients, exact: bool) -> Flag:
    of_an_ann = (
        "attacks through this gradient cannot move them at all: look for what stops it (outputs that saturate, dead "
        "units, a rounding), and believe black-box attacks"
    )
    of_a_surrogate = (
        "attacks through this surrogate cannot move them at all: believe ASSG, wider surrogates and black-box attacks"
    )
    share = gradients.zero_share
    return Flag(
        "zero input gradients",
        "{} % of samples",
        "above {} %",
        _apart(share, _ZERO_GRADIENT),
        share > _ZERO_GRADIENT,
        of_an_ann if exact else of_a_surrogate,
    )


def _sparse_gradients(gradients: InputGradients, exact: bool) -> Flag:
    of_an_ann = "most of an image moves nothing: look for what stops the gradient (dead units, a mask, a rounding)"
    of_a_surrogate = "the surrogate is too narrow for these potentials: attack through wider ones and through ASSG"
    share = gradients.sparsity.median().item() if len(gradients.sparsity) else 0.0
    return Flag(
        "sparse input gradients",
        "{} % of an image's values have none (median)",
        "above {} %",
        _apart(share, _SPARSITY),
        share > _SPARSITY,
        of_an_ann if exact else of_a_surrogate,
    )


def _broken_gradients(gradients: InputGradients) -> Flag:
    broken = gradients.broken
    samples, entries = ((broken > 0).float().mean().item(), broken.mean().item()) if len(broken) else (0.0, 0.0)
    return Flag(
        "gradients that are not finite",
        "{} % of samples have some, {} % of all values; they count as zero",
        "above 0 %",
        (_apart(samples, 0.0)[0], f"{100 * entries:.2g}"),
        samples > 0,
        "a root, a logarithm or a division at zero hides these values from every gradient: mend it, or believe queries",
    )


def _against_expectation(curves: Curves, eps: float) -> Iterator[Flag]:
    many, chance, wobble = curves.by_eps[eps], curves.chance, curves.wobble
    more = curves.less(many, curves.one_step)
    yield Flag(
        "one step beats many",
        "one step leaves {} %, many leave {} %, {} points more",
        "when many leave over {} points more",
        (f"{100 * curves.one_step:.1f}", f"{100 * many:.1f}", *_apart(more, wobble)),
        more > wobble,
        "the iterated attack is caught in a masked region: use momentum, restarts, SA-PGD or APGD",
    )
    broken = curves.less(many, curves.black_box)
    yield Flag(
        "black box beats white box",
        "queries alone break {} % that the gradient attack left",
        "above {} %",
        _apart(broken, chance),
        broken > chance,
        "the gradients hide what a search finds: the white-box accuracy is no bound, take the worst case",
    )
    for what, curve in (("eps", curves.by_eps), ("steps", curves.by_steps)):
        rise = curves.less(_worst_rise(curve), 0.0)
        yield Flag(
            f"not monotone in {what}",
            "accuracy rises by up to {} points along it",
            "above {} points",
            _apart(rise, wobble),
            rise > wobble,
            "a larger search must not find less: its gradient or its step size is wrong for this model",
        )


def _apart(measured: float, threshold: float) -> tuple[str, str]:
    """Both in percent, with as many decimals as show that they differ, if they do.

    Example:
        >>> _apart(0.0304, 0.03), _apart(0.03, 0.03)
        (('3.04', '3.00'), ('3.0', '3.0'))
    """
    pairs = [(f"{100 * measured:.{digits}f}", f"{100 * threshold:.{digits}f}") for digits in range(1, 10)]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])


def _worst_rise(curve: dict[Any, float]) -> float:
    """How far an accuracy rises above the lowest one before it."""
    worst, lowest = 0.0, 1.0
    for _, accuracy in sorted(curve.items()):
        worst, lowest = max(worst, accuracy - lowest), min(lowest, accuracy)
    return worst


def _survivors_of_everything(curves: Curves) -> Flag:
    left = curves.less(curves.anywhere, 0.0)
    return Flag(
        "any image allowed leaves survivors",
        "{} % are right though the radius holds every image",
        "above {} %",
        _apart(left, curves.chance),
        left > curves.chance,
        "the gradient leads nowhere: no number of this attack says anything about robustness",
    )


def _stalled(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, how: Crafting, batch_size: int) -> Flag:
    """Run PGD-20, and see whether losses still rise in its second half while hardly any more samples break."""
    losses = torch.zeros(20, len(labels), device=labels.device)
    right = losses.bool()
    with crafting(model, how) as craft:
        begun = threat.random_start(images)
        for at in torch.arange(len(labels), device=labels.device).split(batch_size):
            current, rule = begun[at], SteepestStep(threat, 2.5 * threat.eps / 20)
            objective = cross_entropy_of(labels[at])
            for step in range(20):
                gradient, logits = craft.gradient(current, objective)
                losses[step, at] = cross_entropy(logits, labels[at], reduction="none").to(losses.dtype)
                right[step, at] = logits.argmax(1) == labels[at]
                current = rule.move(current, images[at], gradient, step)
    left, count = right[-1], max(len(labels), 1)
    gained = (int(right[10].sum()) - int(left.sum())) / count
    rise = ((losses[-1] - losses[10]) / losses[10].clamp_min(1e-6))[left] if len(labels) else torch.zeros(0)
    share = int((rise > _STALLED_RISE).sum()) / max(int(left.sum()), 1)
    (rising, _), (points, _) = _apart(share, 0.5), _apart(gained, 0.01)
    return Flag(
        "loss rises while success stalls",
        "{} % of what is left still gain loss in steps 11 to 20, which cost {} points",
        "when over half still gain over a tenth, for under 1 point",
        (rising, points),
        share > 0.5 and gained < 0.01 and int(left.sum()) / count > _CHANCE,
        "the attack has not converged, or climbs the wrong loss: more steps, the margin or the DLR loss",
    )


def _expectation(how: Crafting, noisy: bool) -> Flag:
    return Flag(
        "randomness without EoT",
        f"{'noise on' if noisy else 'no noise'}, {{}} draw(s) a gradient",
        "with noise and under {} draws",
        (str(how.eot_iter), str(_EOT_DRAWS)),
        noisy and how.eot_iter < _EOT_DRAWS,
        "one draw's gradient is not the expectation's: average over 10 or more draws, in the verdict too",
    )


def _neighbours(model: nn.Module, images: Tensor, noisy: bool) -> Flag:
    pairs = []
    for few in images.split(8):
        # Two images or more: a batch norm without running statistics refuses a single one.
        batches = (torch.cat([few, few]), torch.cat([few, 1 - few]))
        pairs.append(torch.stack([_forward(model, batch)[: len(few)] for batch in batches]))
    together, beside_others = torch.cat(pairs, 1) if pairs else images.new_zeros(2, 0, 1)
    # Sums may round differently and flip a spike, so only a majority of the samples is a sign.
    scale = together.abs().amax().clamp_min(1e-6) if together.numel() else 1.0
    moved = ((together - beside_others).abs().amax(1) > 0.05 * scale).float().mean().item() if together.numel() else 0.0
    return Flag(
        "train-mode batch norm",
        "not measurable under noise" if noisy else "{} % of verdicts depend on the batch around them",
        "above 50 %",
        () if noisy else (f"{100 * moved:.0f}",),
        not noisy and moved > 0.5,
        "the model normalises by its batch even in eval mode: give it running statistics",
    )


def _forward(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad(), private_rng(), evaluating(model):
        logits: Tensor = model(images.clone()).float()
    return logits
