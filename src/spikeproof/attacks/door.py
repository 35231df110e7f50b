"""The door of every attack: its arguments are converted or refused in a sentence, before anything is changed."""

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
from spikeproof.attacks.folded import Folded, unfolded
from spikeproof.attacks.last_word import last_word
from spikeproof.attacks.look import refuse_state
from spikeproof.checked import told
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import BPTT, GradientSource
from spikeproof.kinds import bound
from spikeproof.models import check_fits
from spikeproof.threat import EVERY_NORM, L0, L1, L2, Events, Linf, Norm, OtherNorm, Patch

Given = ParamSpec("Given")

_OWN = BPTT()  # the network's own backward
_ROUNDING = 1e-5  # how far a pixel may lie outside the ball: float32 arithmetic elsewhere


def attack(
    name: str,
    *,
    norms: tuple[Norm | OtherNorm, ...] = ("linf", "l2"),
    source: GradientSource = _OWN,
    folds: bool = True,
    hands_over: bool = False,
) -> Callable[[Callable[Given, Attacked]], Callable[Given, Attacked]]:
    """Make a function an attack: its network, images, labels, targets and threat are checked and converted first.

    The function is told whether the network draws random numbers. If it does, fresh draws decide afterwards on each
    sample that the function claims broken.

    Args:
        name: how messages call the attack.
        norms: of the balls that it searches; it refuses others. Without any it takes any threat.
        source: of its gradients, where ``how`` is None.
        folds: whether the function gets frames [N,T,C,H,W] as images [N,T*C,H,W] of a network that takes these.
        hands_over: whether the function returns what another attack returned. Fresh draws have decided there: a second
            time they would ask again only for what they confirmed.

    Returns:
        A decorator. What it makes raises SpikeproofError for arguments that cannot be converted.
    """

    def guard(function: Callable[Given, Attacked]) -> Callable[Given, Attacked]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def guarded(*args: Given.args, **kwargs: Given.kwargs) -> Attacked:
            call = bound(function, signature, *args, **kwargs)
            arguments = call.arguments
            if norms:
                check_threat(arguments["threat"], norms, name)
            model, how = arguments["model"], arguments.get("how")
            if how is not None and not isinstance(how, Crafting):
                raise SpikeproofError(
                    f"how must be a spikeproof.Crafting(...), got {told(how)}; leave it out for the default."
                )
            images, labels, targets = check_batch(
                arguments["images"], arguments["labels"], arguments.get("targets"), model=model
            )
            arguments |= {"images": images, "labels": labels} | ({} if targets is None else {"targets": targets})
            # Tensors that were made in inference mode can have no gradient; check_batch has copied them.
            with torch.inference_mode(False):
                how = fitted(how or Crafting(source=source), random=refuse_state(model, images))
                if "how" in signature.parameters:
                    arguments["how"] = how
                attacked = _folded(function, call, images) if folds else function(*call.args, **call.kwargs)
                if hands_over or not isinstance(how, OfRandom):
                    return attacked
                return last_word(model, attacked, labels, targets, how)

        guarded.norms = norms  # type: ignore[attr-defined]
        return guarded

    return guard


def _folded(function: Callable[..., Attacked], call: inspect.BoundArguments, images: Tensor) -> Attacked:
    """The attack on frames as on images; on images as it is."""
    if images.ndim == 4:
        return function(*call.args, **call.kwargs)
    steps, arguments = images.shape[1], call.arguments
    arguments |= {"model": Folded(arguments["model"], steps), "images": images.flatten(1, 2)}
    if arguments.get("start") is not None:
        start = _tensor(arguments["start"], "The start")
        arguments["start"] = start.flatten(1, 2) if start.ndim == 5 else start
    return unfolded(function(*call.args, **call.kwargs), steps)


def norms_of(function: Callable[..., Attacked]) -> tuple[Norm | OtherNorm, ...]:
    """The norms that an attack, or a partial of one, can search; none for one that takes any threat."""
    while isinstance(function, functools.partial):
        function = function.func
    return cast(tuple[Norm | OtherNorm, ...], function.norms)  # type: ignore[attr-defined]


def check_threat(threat: Any, norms: tuple[Norm | OtherNorm, ...], name: str) -> None:
    """Refuse what is no threat, and one in a norm that the attack cannot search.

    Args:
        threat: anything.
        norms: those that the attack can search.
        name: how the message calls the attack.

    Raises:
        SpikeproofError: as said.
    """
    if not isinstance(threat, Linf | L2 | L1 | L0 | Patch | Events):
        raise SpikeproofError(
            f"A threat is a ball such as spikeproof.Linf('8/255') or spikeproof.L2(0.5), got {told(threat)}; "
            "a number alone does not say its norm."
        )
    if threat.norm not in norms:
        takes = " or ".join(EVERY_NORM[norm] for norm in norms)
        raise SpikeproofError(
            f"{name} searches {takes} balls only, and this one is {EVERY_NORM[threat.norm]}; give it another, or take "
            "another attack (PGD and APGD do Linf and L2)."
        )


def check_batch(
    images: Any, labels: Any, targets: Any = None, *, model: nn.Module | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images [N,C,H,W] or frames [N,T,C,H,W], labels and targets as an attack needs them, on the model's device.

    Args:
        images: a float tensor or array [N,C,H,W] in [0, 1], or frames of event data [N,T,C,H,W].
        labels: whole numbers [N].
        targets: whole numbers [N] that differ from the labels, or None.
        model: gives device and type, and the shape that images must have; None leaves both as they are.

    Returns:
        Images, labels and targets. Labels and targets are int64. Images are float32, or float64 where both they and the
        model's parameters are that; they are a copy, so a network that works in place cannot change the caller's.

    Raises:
        SpikeproofError: another type or shape, pixels outside [0, 1], or a target that is the label.
    """
    images = _tensor(images, "Images")
    if images.ndim not in (4, 5) or not images.is_floating_point():
        got = f"{images.dtype} of shape {tuple(images.shape)}"
        mend = "; give images.float() / 255" if images.dtype == torch.uint8 and images.ndim in (4, 5) else ""
        raise SpikeproofError(
            f"Images must be a float tensor [N,C,H,W] in [0,1], or frames [N,T,C,H,W], got {got}{mend}."
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
            f"Image {int(bad.nonzero()[0])} of the batch holds NaN or a value outside [0, 1]; scale images to [0, 1]"
            f"{', counts of events by the largest' if images.ndim == 5 else ''}."
        )
    if model is not None:
        check_fits(model, shape=images.shape[1:])
    return images, labels, targets


def check_start(start: Any, images: Float[Tensor, " n *chw"], threat: Linf | L2) -> Float[Tensor, " n *chw"]:
    """The images at which an attack begins, converted: one for each original, in its ball.

    Args:
        start: a float tensor or array of the images' shape.
        images: the originals, in [0, 1].
        threat: the ball around them.

    Returns:
        The start, projected to the ball: a copy of the images' type, on their device.

    Raises:
        SpikeproofError: another shape, or an image that lies outside the ball by more than rounding (1e-5).
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
    classes = _tensor(given, name)
    if classes.shape != (count,) or classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise SpikeproofError(
            f"{name} must be whole numbers [{count}], one for each image, got {classes.dtype} of shape "
            f"{tuple(classes.shape)}."
        )
    with torch.inference_mode(False):
        return classes.to(device, torch.int64, copy=True)
