"""WRN16 = WRN-16-4 as SNN-RAT (Ding et al. 2022) defines it: pre-activation blocks, learnable convex skip weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.models.convolution import Conv1x1, Conv3x3
from spikeproof.models.entry import entry
from spikeproof.models.spiking_model import SiteFactory, initialise
from spikeproof.models.vgg import scaled


class PreActivationBlock(nn.Module):
    """a = site(BN(x)); h = conv(site(BN(conv(a)))); out = c0 * skip + c1 * h with c learnable, from (0.5, 0.5).

    The skip is x itself where the shapes agree, else a 1x1 convolution of a. The sum is a current: no site after it.

    Args:
        inner, outer: channels of input and output.
        stride: of the first convolution and the skip.
        new_site: makes the sites.
        constant: x is a current that comes once for all steps; the skip is then the convolution.
    """

    def __init__(self, inner: int, outer: int, stride: int, new_site: SiteFactory, *, constant: bool = False) -> None:
        super().__init__()
        self.site_in = new_site(inner, constant=constant)
        self.conv_in = Conv3x3(inner, outer, stride=stride, bias=False)
        self.site_out = new_site(outer)
        self.conv_out = Conv3x3(outer, outer, bias=False)
        # A current that comes once for all steps cannot be added to one that comes step by step.
        same = inner == outer and stride == 1 and not constant
        self.skip = None if same else Conv1x1(inner, outer, stride=stride)
        self.weights = nn.Parameter(torch.tensor([0.5, 0.5]))

    def forward(self, x: Float[Tensor, "kn c h w"]) -> Float[Tensor, "tn c2 h2 w2"]:
        """The current of the block; time is merged with the samples."""
        a = self.site_in(x)
        h = self.conv_out(self.site_out(self.conv_in(a)))
        skip = x if self.skip is None else self.skip(a)
        return self.weights[0] * skip + self.weights[1] * h


def build_wide_resnet(
    *,
    new_site: SiteFactory,
    in_channels: int,
    image_size: int,
    num_classes: int,
    width: float,
) -> tuple[nn.Module, nn.Module]:
    """The stem and body of WRN-16-4: 16 -> 64, 128, 256 channels, two blocks a stage.

    Args:
        new_site: makes the sites, with neuron, steps and norm.
        in_channels: C.
        image_size: H = W, in pixels. Large images enter by a stride (see ``entry``).
        num_classes: K.
        width: factor on every channel count.

    Returns:
        Stem and body, as :class:`SpikingModel` takes them.

    Raises:
        SpikeproofError: images too small for the network.
    """
    if image_size < 4:
        raise SpikeproofError(f"wrn16 needs images of at least 4 pixels, got {image_size}; use conv for tiny images.")
    channels = scaled(16, width)
    stem, _ = entry(in_channels, channels, image_size)
    blocks: list[nn.Module] = []
    for base, stride in ((64, 1), (128, 2), (256, 2)):
        outer = scaled(base, width)
        blocks += [
            PreActivationBlock(channels, outer, stride, new_site, constant=not blocks),
            PreActivationBlock(outer, outer, 1, new_site),
        ]
        channels = outer
    pooled = nn.AdaptiveAvgPool2d(1)  # the original's 8x8 average at 32x32 images, and any other size
    body = nn.Sequential(*blocks, new_site(channels), pooled, nn.Flatten(), nn.Linear(channels, num_classes))
    initialise(stem)
    initialise(body)
    return stem, body


# Parameters for K = 10: 2,748,902.
NETWORKS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {"wrn16": build_wide_resnet}
