"""What is doubtful about the numbers of an audit, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.attacks import PATIENCE, Randomness
from spikeproof.audit.config import AuditConfig
from spikeproof.audit.diagnostics import Flag
from spikeproof.audit.findings import Result
from spikeproof.records.audit_json import Counted

# A gap of this many accuracy points is more than chance at the sample sizes in use, and worth a warning.
_NOTABLE_GAP = 0.05


def of_random_numbers(seen: Randomness, called: str) -> list[str]:
    """What is to be said of randomness that the audit's seed does not fix."""
    if not seen.unfixed:
        return []
    return [
        f"{called} draws random numbers that torch's seed does not fix ({', '.join(seen.unfixed)}), so the same audit "
        "gives somewhat other numbers each time."
    ]


def of_draws(undecided: int, config: AuditConfig) -> list[str]:
    """What is to be said of verdicts that fresh draws could not decide."""
    if not undecided:
        return []
    counts = "1 sample of the worst case counts" if undecided == 1 else f"{undecided} samples of the worst case count"
    return [
        f"{counts} as unbroken undecided: the 95 % interval of the averaged margin still holds zero after "
        f"{PATIENCE * config.verdict_draws} fresh draws."
    ]


def warnings_of(results: Sequence[Result], protocol: Counted, worst: Counted, flags: Sequence[Flag]) -> list[str]:
    """Reasons not to believe the protocol number, one sentence each."""
    found = []
    gap = (protocol.correct - worst.correct) / protocol.samples  # not of two quotients, which may miss a round number
    if gap >= _NOTABLE_GAP:
        found.append(
            f"The worst case is {100 * gap:.1f} points below the protocol accuracy: "
            "a fixed surrogate overstates this model's robustness."
        )
    adaptive = [result for result in results if result.trial.kind == "adaptive"]
    if not adaptive:
        found.append("No adaptive attack was run: the worst case is over fixed backwards only.")
    own = [result.own.accuracy for result in adaptive if result.own is not None]
    if own and min(own) > protocol.accuracy:
        found.append("The adaptive attack was weaker than the protocol one; run it for more steps.")
    return found + [f"{flag.sentence[0].upper()}{flag.sentence[1:]}" for flag in flags if flag.raised]
