"""How conditions, doubts and runs are written, in the HTML and in the terminal alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from spikeproof.doubt import Doubt
from spikeproof.report.numbers import interval, listed, percent, threat_text
from spikeproof.report.records import Audit, SavedRun, Search, Trial

# Codes of doubts about adaptive attacks: there was none, or it broke less than the protocol attack.
OF_ADAPTIVE = (NO_ADAPTIVE := "no adaptive attack", "weak adaptive attack")
WITHOUT_ADAPTIVE = Doubt(
    NO_ADAPTIVE,
    "No adaptive attack was run, so its worst case is over fixed backwards only and its gap proves nothing.",
)
UNCHECKED = Doubt(
    "unchecked",
    "No check looked for red flags, so nothing says that its attacks worked; audit with diagnostics.",
)


# How people write a defense where it differs from its class and from its field in a recipe. Newer runs say this in
# config.json ("labels"). These are for older runs, and for result rows, which have the class's name.
_WRITTEN = {
    "adversarialtraining": "AT",
    "freeadversarialtraining": "Free AT",
    "free": "Free AT",
    "learnablewidth": "learnable width",
    "mpdsgr": "MPD-SGR",
    "rmploss": "RMP-Loss",
    "stog": "StoG",
    "randhet": "RandHet",
    "hosnn": "HoSNN",
    "dspike": "Dspike",
    "recdis": "RecDis",
    "inflor": "InfLoR",
}


def method_name(name: str) -> str:
    """A defense as people write it.

    Args:
        name: of its class, or of its field in a recipe. An unknown name stays as it is.

    Example:
        >>> method_name("mpd_sgr"), method_name("AdversarialTraining"), method_name("sr"), method_name("Mine")
        ('MPD-SGR', 'AT', 'SR', 'Mine')
    """
    name = name.strip()
    short = name.upper() if name.islower() and len(name) < 7 else name
    return _WRITTEN.get(name.replace("_", "").replace("-", "").lower(), short)


def worst_case(audit: Audit) -> str:
    """The worst case in percent, as the number to quote; "none" where the audit has no number.

    Such an audit still has an upper bound, which :func:`worst_interval` gives.
    """
    return "none" if audit.no_number else percent(audit.worst_case.accuracy)


def worst_interval(audit: Audit) -> str:
    """The worst case's 95 % interval in percent; "at most" its value where the audit has no number."""
    return f"at most {percent(audit.worst_case.accuracy)}" if audit.no_number else interval(audit.worst_case)


def masking_gap(audit: Audit) -> str:
    """The masking gap in points; with "≥" where the audit has no number, so that the worst case is only a bound."""
    return f"{'≥ ' if audit.no_number else ''}{percent(audit.masking_gap)}"


def further(search: Search, samples: int) -> str:
    """What the last doubling of the queries broke, and what ten times as many would break, in a sentence.

    Args:
        search: counts of samples.
        samples: how many the audit has; counts are written as percentages of it.

    Example:
        >>> went = {"trial": "LOCAL-9600", "queries": 9600, "curve": ((0, 9), (9600, 8)), "last_doubling": 1}
        >>> further(Search(**went, times=10, low=0, expected=1.2, high=4), 200)[:63]
        'The last doubling of the queries (LOCAL-9600) broke 0.5 points;'
    """
    last, low, expected, high = (
        percent(count / samples) for count in (search.last_doubling, search.low, search.expected, search.high)
    )
    return (
        f"The last doubling of the queries ({search.trial}) broke {last} points; {search.times} times as many would "
        f"break {expected} more [{low}, {high}]."
    )


def conditions(audit: Audit) -> dict[str, str]:
    """The conditions that must agree before two audits may be compared: by name, in words, in the order of writing."""
    noise = f"noise {audit.noise}"
    if audit.noise != "off":
        noise += f", E = {audit.eot_iter} draws a gradient, R = {audit.judge_draws} a verdict"
    return {
        "Threat": threat_text(audit.norm, audit.eps),
        "Samples": f"n = {audit.samples}",
        "Split": f"{audit.split} split",
        "Images": _images(audit),
        "Battery": f"battery {audit.battery}",
        "Noise": noise,
        "Precision": f"crafted in {audit.crafting_precision}, judged in float32",
        "Device": f"device {audit.device}" + (f" ({audit.machine})" if audit.machine else ""),
        "Seed": f"seed {audit.seed}",
    }


def _images(audit: Audit) -> str:
    """Which images were audited; for older audits from which split they are, or that this is unknown."""
    if audit.images:
        return f"images {audit.images[:8]}"
    return f"images of split {audit.split_images[:8]}" if audit.split_images else "images unknown"


def checks_text(audit: Audit) -> str:
    """How many checks raised a red flag, such as "2 of 10"; "unchecked" where none was made."""
    return f"{len(audit.raised)} of {len(audit.flags)}" if audit.flags else "unchecked"


