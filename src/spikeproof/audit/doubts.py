"""The warnings of an audit: why its numbers may not be what they seem. Each is a ``Doubt``: code, text, numbers."""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.attacks import PATIENCE, Randomness
from spikeproof.audit.config import AuditConfig
from spikeproof.audit.diagnostics import Flag
from spikeproof.audit.findings import Result
from spikeproof.doubt import Doubt
from spikeproof.records.trials import Counted

# At the sample sizes in use, a gap of this share of the samples is more than chance.
_NOTABLE_GAP = 0.05


def of_random_numbers(seen: Randomness, called: str) -> list[Doubt]:
    """The warning that the model draws random numbers that the audit's seed does not fix; none where it does not.

    Args:
        seen: from ``look_at``.
        called: what sentences call the model, with a capital.
    """
    if not seen.unfixed:
        return []
    text = (
        "{} draws random numbers that torch's seed does not fix ({}), so the same audit gives somewhat other numbers "
        "each time."
    )
    return [Doubt("randomness", text, (called, ", ".join(seen.unfixed)))]


def of_clean(clean: Counted, classes: int) -> list[Doubt]:
    """The warning that the clean accuracy is no better than chance; none where its interval is above chance.

    Args:
        clean: accuracy on the clean images.
        classes: how many there are; chance is 1 / classes.
    """
    if clean.low > 1 / classes:
        return []
    text = (
        "The clean accuracy, {} %, is not above chance for {} classes: look for weights that were not loaded, another "
        "normalisation than that of training, or classes in another order."
    )
    return [Doubt("clean accuracy", text, (f"{100 * clean.accuracy:.1f}", str(classes)))]


def of_draws(undecided: int, config: AuditConfig) -> list[Doubt]:
    """The warning that fresh draws left verdicts of a random network undecided; none where ``undecided`` is 0.

    Args:
        undecided: how many samples of the worst case.
        config: of the audit, for the number of draws.
    """
    if not undecided:
        return []
    count = "sample of the worst case counts" if undecided == 1 else "samples of the worst case count"
    text = (
        f"{{}} {count} as unbroken undecided: the 95 % interval of the averaged margin still holds zero after {{}} "
        "fresh draws."
    )
    return [Doubt("undecided", text, (str(undecided), str(PATIENCE * config.verdict_draws)))]


def doubts_of(
    results: Sequence[Result], protocol: Counted, worst: Counted, flags: Sequence[Flag], *, exact: bool
) -> list[Doubt]:
    """The warnings that follow from the trials' accuracies, and those of the raised flags.

    Args:
        results: of every trial.
        protocol, worst: the protocol accuracy and the worst case.
        flags: all checks.
        exact: whether the network's own gradient is that of its loss, so that no attack needs to adapt.
    """
    doubts = []
    gap = (protocol.correct - worst.correct) / protocol.samples  # of counts: two quotients may miss a round number
    if gap >= _NOTABLE_GAP:
        text = (
            "The worst case is {} points below the protocol accuracy: "
            f"{'the protocol attack alone' if exact else 'a fixed surrogate'} overstates this model's robustness."
        )
        doubts.append(Doubt("gap", text, (f"{100 * gap:.1f}",)))
    adaptive = [result for result in results if result.trial.kind == "adaptive"]
    if not adaptive and not exact:
        text = "No adaptive attack was run: the worst case is over fixed backwards only."
        doubts.append(Doubt("no adaptive attack", text))
    own = [result.own.accuracy for result in adaptive if result.own is not None]
    if own and min(own) > protocol.accuracy:
        text = "The adaptive attack was weaker than the protocol one; run it for more steps."
        doubts.append(Doubt("weak adaptive attack", text))
    return doubts + [flag.doubt for flag in flags if flag.raised]
