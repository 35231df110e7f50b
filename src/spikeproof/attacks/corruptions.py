"""Common corruptions, computed as images come (Hendrycks and Dietterich 2019), with CIFAR-10-C's constants."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form, once
from spikeproof.checked import check_seed, told, whole
from spikeproof.errors import SpikeproofError
from spikeproof.private_rng import private_rng
from spikeproof.threat import OtherThreat, Threat

# By severity, 1 to 5.
SIZES = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # sigma, in pixels
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # what is left of it
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the HSV value
}


def corrupt(images: Float[Tensor, "n c h w"], kind: str, severity: int, *, seed: int = 0) -> Float[Tensor, "n c h w"]:
    """The images as CIFAR-10-C would have them at this severity s, each clipped to [0, 1]::

        gaussian_noise   x + s N(0, 1)
        gaussian_blur    x * Gaussian(s), cut at 4 s, edges repeated
        contrast         m + s (x - m),           m: each channel's mean over the image
        brightness       x min(v + s, 1) / v,     v: the largest channel of a pixel; black becomes s in every channel

    The last is v + s in HSV, with hue and saturation as they were. The constants are those of 32 x 32 pixels. Not as in
    the benchmark: its files are rounded to 256 grey levels, these images are not, and the noise is another draw; images
    of one channel or of two are treated likewise. The benchmark's other corruptions need files or libraries.

    Args:
        images: x, in [0, 1].
        kind: one of the four.
        severity: 1 to 5.
        seed: of the noise; nothing else is random, and the caller's generator is not touched.

    Raises:
        SpikeproofError: there is no such kind or severity.

    Example:
        >>> corrupt(torch.full((1, 3, 2, 2), 0.5), "brightness", 5)[0, :, 0, 0]
        tensor([0.8000, 0.8000, 0.8000])
    """
    if not isinstance(kind, str) or kind not in SIZES:
        raise SpikeproofError(f"A corruption is one of {', '.join(SIZES)}, not {told(kind)}.")
    whole(severity, "A corruption", "a severity", 1, 5)
    check_seed(seed, "A corruption")
    size = SIZES[kind][severity - 1]
    if kind == "gaussian_noise":
        with private_rng():
            torch.manual_seed(seed)
            changed = images + size * torch.randn_like(images)
    elif kind == "gaussian_blur":
        changed = _blur(images, size)
    elif kind == "contrast":
        mean = images.mean((2, 3), keepdim=True)
        changed = mean + size * (images - mean)
    else:
        changed = _brighten(images, size)
    return changed.clamp(0, 1)


@attack("A corruption", norms=())
def corruption(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat | OtherThreat | None = None,
    how: Crafting | None = None,
    *,
    kind: str,
    severity: int,
) -> Attacked:
    """:func:`corrupt` as an attack: every image corrupted once and judged as it is, as in the benchmark.

    Args:
        model, images, labels: as in :func:`spikeproof.attacks.pgd`.
        threat: ignored, since a corruption keeps to no ball; every attack takes one. None will do.
        how: its seed is the noise's.
        kind, severity: as in :func:`corrupt`.

    Raises:
        SpikeproofError: there is no such kind or severity, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> corruption(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), kind="contrast", severity=3).correct.shape
        torch.Size([2])
    """
    how = how or Crafting()
    changed = corrupt(images, kind, severity, seed=how.seed)
    with crafting(model, how) as craft:
        return craft.verdict(changed, labels)


def _blur(images: Tensor, sigma: float) -> Tensor:
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = (weights / weights.sum()).reshape(1, 1, 1, -1)
    grey = pad(images.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")  # each channel for itself
    return conv2d(conv2d(grey, kernel), kernel.mT).reshape(images.shape)


def _brighten(images: Tensor, added: float) -> Tensor:
    value = images.amax(1, keepdim=True)
    brighter = (value + added).clamp_max(1)
    # A black pixel has no hue and turns grey.
    return torch.where(value > 0, images * brighter / torch.where(value > 0, value, 1), brighter)


FORMS = tuple(
    Form(
        name=kind.upper().replace("_", "-"),
        attack=corruption,
        kind="noise",
        number=3,
        counted="severity",
        most=5,
        settings={"kind": kind},
        passes=once,
        norm="none",
    )
    for kind in SIZES
)
