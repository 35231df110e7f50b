"""Pictures of an attack: clean, adversarial and the magnified perturbation, as PNGs inside the page."""

from __future__ import annotations

import base64
import io
import math
from html import escape

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from spikeproof.report.records import Audit, Pictures

SHOWN_PIXELS = 128  # small pictures are enlarged, nearest neighbour, to at least this height


def data_uri(pixels: UInt8[np.ndarray, "C H W"]) -> str:
    """One picture as a PNG data URI, enlarged by a whole factor without smoothing."""
    factor = max(1, math.ceil(SHOWN_PIXELS / pixels.shape[1]))
    large = pixels.repeat(factor, axis=1).repeat(factor, axis=2).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(large[:, :, 0] if large.shape[2] == 1 else large).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def to_uint8(values: np.ndarray) -> UInt8[np.ndarray, "*shape"]:
    """[0, 1] to 0..255, rounded."""
    return np.asarray((np.clip(values, 0.0, 1.0) * 255).round(), dtype=np.uint8)


def perturbation_scale(pictures: Pictures, audit: Audit) -> float:
    """What fills the range from grey to white: the radius for L-infinity, else the largest change of any pixel."""
    if audit.norm == "linf":
        return audit.eps
    return float(np.abs(pictures.adversarial - pictures.clean / 255.0).max()) or 1.0


def html_pictures(pictures: Pictures, audit: Audit) -> str:
    """A figure with one row of three panels per sample and a sentence that says how to read it."""
    scale = perturbation_scale(pictures, audit)
    filled = "the radius" if audit.norm == "linf" else "the largest change of any pixel here"
    rows = "".join(_sample(pictures, i, scale) for i in range(len(pictures.clean)))
    return (
        f'<figure class="wide"><h4>Samples under {escape(pictures.trial)}</h4><div class="pictures">{rows}</div>'
        "<figcaption>Clean image, adversarial image, and their difference magnified as 0.5 + difference / (2 × "
        f"{filled}), so grey is unchanged. A few examples show what the threat looks like; they measure nothing."
        "</figcaption></figure>"
    )


def _sample(pictures: Pictures, i: int, scale: float) -> str:
    clean, adversarial = pictures.clean[i] / 255.0, pictures.adversarial[i]
    names = pictures.class_names
    label = names[pictures.labels[i]]
    before, after = names[pictures.clean_predictions[i]], names[pictures.adversarial_predictions[i]]
    panels = (
        (pictures.clean[i], f"Clean image of {label}, predicted {before}"),
        (to_uint8(adversarial), f"Adversarial image of {label}, predicted {after}"),
        (to_uint8(0.5 + (adversarial - clean) / (2 * scale)), f"Magnified perturbation of {label}"),
    )
    images = "".join(f'<img src="{data_uri(pixels)}" alt="{escape(words)}">' for pixels, words in panels)
    if before != label:
        verdict = f'<span class="lost">✗ already wrong: {escape(before)}</span>'
    elif after != label:
        verdict = f'<span class="lost">✗ fooled: {escape(before)} → {escape(after)}</span>'
    else:
        verdict = f'<span class="kept">✓ still right: {escape(after)}</span>'
    return f'<div class="sample"><div class="panels">{images}</div><p><b>{escape(label)}</b> {verdict}</p></div>'
