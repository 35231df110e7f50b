"""Common corruptions, computed as images come (Hendrycks and Dietterich 2019), with CIFAR-10-C's constants."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.corruption_rules import RULES, SIZES
from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form, once
from spikeproof.checked import check_seed, told, whole
from spikeproof.errors import SpikeproofError
from spikeproof.private_rng import private_rng
from spikeproof.threat import OtherThreat, Threat


def corrupt(images: Float[Tensor, "n c h w"], kind: str, severity: int, *, seed: int = 0) -> Float[Tensor, "n c h w"]:
    """The images as CIFAR-10-C would have them at this severity s, each clipped to [0, 1]::

        gaussian_noise     x + s N(0, 1)
        shot_noise         Poisson(s x) / s
        impulse_noise      0 or 1 instead of a share s of all values
        speckle_noise      x + s x N(0, 1)
        gaussian_blur      x * Gaussian(s), cut at 4 s, edges repeated
        defocus_blur       x * disk(r) * Gaussian(b), s = (r, b), edges mirrored
        glass_blur         Gaussian(s); each pixel itself, or one above or left of it, k times; Gaussian(s)
        motion_blur        x * half a Gaussian(s) along a line of 2 r + 1 pixels at an angle of U(-45, 45) degrees
        zoom_blur          mean of x and of x magnified by 1, 1.01, ... s
        snow               a x + (1 - a) max(x, 1.5 grey + 0.5) + streaks of noise, twice
        fog                (x + s plasma) max(x) / (max(x) + s)
        spatter            drops where smoothed noise is high: water up to severity 3, then mud
        elastic_transform  x moved by a random affine map, and by a smooth random field
        contrast           m + s (x - m),           m: each channel's mean over the image
        brightness         x min(v + s, 1) / v,     v: the largest channel of a pixel; black becomes s in every channel
        saturate           HSV saturation times a plus b, s = (a, b); one channel has none and stays
        pixelate           down to a share s of the size and up again, by averages over boxes
        jpeg_compression   JPEG of quality s, three channels as a colour image

    brightness is v + s in HSV, with hue and saturation as they were. The constants are those of 32 x 32 pixels, and
    lengths in pixels stay what they are on other sizes; the elastic transform's are shares of the shorter side.

    Not as in the benchmark: its files are rounded to 256 grey levels, which here the last two alone are, and the noise
    is another draw. Images of one channel or of two are treated likewise. What it does by ImageMagick and OpenCV is
    rebuilt here. OpenCV agrees to 1e-6 on the elastic transform and on every edge of a drop; distances from these are
    exact here and rounded there. One kind of its nineteen is not here: frost pastes photographs of ice over the
    images, and no drawn texture would have that name by right.

    Args:
        images: x, in [0, 1]; computed in float32, or in float64 where they are that.
        kind: one of these.
        severity: 1 to 5.
        seed: of every random number; the caller's generator is not touched.

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
    exact = images if images.dtype == torch.float64 else images.float()
    with private_rng():
        torch.manual_seed(seed)
        return RULES[kind](exact, SIZES[kind][severity - 1]).clamp(0, 1).to(images.dtype)


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
        how: its seed is the corruption's.
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
