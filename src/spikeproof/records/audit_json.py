"""audit.json: what an audit found. The same records write it and read it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from spikeproof.doubt import Doubt
from spikeproof.records.doubts import Said, from_sentence
from spikeproof.records.reading import read_record
from spikeproof.records.record import RunRecord, by_todays_names
from spikeproof.records.trials import ROUNDING, Counted, ProtocolRecord, StepPoint, SweepPoint, TrialRecord
from spikeproof.records.values import (
    Finite,
    FromTwo,
    Number,
    Positive,
    Seed,
    ShareOrNaN,
    Text,
    Truth,
    Whole,
    contradiction,
    whole,
)

AUDIT_VERSION: Final = 4
_WITH_FORMER_NAMES = 3
# How settings are written, for older audits, whose audit.json does not say so.
_LABELS = {"half_mass": "ASSG's A′", "hart_width": "HART's width"}


class ThreatRecord(RunRecord):
    """The norm and the radius that trials had to keep to."""

    norm: Text
    eps: Positive


class FlagRecord(RunRecord):
    """One check of whether the numbers can be believed; value, threshold and advice are words, not numbers."""

    name: Text
    value: Text
    threshold: Text
    raised: Truth
    advice: Text

    @property
    def sentence(self) -> str:
        """The warning that belongs to it where it is raised."""
        return f"{self.name.capitalize()}: {self.value} (raised {self.threshold}); {self.advice}."


class Search(RunRecord):
    """How a search by queries went, and the forecast of what more queries would break.

    Attributes:
        trial: its name; queries: how many it may spend on each sample.
        samples: of the audit; None in files that do not have it.
        curve: pairs of queries and how many samples were still right after them.
        last_doubling: how many samples the second half of the queries broke.
        low, expected, high: how many of the samples left ``times`` as many queries would break: the mean, between the
            bounds of its 95 % interval.
    """

    trial: Text
    queries: Whole
    samples: Whole | None = None
    curve: tuple[tuple[Whole, Whole], ...] = Field(min_length=1)
    last_doubling: Whole
    low: Whole
    expected: Finite
    high: Whole
    times: FromTwo

    def check(self, samples: int) -> None:
        """Refuse a search that contradicts itself or its audit.

        Args:
            samples: how many the audit has.

        Raises:
            PydanticCustomError: the curve rises, or a number is out of its range.
        """
        falls = all(first[0] < then[0] and first[1] >= then[1] for first, then in itertools.pairwise(self.curve))
        if not falls or self.curve[0][1] > samples:
            expected = "pairs of queries, which increase, and of samples still right, which do not"
            raise contradiction("search.curve", expected)
        if not 0 <= self.low <= self.high <= samples or not 0 <= self.expected <= samples:
            expected = f"of at most {samples} and in its interval, got {self.expected} in {self.low} to {self.high}"
            raise contradiction("search.expected", expected)


class TuningRecord(RunRecord):
    """The settings of gradient sources. Each stands under its own name, beside these fields.

    Attributes:
        samples: on how many validation images they were chosen; 0 for the defaults.
        tried: for each setting that was searched, the accuracy that each value left.
        labels: how people write each setting.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Positive]

    samples: Whole
    tried: dict[str, dict[str, Number]]
    labels: dict[str, Text] = _LABELS

    @property
    def chosen(self) -> Mapping[str, float]:
        """The value of each setting, by its name."""
        return self.__pydantic_extra__


