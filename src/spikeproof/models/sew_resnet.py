"""SEW-ResNet19 as the code of ASSG (CVPR 2026) has it: residual blocks that add spikes (SEW, Fang et al. 2021, "ADD").

Every sum of a convolution and batch norm goes through a neuron before it is added, so a block gives small whole numbers
of spikes and not currents; no neuron follows the sum. Weights start as those of ``initialise``; whether the original's
do is not known. Its neuron has a decay and a threshold of 1/2, which are not the defaults here.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.models.convolution import Conv1x1, Conv3x3
from spikeproof.models.entry import entry
from spikeproof.models.spiking_model import SiteFactory, initialise
from spikeproof.models.vgg import scaled

# Channels, blocks and the first stride of each stage.
SEW_RESNET19 = ((128, 3, 1), (256, 3, 2), (512, 3, 2))


class SEWBlock(nn.Module):
    """out = site(BN(conv(site(BN(conv(x)))))) + skip, skip being x, or site(BN(conv1x1(x))) where shapes differ.

    Args:
        inner, outer: channels of input and output.
        stride: of the first convolution.
        new_site: makes the sites.
    """

    def __init__(self, inner: int, outer: int, stride: int, new_site: SiteFactory) -> None:
        super().__init__()
        self.conv_in = Conv3x3(inner, outer, stride=stride, bias=False)
        self.site_in = new_site(outer)
        self.conv_out = Conv3x3(outer, outer, bias=False)
        self.site_out = new_site(outer)
        self.skip: nn.Module | None = None
        if inner != outer or stride != 1:
            self.skip = nn.Sequential(Conv1x1(inner, outer, stride=stride), new_site(outer))

    def forward(self, x: Float[Tensor, "kn c h w"]) -> Float[Tensor, "kn c2 h2 w2"]:
        """The block's sums of spikes; time is merged with the samples."""
        h: Tensor = self.site_out(self.conv_out(self.site_in(self.conv_in(x))))
        return h + (x if self.skip is None else self.skip(x))


def build_sew_resnet(
    *,
    new_site: SiteFactory,
    in_channels: int,
    image_size: int,
    num_classes: int,
    width: float,
) -> tuple[nn.Module, nn.Module]:
    """The stem and body of sew-resnet19: 64 channels pooled by a stride of 2, nine blocks, the mean.

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
        raise SpikeproofError(
            f"sew-resnet19 needs images of at least 4 pixels, got {image_size}; use conv for tiny images."
        )
    channels = scaled(64, width)
    stem, _ = entry(in_channels, channels, image_size)
    layers: list[nn.Module] = [new_site(channels, constant=True), nn.AvgPool2d(3, stride=2, padding=1)]
    for base, count, stride in SEW_RESNET19:
        for index in range(count):
            outer = scaled(base, width)
            layers.append(SEWBlock(channels, outer, stride if index == 0 else 1, new_site))
            channels = outer
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
    initialise(stem)
    initialise(body)
    return stem, body


# Parameters for K = 10: 17,222,730.
NETWORKS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {"sew-resnet19": build_sew_resnet}
