"""TPGD: the inner attack of TRADES (Zhang et al. 2019), which climbs the divergence from the clean prediction."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, crafting
from spikeproof.attacks.door import attack
from spikeproof.attacks.form import Form
from spikeproof.attacks.objective import Objective, divergence_of
from spikeproof.attacks.projected_gradient import Keep, SteepestStep
from spikeproof.attacks.pursuit import Pursuit, chase, climb
from spikeproof.checked import counts
from spikeproof.errors import SpikeproofError
from spikeproof.threat import Threat, parse_eps


@attack("TPGD")
def tpgd(
    model: nn.Module,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"],
    threat: Threat,
    how: Crafting | None = None,
    *,
    steps: int = 10,
    step_size: float | str | None = None,
    start_std: float = 0.001,
    keep: Keep = "best",
) -> Attacked:
    """PGD without labels, from P(x + s N(0, 1)): at x itself the divergence has no gradient::

        x' <- P(x' + a sign(grad KL(softmax f(x) || softmax f(x'))))

    f(x) is the judge's, in float32 and averaged over its draws. In L2 the gradient is normalised instead of signed, the
    norm projected after each step; the authors' L2 variant drives the same steps by SGD.

    Args:
        model, images, labels, threat, how: as in :func:`spikeproof.attacks.pgd`.
        steps: k.
        step_size: a, in pixel units, also as text; 2.5 eps / k by default, the paper's 2/255 for ten steps at 8/255.
        start_std: s. Where the start flips no spike, the divergence and its gradient are zero and the image stays where
            it is: at the paper's 0.001 one digit in seven, on a small network of three time steps.
        keep: "best" or "last", as in :func:`spikeproof.attacks.pgd`; "last" is TRADES' own.

    Raises:
        SpikeproofError: steps < 1, a step size that is not positive, a start_std outside [0, 1], another word for
            ``keep``, or images outside [0, 1].

    Example:
        >>> from spikeproof.models import create_model
        >>> from spikeproof.threat import Linf
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 7])
        >>> attacked = tpgd(model, images, labels, Linf(0.1), steps=3)
        >>> bool((attacked.images - images).abs().max() <= 0.1 + 1e-6)
        True
    """
    counts("TPGD", steps=steps)
    if keep not in ("best", "last"):
        raise SpikeproofError(f"keep must be 'best' or 'last', got {keep!r}.")
    size = 2.5 * threat.eps / steps if step_size is None else threat.parse(step_size, "step size")
    if step_size is not None and size == 0:
        raise SpikeproofError("TPGD's step size must be positive, got 0; leave it out for the default.")
    spread = parse_eps(start_std, "start_std")
    with crafting(model, how or Crafting()) as craft:
        start = threat.project(images + spread * torch.randn_like(images), images)
        rule = SteepestStep(threat, size)
        # Not craft.logits: sources with a memory would remember this forward.
        clean = craft.judge(images).float()
        if keep == "last":
            return craft.verdict(climb(craft, images, start, rule, steps=steps, objective=divergence_of(clean)), labels)
        pursuit = Pursuit(craft, images, labels)

        def divergence(labels: Tensor, targets: Tensor | None) -> Objective:
            # The chased samples' own clean logits; asked anew in every step, so they shrink with the samples.
            return divergence_of(clean[pursuit.index])

        return pursuit.finish(chase(pursuit, start[pursuit.index], rule, steps=steps, maker=divergence))


FORMS = (Form(name="TPGD", attack=tpgd, kind="fixed", number=10),)
