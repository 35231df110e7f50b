"""submission.json: what somebody claims of a network; checked.json: what an audit of its weights found then."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, model_validator

from spikeproof.errors import SpikeproofError
from spikeproof.records.audit_json import AuditRecord
from spikeproof.records.record import FileRecord
from spikeproof.records.values import (
    Fingerprint,
    FromOne,
    Hash,
    Line,
    Named,
    Positive,
    Seed,
    Whole,
    contradiction,
    whole,
    wrong,
)
from spikeproof.threat import parse_eps

SUBMISSION: Final = "submission.json"
CHECKED: Final = "checked.json"
VERSION: Final = 1
_Version = Annotated[Literal[1], BeforeValidator(whole)]


def _number(value: Any) -> Any:
    """Of a radius that is written as 8/255."""
    try:
        return parse_eps(value, most=math.inf) if isinstance(value, str) else value
    except SpikeproofError:
        raise wrong('a number, or a text such as "8/255"') from None


def _address(text: str) -> str:
    if text and not re.fullmatch(r"""https?://[^\s()<>\[\]"'`|\\]+""", text):  # it becomes a link on a page
        raise wrong("an address that begins with https:// and has no brackets or quotes, or nothing")
    return text


class _Closed(FileRecord):
    model_config = ConfigDict(extra="forbid")


class SubmittedData(_Closed):
    """Whose test images: the arguments of ``load_data``. Only data sets that everyone can load by name."""

    name: Named
    classes: tuple[Whole, ...] | None = None
    test_limit: FromOne | None = None


class SubmittedAudit(_Closed):
    """Which audit of the test split the claim is of; all else is as ``AuditConfig`` has it by default."""

    norm: Literal["linf", "l2"]
    eps: Annotated[Positive, BeforeValidator(_number)]
    battery: Named
    samples: FromOne
    seed: Seed = 0


class ClaimRecord(_Closed):
    """How many of the audit's images the network is right about.

    Attributes:
        clean, protocol, worst_case: without an attack, under the protocol trial, and under all.
        trials: of each trial how many are right under it and all before it. It may leave some out.
    """

    clean: Whole
    protocol: Whole
    worst_case: Whole
    trials: dict[Named, Whole] = {}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.protocol > self.clean:
            raise contradiction("protocol", f"at most the {self.clean} that are right when clean, got {self.protocol}")
        if self.worst_case > self.protocol:
            raise contradiction("worst_case", f"at most protocol's {self.protocol}, got {self.worst_case}")
        return self


class SubmissionRecord(_Closed):
    """submission.json.

    Attributes:
        name: the row's; by: whose; paper: where it can be read, or "".
        training_data: what the network learned from, such as "cifar10, 49000 images".
        weights: the SHA-256 of model.safetensors.
        images: the fingerprint of the audited images (``audited_images`` in audit.json); "" where it is not known.
    """

    version: _Version
    name: Named
    by: Named
    paper: Annotated[Line, AfterValidator(_address)] = ""
    training_data: Named
    weights: Hash
    data: SubmittedData
    audit: SubmittedAudit
    images: Fingerprint = ""
    claim: ClaimRecord

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        samples = self.audit.samples
        if self.claim.clean > samples:
            raise contradiction("claim.clean", f"at most the {samples} samples, got {self.claim.clean}")
        for name, left in self.claim.trials.items():
            if left > samples:
                raise contradiction(f"claim.trials.{name}", f"at most the {samples} samples, got {left}")
        return self


class CheckedRecord(FileRecord):
    """checked.json.

    Attributes:
        submission: the SHA-256 of the submission.json that was checked; weights: of its model.safetensors.
        network: the network in words, as its weights describe it.
        spikeproof, torch: the versions that audited.
        audit: what the audit found.
    """

    version: _Version
    submission: Named
    weights: Named
    network: Named
    spikeproof: Named
    torch: Named
    audit: AuditRecord
