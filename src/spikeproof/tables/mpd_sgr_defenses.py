"""MPD-SGR against five other defenses, with VGG11 at T=8: Tables 1 (attacks) and 3 (noise) of its paper.

The numbers of all six are that paper's own runs, not those of the methods' papers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from spikeproof.recipes.recipe import Recipe
from spikeproof.tables.settings import (
    AT,
    AUDIT,
    MPD_SGR_CANDIDATES,
    SR_CANDIDATES,
    STOG,
    calibration,
    plain,
    reg,
    sr_training,
    with_dlif,
    with_feel,
)
from spikeproof.tables.table import Calibration, Claim, Column, Row, Table

PAPER = "Jiang, Jiang, Yan and Tang, MPD-SGR, AAAI 2026, arXiv 2511.12199"
DATA = {"c10": "cifar10", "c100": "cifar100"}
DATA_WORDS = {"c10": "CIFAR-10", "c100": "CIFAR-100"}
_TRAINING_WORDS = {"vanilla": "vanilla training", "at": "adversarial training"}
_ATTACKS = ("Clean", "FGSM", "PGD", "BIM")
_PUBLISHED: dict[tuple[str, str], dict[str, tuple[float, float, float, float]]] = {
    ("c10", "vanilla"): {
        "reg": (92.49, 25.18, 0.88, 0.60),
        "stog": (91.64, 16.22, 0.28, 0.12),
        "dlif": (92.01, 11.52, 0.08, 0.06),
        "feel": (90.08, 29.17, 6.67, 5.99),
        "sr": (91.04, 31.72, 8.55, 7.28),
        "mpd-sgr": (91.63, 47.59, 20.55, 16.85),
    },
    ("c10", "at"): {
        "reg": (91.41, 45.00, 22.95, 20.80),
        "stog": (90.13, 45.75, 27.74, 26.32),
        "dlif": (88.94, 39.21, 27.17, 25.98),
        "feel": (89.00, 45.62, 29.52, 28.39),
        "sr": (88.26, 44.28, 28.63, 27.03),
        "mpd-sgr": (90.69, 59.27, 33.38, 32.61),
    },
    ("c100", "vanilla"): {
        "reg": (72.82, 10.14, 0.27, 0.31),
        "stog": (72.22, 5.92, 0.26, 0.20),
        "dlif": (71.38, 7.20, 0.08, 0.08),
        "feel": (70.06, 9.74, 2.06, 1.92),
        "sr": (66.76, 16.16, 8.00, 6.43),
        "mpd-sgr": (70.42, 34.51, 9.03, 8.41),
    },
    ("c100", "at"): {
        "reg": (69.43, 19.07, 9.23, 8.41),
        "stog": (69.24, 19.64, 9.77, 3.23),
        "dlif": (67.08, 19.34, 9.96, 9.39),
        "feel": (68.05, 19.55, 12.11, 11.97),
        "sr": (61.26, 23.10, 17.07, 16.28),
        "mpd-sgr": (69.56, 39.45, 22.23, 19.45),
    },
}
_LABELS = {
    "reg": "REG (Ding et al. 2022)",
    "stog": "StoG (Ding et al. 2024b)",
    "dlif": "DLIF (Ding et al. 2024a)",
    "feel": "FEEL (Xu et al. 2024)",
    "sr": "SR (Liu et al. 2024)",
    "mpd-sgr": "MPD-SGR",
}
_CALIBRATED = {"sr": SR_CANDIDATES, "mpd-sgr": MPD_SGR_CANDIDATES}


def _recipe(method: str, data: str, training: str) -> Recipe:
    base, at = plain("vgg11", DATA[data], 8), AT if training == "at" else None
    if method == "dlif":
        return with_dlif(base, adversarial=at is not None)
    if method == "feel":
        return with_feel(base, adversarial=at is not None)
    base = (sr_training(base) if method == "sr" else base).having(at)
    return {
        "reg": base.having(reg("vgg11")),
        "stog": base.having(STOG),
        "sr": base.having(SR_CANDIDATES[0]),
        "mpd-sgr": base.having(MPD_SGR_CANDIDATES[0]),
    }[method]


def _row(method: str, data: str, training: str, published: Mapping[str, float]) -> Row:
    label = "RAT (Ding et al. 2022)" if (method, training) == ("reg", "at") else _LABELS[method]
    return Row(
        name=f"{data}-{training}-{method}",
        label=label,
        group=f"{DATA_WORDS[data]}, {_TRAINING_WORDS[training]}",
        recipe=_recipe(method, data, training),
        published=published,
        calibrated=(f"{data}-{method}",) if method in _CALIBRATED else (),
    )


def _calibrations(data: str) -> list[Calibration]:
    clean = {method: numbers[0] for method, numbers in _PUBLISHED[data, "vanilla"].items()}
    return [
        calibration(
            f"{data}-{method}",
            candidates,
            _recipe(method, data, "vanilla"),
            _recipe("reg", data, "vanilla"),
            clean=(clean["reg"], clean[method]),
            source=f"{PAPER}, Table 1, {DATA_WORDS[data]}, vanilla training, REG and {_LABELS[method].split()[0]}",
        )
        for method, candidates in _CALIBRATED.items()
    ]


def _claims(data: str) -> list[Claim]:
    words = DATA_WORDS[data]

    def over(higher: str, lower: str, text: str) -> Claim:
        return Claim(text=f"{text}, {words}", column="PGD", higher=f"{data}-{higher}", lower=f"{data}-{lower}")

    below = [method for method in _LABELS if method != "mpd-sgr"]
    return [
        over("vanilla-sr", "vanilla-reg", "SR over REG without AT"),
        over("vanilla-mpd-sgr", "vanilla-sr", "MPD-SGR over SR without AT"),
        over("vanilla-mpd-sgr", "vanilla-reg", "MPD-SGR over REG without AT"),
        *(
            over(f"at-{method}", f"vanilla-{method}", f"{_LABELS[method].split()[0]} higher with AT")
            for method in _LABELS
        ),
        *(over("at-mpd-sgr", f"at-{each}", f"MPD-SGR over {_LABELS[each].split()[0]} with AT") for each in below),
    ]


TABLE1 = Table(
    name="mpd-sgr-table1",
    title="Compare with state-of-the-art work on adversarial robustness of SNN (VGG11, T = 8)",
    source=f"{PAPER}, Table 1",
    columns=(
        Column(label="Clean"),
        Column(label="FGSM", trial="FGSM"),
        Column(label="PGD", trial="PGD-7"),
        Column(label="BIM", trial="BIM-7"),
    ),
    rows=tuple(
        _row(method, data, training, dict(zip(_ATTACKS, numbers, strict=True)))
        for (data, training), methods in _PUBLISHED.items()
        for method, numbers in methods.items()
    ),
    protocol="PGD",
    calibrations=tuple(itertools.chain.from_iterable(_calibrations(data) for data in DATA)),
    claims=tuple(itertools.chain.from_iterable(_claims(data) for data in DATA)),
    audit=AUDIT,
    note=(
        "Epochs, batches, augmentation and weight decay are those of each method's own code; the paper leaves them "
        "open. Adversarial training is PGD-2 of 2/255, as the paper says of all, but for DLIF, which brings its own "
        "images (FGSM of 4/255; without AT Gaussian noise of 8/255). Only REG and RAT retract weights, which the paper "
        "leaves open for the others. MPD-SGR's eta and SR's strength are not published: they are chosen by what they "
        "cost in clean accuracy without AT, and kept with it. StoG's gates stay random under attack, and gradients and "
        "verdicts are averages over draws here. The printed BIM of StoG with AT on CIFAR-100, 3.23, is far below its "
        "PGD, 9.77, and may be a misprint."
    ),
)

_NOISE: dict[str, tuple[float, float, float]] = {
    "reg": (72.82, 24.73, 49.86),
    "feel": (70.06, 32.63, 52.47),
    "sr": (66.76, 47.47, 61.37),
    "mpd-sgr": (70.42, 53.01, 64.21),
}
_NOISES = ("Clean", "Gaussian Noise", "Uniform Noise")

TABLE3 = Table(
    name="mpd-sgr-table3",
    title="Comparative evaluation of defense mechanisms under random perturbation on CIFAR-100 with VGG11 (T = 8)",
    source=f"{PAPER}, Table 3",
    columns=(
        Column(label="Clean"),
        Column(label="Gaussian Noise", trial="GAUSSIAN", eps=0.1),
        Column(label="Uniform Noise", trial="UNIFORM", eps=0.1),
    ),
    rows=tuple(
        _row(method, "c100", "vanilla", dict(zip(_NOISES, numbers, strict=True))) for method, numbers in _NOISE.items()
    ),
    protocol="Gaussian Noise",
    calibrations=tuple(_calibrations("c100")),
    claims=tuple(
        Claim(text=f"{text} under {noise}", column=noise, higher=f"c100-vanilla-{high}", lower=f"c100-vanilla-{low}")
        for noise in _NOISES[1:]
        for text, high, low in (
            ("FEEL over REG", "feel", "reg"),
            ("SR over FEEL", "sr", "feel"),
            ("MPD-SGR over SR", "mpd-sgr", "sr"),
        )
    ),
    audit=AUDIT,
    note=(
        "The networks are those of Table 1. Noise is added to pixels in [0, 1] and clipped to them: normal of standard "
        "deviation 0.1 and uniform in [-0.1, 0.1]; the paper writes N(0, eps) and U(-eps, eps) with eps 0.1. One draw "
        "an image; an image that is wrong without noise counts as wrong with it."
    ),
)
