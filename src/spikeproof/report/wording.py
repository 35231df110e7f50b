"""How conditions, doubts and runs are written, in the HTML and in the terminal alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from spikeproof.doubt import Doubt
from spikeproof.report.numbers import interval, listed, percent, threat_text
from spikeproof.report.records import Audit, Run, Search, Trial

# Codes of doubts about an audit's adaptive attacks: there was none, or it did less than the protocol one.
OF_ADAPTIVE = (NO_ADAPTIVE := "no adaptive attack", "weak adaptive attack")
WITHOUT_ADAPTIVE = Doubt(
    NO_ADAPTIVE,
    "No adaptive attack was run, so its worst case is over fixed backwards only and its gap proves nothing.",
)
UNCHECKED = Doubt(
    "unchecked",
    "No check looked for red flags, so nothing says that its attacks worked; audit with diagnostics.",
)


# How people write a defense that neither its class nor its field in a recipe is written like. A run's config.json says
# it itself ("labels"); these are for runs from before it did, and for result rows, which have the class's name.
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
    """A defense as people call it, by its class or by its field in a recipe.

    Example:
        >>> method_name("mpd_sgr"), method_name("AdversarialTraining"), method_name("sr"), method_name("Mine")
        ('MPD-SGR', 'AT', 'SR', 'Mine')
    """
    name = name.strip()
    short = name.upper() if name.islower() and len(name) < 7 else name
    return _WRITTEN.get(name.replace("_", "").replace("-", "").lower(), short)


def worst_case(audit: Audit) -> str:
    """The worst case in percent, as the number to quote, or the word none where nothing can be quoted.

    Such an audit still has an upper bound; :func:`worst_interval` says it.
    """
    return "none" if audit.no_number else percent(audit.worst_case.accuracy)


def worst_interval(audit: Audit) -> str:
    """Its 95 % interval, or the bound that stands in the details where there is no number to quote."""
    return f"at most {percent(audit.worst_case.accuracy)}" if audit.no_number else interval(audit.worst_case)


def masking_gap(audit: Audit) -> str:
    """The masking gap in points, at least this where the worst case is only a bound."""
    return f"{'≥ ' if audit.no_number else ''}{percent(audit.masking_gap)}"


def further(search: Search, samples: int) -> str:
    """What the last doubling of queries broke, and what ten times as many would.

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
    """What must agree before two audits may be compared, by name, in the order it is written."""
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
    """Which images were audited; of an older audit only what split they are from is known, or nothing."""
    if audit.images:
        return f"images {audit.images[:8]}"
    return f"images of split {audit.split_images[:8]}" if audit.split_images else "images unknown"


def checks_text(audit: Audit) -> str:
    """How many checks raised a red flag: 2 of 10, or unchecked."""
    return f"{len(audit.raised)} of {len(audit.flags)}" if audit.flags else "unchecked"


def reservations(audit: Audit) -> list[Doubt]:
    """Every reason not to believe the numbers: what the audit says itself, and what it leaves unsaid."""
    found = list(audit.doubts)
    if not audit.has_adaptive and NO_ADAPTIVE not in {doubt.code for doubt in found}:
        found.append(WITHOUT_ADAPTIVE)
    return found if audit.flags else [*found, UNCHECKED]


def doubts(audited: Sequence[tuple[str, Audit]]) -> list[tuple[list[str], Doubt]]:
    """The reservations about several audits, each said once with the names that it is about.

    Those that differ in numbers alone are one, which says from where to where these go.
    """
    about: dict[tuple[object, ...], list[tuple[str, Doubt]]] = {}
    for name, audit in audited:
        for doubt in reservations(audit):
            words = tuple(None if _is_number(each) else each for each in doubt.numbers)
            about.setdefault((doubt.code, doubt.text, words), []).append((name, doubt))
    said = []
    for pairs in about.values():
        names, (first, *_) = list(dict.fromkeys(name for name, _ in pairs)), [doubt for _, doubt in pairs]
        spans = map(_span, zip(*(doubt.numbers for _, doubt in pairs), strict=True))
        said.append((names, Doubt(first.code, first.text, tuple(spans))))
    return said


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
    """Those of which checks were made and none raised a flag."""
    return [name for name, audit in audited if audit.flags and not audit.raised]


def kind_of(trial: Trial) -> str:
    """A trial's kind, and whether it was judged at any L2 distance."""
    return trial.kind if trial.counts else f"{trial.kind}, any L2 distance"


def differing(runs: Sequence[Run]) -> list[str]:
    """The names of the conditions in which the audited runs do not agree."""
    stated = [conditions(run.audit) for run in runs if run.audit is not None]
    return [name for name in stated[0] if len({each[name] for each in stated}) > 1] if stated else []


def unlike(runs: Sequence[Run]) -> list[str]:
    """Why worst cases must not be ranked: the differing conditions, and Attacks where the trials differ.

    A battery is only a name: what counts is its trials. So is a split, where it is known which images were audited.
    """
    audits = [run.audit for run in runs if run.audit is not None]
    trials = {asked_trials(audit) for audit in audits}
    names = {"Battery"} | ({"Split"} if all(audit.images for audit in audits) else set())
    return [name for name in differing(runs) if name not in names] + (["Attacks"] if len(trials) > 1 else [])


def asked_trials(audit: Audit) -> frozenset[str]:
    """The trials that were asked for: in an ANN some run as others, and none is one that the audit added by itself."""
    return frozenset(name for trial in audit.trials if not trial.added for name in trial.asked)


def unlike_sentence(runs: Sequence[Run]) -> str:
    """One sentence that says in what the audits differ; empty where they do not."""
    names = unlike(runs)
    return f"These runs were audited under different conditions ({listed(names).lower()})." if names else ""


def labels(runs: Sequence[Run]) -> list[str]:
    """One name per run, told apart where several share one: by folder or by audit, else by number."""
    names = [run.name for run in runs]
    for name, often in Counter(names).items():
        if often == 1:
            continue
        alike = [at for at, run in enumerate(runs) if run.name == name]
        folders = [runs[at].folder.name for at in alike]
        audits = [place.name if (place := runs[at].audited) else "not audited" for at in alike]
        both = [f"{folder}, {audit}" for folder, audit in zip(folders, audits, strict=True)]
        numbers = [f"{folder}, {number}" for number, folder in enumerate(folders, 1)]
        told = next(each for each in (folders, audits, both, numbers) if len(set(each)) == often)
        for at, words in zip(alike, told, strict=True):
            names[at] = f"{name} ({words})"
    return names
