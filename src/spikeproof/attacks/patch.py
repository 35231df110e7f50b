"""An adversarial patch of each image's own (Karmon et al. 2018, LaVAN): PGD on the pixels of one square, any colour."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import find_objective
from spikeproof.attacks.pursuit import Pursuit, chase
from spikeproof.checked import counts, real
from spikeproof.threat import Patch


@attack("A patch", norms=("patch",))
def patch_pgd(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Patch,
    how: Crafting | None = None,
    *,
    steps: int = 20,
    step_size: float = 0.1,
    places: int = 5,
    objective: str = "margin",
) -> Attacked:
    """Within a square of s x s pixels, at a place that is drawn, x <- clip(x + a sign(grad L), 0, 1), from noise::

        x_0 = U(0, 1) in the square, the image elsewhere

    A sample that is not broken gets another place. The patch is made for one image at one place, which is more than a
    printed patch can do, that serves all images: its accuracy is a lower one.

    Deviations from the paper: the loss is the margin and untargeted, steps are signed, and several places are tried.

    Args:
        threat: its radius is s; a square larger than the image is the whole image.
        steps: at each place.
        step_size: a, in pixel units.
        places: how many are tried.
        objective: L: "margin", "ce" or "dlr".

    Raises:
        SpikeproofError: steps or places < 1, a step size outside (0, 1], another threat than a patch, or images outside
            [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images = torch.rand(2, 1, 8, 8)
        >>> found = patch_pgd(model, images, torch.tensor([3, 7]), Patch(3), steps=5, places=2)
        >>> bool((Patch(3).distance(found.images, images) <= 3).all())
        True
    """
    counts("A patch", steps=steps, places=places)
    real(step_size, "A patch", "step_size", 0, 1, above=True)
    maker = find_objective(objective)
    with crafting(model, how or Crafting()) as craft:
        pursuit = Pursuit(craft, images, labels)
        for _ in range(places if threat.eps else 0):
            if len(pursuit) == 0:
                break
            # Drawn for every sample of the batch, so that a place does not depend on which are right.
            mask = _squares(images, int(threat.eps))[pursuit.index]
            noise = torch.rand_like(images)[pursuit.index]
            start = torch.where(mask[:, None], noise, pursuit.images)
            current = chase(pursuit, start, _Within(mask, step_size), steps=steps, maker=maker)
            if len(pursuit):
                pursuit.offer(current, craft.judge(current).float())
        return pursuit.finish()


class _Within:
    """Signed steps in the square, and the image itself elsewhere."""

    def __init__(self, mask: Bool[Tensor, "n h w"], size: float) -> None:
        self._mask, self._size = mask, size

    def move(self, current: Tensor, original: Tensor, gradient: Tensor, step: int) -> Tensor:
        moved = (current + self._size * gradient.sign()).clamp(0, 1)
        return torch.where(self._mask[:, None], moved, original)

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        self._mask = self._mask[kept]


def _squares(images: Float[Tensor, "n c h w"], side: int) -> Bool[Tensor, "n h w"]:
    """One square of each image, all places alike."""
    count, _, height, width = images.shape

    def along(length: int) -> Bool[Tensor, "n l"]:
        room = max(length - side, 0)
        first = (torch.rand(count, 1, device=images.device) * (room + 1)).long().clamp_max(room)
        at = torch.arange(length, device=images.device)
        return (at >= first) & (at < first + side)

    return along(height)[:, :, None] & along(width)[:, None]


FORMS = (
    # Its number is the side; 5 x 5 is 2.4 % of an image of 32 x 32, as LaVAN's patches are 2 %.
    Form(
        name="PATCH",
        attack=patch_pgd,
        kind="fixed",
        number=5,
        norm="patch",
        ball=Patch,
        most=10_000,
        passes=lambda _: 100.0,
    ),
)
