"""Comparisons: train and audit every recipe of a family, and put them on one page. Killed and started again at will."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeproof.errors import SpikeproofError
from spikeproof.recipes.recipe import Recipe
from spikeproof.recipes.run import audit_folder, audit_run, train_recipe
from spikeproof.report import (
    Run,
    comparison_table,
    paired_table,
    read_run,
    write_between_marks,
    write_comparison_picture,
    write_report,
)
from spikeproof.runs import RunFolder

_PARTS = ("data", "model", "train", "audit")


@dataclasses.dataclass(frozen=True)
class Share:
    """This process's part of the rows: every ``of``-th, from the ``index``-th on."""

    index: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """From "0/2".

        Raises:
            SpikeproofError: text that is not I/N with 0 <= I < N.
        """
        index, _, of = text.partition("/")
        if not (re.fullmatch("[0-9]+/[0-9]+", text) and int(index) < int(of)):
            raise SpikeproofError(f"A share of the rows is I/N with 0 <= I < N, such as 0/2, not {text!r}.")
        return cls(int(index), int(of))


def overridden(recipes: Sequence[Recipe], before: Recipe, after: Recipe) -> list[Recipe]:
    """The recipes with every field changed that differs between ``before`` and ``after``.

    Raises:
        SpikeproofError: a name, a defense or the seed differs: these are a row's own.
    """
    alike = dataclasses.replace(after, **{part: getattr(before, part) for part in _PARTS})
    if alike != before:
        raise SpikeproofError("A comparison's rows have names and defenses of their own; override other fields only.")
    if after.train.seed != before.train.seed:
        raise SpikeproofError("A comparison's seeds are given by --seeds, not by --train.seed.")
    return [
        dataclasses.replace(
            recipe, **{part: _moved(*(getattr(each, part) for each in (recipe, before, after))) for part in _PARTS}
        )
        for recipe in recipes
    ]


def _moved(own: Any, before: Any, after: Any) -> Any:
    """``own`` with every field changed that differs between the other two, at any depth."""
    if before == after:
        return own
    if not dataclasses.is_dataclass(after) or not type(own) is type(before) is type(after):
        return after
    assert not isinstance(own, type)
    fields = [field.name for field in dataclasses.fields(after)]
    return dataclasses.replace(
        own, **{name: _moved(*(getattr(each, name) for each in (own, before, after))) for name in fields}
    )


def run_comparison(
    recipes: Sequence[Recipe],
    out: Path,
    *,
    seeds: Sequence[int],
    data_dir: Path | None,
    share: Share,
    command: str,
    show: bool = True,
) -> dict[str, list[tuple[Path, Path]]]:
    """Train and audit every recipe with every seed, in ``out``/NAME-sSEED; what is done already is left as it is.

    A row that fails is told on stderr and does not stop the others.

    Returns:
        Of each recipe by its name the folders of its runs and of their audits, also of those that other shares are at.

    Raises:
        SpikeproofError: a row was begun there with other settings, so that its numbers would be of something else.
    """
    work = [
        (dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=seed)), seed)
        for seed in seeds
        for recipe in recipes
    ]
    for recipe, seed in work:
        begun = RunFolder(_folder(out, recipe, seed))
        if begun.begun:
            begun.refuse_others(recipe.settings())
    for place, (recipe, seed) in enumerate(work):
        folder = _folder(out, recipe, seed)
        if place % share.of != share.index or (audit_folder(folder, recipe.audit) / "audit.json").exists():
            continue
        if show:
            print(f"{place + 1}/{len(work)}: {recipe.name}, seed {seed}", file=sys.stderr, flush=True)
        try:
            train_recipe(recipe, data_dir=data_dir, out=folder, resume=True, command=command, show=show)
            audit_run(folder, recipe.audit, data_dir=data_dir, command=command, show=show)
        except SpikeproofError as error:
            print(f"spikeproof: {recipe.name}, seed {seed}, is left out: {error}", file=sys.stderr, flush=True)
    found: dict[str, list[tuple[Path, Path]]] = {recipe.name: [] for recipe in recipes}
    for recipe, seed in work:
        folder = _folder(out, recipe, seed)
        found[recipe.name].append((folder, audit_folder(folder, recipe.audit)))
    return found


def one_more(recipes: Sequence[Recipe]) -> list[tuple[str, str]]:
    """Pairs of rows of which the first has one defense more, and all else alike but for its training's length.

    Example:
        >>> from spikeproof.recipes import COMPARISONS
        >>> one_more(COMPARISONS["mini-cifar10"][:4])[:2]
        [('mini-cifar10-at', 'mini-cifar10-vanilla'), ('mini-cifar10-mpd-sgr', 'mini-cifar10-vanilla')]
    """

    def apart(recipe: Recipe) -> tuple[object, ...]:
        train = dataclasses.replace(recipe.train, epochs=1, validate_every=1)
        return recipe.data, recipe.model, train, recipe.audit.threat

    pairs = []
    for recipe in recipes:
        own = set(recipe.defenses)
        for other in recipes:
            fewer = set(other.defenses)
            if fewer < own and len(own) == len(fewer) + 1 and apart(recipe) == apart(other):
                pairs.append((recipe.name, other.name))
    return pairs


def write_comparison(
    folders: dict[str, list[tuple[Path, Path]]], page: Path, report: Path, over: Sequence[tuple[str, str]] = ()
) -> dict[str, list[Run]]:
    """The Markdown table between the page's marks, and of the same runs an HTML report and, beside it, a picture.

    Args:
        over: pairs of rows that are compared image by image below the table.

    Raises:
        SpikeproofError: nothing is audited yet, or a folder is damaged.
    """
    rows: dict[str, list[Run]] = {
        name: [read_run(folder, place) for folder, place in each if (place / "audit.json").exists()]
        for name, each in folders.items()
    }
    runs = [run for each in rows.values() for run in each]
    write_between_marks(page, "\n\n".join(filter(None, [comparison_table(rows), paired_table(rows, over)])))
    write_comparison_picture(rows, report.with_name("comparison.svg"))
    write_report(runs, report)
    return rows


def comparison_json(rows: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """A plain object for each audited run: accuracies in [0, 1], and where its files are."""
    return [
        {
            "recipe": name,
            "run": str(run.folder),
            "seed": run.config["recipe"]["train"]["seed"],  # type: ignore[index]
            "samples": run.audit.samples,
            "norm": run.audit.norm,
            "eps": run.audit.eps,
            "battery": run.audit.battery,
            "accuracies": {trial.name: trial.own.accuracy for trial in run.audit.trials if trial.own is not None},
            "protocol": run.audit.protocol.accuracy,
            "worst_case": None if run.audit.no_number else run.audit.worst_case.accuracy,
            "no_number": run.audit.no_number or None,
            "masking_gap": None if run.audit.no_number else run.audit.masking_gap,
            "flags": [flag.name for flag in run.audit.raised],
        }
        for name, runs in rows.items()
        for run in runs
        if run.audit is not None
    ]


def _folder(out: Path, recipe: Recipe, seed: int) -> Path:
    return out / f"{recipe.name}-s{seed}"
