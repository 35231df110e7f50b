"""What cannot be trained is refused before there is a folder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from spikeproof.data import Data
from spikeproof.defenses import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.models import SpikingModel, check_fits, is_compiled, unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.runs import Processes
from spikeproof.train.config import TrainConfig
from spikeproof.train.parts import check_parts


def trainable(model: nn.Module) -> SpikingModel:
    """The network to train: one of ours, or what ``torch.compile`` made of one.

    Raises:
        SpikeproofError: another network, or one that DataParallel holds.
    """
    inner = unwrapped(model)
    if inner is not model and not is_compiled(model):
        raise SpikeproofError(
            f"A network in {type(model).__name__} cannot be trained; give the network itself, and start the program "
            "with torchrun to train it on several devices."
        )
    if not isinstance(inner, SpikingModel):
        raise SpikeproofError(
            f"spikeproof.train trains networks of spikeproof.create_model, not a {type(inner).__name__}; attacks and "
            "audits take any network."
        )
    return inner


def check_fit(model: SpikingModel, data: Data, config: TrainConfig, world: int = 1) -> None:
    """Refuse data that the model or the config does not fit.

    Args:
        world: how many processes share a batch.

    Raises:
        SpikeproofError: other classes or images than the model's, a Cutout or crop that blanks images, fewer images
            than a batch, a coding that does not fit the images, or a part of a batch too small for a batch norm.
    """
    size = (data.channels, *data.image_size)
    made = f"num_classes={data.num_classes}, in_channels={size[0]}, image_size={size[1]}"
    check_fits(
        model,
        shape=size,
        classes=data.num_classes,
        data=f"those of {data.name}",
        mend=f"create the network with {made}",
    )
    if config.augmentation is not None and config.augmentation.cutout >= min(data.image_size):
        raise SpikeproofError(
            f"A Cutout of {config.augmentation.cutout} pixels can blank the whole of {data.name}'s "
            f"{size[1]}x{size[2]} images; give augmentation=None or a smaller Augmentation(cutout=...)."
        )
    if config.augmentation is not None and config.augmentation.crop_padding >= min(data.image_size):
        raise SpikeproofError(
            f"A crop padding of {config.augmentation.crop_padding} pixels can move {data.name}'s {size[1]}x{size[2]} "
            "images out of sight; give augmentation=None or a smaller Augmentation(crop_padding=...)."
        )
    if len(data.train) < config.batch_size:
        raise SpikeproofError(
            f"The training split has {len(data.train)} images, fewer than one batch of {config.batch_size}; "
            "lower batch_size or raise train_limit."
        )
    with private_rng():
        model.coding.encode(data.train.images[:1].float() / 255, model.num_steps)
    if config.microbatch != "auto":  # which is found later, by the free memory
        check_parts(model, data.train.images[0], config.batch_size, (config.microbatch or config.batch_size) * world)


def check_learns(model: SpikingModel) -> None:
    """Refuse a network, with what defenses made of it, that has nothing to learn.

    Raises:
        SpikeproofError: every parameter is frozen.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise SpikeproofError(
            "Every parameter of this network is frozen, so nothing can be trained; call requires_grad_(True) on those "
            "that are to learn."
        )


def check_division(processes: Processes, defenses: Sequence[Defense], batch_size: int) -> None:
    """Refuse what several processes cannot share.

    Raises:
        SpikeproofError: a defense that needs the whole batch, or fewer images in a batch than processes.
    """
    if processes.world == 1:
        return
    for defense in defenses:
        if defense.whole_batch:
            raise SpikeproofError(
                f"{defense.label} needs the whole batch in one place and cannot be trained over {processes.world} "
                "processes; train it with one process."
            )
    processes.check_part(batch_size, batch_size)
