"""The pictures show the pixels they stand for."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from report_folders import make_audit, make_pictures, read_one, write_run

from spikeproof.report.pictures import SHOWN_PIXELS, data_uri, html_pictures, perturbation_scale
from spikeproof.report.records import Pictures


def decode(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def shown(folder: Path, **change: np.ndarray) -> tuple[str, Pictures]:
    run = read_one(write_run(folder, audit=make_audit(eps=8 / 255), pictures=make_pictures(eps=8 / 255) | change))
    assert run.pictures is not None
    return html_pictures(run.pictures, run.audit), run.pictures


def test_enlarging_repeats_pixels() -> None:
    pixels = np.arange(3 * 20 * 20, dtype=np.uint8).reshape(3, 20, 20)
    large = decode(data_uri(pixels))
    assert large.shape == (140, 140, 3) and large.shape[0] >= SHOWN_PIXELS
    assert (large[3::7, 3::7] == pixels.transpose(1, 2, 0)).all()
    assert (large[::7, ::7] == large[6::7, 6::7]).all()
    assert decode(data_uri(pixels[:1])).shape == (140, 140)


def test_perturbation_is_half_plus_delta_over_twice_the_radius(tmp_path: Path) -> None:
    pictures = make_pictures()
    clean = np.full((2, 3, 32, 32), 100, np.uint8)
    delta = np.zeros(clean.shape, np.float32)
    delta[0, 0, 0, 0], delta[0, 0, 0, 1], delta[0, 0, 0, 2] = 8 / 255, -8 / 255, 4 / 255
    adversarial = (clean / 255 + delta).astype(np.float32)
    html, _ = shown(tmp_path / "x", clean=clean, adversarial=adversarial, labels=pictures["labels"])
    sources = re.findall(r'<img src="([^"]+)"', html)
    assert len(sources) == 6
    assert (decode(sources[0])[::4, ::4] == 100).all()
    red = decode(sources[2])[::4, ::4, 0]
    assert [int(level) for level in red[0, :3]] == [255, 0, 191]
    assert int(red[1, 1]) == 128


def test_verdict_and_alternative_text(tmp_path: Path) -> None:
    html, _ = shown(tmp_path / "x")
    assert 'alt="Adversarial image of airplane, predicted cat"' in html
    assert "✗ fooled: airplane → cat" in html and "✓ still right: automobile" in html
    wrong_before, _ = shown(tmp_path / "y", clean_predictions=np.array([2, 1]))
    assert "✗ already wrong: bird" in wrong_before


def test_in_another_norm_the_largest_change_sets_the_scale(tmp_path: Path) -> None:
    audit = make_audit() | {"threat": {"norm": "l2", "eps": 0.5}}
    run = read_one(write_run(tmp_path / "x", audit=audit, pictures=make_pictures(eps=4 / 255)))
    assert run.pictures is not None and run.audit is not None
    assert abs(perturbation_scale(run.pictures, run.audit) - 4 / 255) < 1e-6
    assert "largest change of any pixel" in html_pictures(run.pictures, run.audit)