def reservations(audit: Audit) -> list[Doubt]:
    """Every reason not to believe the numbers: the audit's warnings, and that attacks or checks are missing."""
    reasons = list(audit.doubts)
    if not audit.has_adaptive and NO_ADAPTIVE not in {doubt.code for doubt in reasons}:
        reasons.append(WITHOUT_ADAPTIVE)
    return reasons if audit.flags else [*reasons, UNCHECKED]


def doubts(audited: Sequence[tuple[str, Audit]]) -> list[tuple[list[str], Doubt]]:
    """The reservations about several audits, each once, with the names of the audits that it is about.

    Reservations that differ only in their numbers become one, with the range of each number.

    Args:
        audited: pairs of a run's name and its audit.
    """
    about: dict[tuple[object, ...], list[tuple[str, Doubt]]] = {}
    for name, audit in audited:
        for doubt in reservations(audit):
            words = tuple(None if _is_number(each) else each for each in doubt.numbers)
            about.setdefault((doubt.code, doubt.text, words), []).append((name, doubt))
    merged = []
    for pairs in about.values():
        names, (first, *_) = list(dict.fromkeys(name for name, _ in pairs)), [doubt for _, doubt in pairs]
        spans = map(_span, zip(*(doubt.numbers for _, doubt in pairs), strict=True))
        merged.append((names, Doubt(first.code, first.text, tuple(spans))))
    return merged


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _span(numbers: Sequence[str]) -> str:
    if not _is_number(numbers[0]):
        return numbers[0]
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if float(low) == float(high) else f"{low} to {high}"


def quiet(audited: Sequence[tuple[str, Audit]]) -> list[str]:
    """The names of the audits in which checks were made and none raised a flag; ``audited`` as of ``doubts``."""
    return [name for name, audit in audited if audit.flags and not audit.raised]


_ELSEWHERE = {
    "l2": "any L2 distance",
    "l1": "an L1 ball of its own",
    "l0": "so many pixels",
    "patch": "a square of so many pixels a side",
    "events": "so many events added or removed",
    "none": "in no ball",
}


def kind_of(trial: Trial) -> str:
    """A trial's kind, and where it was judged if that is not in the audit's ball."""
    return trial.kind if trial.counts else f"{trial.kind}, {_ELSEWHERE.get(trial.norm, trial.norm)}"


def differing(runs: Sequence[SavedRun]) -> list[str]:
    """The names of the conditions (``conditions``) that differ between the audited runs, in their order."""
    stated = [conditions(run.audit) for run in runs if run.audit is not None]
    return [name for name in stated[0] if len({each[name] for each in stated}) > 1] if stated else []


def unlike(runs: Sequence[SavedRun]) -> list[str]:
    """Why worst cases must not be ranked: the conditions that differ, and "Attacks" where the trials differ.

    The battery's name does not count, only its trials. The split's name does not count where it is known which images
    were audited.
    """
    audits = [run.audit for run in runs if run.audit is not None]
    trials = {asked_trials(audit) for audit in audits}
    names = {"Battery"} | ({"Split"} if all(audit.images for audit in audits) else set())
    return [name for name in differing(runs) if name not in names] + (["Attacks"] if len(trials) > 1 else [])


def asked_trials(audit: Audit) -> frozenset[str]:
    """The names of the trials as they were asked for (in an ANN some run as others), without those the audit added."""
    return frozenset(name for trial in audit.trials if not trial.added for name in trial.asked)


def unlike_sentence(runs: Sequence[SavedRun]) -> str:
    """A sentence that says in which conditions the audits differ; "" where they do not."""
    names = unlike(runs)
    return f"These runs were audited under different conditions ({listed(names).lower()})." if names else ""


def labels(runs: Sequence[SavedRun]) -> list[str]:
    """One name for each run.

    Runs of one name get behind it what tells them apart: their folder, the conditions in which their audits differ,
    the audit's folder, or else a number.
    """
    names = [run.name for run in runs]
    for name, often in Counter(names).items():
        if often == 1:
            continue
        alike = [at for at, run in enumerate(runs) if run.name == name]
        folders = [runs[at].folder.name for at in alike]
        audits = [audited.name if (audited := runs[at].audited) else "not audited" for at in alike]
        both = [f"{folder}, {audit}" for folder, audit in zip(folders, audits, strict=True)]
        numbers = [f"{folder}, {number}" for number, folder in enumerate(folders, 1)]
        ways = (folders, _unlike_conditions([runs[at] for at in alike]), audits, both, numbers)
        endings = next(each for each in ways if len(set(each)) == often)
        for at, words in zip(alike, endings, strict=True):
            names[at] = f"{name} ({words})"
    return names


def _unlike_conditions(runs: Sequence[SavedRun]) -> list[str]:
    """For each run the conditions in which the audits differ, in words."""
    names = differing(runs)
    return [
        "not audited" if run.audit is None else ", ".join(map(conditions(run.audit).__getitem__, names)) for run in runs
    ]
