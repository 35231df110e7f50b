"""Whether the data at hand are those of a run, by ``Data.fingerprints``. Older runs have no fingerprints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spikeproof.errors import SpikeproofError

_CALLED = {"class_names": "class names", "train": "training images", "validation": "validation images"}


def refuse_other_data(folder: Path, recorded: dict[str, Any] | None, now: dict[str, Any] | None) -> None:
    """Refuse to go on with a run on other data than it began with.

    Args:
        folder: of the run.
        recorded: the fingerprints of its data; None in older runs, which are let pass.
        now: those of the data at hand; None for no data.

    Raises:
        SpikeproofError: they differ. The message says in what.
    """
    if recorded and now:
        others = [called for field, called in _CALLED.items() if recorded[field] != now[field]]
        if others:
            raise SpikeproofError(
                f"The data at hand are not those that the run in {folder} was started with: other "
                f"{' and '.join(others)}; give those, or another --out."
            )


def other_data(folder: Path, recorded: dict[str, Any] | None, now: dict[str, Any], split: str) -> list[str]:
    """Sentences that warn of an audit on other images than the run's; none where they are the same.

    Args:
        folder: of the run.
        recorded: the fingerprints of its data; None in older runs, of which nothing is said.
        now: those of the data at hand.
        split: the audited one.

    Raises:
        SpikeproofError: the classes have other names, so that a label means another class.
    """
    if not recorded:
        return []
    if recorded["class_names"] != now["class_names"]:
        before, after = (", ".join(names[:5]) for names in (recorded["class_names"], now["class_names"]))
        raise SpikeproofError(
            f"The data at hand have other classes ({after}, ...) than those that the run in {folder} was trained on "
            f"({before}, ...), so a label would mean another class; give that data."
        )
    if recorded[split] != now[split]:
        return [
            f"The {split} images are not those that the run had: files have changed since, or this is another copy."
        ]
    return []
