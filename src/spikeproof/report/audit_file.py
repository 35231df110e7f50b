"""Read and check one audit.json."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spikeproof.doubt import Doubt
from spikeproof.errors import SpikeproofError
from spikeproof.former_names import todays
from spikeproof.report.fields import Fields
from spikeproof.report.records import (
    Audit,
    Counted,
    Flag,
    Measured,
    Network,
    Search,
    Site,
    StepPoint,
    SweepPoint,
    Trial,
    Tuning,
)

AUDIT_VERSION = 4
_WITH_FORMER_NAMES = 3
ROUNDING = 1e-3  # how far two numbers of one file may disagree because one of them was rounded


def read_audit(path: Path) -> Audit:
    """The audit that ``path`` holds.

    Raises:
        SpikeproofError: the file is missing, damaged, of another version, or disagrees with itself.
    """
    mend = "audit the run again with `spikeproof audit`"
    row = Fields.read(path, mend)
    if row.whole("version") == _WITH_FORMER_NAMES:
        row = Fields(todays(row.raw) | {"version": AUDIT_VERSION}, row.where, mend)
    if row.whole("version") != AUDIT_VERSION:
        raise SpikeproofError(
            f"{path} has version {row.whole('version')}, and this spikeproof reads version {AUDIT_VERSION}; {mend}."
        )
    protocol, worst = _counted(row.child("protocol")), _counted(row.child("worst_case"))
    gap = row.number("masking_gap")
    if worst.accuracy > protocol.accuracy + ROUNDING or not abs(gap - (protocol.accuracy - worst.accuracy)) <= ROUNDING:
        raise SpikeproofError(
            f"{path}: the masking gap should be protocol - worst case and not negative, got {gap} from protocol "
            f"{protocol.accuracy} and worst case {worst.accuracy}; {mend}."
        )
    norm = row.child("threat").text("norm")
    trials = tuple(_trial(entry, norm) for entry in row.children("trials"))
    protocol_trial = row.child("protocol").text("trial")
    if not any(trial.kind == "protocol" and trial.own and trial.name == protocol_trial for trial in trials):
        raise SpikeproofError(
            f"{path}: the protocol accuracy should come from a trial of the protocol, got {protocol_trial!r}; {mend}."
        )
    _check_chain(trials, row.whole("samples"), worst, row)
    threat, tuning = row.child("threat"), row.child("tuning")
    flags = tuple(_flag(entry) for entry in row.children("flags"))
    return Audit(
        samples=row.whole("samples"),
        split=row.text("split"),
        norm=norm,
        eps=threat.positive("eps"),
        noise=row.text("noise"),
        eot_iter=row.whole("eot_iter"),
        judge_draws=row.whole("judge_draws"),
        battery=row.text("battery"),
        device=row.text("device"),
        machine="" if row.absent("machine") else row.text("machine"),
        crafting_precision=row.text("crafting_precision"),
        batch_size=row.whole("batch_size"),
        seed=row.whole("seed"),
        seconds=row.number("seconds"),
        command=row.text("command"),
        images="" if row.absent("audited_images") else row.text("audited_images"),
        split_images="" if row.absent("images") else row.text("images"),
        trials=trials,
        protocol=protocol,
        protocol_trial=protocol_trial,
        worst_case=worst,
        masking_gap=gap,
        no_number="" if row.absent("no_number") else row.text("no_number"),
        search=None if row.absent("search") else _search(row.child("search"), row.whole("samples")),
        zero_gradient_share=row.fraction("zero_gradient_share", undefined=True),
        flags=flags,
        doubts=_doubts(row, flags),
        tuning=_tuning(tuning),
        sweep=tuple(_sweep_point(entry) for entry in row.children("sweep")),
        step_sweep=tuple(_step_point(entry) for entry in row.children("step_sweep")),
        sites=tuple(_site(entry) for entry in row.children("sites")),
        network=None if row.absent("network") else _network(row.child("network")),
    )


def _network(row: Fields) -> Network:
    def text(name: str) -> str:
        return "" if row.absent(name) else row.text(name)

    return Network(
        name=row.text("name"),
        library=text("library"),
        num_steps=None if row.absent("num_steps") else row.whole("num_steps"),
        runs=text("runs"),
        reads=text("reads"),
        readouts=row.texts("readouts"),
        functions=row.texts("functions"),
        binary=row.texts("binary"),
    )


# Audits from before audit.json said how their settings are written have these.
_LABELS = {"half_mass": "ASSG's A′", "hart_width": "HART's width"}


def _tuning(tuning: Fields) -> Tuning:
    labels = None if tuning.absent("labels") else tuning.child("labels")
    names = [name for name in tuning.raw if name not in ("samples", "tried", "labels")]
    return Tuning(
        samples=tuning.whole("samples"),
        chosen={name: tuning.positive(name) for name in names},
        tried={name: tuning.child("tried").named_numbers(name) for name in tuning.child("tried").raw},
        labels=_LABELS if labels is None else {name: labels.text(name) for name in labels.raw},
    )


def _check_chain(trials: tuple[Trial, ...], samples: int, worst: Counted, row: Fields) -> None:
    """From all samples, each trial takes what it newly broke and leaves the rest; the last leaves the worst case."""
    left = samples
    for trial in trials:
        left -= trial.newly_broken
        if trial.left.correct != left:
            raise SpikeproofError(
                f"{row.where}: after {trial.name!r} newly broke {trial.newly_broken} samples, {left} of {samples} "
                f"should be left, got {trial.left.correct}; {row.mend}."
            )
    if worst.correct != left:
        raise SpikeproofError(
            f"{row.where}: the worst case should be the {left} samples that the trials left, got {worst.correct}; "
            f"{row.mend}."
        )


def _measured(row: Fields) -> Measured:
    measured = Measured(row.fraction("accuracy"), row.fraction("low"), row.fraction("high"))
    if not measured.low - ROUNDING <= measured.accuracy <= measured.high + ROUNDING:
        raise SpikeproofError(
            f"{row.where}: the accuracy {measured.accuracy} should lie between its bounds, got {measured.low} and "
            f"{measured.high}; {row.mend}."
        )
    return measured


def _counted(row: Fields) -> Counted:
    counted = Counted(**vars(_measured(row)), correct=row.whole("correct"), samples=row.whole("samples"))
    if not abs(counted.correct - counted.accuracy * counted.samples) <= ROUNDING * counted.samples:
        raise SpikeproofError(
            f"{row.where}: the accuracy should be correct / samples, got {counted.accuracy} from {counted.correct} of "
            f"{counted.samples}; {row.mend}."
        )
    return counted


def _trial(row: Fields, norm: str) -> Trial:
    measured = _counted(row)
    trial = Trial(
        name=row.text("name"),
        kind=row.text("kind"),
        attack=row.text("attack"),
        source=row.text("source"),
        counts=row.text("norm") == norm,
        attempted=row.whole("attempted"),
        broken=row.whole("broken"),
        newly_broken=row.whole("newly_broken"),
        own=measured if row.truth("everyone") else None,
        left=_counted(row.child("left")),
        seconds=row.number("seconds"),
        queries=0 if row.absent("queries") else row.whole("queries"),
        added=False if row.absent("added") else row.truth("added"),
        stands_for=() if row.absent("stands_for") else row.texts("stands_for"),
    )
    if not trial.newly_broken <= trial.broken <= trial.attempted <= measured.samples:
        raise SpikeproofError(
            f"{row.where}: newly broken, broken, attempted and all samples should not decrease, got "
            f"{trial.newly_broken}, {trial.broken}, {trial.attempted} and {measured.samples}; {row.mend}."
        )
    if trial.own is None and measured.correct != trial.left.correct:
        raise SpikeproofError(
            f"{row.where}: a trial that did not attack everyone has no accuracy but what it left, got "
            f"{measured.correct} and {trial.left.correct}; {row.mend}."
        )
    return trial


def _sweep_point(row: Fields) -> SweepPoint:
    return SweepPoint(
        **vars(_measured(row)),
        eps=row.number("eps"),
        trial=row.text("trial"),
        kind=row.text("kind"),
        samples=row.whole("samples"),
    )


def _step_point(row: Fields) -> StepPoint:
    point = StepPoint(
        **vars(_measured(row)),
        steps=row.whole("steps"),
        trial=row.text("trial"),
        kind=row.text("kind"),
        samples=row.whole("samples"),
    )
    if point.steps < 1:
        raise SpikeproofError(f"{row.where}: 'steps' should be at least 1, got {point.steps}; {row.mend}.")
    return point


def _search(row: Fields, samples: int) -> Search:
    curve = row.raw.get("curve")
    pairs = curve if isinstance(curve, list) else []
    whole = all(
        isinstance(pair, list) and len(pair) == 2 and all(type(number) is int and number >= 0 for number in pair)
        for pair in pairs
    )
    falls = whole and all(
        first[0] < then[0] and first[1] >= then[1] for first, then in zip(pairs, pairs[1:], strict=False)
    )
    if not pairs or not falls or pairs[0][1] > samples:
        raise SpikeproofError(
            f"{row.where}: 'curve' should be pairs of queries, which increase, and of samples still right, which do "
            f"not; {row.mend}."
        )
    search = Search(
        trial=row.text("trial"),
        queries=row.whole("queries"),
        curve=tuple((spent, right) for spent, right in pairs),
        last_doubling=row.whole("last_doubling"),
        times=row.whole("times"),
        low=row.whole("low"),
        expected=row.number("expected"),
        high=row.whole("high"),
    )
    if not 0 <= search.low <= search.high <= samples or not 0 <= search.expected <= samples or search.times < 2:
        raise SpikeproofError(
            f"{row.where}: the forecast should be of at most {samples} samples and lie in its interval, got "
            f"{search.expected} in {search.low} to {search.high}; {row.mend}."
        )
    return search


def _flag(row: Fields) -> Flag:
    words = {name: row.text(name) for name in ("name", "value", "threshold", "advice")}
    return Flag(**words, raised=row.truth("raised"))


def _doubts(row: Fields, flags: Sequence[Flag]) -> tuple[Doubt, ...]:
    """What the audit warns of, and the raised flags of which no warning speaks."""
    entries = row.raw.get("warnings")
    if isinstance(entries, list) and all(isinstance(entry, str) for entry in entries):
        found = [_from_sentence(entry, flags) for entry in row.texts("warnings")]
    else:
        found = [_doubt(entry) for entry in row.children("warnings")]
    said = {doubt.code for doubt in found}
    for flag in flags:
        if flag.raised and flag.name not in said:
            words = f"{flag.name.capitalize()}: {flag.value} (raised {flag.threshold}); {flag.advice}."
            found.append(_from_sentence(words, flags))
    return tuple(found)


def _doubt(row: Fields) -> Doubt:
    doubt = Doubt(row.text("code"), row.text("text"), row.texts("numbers"))
    if doubt.numbers and len(doubt.numbers) != doubt.text.count("{}"):
        raise SpikeproofError(f"{row.where}: 'numbers' should be one for each {{}} of 'text'; {row.mend}.")
    return doubt


# Audits from before warnings were records have these sentences.
_CODES = {
    "No adaptive attack was run: the worst case is over fixed backwards only.": "no adaptive attack",
    "The adaptive attack was weaker than the nominal one; run it for more steps.": "weak adaptive attack",
}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def _from_sentence(sentence: str, flags: Sequence[Flag]) -> Doubt:
    """The record of a warning that an older audit has as a sentence."""
    named = (flag.name for flag in flags if sentence.lower().startswith(f"{flag.name.lower()}:"))
    code = _CODES.get(sentence) or next(named, "")
    if "{}" in sentence:
        return Doubt(code, sentence)
    return Doubt(code, _NUMBER.sub("{}", sentence), tuple(_NUMBER.findall(sentence)))


def _site(row: Fields) -> Site:
    histogram = row.child("histogram")
    edges, counts = histogram.numbers("edges"), histogram.numbers("counts")
    if not counts or len(edges) != len(counts) + 1 or min(counts) < 0 or np.diff(edges).min() <= 0:
        raise SpikeproofError(
            f"{histogram.where} should hold increasing edges, one more than its counts, and no negative count, got "
            f"{len(edges)} edges and {len(counts)} counts; {row.mend}."
        )
    return Site(
        name=row.text("name"),
        window=row.positive("window"),
        omega=row.fraction("omega", undefined=True),
        proximal_share=row.fraction("proximal_share", undefined=True),
        proximal_width=row.positive("proximal_width"),
        firing_rate=row.fraction("firing_rate", undefined=True),
        edges=edges,
        counts=counts,
    )