class Histogram(RunRecord):
    """A histogram of margins: ``counts[i]`` lie between ``edges[i]`` and ``edges[i + 1]``."""

    edges: tuple[Finite, ...]
    counts: tuple[Whole, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        rises = all(first < then for first, then in itertools.pairwise(self.edges))
        if not rises or len(self.edges) != len(self.counts) + 1:
            expected = f"increasing, one more than its {len(self.counts)} counts, got {len(self.edges)}"
            raise contradiction("edges", expected)
        return self


class SiteMargins(RunRecord):
    """Where the margins v of one spiking layer lie, on some images, in eval mode. Shares of nothing are NaN.

    Attributes:
        name: of the site in its network.
        window: half-width g of the surrogate's gradient-available interval.
        omega: Omega of MPD-SGR Eq. 13, from the measured mean and deviation, mean over channels and steps: the share of
            potentials that would have |v| < window if they were normally distributed.
        window_share: the measured share with |v| < window.
        proximal_share: the share with |v| < proximal_width, which is half the threshold.
        firing_rate: spikes per neuron and step, without the sites' noise.
        histogram: of v between its 0.5 % and 99.5 % quantiles (of the first images), window included.
    """

    name: Text
    window: Positive
    omega: ShareOrNaN = math.nan
    window_share: ShareOrNaN = math.nan
    proximal_share: ShareOrNaN = math.nan
    proximal_width: Positive
    firing_rate: ShareOrNaN = math.nan
    histogram: Histogram

    @property
    def edges(self) -> tuple[float, ...]:
        """Those of the histogram."""
        return self.histogram.edges

    @property
    def counts(self) -> tuple[int, ...]:
        """Those of the histogram."""
        return self.histogram.counts


class NetworkRecord(RunRecord):
    """The network that was audited (see :class:`spikeproof.audit.network.Network`).

    Attributes:
        name: its class, or the name by which ``create_model`` knows it.
        library: whose spiking layers it has: "spikeproof", another library's name; None for none.
        num_steps: T; None where its layers were not adapted, or there are none.
        runs, reads: how an adapted network is called, and how its steps' outputs become logits.
        native, frames: whether its neurons were replaced by those of spikeproof, and whether it was called with frames
            of event data; False in older audits.
        readouts: its layers that fire but do not reach the logits.
        functions, binary: in a network without sites, the autograd functions that are not PyTorch's own, and the layers
            that give zeros and ones alone.
    """

    name: Text
    library: Text | None = None
    num_steps: Whole | None = None
    runs: Text | None = None
    reads: Text | None = None
    native: Truth = False
    frames: Truth = False
    readouts: tuple[Text, ...]
    functions: tuple[Text, ...]
    binary: tuple[Text, ...]

    @property
    def ann(self) -> bool:
        """Whether it has no spiking layer, as far as can be seen, so that its own gradient is exact."""
        return not self.library and not self.functions and not self.binary


class AuditRecord(RunRecord):
    """What audit.json says: every trial, the protocol accuracy, the worst case, and under which conditions they hold.

    Attributes:
        split_images: the fingerprint of the split that the audited images are from; its field in the file is
            ``images``. "" in older audits.
        images: the fingerprint of the audited images; its field in the file is ``audited_images``. "" in older audits.
        network: what was audited; None in older audits.
        undecided: samples of the worst case that a random network's draws left undecided.
        no_number: why the audit says nothing about robustness; None where it does.
        doubts: why not to believe the numbers, ``warnings`` in the file; every raised flag has one.
        files: the SHA-256 of the files beside it, by their names; none in older audits.
    """

    version: Annotated[Literal[4], BeforeValidator(whole)]
    samples: Whole
    split: Text
    split_size: Whole | None = None
    classes: dict[str, Whole] = {}
    split_images: Text = Field(default="", alias="images")
    images: Text = Field(default="", alias="audited_images")
    network: NetworkRecord | None = None
    threat: ThreatRecord
    battery: Text
    noise: Text
    eot_iter: Whole
    judge_draws: Whole
    device: Text
    machine: Text = ""
    crafting_precision: Text
    batch_size: Whole
    seed: Seed
    seconds: Number
    command: Text
    trials: tuple[TrialRecord, ...]
    protocol: ProtocolRecord
    worst_case: Counted
    undecided: Whole = 0
    masking_gap: Number
    no_number: Text | None = None
    search: Search | None = None
    zero_gradient_share: ShareOrNaN = math.nan
    flags: tuple[FlagRecord, ...]
    doubts: tuple[Said, ...] = Field(alias="warnings")  # validated after the flags, whose names it needs
    tuning: TuningRecord
    sweep: tuple[SweepPoint, ...]
    step_sweep: tuple[StepPoint, ...]
    sites: tuple[SiteMargins, ...]
    files: dict[str, Text] = {}

    @property
    def norm(self) -> str:
        """The norm of the threat."""
        return self.threat.norm

    @property
    def eps(self) -> float:
        """The radius of the threat."""
        return self.threat.eps

    @property
    def protocol_trial(self) -> str:
        """The name of the trial that the protocol accuracy is of."""
        return self.protocol.trial

    @property
    def has_adaptive(self) -> bool:
        """Whether an adaptive attack was run, or none is needed because the network is an ANN.

        Without one the worst case is over fixed backwards only, and a small gap proves nothing.
        """
        exact = self.network is not None and self.network.ann
        return exact or any(trial.kind == "adaptive" for trial in self.trials)

    @property
    def raised(self) -> tuple[FlagRecord, ...]:
        """The flags that are raised; none are raised either where no check was made."""
        return tuple(flag for flag in self.flags if flag.raised)

    @model_validator(mode="before")
    @classmethod
    def _by_todays_names(cls, value: Any) -> Any:
        return by_todays_names(value, "version", _WITH_FORMER_NAMES, AUDIT_VERSION)

    @field_validator("doubts", mode="before")
    @classmethod
    def _from_sentences(cls, warnings: Any, info: ValidationInfo) -> Any:
        if not isinstance(warnings, list | tuple):
            return warnings
        flags = [flag.name for flag in info.data.get("flags", ())]
        return [from_sentence(each, flags) if isinstance(each, str) else each for each in warnings]

    @field_validator("doubts", mode="after")
    @classmethod
    def _of_every_raised_flag(cls, doubts: tuple[Doubt, ...], info: ValidationInfo) -> tuple[Doubt, ...]:
        codes = {doubt.code for doubt in doubts}
        missing = [flag for flag in info.data.get("flags", ()) if flag.raised and flag.name not in codes]
        return (*doubts, *(from_sentence(flag.sentence, [flag.name]) for flag in missing))

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for trial in self.trials:
            trial._counts = trial.norm == self.norm
        protocol, worst = self.protocol.accuracy, self.worst_case.accuracy
        if worst > protocol + ROUNDING or not abs(self.masking_gap - (protocol - worst)) <= ROUNDING:
            expected = f"protocol - worst case and not negative, got {self.masking_gap} from {protocol} and {worst}"
            raise contradiction("masking_gap", expected)
        own = [trial.name for trial in self.trials if trial.kind == "protocol" and trial.everyone]
        if self.protocol_trial not in own:
            expected = f"a trial of the protocol with an accuracy of its own, got {self.protocol_trial!r}"
            raise contradiction("protocol.trial", expected)
        self._check_chain()
        if self.search is not None:
            self.search.check(self.samples)
        return self

    def _check_chain(self) -> None:
        """Check that each trial leaves what was left before it, less what it newly broke; the last, the worst case."""
        left = self.samples
        for at, trial in enumerate(self.trials):
            left -= trial.newly_broken
            if trial.left.correct != left:
                expected = f"{left}, as {trial.name!r} newly broke {trial.newly_broken}, got {trial.left.correct}"
                raise contradiction(f"trials[{at}].left.correct", expected)
        if self.worst_case.correct != left:
            expected = f"the {left} samples that the trials left, got {self.worst_case.correct}"
            raise contradiction("worst_case.correct", expected)


def read_audit(path: Path) -> AuditRecord:
    """Read and check an audit.json.

    Args:
        path: the file.

    Raises:
        SpikeproofError: the file is missing, damaged, of an unknown version, or contradicts itself.
    """
    return read_record(AuditRecord, path, "audit the run again with `spikeproof audit`")
