"""``audit``: the protocol accuracy, worst case and masking gap of one model, and whether they can be believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from spikeproof.attacks import (
    Crafting,
    Form,
    check_threat,
    evaluating,
    fgsm,
    judged,
    look_at,
)
from spikeproof.audit.config import AuditConfig
from spikeproof.audit.curves import SweepPlan, swept_pair
from spikeproof.audit.diagnostics import Curves, Flag, InputGradients, flags_of, input_gradients
from spikeproof.audit.doubts import doubts_of, of_clean, of_draws, of_random_numbers
from spikeproof.audit.engine import Attempt, Engine
from spikeproof.audit.findings import Audit, Result
from spikeproof.audit.fingerprint import fingerprint
from spikeproof.audit.forecast import Forecast, falling, forecast
from spikeproof.audit.images import AuditedImages, take_images
from spikeproof.audit.masks import Masks
from spikeproof.audit.network import Network, network_of, refuse_scripted
from spikeproof.audit.outcomes import Outcomes, worst_case
from spikeproof.audit.parts import Parts
from spikeproof.audit.shards import Shard
from spikeproof.audit.sources import check_sources, fitting
from spikeproof.audit.trials import Trial, Tuned
from spikeproof.audit.tuning import Tuning, tune
from spikeproof.data import ImageSet
from spikeproof.disk import user_path
from spikeproof.doubt import Doubt
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import BPTT, SOURCES
from spikeproof.insight import describe_sites
from spikeproof.kinds import check_kinds
from spikeproof.machine.compiling import working_time
from spikeproof.machine.precision import for_verdicts, resolved
from spikeproof.models import draws_at_random
from spikeproof.private_rng import private_rng
from spikeproof.progress import Progress
from spikeproof.records.trials import Counted
from spikeproof.runs import fitting_microbatch
from spikeproof.spiking import inference_noise, sites
from spikeproof.threat import NORMS, Threat

_PICTURES = 6
BEYOND = "CURVES AND CHECKS"  # the row for samples that only the curves and checks break
_INSIGHT_IMAGES = 100
MOST_AT_ONCE = 250  # images attacked at a time where an audit's config does not say


@check_kinds
def audit(
    model: nn.Module,
    images: ImageSet,
    config: AuditConfig | None = None,
    *,
    threat: Threat | None = None,
    validation: ImageSet | None = None,
    substitutes: Sequence[nn.Module] = (),
    parts: str | Path | None = None,
    save: Callable[[Audit], object] | None = None,
    doubts: Sequence[str] = (),
    show: bool = True,
) -> Audit:
    """Attack ``model`` with a battery of trials and judge every image in float32.

    The worst case is the share of samples that stay right on the clean image and under every trial inside the ball.
    The masking gap is the protocol accuracy minus the worst case.

    Source: the worst case over several attacks is that of AutoAttack (Croce and Hein, ICML 2020). Beyond it, later
    trials may continue from the best image that earlier ones found. That masked gradients make a network look robust is
    from Athalye, Carlini and Wagner (ICML 2018).

    Args:
        model: images [N,C,H,W] in [0,1] -> logits [N,K]. An ANN has no sites: a battery's trials run through its own
            gradient, which is exact.
        images: the split to audit, on the model's device or any other.
        config: what to run; None for ``AuditConfig()``.
        threat: taken instead of the config's norm and eps; None for those.
        validation: other images, on which settings of gradient sources are chosen (``AuditConfig.tune_samples``); None
            for the defaults.
        substitutes: models on which the config's ``transfer`` trials are crafted, to be tried on this one.
        parts: a folder for what is finished, so that an audit that was killed goes on where it was; None for none.
        save: called with the result, in the first process only, before the parts are removed: until then a kill costs
            nothing.
        doubts: sentences that say why these numbers may not be what they seem; they stand first among the warnings.
        show: print a line a batch, and a bar on a terminal.

    Returns:
        All numbers, flags and warnings, and every verdict (``Audit.outcomes``).

    Raises:
        SpikeproofError: no such samples, images that do not fit, a model that keeps a state, a trial that this model
            (or a substitute) cannot have, or substitutes without a ``transfer`` trial.

    Example:
        >>> from spikeproof.data import load_data
        >>> from spikeproof.models import create_model
        >>> data = load_data("digits", validation=50)
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> config = AuditConfig(eps=0.1, samples=10, battery=None, trials=("PGD-5", "SA-PGD-5@ASSG"))
        >>> found = audit(model, data.test, config, show=False)
        >>> found.worst_case.accuracy <= found.protocol.accuracy
        True
    """
    config = config or AuditConfig()
    folder = None if parts is None else user_path(parts)
    if threat is not None:
        check_threat(threat, tuple(NORMS), "An audit")
        config = dataclasses.replace(config, norm=threat.norm, eps=threat.eps)
    began = working_time()
    refuse_scripted(model)
    for number, other in enumerate(substitutes, 1):
        refuse_scripted(other, _called(number, substitutes).capitalize())
    audited = take_images(model, images, config.samples, config.split)
    pixels, labels = audited.pixels, audited.labels
    if config.noise and not any(site.noise_std > 0 for site in sites(model).values()):
        raise SpikeproofError(
            "Noise at inference was asked for, but no site of this model has any; train with TGO or NDL."
        )
    noise = config.noise
    with inference_noise(model, noise), evaluating(model):
        # Both are needed: look_at refuses a model with a state, and sees noise that no part declares (dropout left on).
        seen = look_at(model, pixels)
        random = seen.drawn or draws_at_random(model)
    for given in (images, validation or images):
        if seen.classes != given.num_classes:
            raise SpikeproofError(
                f"The model has {seen.classes} outputs and these images have {given.num_classes} classes; give the "
                "data that it was made for."
            )
    config = dataclasses.replace(
        config,
        noise=random,
        eot_iter=config.eot_iter or (10 if random else 1),
        precision=resolved(for_verdicts(config.precision), pixels.device),
    )
    if substitutes and not config.transfer:
        raise SpikeproofError("There are substitutes, but no transfer trial is asked for; 'PGD-20' is usual.")
    found_doubts = [*(Doubt("note", sentence) for sentence in doubts), *of_random_numbers(seen, "The network")]
    for number, other in enumerate(substitutes, 1):
        called = _called(number, substitutes)
        found_doubts += of_random_numbers(look_at(other, pixels, called), called.capitalize())
    with inference_noise(model, noise), private_rng():
        network = network_of(model, pixels)
        members = fitting(model, network, config)
        check_sources(model, members, pixels, labels, config.crafting())
        for number, other in enumerate(substitutes, 1):
            called = _called(number, substitutes)
            check_sources(other, config.transfers(substitutes), pixels, labels, config.crafting(), called)
        torch.manual_seed(config.seed)
        tuning = _tuned(model, validation, config, members)
        folder_of_parts = None
        if folder is not None:
            name = fingerprint((model, *substitutes), pixels, labels, config, tuning.tuned)
            folder_of_parts = folder / Shard.of_this_process().of_the_first(name)
        others = tuple(substitutes)
        auditor = _Auditor(model, network, audited, images.class_names, config, tuning, others, found_doubts)
        unfinished = Parts(folder_of_parts)
        result = auditor.run(unfinished, began, show)
    # By the first process alone: another would remove the parts before this one has saved.
    if Shard.of_this_process().first:
        if save is not None:
            save(result)
        unfinished.forget()
    return result


def _called(number: int, substitutes: Sequence[nn.Module]) -> str:
    """What a substitute is called in sentences."""
    return "the substitute" if len(substitutes) == 1 else f"substitute {number}"


def _tuned(model: nn.Module, validation: ImageSet | None, config: AuditConfig, members: Sequence[Trial]) -> Tuning:
    count = min(config.tune_samples, 0 if validation is None else len(validation))
    if validation is None or count == 0:
        return Tuning(Tuned(), 0, {})
    chosen = take_images(model, validation, count, "validation")
    batch_size = config.batch_size or _fitting_batch(model, chosen.pixels[0], config)
    return tune(model, chosen.pixels, chosen.labels, config.threat, members, config.crafting(), batch_size)


def _fitting_batch(model: nn.Module, image: Tensor, config: AuditConfig) -> int:
    """How many images the memory of every process holds at a time. All must call this."""
    shard = Shard.of_this_process()
    try:
        fitting = fitting_microbatch(model, image, MOST_AT_ONCE, bf16=config.precision == "bf16", training=False)
    except SpikeproofError:  # a machine that does not say how much memory it has
        fitting = MOST_AT_ONCE
    return min(shard.merge({str(shard.rank): fitting}).values())


class _Auditor:
    """One audit of one model: its images, trials and verdicts."""

    def __init__(
        self,
        model: nn.Module,
        network: Network,
        audited: AuditedImages,
        class_names: tuple[str, ...],
        config: AuditConfig,
        tuning: Tuning,
        substitutes: tuple[nn.Module, ...],
        doubts: Sequence[Doubt],
    ) -> None:
        self.model, self.network, self.class_names = model, network, class_names
        self.audited, self.pixels, self.labels, self.rows = audited, audited.pixels, audited.labels, audited.rows
        hidden = () if network.hidden is None else (Doubt("hidden spikes", f"{network.hidden}."),)
        self.doubts = (*doubts, *hidden, *audited.doubts)
        self.config, self.tuning = config, tuning
        self.trials = fitting(model, network, config, tuning.tuned)
        if substitutes:
            self.trials += config.transfers(substitutes)
        self.eps = config.threat.eps
        self.outcomes = Outcomes()
        self.search: Forecast | None = None

    def run(self, parts: Parts, began: float, show: bool) -> Audit:
        config = self.config
        batch_size = config.batch_size or self._fitting_batch(parts)
        headline, adaptive = swept_pair(self.trials)
        plan = SweepPlan(config, headline, adaptive, self.pixels[0].numel())
        few = min(config.sweep_samples, len(self.labels))
        masks = Masks(self.model, self.pixels[:few], self.labels[:few], config, self.tuning.tuned, batch_size)
        self.trials = masks.with_what_goes_round(self.trials)
        added = [trial for trial in self.trials if trial.added]
        check_sources(self.model, added, self.pixels, self.labels, config.crafting())
        batches = -(-len(self.labels) // batch_size) * batch_size
        work = sum(trial.cost for trial in self.trials) * batches
        work += sum(trial.cost for _, trial, _ in plan.points) * few
        with private_rng(), Progress(round(work), "audit", show=show) as progress:
            engine = Engine(self.model, self.pixels, self.labels, config, batch_size, parts, progress)
            logits = engine.clean()
            right = logits.argmax(1) == self.labels
            statistics = describe_sites(self.model, self.pixels[:_INSIGHT_IMAGES])  # first, since it may refuse
            attempts = engine.battery(self.trials, right, self.eps)
            clean, results = self._results(right, attempts)
            curve = engine.curve(plan.points, right, few)
            beyond = self._beyond_the_battery(plan.inside(curve), results[-1].left)
            how = Crafting(eot_iter=config.eot_iter or 1)
            gradients = input_gradients(self.model, self.pixels, self.labels, how, batch_size)
            chosen = right[:few].nonzero().flatten()
            checked = config.diagnostics and len(chosen) > 0
            flags = self._flags(chosen, plan.for_diagnostics(curve), gradients, batch_size) if checked else []
            flags += [falling(self.search)] if checked and self.search is not None else []
            sentences, no_number = masks.conclusion(engine, right)
            pictures = self._pictures(logits.argmax(1), results, attempts)
        protocol = next(result for result in results if result.trial is headline)
        assert protocol.own is not None
        worst = worst_case(self.outcomes.table(), self.eps, config.norm)
        inside = [attempt for trial, attempt in zip(self.trials, attempts, strict=True) if trial.bounded]
        undecided = self._undecided([*inside, *plan.inside(curve).values()])
        doubts = [*self.doubts, *of_clean(clean, len(self.class_names)), *of_draws(undecided, config), *sentences]
        return Audit(
            config=config,
            clean=clean,
            results=[*results, *beyond],
            protocol_trial=headline.name,
            protocol=protocol.own,
            worst_case=worst,
            undecided=undecided,
            no_number=no_number,
            search=self.search,
            zero_gradient_share=gradients.zero_share,
            sweep=plan.by_eps(curve, right[:few]),
            step_sweep=plan.by_steps(curve, right[:few]),
            sites=statistics,
            flags=flags,
            doubts=[*doubts, *doubts_of(results, protocol.own, worst, flags, exact=self.network.plain)],
            tuning=self.tuning,
            batch_size=batch_size,
            pictures=pictures,
            outcomes=self.outcomes.table(),
            split_size=self.audited.split_size,
            classes=self.audited.classes,
            images=self.audited.fingerprint,
            audited_images=self.audited.audited,
            network=self.network,
            device=self.pixels.device.type,
            seconds=working_time() - began,
        )

    def _fitting_batch(self, parts: Parts) -> int:
        """The batch size. It decides who is in which batch, so all processes and a resumed audit take the same one."""
        stored = parts.get("batch-size")
        if stored is not None:
            return int(stored["size"])
        smallest = _fitting_batch(self.model, self.pixels[0], self.config)
        parts.put("batch-size", {"size": np.array(smallest)})
        return smallest

    def _results(self, right: Bool[Tensor, " n"], attempts: Sequence[Attempt]) -> tuple[Counted, list[Result]]:
        """Every trial's numbers. All verdicts are put into the outcomes."""
        everything = torch.arange(len(right))
        right = right.cpu()
        self._record(None, 0.0, everything, right)
        clean, left, results = _measure(right), right.clone(), []
        for trial, attempt in zip(self.trials, attempts, strict=True):
            everyone = self.config.attacks_all(trial)
            own = torch.zeros_like(right)
            own[attempt.samples] = attempt.correct
            before, standing = int(left.sum()), left[attempt.samples]
            if trial.bounded:
                left[attempt.samples[~attempt.correct]] = False
                if attempt.queries is not None and attempt.begun is not None:
                    spent, broken = attempt.queries[standing], ~attempt.correct[standing]
                    begun, still = attempt.begun[standing], int(left.sum())
                    self.search = forecast(trial.name, trial.queries, spent, broken, begun, still, len(right))
            recorded = everything if everyone else attempt.samples
            self._record(trial, self.eps, recorded, own[recorded])
            results.append(
                Result(
                    trial=trial,
                    everyone=everyone,
                    attempted=len(attempt.samples),
                    broken=int((~attempt.correct).sum()),
                    newly=before - int(left.sum()),
                    own=_measure(own) if everyone else None,
                    left=_measure(left),
                    seconds=attempt.seconds,
                )
            )
        return clean, results

    def _beyond_the_battery(self, attempts: Mapping[str, Attempt], left: Counted) -> list[Result]:
        """A row for what curves and checks inside the ball did to the samples that the battery left.

        Whatever breaks a sample counts. The row is there also where they broke nothing, so that audits of one kind have
        the same rows.
        """
        if not attempts:
            return []
        standing = self.outcomes.standing(self.eps, self.config.norm)
        looked_at, broken = (torch.zeros(len(self.rows), dtype=torch.bool) for _ in range(2))
        for attempt in attempts.values():
            looked_at[attempt.samples] = True
            broken[attempt.samples[~attempt.correct]] = True
        at = (looked_at & torch.tensor([standing[row] for row in self.rows.tolist()])).nonzero().flatten()
        newly, seconds = int(broken[at].sum()), sum(attempt.seconds for attempt in attempts.values())
        # The trial only names the row; it is never run.
        form = Form(name=BEYOND, attack=fgsm, kind="fixed")
        trial = Trial(form=form, named=SOURCES["BPTT"], source=BPTT(), ball=self.config.norm)
        self._record(trial, self.eps, at, ~broken[at])
        less = Counted.of(left.correct - newly, left.samples)
        return [Result(trial, False, len(at), newly, newly, None, less, seconds)]

    def _undecided(self, inside: Sequence[Attempt]) -> int:
        """How many samples of the worst case some attempt inside the ball left undecided; they count as right."""
        standing = self.outcomes.standing(self.eps, self.config.norm)
        doubtful = {int(sample) for attempt in inside for sample in attempt.samples[attempt.undecided]}
        return sum(standing[int(self.rows[sample])] for sample in doubtful)

    def _record(self, trial: Trial | None, eps: float, samples: Tensor, correct: Bool[Tensor, " n"]) -> None:
        config = self.config
        named = {"trial": "clean", "kind": "clean", "attack": "none", "source": "none"}
        norm: str = config.norm
        if trial is not None:
            named = {"trial": trial.name, "kind": trial.kind, "attack": trial.attack_text, "source": trial.source.name}
            norm, eps = trial.norm, trial.threat(eps, self.pixels[0].numel()).eps
        self.outcomes.add(
            self.rows[samples],
            self.labels.cpu()[samples],
            correct,
            **named,
            norm=norm,
            eps=eps,
            seed=config.seed,
            eot_iter=config.eot_iter,
            judge_draws=config.verdict_draws,
            noise="on" if config.noise else "off",
        )

    def _flags(
        self, chosen: Int64[Tensor, " m"], curves: Curves, gradients: InputGradients, batch_size: int
    ) -> list[Flag]:
        return flags_of(
            self.model,
            self.pixels[chosen],
            self.labels[chosen],
            self.config.threat,
            self.config.crafting(),
            curves,
            gradients,
            noisy=bool(self.config.noise),
            exact=self.network.plain,
            batch_size=batch_size,
        )

    def _pictures(
        self, predictions: Int64[Tensor, " n"], results: Sequence[Result], attempts: Sequence[Attempt]
    ) -> dict[str, Any]:
        """Some samples before and after the trial that broke most; those that it broke come first."""
        inside = [pair for pair in zip(self.trials, attempts, strict=True) if pair[0].bounded]
        trial, attempt = max(inside, key=lambda pair: int((~pair[1].correct).sum()))
        correct = dict(zip(attempt.samples.tolist(), attempt.correct.tolist(), strict=True))
        kept = sorted(range(len(attempt.shown)), key=lambda at: correct[int(attempt.shown[at])])[:_PICTURES]
        order = attempt.shown[kept].to(self.pixels.device)
        adversarial = attempt.adversarial[kept]
        draws = self.config.verdict_draws
        after = judged(self.model, adversarial.to(self.pixels), draws=draws).argmax(1) if kept else order
        return {
            "clean": (self.pixels[order] * 255).round().byte().cpu().numpy(),
            "adversarial": adversarial.numpy(),
            "labels": self.labels[order].cpu().numpy(),
            "clean_predictions": predictions[order].cpu().numpy(),
            "adversarial_predictions": after.cpu().numpy(),
            "class_names": np.array(self.class_names),
            "trial": np.array(trial.name),
        }


def _measure(correct: Bool[Tensor, " n"]) -> Counted:
    return Counted.of(int(correct.sum()), len(correct))
