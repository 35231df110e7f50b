"""The picture of a comparison: what is not to be believed is seen at once, and without colours too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from report_folders import FLAGS, make_audit, read_one, write_run

from spikeproof.report import write_comparison_picture

ORANGE = (0xD5, 0x5E, 0x00)


def picture(folder: Path, audit: dict[str, Any]) -> np.ndarray:
    run = read_one(write_run(folder, audit=audit))
    write_comparison_picture({"row": [run]}, folder / "picture.png")
    return np.asarray(Image.open(folder / "picture.png").convert("RGB")).astype(int)


def pure(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - colour).sum(-1) < 30).sum())


def test_a_worst_case_with_a_red_flag_is_hollow(tmp_path: Path) -> None:
    plain = picture(tmp_path / "plain", make_audit())
    flagged = picture(tmp_path / "flagged", make_audit(raised=FLAGS[0]))
    assert 0 < pure(flagged, ORANGE) < pure(plain, ORANGE) - 20  # the marker is an outline; the legend's is not


def test_a_worst_case_without_an_adaptive_attack_is_hollow(tmp_path: Path) -> None:
    audit = make_audit(correct=(431, 300, 219, 219))
    del audit["trials"][3]
    assert pure(picture(tmp_path / "weak", audit), ORANGE) < pure(picture(tmp_path / "x", make_audit()), ORANGE) - 20


def test_the_three_kinds_differ_in_shape(tmp_path: Path) -> None:
    """In grey alone a circle, a square and a diamond stay apart: their areas of full colour differ."""
    pixels = picture(tmp_path / "plain", make_audit())
    areas = [pure(pixels, colour) for colour in ((0x55, 0x5C, 0x64), (0x00, 0x72, 0xB2), ORANGE)]
    assert len(set(areas)) == 3 and min(areas) > 20
