"""The engine of an audit: batch by batch, it runs every trial on the samples that are left, and keeps every verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import judged, margin_of
from spikeproof.attacks.pursuit import either
from spikeproof.audit.config import AuditConfig
from spikeproof.audit.parts import Arrays, Parts
from spikeproof.audit.shards import Shard
from spikeproof.audit.trials import Trial
from spikeproof.machine.compiling import working_time
from spikeproof.private_rng import private_rng
from spikeproof.progress import Progress

# How many attacked images of each batch and trial are kept as pictures.
_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What one trial did to the samples it was given.

    Attributes:
        samples: their numbers among the audited images.
        correct: for each whether the judge finds it right after the attack; for a random network by fresh draws.
        seconds: the time it took, of all processes together, without compiling.
        shown: the numbers of a few samples, the broken ones first; adversarial: their images.
        undecided: for each whether fresh draws of a random network left its verdict undecided; it counts as correct.
        queries: for each how many it took to break it, or were spent in vain; None where the trial counts none.
        begun: for each the margin z_y - max_{j != y} z_j of the image from which its queries began.
    """

    samples: Int64[Tensor, " n"]
    correct: Bool[Tensor, " n"]
    seconds: float
    shown: Int64[Tensor, " k"]
    adversarial: Float[Tensor, " k *chw"]
    undecided: Bool[Tensor, " n"]
    queries: Int64[Tensor, " n"] | None = None
    begun: Float[Tensor, " n"] | None = None


class Engine:
    """Runs trials over one model and its images. What was finished before is taken from ``parts``.

    Args:
        model: in eval mode.
        pixels: the audited images in [0, 1], on the model's device.
        labels: one for each image.
        config: of the audit.
        batch_size: images attacked at a time; the same in every process.
        parts: where finished work is kept.
        progress: is told of each finished trial.
    """

    def __init__(
        self,
        model: nn.Module,
        pixels: Float[Tensor, " n *chw"],
        labels: Int64[Tensor, " n"],
        config: AuditConfig,
        batch_size: int,
        parts: Parts,
        progress: Progress,
    ) -> None:
        self.model, self.pixels, self.labels, self.config = model, pixels, labels, config
        self.batch_size, self.parts, self.progress = batch_size, parts, progress
        self.shard = Shard.of_this_process()

    def clean(self) -> Float[Tensor, "n k"]:
        """The judge's logits of the clean images.

        Every process, and an audit that goes on, gets those that the first process computed. They decide which samples
        are attacked, and a network may draw random numbers that no seed fixes.
        """
        stored = self.parts.get("clean")
        if stored is None:
            with private_rng():
                torch.manual_seed(self.config.seed)
                logits = judged(self.model, self.pixels, draws=self.config.verdict_draws)
            stored = {"logits": self.shard.of_the_first(logits.cpu().numpy())}
            self.parts.put("clean", stored)
        return torch.from_numpy(stored["logits"]).to(self.pixels.device)

    def battery(self, trials: Sequence[Trial], right: Bool[Tensor, " n"], eps: float) -> list[Attempt]:
        """Run every trial, in this order, on the samples that are right when clean.

        Protocol trials, and all trials where the config says ``per_member``, get every such sample. The others get only
        what the trials before them left. Batches are independent, so any process may do any of them.

        Args:
            trials: in the order in which they are run.
            right: for each audited image whether it is right when clean.
            eps: the radius.

        Returns:
            One attempt for each trial, over all batches and processes.
        """
        mine: dict[str, Arrays] = {}
        starts = range(0, len(self.labels), self.batch_size)
        for number, start in enumerate(starts):
            if not self.shard.owns(number):
                continue
            chosen = torch.arange(start, min(start + self.batch_size, len(self.labels)), device=self.labels.device)
            chosen = left = chosen[right[chosen]]
            best = _Best(self.pixels, chosen) if any(trial.continues for trial in trials) else None
            for trial in trials:
                name = f"batch-{number:05d}-{_file_name(trial.name)}"
                samples = chosen if self.config.attacks_all(trial) else left
                mine[name] = arrays = self._once(name, trial, eps, samples, start, best)
                broken = torch.from_numpy(arrays["samples"][~arrays["correct"]]).to(left.device)
                if trial.bounded:
                    left = left[~torch.isin(left, broken)]
                self.progress.advance(round(trial.cost * self.batch_size))
            self.progress.line(
                f"batch {number + 1}/{len(starts)}: {len(chosen)} right when clean, {len(left)} under every trial; "
                f"{self.progress.left()}"
            )
        merged = self.shard.merge(mine)
        return [
            _joined([merged[f"batch-{number:05d}-{_file_name(trial.name)}"] for number in range(len(starts))])
            for trial in trials
        ]

    def curve(
        self, points: Sequence[tuple[str, Trial, float]], right: Bool[Tensor, " n"], count: int
    ) -> dict[str, Attempt]:
        """Run trials at radii of their own, on those of the first ``count`` samples that are right when clean.

        Args:
            points: a name, a trial and a radius each. Names are those of the kept parts, so each has one.
            right: for each audited image whether it is right when clean.
            count: how many of the first audited images are looked at.

        Returns:
            An attempt for each name.
        """
        mine: dict[str, Arrays] = {}
        chosen = right[:count].nonzero().flatten()
        starts = range(0, max(len(chosen), 1), self.batch_size)
        for number, (name, trial, eps) in enumerate(points):
            if self.shard.owns(number):
                for start in starts:
                    file = _curve_file(name, start)
                    samples = chosen[start : start + self.batch_size]
                    mine[file] = self._once(file, trial, eps, samples, start)
                    self.progress.advance(round(trial.cost * len(samples)))
        merged = self.shard.merge(mine)
        return {name: _joined([merged[_curve_file(name, start)] for start in starts]) for name, _, _ in points}

    def _once(
        self, name: str, trial: Trial, eps: float, samples: Tensor, start: int, best: _Best | None = None
    ) -> Arrays:
        arrays = self.parts.get(name)
        if arrays is None:
            arrays = self._attack(trial, eps, samples, start, best)
            self.parts.put(name, arrays)
        if best is not None and trial.bounded:
            best.note(arrays)
        return arrays

    def _attack(self, trial: Trial, eps: float, samples: Tensor, start: int, best: _Best | None) -> Arrays:
        config, began = self.config, working_time()
        images, labels = self.pixels[samples], self.labels[samples]
        correct, adversarial, undecided = labels == labels, images, labels != labels
        handed: Arrays = {}
        queries = torch.zeros_like(samples) if trial.counts_queries else None
        begun = torch.zeros(len(samples))
        if len(samples):
            seed = (config.seed * 1_000_003 + start) % 2**63
            how = dataclasses.replace(config.crafting(), source=trial.source, seed=seed)
            threat = trial.threat(eps, images[0].numel())
            begin = {"start": best.images(samples)} if best is not None and trial.continues else {}
            if trial.counts_queries:
                begun = self._margins(begin.get("start", images), labels, how.seed)
            attacked = trial.attack(self.model, images, labels, threat, how, **begin)
            correct, adversarial, queries = attacked.correct, attacked.images, attacked.queries
            nearest = adversarial if attacked.nearest is None else attacked.nearest
            undecided = undecided if attacked.undecided is None else attacked.undecided
            if best is not None:
                handed = self._handed_on(samples[correct], nearest[correct], labels[correct], how.seed)
        shown = torch.argsort(correct.int(), stable=True)[:_SHOWN]
        return {
            "samples": samples.cpu().numpy(),
            "correct": correct.cpu().numpy(),
            "seconds": np.array(working_time() - began),
            "shown": samples[shown].cpu().numpy(),
            "adversarial": adversarial[shown].float().cpu().numpy(),
            "undecided": undecided.cpu().numpy(),
            **({} if queries is None else {"queries": queries.cpu().numpy(), "begun": begun.cpu().numpy()}),
            **handed,
        }

    def _handed_on(self, samples: Tensor, nearest: Tensor, labels: Tensor, seed: int) -> Arrays:
        """Of the samples that are still right, the images of least margin, for the trials that continue from them."""
        if not len(samples):
            return {}
        return {
            "near": samples.cpu().numpy(),
            "nearest": nearest.cpu().numpy(),
            "margins": self._margins(nearest, labels, seed).cpu().numpy(),
        }

    def _margins(self, images: Tensor, labels: Tensor, seed: int) -> Float[Tensor, " n"]:
        """z_y - max_{j != y} z_j. With this seed an audit that goes on gets the same, also of a random network."""
        with private_rng():
            torch.manual_seed(seed)
            logits = judged(self.model, images, draws=self.config.verdict_draws)
        return -margin_of(labels)(logits)


