"""The door of every attack: what it is given is made fit or refused in a sentence, before anything is touched."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks.craft import Attacked, Crafting, OfRandom, fitted
from spikeproof.attacks.last_word import last_word
from spikeproof.attacks.look import refuse_state
from spikeproof.checked import told
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import BPTT, GradientSource
from spikeproof.models import SpikingModel, unwrapped
from spikeproof.threat import L2, NORMS, Linf, Norm

Given = ParamSpec("Given")

_OWN = BPTT()  # the network's own backward
_ROUNDING = 1e-5  # how far a pixel may lie outside the ball: float32 arithmetic elsewhere


def attack(
    name: str, *, norms: tuple[Norm, ...] = ("linf", "l2"), source: GradientSource = _OWN
) -> Callable[[Callable[Given, Attacked]], Callable[Given, Attacked]]:
    """Make a function an attack: its network, images, labels, targets and threat pass this door first.

    The door tells it whether the network draws random numbers. Of one that does, fresh draws have the last word on
    each sample that the function claims broken.

    Args:
        name: what sentences call it.
        norms: of the balls that it searches; it refuses others. Without any it searches none, and takes any threat.
        source: its gradients', where it is not told how to craft.
    """

    def guard(function: Callable[Given, Attacked]) -> Callable[Given, Attacked]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def guarded(*args: Given.args, **kwargs: Given.kwargs) -> Attacked:
            given = signature.bind(*args, **kwargs)
            held = given.arguments
            if norms:
                check_threat(held["threat"], norms, name)
            model, how = held["model"], held.get("how")
            if how is not None and not isinstance(how, Crafting):
                raise SpikeproofError(f"How an attack crafts is a spikeproof.Crafting(...), got {told(how)}.")
            images, labels, targets = check_batch(held["images"], held["labels"], held.get("targets"), model=model)
            held |= {"images": images, "labels": labels} | ({} if targets is None else {"targets": targets})
            # Tensors that were made in inference mode can have no gradient; check_batch has copied them.
            with torch.inference_mode(False):
                how = fitted(how or Crafting(source=source), random=refuse_state(model, images))
                if "how" in signature.parameters:
                    held["how"] = how
                attacked = function(*given.args, **given.kwargs)
                return last_word(model, attacked, labels, targets, how) if isinstance(how, OfRandom) else attacked

        guarded.norms = norms  # type: ignore[attr-defined]
        return guarded

    return guard


def norms_of(function: Callable[..., Attacked]) -> tuple[Norm, ...]:
    """The norms that an attack, or a partial of one, can search."""
    while isinstance(function, functools.partial):
        function = function.func
    return cast(tuple[Norm, ...], function.norms)  # type: ignore[attr-defined]


def check_threat(threat: Any, norms: tuple[Norm, ...], name: str) -> None:
    """Refuse what is no threat, and one in a norm that ``name`` cannot search."""
    if not isinstance(threat, Linf | L2):
        raise SpikeproofError(
            f"A threat is a ball such as spikeproof.Linf('8/255') or spikeproof.L2(0.5), got {told(threat)}; "
            "a number alone does not say its norm."
        )
    if threat.norm not in norms:
        takes = " or ".join(NORMS[norm] for norm in norms)
        raise SpikeproofError(
            f"{name} searches {takes} balls only, and this one is {NORMS[threat.norm]}; give it another, or take "
            "another attack (PGD and APGD do both)."
        )


def check_batch(
    images: Any, labels: Any, targets: Any = None, *, model: nn.Module | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images [N,C,H,W] in [0,1], labels and targets as an attack needs them, on the model's device.

    Arrays become tensors, whole numbers int64, images float32, or float64 where both they and the model's parameters
    are that. The images are a copy: no network that works in place can reach the caller's.

    Raises:
        SpikeproofError: what cannot be made fit.
    """
    images = _tensor(images, "Images")
    if images.ndim != 4 or not images.is_floating_point():
        raise SpikeproofError(
            f"Images must be a float tensor [N,C,H,W] in [0,1], got {images.dtype} of shape {tuple(images.shape)}."
        )
    parameter = None if model is None else next(model.parameters(), None)
    wide = images.dtype == torch.float64 and parameter is not None and parameter.dtype == torch.float64
    device = images.device if parameter is None else parameter.device
    labels, targets = (
        _classes(given, name, len(images), device) for given, name in ((labels, "Labels"), (targets, "Targets"))
    )
    assert labels is not None
    if targets is not None and bool((targets == labels).any()):
        raise SpikeproofError("A target must differ from the label; for an untargeted attack leave the targets out.")
    with torch.inference_mode(False):
        images = images.detach().to(device, torch.float64 if wide else torch.float32, copy=True)
    bad = ~((images >= 0) & (images <= 1)).flatten(1).all(1)  # also true for NaN
    if bad.any():
        raise SpikeproofError(
            f"Image {int(bad.nonzero()[0])} of the batch holds NaN or a value outside [0, 1]; scale images to [0, 1]."
        )
    if model is not None:
        check_shape(model, tuple(images.shape[1:]))
    return images, labels, targets


def check_start(start: Any, images: Float[Tensor, "n c h w"], threat: Linf | L2) -> Float[Tensor, "n c h w"]:
    """Images to begin at, made fit for an attack on these images: one for each, in the ball.

    Raises:
        SpikeproofError: another shape, or an image that lies outside the ball by more than rounding.
    """
    start = _tensor(start, "The start")
    if start.shape != images.shape or not start.is_floating_point():
        raise SpikeproofError(
            f"The start must be a float tensor of the images' shape {tuple(images.shape)}, got {start.dtype} of shape "
            f"{tuple(start.shape)}; give one image for each."
        )
    start = start.detach().to(images.device, images.dtype, copy=True)
    inside = threat.project(start, images)
    away = ~((inside - start).abs() <= _ROUNDING).flatten(1).all(1)  # also true for NaN
    if away.any():
        raise SpikeproofError(
            f"Image {int(away.nonzero()[0])} of the start lies outside the ball of radius {threat.eps:g} or "
            "outside [0, 1]; give the images of an attack under the same threat."
        )
    return inside


def check_shape(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Refuse images [C,H,W] of another shape than one of our networks was made for."""
    model = unwrapped(model)
    if isinstance(model, SpikingModel):
        held = model.description
        takes = (held.in_channels, held.image_size, held.image_size)
        if takes != shape:
            raise SpikeproofError(
                f"This network takes images of {'x'.join(map(str, takes))} (channels, height, width), and these are "
                f"{'x'.join(map(str, shape))}; give the images it was made for."
            )


def _tensor(given: Any, name: str) -> Tensor:
    if isinstance(given, np.ndarray | list | tuple | np.number | int):
        try:
            given = torch.as_tensor(np.asarray(given))
        except (TypeError, ValueError):
            given = None
    if not isinstance(given, Tensor):
        raise SpikeproofError(f"{name} must be a tensor or a NumPy array, got {type(given).__name__}.")
    return given


def _classes(given: Any, name: str, count: int, device: torch.device) -> Tensor | None:
    if given is None and name == "Targets":
        return None
    found = _tensor(given, name)
    if found.shape != (count,) or found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise SpikeproofError(
            f"{name} must be whole numbers [{count}], one for each image, got {found.dtype} of shape "
            f"{tuple(found.shape)}."
        )
    with torch.inference_mode(False):
        return found.to(device, torch.int64, copy=True)
