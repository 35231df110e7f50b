"""Noise as an attack: the papers' GN and uniform noise, which no robust model should notice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form, once
from spikeproof.attacks.projected_gradient import Keep
from spikeproof.attacks.pursuit import Pursuit
from spikeproof.checked import whole
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Linf, Threat, parse_eps


@attack("Gaussian noise", norms=("linf",))
def gaussian_noise(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Linf,
    how: Crafting | None = None,
    *,
    std: float | str | None = None,
    trials: int = 1,
    keep: Keep = "best",
) -> Attacked:
    """clip(x + std N(0, 1)), std the threat's radius as in the papers: RAT's and FEEL's GN (8/255), MPD-SGR's (0.1).

    Only the box bounds these images: about a third of the pixels leave the threat's ball, which gives only the size.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: its radius is the standard deviation.
        std: the standard deviation, also as text, where it is not to be the radius.
        trials: draws; a sample that any of them breaks is broken.
        keep: "best" calls a sample broken that the model gets wrong without noise, and returns no image easier than the
            clean one; "last" judges one draw of every sample as it is, for published numbers.

    Raises:
        SpikeproofError: trials < 1, several trials of a last image, a std outside [0, 1], or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> gaussian_noise(model, torch.rand(2, 1, 8, 8), torch.tensor([3, 7]), Linf("8/255"), trials=3).correct.shape
        torch.Size([2])
    """
    size = threat.eps if std is None else parse_eps(std, "std")
    return _noisy(
        model, images, labels, how, lambda clean: (clean + size * torch.randn_like(clean)).clamp(0, 1), trials, keep
    )


@attack("Uniform noise")
def uniform_noise(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    trials: int = 1,
    keep: Keep = "best",
) -> Attacked:
    """A uniform draw from the ball, clipped to the box: clip(x + U(-eps, eps)), SR's and MPD-SGR's uniform noise.

    Args:
        model, images, labels, how: as in :func:`spikeproof.attacks.pgd`.
        threat: Linf, or L2, where the draw is uniform in the Euclidean ball.
        trials, keep: as in :func:`gaussian_noise`.

    Raises:
        SpikeproofError: trials < 1, several trials of a last image, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images = torch.rand(2, 1, 8, 8)
        >>> attacked = uniform_noise(model, images, torch.tensor([3, 7]), Linf(0.1), trials=3)
        >>> bool((attacked.images - images).abs().max() <= 0.1 + 1e-6)
        True
    """
    return _noisy(model, images, labels, how, threat.random_start, trials, keep)


def _noisy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    how: Crafting | None,
    draw: Callable[[Tensor], Tensor],
    trials: int,
    keep: Keep,
) -> Attacked:
    if keep not in ("best", "last"):
        raise SpikeproofError(f"keep must be 'best' or 'last', got {keep!r}.")
    if whole(trials, "Noise", "trials") > 1 and keep == "last":
        raise SpikeproofError(f"Noise with {trials} trials needs keep='best'; with keep='last' give one trial.")
    with crafting(model, how or Crafting()) as craft:
        if keep == "last":
            return craft.verdict(draw(images), labels)
        pursuit = Pursuit(craft, images, labels)
        for _ in range(trials):
            if len(pursuit) == 0:
                break
            # Drawn for every sample of the batch, so that the noise does not depend on which are right.
            candidates = draw(images)[pursuit.index]
            pursuit.offer(candidates, craft.judge(candidates).float())
        return pursuit.finish()


FORMS = (
    # Its standard deviation is the audit's radius, as in the papers' tables.
    Form(name="GAUSSIAN", attack=gaussian_noise, kind="noise", passes=once, norm="none"),
    Form(name="UNIFORM", attack=uniform_noise, kind="noise", passes=once),
)
