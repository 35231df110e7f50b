"""What is doubtful about the numbers of a network that draws random numbers, in sentences."""

from __future__ import annotations

from spikeproof.attacks import PATIENCE, Randomness
from spikeproof.audit.config import AuditConfig


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
