"""ResNets whose neurons come after the sum: resnet17 and resnet19 of the RGA family, resnet18 of PDSG and SDA.

resnet17 and resnet19 as the code of RGA (Bu et al. 2023, CVPR) has them, and StoG, DLIF and HART after it: the first
block of every stage has a convolution as its shortcut even where shapes agree, pooling is by 2 and not global, and
batch norm, but no neuron, stands between the two linear layers (DLIF puts a neuron there). Weights start as PyTorch's.

resnet18 is the ordinary one with a 3x3 convolution as its stem, whose shortcut is the spikes themselves where shapes
agree, as in PDSG and SDA (Lu et al. 2025, CVPR). Its neuron there has a decay of 1/2, which is not the default here.
Weights start as those of ``initialise``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.models.convolution import Conv1x1, Conv3x3
from spikeproof.models.entry import entry, halved
from spikeproof.models.spiking_model import SiteFactory, initialise
from spikeproof.models.vgg import scaled

# Channels, blocks and the first stride of each stage; the stem has the channels of the first.
RESNET17 = ((64, 3, 2), (128, 4, 2))
RESNET18 = ((64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2))
RESNET19 = ((128, 3, 1), (256, 3, 2), (512, 2, 2))


class Block(nn.Module):
    """out = site(BN(conv(site(BN(conv(x))))) + skip), skip being x itself, or BN(conv1x1(x)) if it projects.

    Args:
        inner, outer: channels of input and output.
        stride: of the first convolution.
        new_site: makes the sites.
        projects: whether the skip is a convolution.
        pool: of the last site.
    """

    def __init__(
        self, inner: int, outer: int, stride: int, new_site: SiteFactory, *, projects: bool, pool: int = 1
    ) -> None:
        super().__init__()
        self.conv_in = Conv3x3(inner, outer, stride=stride, bias=False)
        self.site_in = new_site(outer)
        self.conv_out = Conv3x3(outer, outer, bias=False)
        self.norm_out = new_site.norm(outer, self.site_in, summands=2)
        self.skip: nn.Module | None = None
        if projects:
            project = Conv1x1(inner, outer, stride=stride)
            self.skip = nn.Sequential(project, new_site.norm(outer, self.site_in, summands=2))
        self.site_out = new_site(pool=pool)

    def forward(self, x: Float[Tensor, "kn c h w"]) -> Float[Tensor, "kn c2 h2 w2"]:
        """The spikes of the block; time is merged with the samples."""
        h = self.norm_out(self.conv_out(self.site_in(self.conv_in(x))))
        spikes: Tensor = self.site_out(h + (x if self.skip is None else self.skip(x)))
        return spikes


def build_pooled_resnet(
    stages: Sequence[tuple[int, int, int]],
    *,
    new_site: SiteFactory,
    in_channels: int,
    image_size: int,
    num_classes: int,
    width: float,
) -> tuple[nn.Module, nn.Module]:
    """The stem and body of resnet17 and resnet19: 2x2 pooling, 256 features, no neuron.

    Args:
        stages: channels, blocks and the first stride of each stage.
        new_site: makes the sites, with neuron, steps and norm.
        in_channels: C.
        image_size: H = W, in pixels. Large images enter by a stride (see ``entry``).
        num_classes: K.
        width: factor on every channel count and on the 256 features.

    Returns:
        Stem and body, as :class:`SpikingModel` takes them.

    Raises:
        SpikeproofError: images too small for the network.
    """
    channels = scaled(stages[0][0], width)
    stem, size = entry(in_channels, channels, image_size)
    entering = new_site(channels, constant=True)
    blocks: list[nn.Module] = []
    for number, (base, count, stride) in enumerate(stages):
        size = size if stride == 1 else halved(size)
        for index in range(count):
            last = number == len(stages) - 1 and index == count - 1
            first, outer = index == 0, scaled(base, width)
            blocks.append(
                Block(channels, outer, stride if first else 1, new_site, projects=first, pool=2 if last else 1)
            )
            channels = outer
    size //= 2
    if size < 1:
        raise SpikeproofError(
            f"Images of {image_size} pixels are too small for the poolings of this network; use conv or larger images."
        )
    features = scaled(256, width)
    body = nn.Sequential(
        entering,
        *blocks,
        nn.Flatten(),
        nn.Linear(channels * size * size, features),
        new_site.norm(features, entering),
        nn.Linear(features, num_classes),
    )
    return stem, body


def build_resnet18(
    *,
    new_site: SiteFactory,
    in_channels: int,
    image_size: int,
    num_classes: int,
    width: float,
) -> tuple[nn.Module, nn.Module]:
    """The stem and body of resnet18: the mean over all positions, one linear layer.

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
            f"resnet18 needs images of at least 4 pixels, got {image_size}; use conv for tiny images."
        )
    channels = scaled(RESNET18[0][0], width)
    stem, _ = entry(in_channels, channels, image_size)
    blocks: list[nn.Module] = []
    for base, count, stride in RESNET18:
        for index in range(count):
            outer, by = scaled(base, width), stride if index == 0 else 1
            blocks.append(Block(channels, outer, by, new_site, projects=by > 1 or outer != channels))
            channels = outer
    pooled = nn.AdaptiveAvgPool2d(1)
    head = nn.Linear(channels, num_classes)
    body = nn.Sequential(new_site(scaled(RESNET18[0][0], width), constant=True), *blocks, pooled, nn.Flatten(), head)
    initialise(stem)
    initialise(body)
    return stem, body


# Parameters for K = 10: resnet17 1,872,074, resnet18 11,173,962, resnet19 14,681,226.
NETWORKS: dict[str, Callable[..., tuple[nn.Module, nn.Module]]] = {
    "resnet17": partial(build_pooled_resnet, RESNET17),
    "resnet18": build_resnet18,
    "resnet19": partial(build_pooled_resnet, RESNET19),
}