class _Best:
    """For each sample of a batch, the image of least margin that any trial has found; at first the clean one."""

    def __init__(self, pixels: Float[Tensor, " n *chw"], samples: Int64[Tensor, " m"]) -> None:
        self._first = int(samples[0]) if len(samples) else 0
        last = int(samples[-1]) if len(samples) else -1
        self._images = pixels[self._first : last + 1].clone()
        self._margins = torch.full((len(self._images),), torch.inf, device=pixels.device)

    def images(self, samples: Int64[Tensor, " k"]) -> Float[Tensor, " k *chw"]:
        """The best images of these samples."""
        return self._images[samples - self._first]

    def note(self, arrays: Arrays) -> None:
        """Take the images that a trial handed on, where their margins are lower."""
        if "near" not in arrays:
            return
        device = self._margins.device
        at, margins = (torch.from_numpy(arrays[name]).to(device) for name in ("near", "margins"))
        at, nearest = at - self._first, torch.from_numpy(arrays["nearest"]).to(self._images)
        lower = margins < self._margins[at]
        self._images[at] = either(lower, nearest, self._images[at])
        self._margins[at] = torch.where(lower, margins.to(self._margins), self._margins[at])


def _joined(parts: Sequence[Arrays]) -> Attempt:
    names = ["samples", "correct", "shown", "adversarial", "undecided"]
    names += ["queries", "begun"] if all("queries" in part for part in parts) else []
    together = {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in names}
    return Attempt(**together, seconds=float(sum(part["seconds"] for part in parts)))


def _curve_file(name: str, start: int) -> str:
    return f"curve-{_file_name(name)}-{start:05d}"


def _file_name(trial: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-+." else "_" for letter in trial)
