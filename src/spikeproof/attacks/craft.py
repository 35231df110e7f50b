"""What every attack shares: a frozen model, one gradient source, and the pursuit of the samples still right."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeproof.attacks.judge import evaluating, judge
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import Attached, Bptt, GradientSource
from spikeproof.private_rng import private_rng
from spikeproof.spiking import override_gradient, sites

Precision = Literal["fp32", "bf16"]


@dataclasses.dataclass(frozen=True)
class Attacked:
    """An attack's images and, for each, whether the model is still right about it (the judge's word)."""

    images: Float[Tensor, "n c h w"]
    correct: Bool[Tensor, " n"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crafting:
    """How gradients are obtained, the same for every attack.

    Args:
        source: which backward.
        draws: forwards averaged in each gradient and in each verdict (EoT, Athalye et al. 2018); for noisy models.
        precision: of the crafting forwards and backwards; the judge is float32 always.
        seed: of every random number the attack draws.
    """

    source: GradientSource = Bptt()
    draws: int = 1
    precision: Precision = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise SpikeproofError(f"An attack needs draws >= 1, got {self.draws}; 1 suits a model without noise.")
        if self.precision not in ("fp32", "bf16"):
            raise SpikeproofError(f"An attack crafts in 'fp32' or 'bf16', not {self.precision!r}.")


class Craft:
    """A model under attack: gradients of the loss by the chosen source, verdicts by the judge."""

    def __init__(self, model: nn.Module, attached: Attached, how: Crafting) -> None:
        self._model = model
        self._attached = attached
        self._how = how
        # The weights stand still, so they are cast once for all steps; autocast would cast them in every forward.
        self._cast_weights = {
            f"{name}.weight" if name else "weight": module.weight.to(torch.bfloat16)
            for name, module in model.named_modules()
            if how.precision == "bf16"
            and isinstance(module, nn.Conv2d | nn.Linear)
            and module.weight.dtype == torch.float32
        }

    def gradient(
        self, images: Float[Tensor, "n c h w"], labels: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n k"]]:
        """d CE(f(x), y) / dx of each sample, and the logits, both averaged over the draws."""
        images = images.detach().requires_grad_()
        gradient, mean_logits = torch.zeros_like(images), None
        for draw in range(self._how.draws):
            self._attached.hold(draw > 0)
            with torch.enable_grad():
                with torch.autocast(images.device.type, torch.bfloat16, enabled=self._how.precision == "bf16"):
                    logits = self._attached.forward(self._call, images)
                _check_classes(labels, logits)
                # A sum, so that no sample's gradient depends on its neighbours in the batch.
                loss = cross_entropy(logits.float(), labels, reduction="sum")
            gradient = gradient + torch.autograd.grad(loss, images)[0] / self._how.draws
            share = logits.detach().float() / self._how.draws
            mean_logits = share if mean_logits is None else mean_logits + share
        self._attached.hold(False)
        assert mean_logits is not None
        return gradient.detach(), mean_logits

    def _call(self, images: Tensor) -> Tensor:
        logits: Tensor = torch.func.functional_call(self._model, self._cast_weights, (images,))
        return logits

    def judge(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """The judge's logits, with the source out of the way."""
        with override_gradient(self._model, dict.fromkeys(sites(self._model))):
            return judge(self._model, images, draws=self._how.draws)

    def keep(self, kept: Bool[Tensor, " n"]) -> None:
        """Go on with these samples only."""
        self._attached.keep(kept)


@contextlib.contextmanager
def crafting(model: nn.Module, how: Crafting) -> Iterator[Craft]:
    """Freeze ``model`` (eval, no parameter gradients), seed a private RNG, attach the source; undo all of it after."""
    with private_rng(), evaluating(model), how.source.attach(model) as attached:
        torch.manual_seed(how.seed)
        yield Craft(model, attached, how)


def check_batch(images: Tensor, labels: Tensor) -> Tensor:
    """The images, detached; refuses what is not float [N,C,H,W] in [0,1], and labels that do not fit, in a sentence."""
    if images.ndim != 4 or not images.is_floating_point():
        raise SpikeproofError(
            f"Images must be a float tensor [N,C,H,W] in [0,1], got {images.dtype} of shape {tuple(images.shape)}."
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise SpikeproofError(
            f"Labels must be int64 [{len(images)}] to match the images, got {labels.dtype} {tuple(labels.shape)}."
        )
    bad = ~((images >= 0) & (images <= 1)).flatten(1).all(1)  # also true for NaN
    if bad.any():
        raise SpikeproofError(
            f"Image {int(bad.nonzero()[0])} of the batch holds NaN or a value outside [0, 1]; scale images to [0, 1]."
        )
    return images.detach()


def _check_classes(labels: Tensor, logits: Tensor) -> None:
    wrong = labels[(labels < 0) | (labels >= logits.shape[1])]
    if len(wrong):
        raise SpikeproofError(
            f"Label {int(wrong[0])} is no class of this model; its {logits.shape[1]} classes count from 0."
        )


class Pursuit:
    """Chase the samples still right, step by step, and keep for each the best image found.

    A sample leaves once the judge confirms that it is broken (crafting may be bfloat16, and its word does not
    count); one never broken ends with the image of highest loss, so no attack returns worse than it found.
    """

    def __init__(self, craft: Craft, images: Tensor, labels: Tensor) -> None:
        self._craft = craft
        self._labels = labels
        logits = craft.judge(images).float()
        _check_classes(labels, logits)
        self._clean, self._clean_loss = images, cross_entropy(logits, labels, reduction="none")
        self._best, self._best_loss = images.clone(), self._clean_loss.clone()
        self._correct = logits.argmax(1) == labels
        self.index = self._correct.nonzero().flatten()

    def offer(self, candidates: Tensor, logits: Tensor) -> Tensor | None:
        """Note the candidates of the samples still chased; returns which to keep when some leave, else None."""
        labels = self._labels[self.index]
        loss = cross_entropy(logits, labels, reduction="none")
        broken = logits.argmax(1) != labels
        if broken.any():
            broken[broken.clone()] = self._craft.judge(candidates[broken]).argmax(1) != labels[broken]
        better = broken | (loss > self._best_loss[self.index])
        improved = self.index[better]
        self._best[improved] = candidates[better]
        self._best_loss[improved] = loss[better]
        if not broken.any():
            return None
        self._correct[self.index[broken]] = False
        self.index = self.index[~broken]
        self._craft.keep(~broken)
        return ~broken

    def finish(self, candidates: Tensor) -> Attacked:
        """Look at the last step's candidates too, let the judge see every survivor's best image, and close."""
        if len(self.index):
            self.offer(candidates, self._craft.judge(candidates).float())
        if len(self.index):
            # bfloat16 logits may have called right what float32 does not.
            logits, labels = self._craft.judge(self._best[self.index]).float(), self._labels[self.index]
            self._correct[self.index] = logits.argmax(1) == labels
            weaker = cross_entropy(logits, labels, reduction="none") < self._clean_loss[self.index]
            unbroken = self.index[weaker & self._correct[self.index]]
            self._best[unbroken] = self._clean[unbroken]
        return Attacked(self._best, self._correct)
