"""Whether the data at hand are those of a run, by ``Data.fingerprints``; a run from before these were kept has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spikeproof.errors import SpikeproofError

_CALLED = {"class_names": "class names", "train": "training images", "validation": "validation images"}


def refuse_other_data(folder: Path, recorded: dict[str, Any] | None, now: dict[str, Any] | None) -> None:
    """Refuse to go on with a run on other data than it began with.

    Args:
        folder: of the run; recorded: the fingerprints of its data; now: those of the data at hand.

    Raises:
        SpikeproofError: they differ; it says in what.
    """
    if recorded and now:
        others = [called for part, called in _CALLED.items() if recorded[part] != now[part]]
        if others:
            raise SpikeproofError(
                f"The data at hand are not those that the run in {folder} was started with: other "
                f"{' and '.join(others)}; give those, or another --out."
            )


def other_data(folder: Path, recorded: dict[str, Any] | None, now: dict[str, Any], split: str) -> list[str]:
    """What is to be said of an audit on other images than the run's; nothing where they are the same.

    Args:
        folder: of the run; recorded: the fingerprints of its data; now: those of the data at hand.
        split: which is audited.

    Raises:
        SpikeproofError: the classes have other names, so that a label means another thing.
    """
    if not recorded:
        return []
    if recorded["class_names"] != now["class_names"]:
        before, after = (", ".join(names[:5]) for names in (recorded["class_names"], now["class_names"]))
        raise SpikeproofError(
            f"The data at hand have other classes ({after}, ...) than those that the run in {folder} was trained on "
            f"({before}, ...), so a label would mean another thing; give that data."
        )
    if recorded[split] != now[split]:
        return [f"The {split} images are not those that the run had: files were changed since, or are another copy."]
    return []
