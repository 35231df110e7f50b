"""Pictures of an attack: clean, adversarial and the magnified perturbation, as PNGs inside the page."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image

from spikeproof.report.press import html
from spikeproof.report.records import Audit, Pictures

SHOWN_PIXELS = 128  # small pictures are enlarged, nearest neighbour, to at least this height


def data_uri(pixels: UInt8[np.ndarray, "C H W"]) -> str:
    """One picture of 1 or 3 channels as a PNG data URI, enlarged by a whole factor without smoothing."""
    factor = max(1, math.ceil(SHOWN_PIXELS / pixels.shape[1]))
    large = pixels.repeat(factor, axis=1).repeat(factor, axis=2).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(large[:, :, 0] if large.shape[2] == 1 else large).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def seen_at_once(pictures: np.ndarray) -> np.ndarray:
    """Frames [K,T,C,H,W] as pictures [K,C',H,W], their mean over steps; of two polarities the first is red, the second
    blue. Pictures come back as they are.

    Args:
        pictures: of any type, which stays.

    Example:
        >>> seen_at_once(np.ones((1, 4, 2, 8, 8)))[0, :, 0, 0].tolist()
        [1.0, 0.0, 1.0]
    """
    if pictures.ndim != 5:
        return pictures
    mean = pictures.mean(1)
    if np.issubdtype(pictures.dtype, np.integer):
        mean = mean.round()
    together = mean.astype(pictures.dtype)
    if together.shape[1] != 2:
        return together
    return np.stack([together[:, 0], np.zeros_like(together[:, 0]), together[:, 1]], 1)


def to_uint8(values: np.ndarray) -> UInt8[np.ndarray, "*shape"]:
    """Values as 0 to 255, rounded; what lies outside [0, 1] is clipped."""
    return np.asarray((np.clip(values, 0.0, 1.0) * 255).round(), dtype=np.uint8)


def perturbation_scale(pictures: Pictures, audit: Audit) -> float:
    """The change of a pixel in [0, 1] that is shown as white: eps for L-infinity, else the largest of all changes."""
    if audit.norm == "linf":
        return audit.eps
    return float(np.abs(pictures.adversarial - pictures.clean / 255.0).max()) or 1.0


def html_pictures(pictures: Pictures, audit: Audit) -> Markup:
    """A figure with three pictures for each sample and a sentence that says how to read it.

    Args:
        pictures: of the audit, K samples.
        audit: its norm and eps decide how perturbations are magnified.
    """
    scale = perturbation_scale(pictures, audit)
    samples = [_sample(pictures, i, scale) for i in range(len(pictures.clean))]
    filled = "the radius" if audit.norm == "linf" else "the largest change of any pixel here"
    return html("pictures.html", trial=pictures.trial, samples=samples, filled=filled)


def _sample(pictures: Pictures, i: int, scale: float) -> tuple[str, str, str, list[tuple[str, str]]]:
    """Of sample i: its label, the predictions before and after, and the pictures, each with a description."""
    clean, adversarial, names = pictures.clean[i] / 255.0, pictures.adversarial[i], pictures.class_names
    label, before, after = (
        names[each[i]] for each in (pictures.labels, pictures.clean_predictions, pictures.adversarial_predictions)
    )
    images = [
        (data_uri(pictures.clean[i]), f"Clean image of {label}, predicted {before}"),
        (data_uri(to_uint8(adversarial)), f"Adversarial image of {label}, predicted {after}"),
        (
            data_uri(to_uint8(0.5 + (adversarial - clean) / (2 * scale))),
            f"Magnified perturbation of {label}",
        ),
    ]
    return label, before, after, images
