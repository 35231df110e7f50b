"""Submissions: a folder with submission.json and weights, checked.json beside them once somebody audited again."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from spikeproof.errors import SpikeproofError
from spikeproof.records.audit_json import AuditRecord
from spikeproof.records.reading import as_record, parsed, read_record, read_text
from spikeproof.records.submission_json import CHECKED, SUBMISSION, CheckedRecord, SubmissionRecord
from spikeproof.records.trials import Counted
from spikeproof.report.numbers import interval, percent

WEIGHTS = "model.safetensors"
FOLDER = "submissions"  # of a folder of results: where submissions lie in it
_MEND = "correct it as docs/leaderboard.md says, or write it again with `spikeproof submit`"
_AGAIN = "check the submission again with `spikeproof check`"


@dataclasses.dataclass(frozen=True)
class Submission:
    """A submission whose files are what they should be.

    Attributes:
        folder: where it lies.
        record: submission.json; digest: the SHA-256 of that file.
        checked: what a check of just these files found; None without one.
    """

    folder: Path
    record: SubmissionRecord
    digest: str
    checked: CheckedRecord | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A claim beside what an audit of the same weights found.

    Attributes:
        differing: for each number that differs a line: which, and by how many images.
        too_good: for each number that is better than the check allows a sentence.
    """

    differing: tuple[str, ...]
    too_good: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether no number is too good."""
        return not self.too_good


def read_submission(folder: Path) -> Submission:
    """Read a submission and check that its weights are those that it names.

    Args:
        folder: with submission.json, model.safetensors and perhaps checked.json.

    Raises:
        SpikeproofError: a file is missing, damaged or another than it should be; in one sentence.
    """
    path, weights = folder / SUBMISSION, folder / WEIGHTS
    text = read_text(path, _MEND)
    record = as_record(SubmissionRecord, parsed(text, str(path), _MEND), str(path), _MEND)
    if weights.is_symlink() or not weights.is_file():
        others = [each.name for each in sorted(folder.iterdir()) if each.suffix in (".pt", ".pth", ".pkl", ".bin")]
        pickled = f" ({others[0]} is not read: a pickle may run code)" if others else ""
        raise SpikeproofError(
            f"{folder} has no file {WEIGHTS}{pickled}; put the weights there as spikeproof.models.save_model "
            "writes them."
        )
    content = weights.read_bytes()
    safetensors = content[8:9] == b"{"  # behind the header's length, which may begin like a pickle
    if not safetensors and (content[:2] == b"PK" or content[:1] == b"\x80"):
        raise SpikeproofError(
            f"{weights} is a pickle of torch.save, which may run code and is not read; write the weights with "
            "spikeproof.models.save_model."
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != record.weights:
        raise SpikeproofError(
            f"{weights} are other weights than submission.json names (SHA-256 {digest[:8]}... instead of "
            f"{record.weights[:8]}...); hand in those of the claim, or claim what these do."
        )
    whole = hashlib.sha256(text.encode()).hexdigest()
    return Submission(folder, record, whole, _checked(folder / CHECKED, whole, digest))


def _checked(path: Path, submission: str, weights: str) -> CheckedRecord | None:
    """The check, unless it is of other files than these."""
    if not path.is_file():
        return None
    found = read_record(CheckedRecord, path, _AGAIN)
    return found if (found.submission, found.weights) == (submission, weights) else None


def compare(record: SubmissionRecord, audit: AuditRecord) -> Comparison:
    """Hold a claim against an audit of the same weights on the same images.

    Clean, protocol and worst case may each be claimed up to the upper end of the 95 % Wilson interval of what the audit
    found. Beyond that the number is too good. A claim that is worse than what was found is never refused.

    Args:
        record: with the claim.
        audit: of as many images.
    """
    claim, samples = record.claim, audit.samples
    found = {
        "clean": (claim.clean, audit.trials[0].left),
        f"protocol ({audit.protocol_trial})": (claim.protocol, audit.protocol),
        "worst case": (claim.worst_case, audit.worst_case),
    }
    left = {trial.name: trial.left.correct for trial in audit.trials}
    numbers = {name: (claimed, counted.correct) for name, (claimed, counted) in found.items()}
    trials = {f"after {name}": (claimed, left[name]) for name, claimed in claim.trials.items() if name in left}
    return Comparison(
        tuple(
            f"{name}: claimed {claimed}, found {seen} of {samples} images ({abs(claimed - seen)} "
            f"{'more' if seen > claimed else 'fewer'})"
            for name, (claimed, seen) in (numbers | trials).items()
            if claimed != seen
        ),
        tuple(
            _too_good(name, claimed, counted)
            for name, (claimed, counted) in found.items()
            if claimed > counted.high * samples
        ),
    )


def _too_good(name: str, claimed: int, counted: Counted) -> str:
    return (
        f"{name} is claimed as {percent(claimed / counted.samples)} %, and the audit found {percent(counted.accuracy)} "
        f"% ({interval(counted)} %) of {counted.samples} images"
    )


def read_submissions(folder: Path) -> list[Submission]:
    """All submissions of a folder of results, by the names of their folders.

    Args:
        folder: of results; submissions are the folders in its ``submissions``, where it has any.

    Raises:
        SpikeproofError: the first that is not as it should be.
    """
    if not (folder / FOLDER).is_dir():
        return []
    return [
        read_submission(each) for each in sorted((folder / FOLDER).iterdir()) if each.is_dir() and each.name[0] != "."
    ]
