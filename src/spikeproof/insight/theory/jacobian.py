"""How strongly logits change with pixels, by an attacker's gradient: the norm in TGO's bound."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks import Crafting, crafting, refuse_state
from spikeproof.kinds import check_kinds

_BATCH = 50


@check_kinds
def jacobian_norms(
    model: nn.Module, images: Float[Tensor, " n *chw"], how: Crafting | None = None
) -> Float[Tensor, " n"]:
    """The spectral norm of each image's Jacobian J = dz/dx, logits by pixels, under the surrogate::

        |J|_2 = max over unit d of |J d|_2

    It takes one backward for each class.

    Args:
        model: a network of images to logits [N, K].
        images: [N, C, H, W] in [0, 1].
        how: which gradient, of how many draws, with which seed; None is ``Crafting()``.

    Returns:
        [N], float32. The bound's term is its square.

    Raises:
        SpikeproofError: a network that keeps a state.

    Source: TGO (2026), whose bound on an attack's strength grows with |J|_2^2.

    Example:
        >>> from spikeproof.models import create_model
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> jacobian_norms(model, torch.rand(3, 1, 8, 8)).shape
        torch.Size([3])
    """
    refuse_state(model, images)
    norms = []
    for chunk in images.split(_BATCH):
        with crafting(model, how or Crafting()) as craft:
            rows = [craft.gradient(chunk, lambda logits: logits[:, 0])]
            for k in range(1, rows[0][1].shape[1]):
                rows.append(craft.gradient(chunk, lambda logits, k=k: logits[:, k]))  # type: ignore[misc]
        jacobian = torch.stack([gradient.flatten(1).float() for gradient, _ in rows], 1)
        norms.append(torch.linalg.matrix_norm(jacobian, ord=2))
    return torch.cat(norms)
