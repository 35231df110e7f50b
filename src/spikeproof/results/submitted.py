"""Leaderboards of submissions: by the worst case that a check found, and only where rows can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from spikeproof.records.audit_json import AuditRecord
from spikeproof.records.submission_json import CheckedRecord, SubmissionRecord
from spikeproof.report.numbers import bracketed, percent, points, threat_text
from spikeproof.report.press import Markdown, markdown_table, plain
from spikeproof.results.submissions import Submission, compare
from spikeproof.results.wording import dataset


@dataclasses.dataclass(frozen=True)
class Standing:
    """A submission on a board. Submissions of the same worst case share a rank."""

    rank: int
    record: SubmissionRecord
    checked: CheckedRecord

    @property
    def audit(self) -> AuditRecord:
        """What the check found. The numbers on a board are these, and not the claim's."""
        return self.checked.audit

    @property
    def claimed(self) -> float:
        """The worst case that was claimed, as a fraction."""
        return self.record.claim.worst_case / self.audit.samples


@dataclasses.dataclass(frozen=True)
class SubmittedBoard:
    """Submissions that can be compared, the best worst case first."""

    setting: str
    standings: tuple[Standing, ...]


def submitted_boards(submissions: Sequence[Submission]) -> list[SubmittedBoard]:
    """A board for each set of submissions of the same images, training data, threat, battery and crafting precision.

    Args:
        submissions: in any order. Those that were not checked, whose claim does not hold, or of whose robustness an
            audit says nothing, have no place: see :func:`without_place`.
    """
    found: dict[tuple[object, ...], list[tuple[SubmissionRecord, CheckedRecord]]] = {}
    for each in submissions:
        if each.checked is not None and not _why_not(each):
            record, audit = each.record, each.checked.audit
            key = (
                *(record.data.name, record.data.classes or (), record.training_data, audit.norm, audit.eps),
                *(audit.battery, audit.samples, audit.images, audit.crafting_precision),
            )
            found.setdefault(key, []).append((record, each.checked))
    return [_board(pairs) for _, pairs in sorted(found.items())]


def without_place(submissions: Sequence[Submission]) -> dict[str, list[str]]:
    """By the reason why they are on no board, the names of submissions.

    Args:
        submissions: in any order.
    """
    found: dict[str, list[str]] = {}
    for each in submissions:
        if reason := _why_not(each):
            found.setdefault(reason, []).append(f"{each.record.name} by {each.record.by}")
    return found


def submitted_table(board: SubmittedBoard) -> Markdown:
    """The standings of a board as a table of Markdown."""
    words = ["Row", "By", "Network", "Checked with"]
    numbers = ["Clean", "Protocol", "Worst case", "Gap", "Claimed"]
    cells = [
        [
            *(each.rank, _row(each), each.record.by, each.checked.network, percent(each.audit.trials[0].accuracy)),
            f"{percent(each.audit.protocol.accuracy)} ({each.audit.protocol_trial})",
            worst_text(each),
            points(100 * each.audit.masking_gap),
            percent(each.claimed),
            checked_with(each),
        ]
        for each in board.standings
    ]
    return markdown_table(["Rank", *words[:3], *numbers, words[3]], cells, words)


def checked_with(standing: Standing) -> str:
    """The versions, and on what the check ran."""
    checked = standing.checked
    machine = f" ({checked.audit.machine})" if checked.audit.machine else ""
    return f"spikeproof {checked.spikeproof}, torch {checked.torch}, {checked.audit.device}{machine}"


def worst_text(standing: Standing) -> Markdown:
    """The worst case with its interval, and a mark where a red flag was raised."""
    worst = standing.audit.worst_case
    flag = " ⚑" if standing.audit.raised else ""
    return Markdown(f"**{percent(worst.accuracy)}** {bracketed(100 * worst.low, 100 * worst.high)}{flag}")


def _why_not(submission: Submission) -> str:
    if submission.checked is None:
        return "nobody has checked them as they are"
    audit = submission.checked.audit
    if not compare(submission.record, audit).holds:
        return "their claim does not hold"
    return "something hides the gradient" if audit.no_number else ""


def _board(pairs: Sequence[tuple[SubmissionRecord, CheckedRecord]]) -> SubmittedBoard:
    ordered = sorted(pairs, key=lambda pair: (-pair[1].audit.worst_case.correct, pair[0].name))
    worsts = [checked.audit.worst_case.correct for _, checked in ordered]
    standings = [Standing(worsts.index(worsts[at]) + 1, *pair) for at, pair in enumerate(ordered)]
    record, audit = standings[0].record, standings[0].audit
    classes = "" if record.data.classes is None else f" (classes {', '.join(map(str, record.data.classes))})"
    setting = (
        f"{dataset(record.data.name)}{classes}, {threat_text(audit.norm, audit.eps)}, battery {audit.battery} on "
        f"{audit.samples} test images ({audit.images[:8]}), trained on {record.training_data}, crafted in "
        f"{audit.crafting_precision}"
    )
    return SubmittedBoard(setting, tuple(standings))


def _row(standing: Standing) -> Markdown | str:
    record = standing.record
    return Markdown(f"{plain(record.name)} [paper]({record.paper})") if record.paper else record.name
