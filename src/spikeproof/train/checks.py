"""What cannot be trained is refused before there is a folder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from spikeproof.attacks import evaluating, working_dtype
from spikeproof.data import Data
from spikeproof.defenses import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.interop import Adapted
from spikeproof.models import SpikingModel, check_fits, is_compiled, unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.runs import Processes
from spikeproof.train.config import TrainConfig
from spikeproof.train.parts import check_parts


def trainable(model: nn.Module) -> SpikingModel | Adapted:
    """The network inside ``model`` that is to be trained.

    Args:
        model: of ``create_model``, also compiled by ``torch.compile``, or of ``adapt``.

    Returns:
        The network itself; of a compiled one the network that was compiled.

    Raises:
        SpikeproofError: another network, or one that DataParallel holds.
    """
    inner = unwrapped(model)
    if inner is not model and not (is_compiled(model) and isinstance(inner, SpikingModel)):
        raise SpikeproofError(
            f"A network in {type(model).__name__} cannot be trained; give the network itself, and start the program "
            "with torchrun to train it on several devices."
        )
    if not isinstance(inner, SpikingModel | Adapted):
        raise SpikeproofError(
            f"spikeproof.train trains networks of spikeproof.create_model and of spikeproof.adapt, not a "
            f"{type(inner).__name__}; hand over a spiking network of another library by spikeproof.adapt(net, "
            "num_steps=T)."
        )
    return inner


def check_fit(model: SpikingModel | Adapted, data: Data, config: TrainConfig, world: int = 1) -> None:
    """Refuse data that the model or the config does not fit. An adapted network is tried with two images.

    Args:
        model: from ``trainable``.
        data: all its splits; only the training split is looked at.
        config: of the run.
        world: how many processes share a batch.

    Raises:
        SpikeproofError: other classes or images than the model's, a Cutout or crop that blanks images, fewer images
            than a batch, a coding that does not fit the images, or a part of a batch too small for a batch norm. For an
            adapted network also a precision, a loss or a number of processes that it cannot have.
    """
    if isinstance(model, Adapted):
        _check_adapted(model, data, config, world)
    else:
        _check_described(model, data)
    _check_augmented(data, config)
    if len(data.train) < config.batch_size:
        raise SpikeproofError(
            f"The training split has {len(data.train)} images, fewer than one batch of {config.batch_size}; "
            "lower batch_size or raise train_limit."
        )
    if isinstance(model, SpikingModel):
        with private_rng():
            model.coding.encode(data.train.images[:1].float() / 255, model.num_steps)
    if config.microbatch != "auto":  # "auto" is settled later, by the free memory
        check_parts(model, data.train.images[0], config.batch_size, (config.microbatch or config.batch_size) * world)


def _check_described(model: SpikingModel, data: Data) -> None:
    made = f"num_classes={data.num_classes}, in_channels={data.channels}, image_size={data.image_size[0]}"
    if data.frames is not None:
        made += f", num_steps={data.frames}, coding=Frames()"
    check_fits(
        model,
        shape=data.train.images.shape[1:],
        classes=data.num_classes,
        data=f"those of {data.name}",
        mend=f"create the network with {made}",
    )


def _check_adapted(model: Adapted, data: Data, config: TrainConfig, world: int) -> None:
    if world > 1:
        raise SpikeproofError(
            f"A network of {model.library} is trained by one process, and these are {world}; start it without torchrun."
        )
    if config.loss != "mean":
        raise SpikeproofError(
            f"The loss {config.loss!r} needs the logits of every step, which a network of {model.library} does not "
            "give; leave the loss at 'mean'."
        )
    if config.precision == "bf16":
        raise SpikeproofError(
            f"A network of {model.library} is trained in float32: in bfloat16 its potentials round across the "
            "threshold; leave the precision at auto, or give fp32."
        )
    like = next(model.parameters(), torch.empty(0))
    pixels = data.train.images[:2].to(like.device).to(working_dtype(model)) / 255
    try:
        with torch.no_grad(), private_rng(), evaluating(model):
            logits = model(pixels)
    except RuntimeError as error:
        if isinstance(error, SpikeproofError | torch.OutOfMemoryError):
            raise
        raise SpikeproofError(
            f"The network cannot take {data.name}'s images of {'x'.join(map(str, pixels.shape[1:]))} "
            f"({(str(error) or type(error).__name__).splitlines()[0][:120]}); give it the data that it was made for."
        ) from error
    if logits.shape[1] < data.num_classes:
        raise SpikeproofError(
            f"The network has {logits.shape[1]} outputs and the data {data.num_classes} classes; give it an output for "
            "each class."
        )


def _check_augmented(data: Data, config: TrainConfig) -> None:
    size = "x".join(map(str, data.image_size))
    if config.augmentation is not None and config.augmentation.cutout >= min(data.image_size):
        raise SpikeproofError(
            f"A Cutout of {config.augmentation.cutout} pixels can blank the whole of {data.name}'s {size} images; give "
            "augmentation=None or a smaller Augmentation(cutout=...)."
        )
    if config.augmentation is not None and config.augmentation.crop_padding >= min(data.image_size):
        raise SpikeproofError(
            f"A crop padding of {config.augmentation.crop_padding} pixels can move {data.name}'s {size} images out of "
            "the frame; give augmentation=None or a smaller Augmentation(crop_padding=...)."
        )


def check_learns(model: nn.Module) -> None:
    """Refuse a network without a parameter that learns.

    Args:
        model: with its defenses installed.

    Raises:
        SpikeproofError: every parameter is frozen.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise SpikeproofError(
            "Every parameter of this network is frozen, so nothing can be trained; call requires_grad_(True) on those "
            "that are to learn."
        )


def check_division(processes: Processes, defenses: Sequence[Defense], batch_size: int) -> None:
    """Refuse what several processes cannot share. A single process may do all.

    Args:
        processes: those of this run.
        defenses: those of this run.
        batch_size: images in a step, over all processes.

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
