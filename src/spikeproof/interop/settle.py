"""What the first forward shows of a network: how it is called, what its outputs hold, which layers are sites."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.errors import FAILURES, SpikeproofError, first_line
from spikeproof.interop.layout import Layout, layout_of
from spikeproof.interop.running import Caller, Runs, output_layout, picked, run
from spikeproof.interop.seam import Seam

# What autograd calls that moves, copies or pools a tensor's values and mixes nothing into them.
_CARRIES = (
    *("Alias", "AsStrided", "Cat", "Clone", "Expand", "Permute", "ReshapeAlias", "Select", "Slice", "Split", "Squeeze"),
    *("Stack", "T", "ToCopy", "Transpose", "Unbind", "UnsafeView", "Unsqueeze", "View"),
    *("AdaptiveAvgPool2D", "AvgPool2D", "MaxPool2DWithIndices", "Mean"),
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """One spiking layer, as the first forward shows it.

    Attributes:
        layout: of its output; None where that is not its spikes.
        normed: whether what enters it is a batch norm's output, perhaps pooled, and nothing beside.
        beside: whether it returns more than its spikes.
    """

    layout: Layout | None
    normed: bool
    beside: bool = False


@dataclasses.dataclass(frozen=True)
class Settled:
    """How a network runs.

    Attributes:
        runs: what it takes.
        output: the layout of its outputs.
        layers: those whose spikes reach the logits, in order of firing.
        entry: how the images reach the first layer with weights; None where they differ by step.
        readouts: the layers that fire and whose spikes do not reach the logits.
        frames: whether it was shown frames [N,T,C,H,W] and not images.
    """

    runs: Runs | Caller
    output: Layout
    layers: dict[str, Layer]
    entry: Layout | None
    readouts: tuple[str, ...]
    frames: bool = False


@dataclasses.dataclass(frozen=True)
class _Way:
    """A network, and one way to call it."""

    net: nn.Module
    seams: Sequence[Seam]
    steps: int
    how: Runs | Caller
    fresh: Callable[[], contextlib.AbstractContextManager[None]]
    frames: bool

    def run(self, images: Tensor) -> list[Any]:
        return run(self.net, images, self.how, self.steps, self.frames)


@dataclasses.dataclass
class _Fired:
    """One layer in a trial: what it was seen to fire, and what left it."""

    steps: list[Tensor] = dataclasses.field(default_factory=list)
    outputs: list[Tensor] = dataclasses.field(default_factory=list)
    layouts: list[Layout | None] = dataclasses.field(default_factory=list)
    told: int = 0
    first: Tensor | None = None
    moves: bool = False
    driven: bool = False
    normed: bool = False
    beside: bool = False


def settle(
    net: nn.Module,
    seams: Sequence[Seam],
    images: Tensor,
    steps: int,
    *,
    runs: Runs | Caller | None,
    output: int | None,
    fresh: Callable[[], contextlib.AbstractContextManager[None]],
) -> Settled:
    """Try the ways to call a network until every layer fires once in each step.

    Args:
        images: a few, of any number; or as many frames [N,T,C,H,W].
        runs: the way, where the user said it; None tries all.
        fresh: a context round a forward, in which no state is kept.

    Raises:
        SpikeproofError: no way fits; the sentence says what was seen and which argument to give.
    """
    images, frames = _as_many(images, 2 if steps != 2 else 3), images.ndim == 5
    candidates = [Runs.IMAGES, Runs.SEQUENCE, Runs.MERGED] if runs is None else [runs]
    if frames:
        # The same in each step: then margins that differ are those of a network that keeps its state.
        images = images.amax(1, keepdim=True).expand_as(images).clone()
        candidates += [Runs.STEPS, Runs.STATES] if runs is None else []
    seen: list[str] = []
    with _quiet(net), torch.enable_grad():
        while candidates:
            how = candidates.pop(0)
            way = _Way(net, seams, steps, how, fresh, frames)
            try:
                leaf = images.clone().requires_grad_()
                fired, returned, entered = _tried(way, leaf)
            except SpikeproofError:
                raise
            except FAILURES as error:
                seen.append(f"called with {_called(how, frames)} it fails ({first_line(error)})")
                continue
            counts = {label: len(each.steps) for label, each in fired.items() if each.steps}
            if (
                runs is None
                and not frames
                and how is Runs.IMAGES
                and counts
                and set(counts.values()) == {1}
                and steps > 1
            ):
                candidates = [Runs.STEPS, Runs.STATES]
            if how in (Runs.STEPS, Runs.STATES) and fired and not next(iter(fired.values())).moves:
                seen.append(
                    f"called with {_called(how, frames)} it begins anew each time, with no state of the step before"
                )
                continue
            if counts and set(counts.values()) == {steps}:
                logits = picked(returned, output)
                _check_gradient(fired, leaf)
                _check_alive(way, images)
                layout = output_layout(logits, len(images), steps, how)
                layers = _reaching(fired, logits)
                readouts = tuple(label for label in counts if label not in layers)
                entry = None if frames else _entry(entered, len(images), steps)
                return Settled(how, layout, layers, entry, readouts, frames)
            seen.append(f"called with {_called(how, frames)} {_said(counts)}")
    raise SpikeproofError(
        f"The network was asked to run {steps} steps, and no way of calling it does: {'; '.join(seen)}. Give the "
        "number of steps that it runs itself (adapt(net, num_steps=...)), or say how to call it: runs='images', "
        "'sequence' [T,N,C,H,W], 'steps', 'states', 'merged' [N*T,C,H,W], or a function of the network and images."
    )


def _tried(way: _Way, images: Tensor) -> tuple[dict[str, _Fired], list[Any], Tensor | None]:
    """One forward in which every spike is replaced by a number that tells its step and sample."""
    fired: dict[str, _Fired] = {}
    norms: set[Any] = set()  # nodes of autograd's graph
    hooks = [
        module.register_forward_hook(lambda module, given, returned: norms.add(getattr(returned, "grad_fn", None)))
        for module in way.net.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    entered: list[tuple[nn.Module, Tensor]] = []
    hooks += [
        module.register_forward_pre_hook(lambda module, given: entered.extend((module, each) for each in given[:1]))
        for module in way.net.modules()
        if list(module.parameters(False))
    ]
    with contextlib.ExitStack() as stack:
        stack.enter_context(way.fresh())
        for seam in way.seams:
            stack.enter_context(seam.opened(_telling(seam, fired)))
            hooks.append(seam.module.register_forward_hook(_listening(seam.label, fired, norms)))
        try:
            returned = way.run(images.clone())
        finally:
            for hook in hooks:
                hook.remove()
    return fired, returned, _first_entered(entered)


def _first_entered(entered: list[tuple[nn.Module, Tensor]]) -> Tensor | None:
    """What enters the first layer with weights, if it is the same in all its calls."""
    mine = [given for module, given in entered if module is entered[0][0]]
    same = mine and all(given.shape == mine[0].shape and torch.equal(given, mine[0]) for given in mine)
    return mine[0] if same else None


def _check_gradient(fired: dict[str, _Fired], images: Tensor) -> None:
    """Refuse spikes without a backward, and what hides the image from every layer."""
    for label, each in fired.items():
        if each.driven and not any(told.requires_grad for told in each.steps):
            raise SpikeproofError(
                f"The spikes of {label} have no backward, so no gradient passes; give it a surrogate, as it had in "
                "training."
            )
    spikes = [told.sum() for each in fired.values() for told in each.steps if told.requires_grad]
    reached = torch.autograd.grad(spikes, images, allow_unused=True, retain_graph=True)[0] if spikes else None
    if reached is None:
        raise SpikeproofError(
            "No gradient of the image reaches a spiking layer: the network encodes images without one (Poisson spikes, "
            "rounding, torch.no_grad), and an attack through it would find nothing. Hand over the network behind the "
            "encoder, or give the encoder the identity as its backward."
        )


def _check_alive(way: _Way, images: Tensor) -> None:
    """Refuse a network in which no neuron fires."""
    spikes: list[Tensor] = []

    def cross(margin: Tensor, spikes_of: Callable[[Tensor], Tensor]) -> Tensor:
        spikes.append(spikes_of(margin).to(margin.dtype))
        return spikes[-1]

    bright = torch.linspace(0, 1, 4, device=images.device, dtype=images.dtype)
    bright = bright.view(-1, *(1,) * (images.ndim - 1))
    with torch.no_grad(), way.fresh(), contextlib.ExitStack() as stack:
        for seam in way.seams:
            stack.enter_context(seam.opened(cross))
        several = torch.cat([images, images.flip(-1), bright * torch.ones_like(images[:1])])
        try:
            way.run(several)
        except FAILURES as error:
            raise SpikeproofError(
                f"Called with {len(several)} images after {len(images)} the network fails ({first_line(error)}): it "
                "keeps a state that adapt does not know. Reset it at the beginning of each forward."
            ) from error
    if not any(bool(each.any()) for each in spikes):
        raise SpikeproofError(
            f"No neuron fires in {way.steps} steps on the first images, so the logits say nothing of them. Look for "
            "weights that were not loaded, a normalisation that is not the one of training (mean=, std=), or another "
            "number of steps."
        )


def _entry(entered: Tensor | None, samples: int, steps: int) -> Layout | None:
    """In which layout every step of what enters is the same."""
    for layout in Layout:
        if entered is None or not _may_be(entered, layout, samples, steps):
            continue
        by_step = layout.by_step(entered, steps)
        if bool((by_step == by_step[:1]).all()):
            return layout
    return None


def _may_be(entered: Tensor, layout: Layout, samples: int, steps: int) -> bool:
    ahead = {
        Layout.STEP: (samples,),
        Layout.TIME_FIRST: (steps, samples),
        Layout.SAMPLE_FIRST: (samples, steps),
        Layout.MERGED_TIME: (samples * steps,),
        Layout.MERGED_SAMPLE: (samples * steps,),
    }[layout]
    return tuple(entered.shape[: len(ahead)]) == ahead


def _telling(seam: Seam, fired: dict[str, _Fired]) -> Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]:
    def cross(margin: Tensor, spikes_of: Callable[[Tensor], Tensor]) -> Tensor:
        mine = fired.setdefault(seam.label, _Fired())
        if mine.first is None:
            mine.first = margin.detach()
        mine.moves |= not torch.equal(mine.first, margin.detach())
        mine.driven |= margin.requires_grad
        samples = torch.arange(len(margin), device=margin.device).view(-1, *(1,) * (margin.ndim - 1))
        spikes = spikes_of(margin)
        if not seam.fires_many:
            _check_spikes(seam.label, margin, spikes)
        told = 0 * spikes + (1 + len(mine.steps) + samples / 64).to(margin.dtype)
        mine.steps.append(told)
        return told

    return cross


def _check_spikes(label: str, margin: Tensor, spikes: Tensor) -> None:
    above = spikes == (margin > 0).to(spikes.dtype)
    if not bool((above | (margin == 0)).all()):
        raise SpikeproofError(
            f"At {label} what forms the spikes does not give 1 above 0 and 0 below, so what it gets is no margin "
            "(potential - threshold) or several spikes fire at once; name the function that does: adapt(net, "
            "spikes=...)."
        )


def _listening(label: str, fired: dict[str, _Fired], norms: set[Any]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, given: Any, returned: Any) -> None:
        mine = fired.get(label)
        spikes = returned[0] if isinstance(returned, tuple) and returned else returned
        if mine is None or not isinstance(spikes, Tensor):
            return
        mine.beside |= isinstance(returned, tuple)
        new, mine.told = mine.steps[mine.told :], len(mine.steps)
        mine.outputs.append(spikes)
        if given and isinstance(given[0], Tensor):
            mine.normed |= _from_norms(given[0].grad_fn, norms)
        mine.layouts.append(layout_of(spikes, new) if new else None)

    return hook


def _from_norms(node: Any, norms: set[Any]) -> bool:
    """Whether all that a tensor holds was made by these nodes; ``node`` is its own."""
    if node is None or node in norms:
        return node is not None
    called = node.name().rstrip("0123456789").removesuffix("Backward")
    return called in _CARRIES and all(_from_norms(before, norms) for before, _ in node.next_functions)


def _reaching(fired: dict[str, _Fired], logits: Tensor) -> dict[str, Layer]:
    """The layers whose outputs the logits depend on; the others are readouts, of their potentials."""
    found: dict[str, Layer] = {}
    for label, mine in fired.items():
        if not mine.steps:
            continue
        asked = [each for each in mine.outputs if each.requires_grad]
        if logits.requires_grad and asked:
            reached = torch.autograd.grad(logits.sum(), asked, retain_graph=True, allow_unused=True)
            if all(each is None for each in reached):
                continue
        layouts = set(mine.layouts)
        found[label] = Layer(layouts.pop() if len(layouts) == 1 else None, mine.normed, mine.beside)
    return found


def _as_many(images: Tensor, count: int) -> Tensor:
    pool = torch.cat([images.detach(), 1 - images.detach()])
    return pool.repeat(-(-count // len(pool)), *(1,) * (pool.ndim - 1))[:count]


def _called(how: Runs | Caller, frames: bool) -> str:
    if not isinstance(how, Runs):
        return "the function given"
    if frames and how not in (Runs.SEQUENCE, Runs.MERGED):
        return {
            Runs.IMAGES: "frames [N,T,C,H,W]",
            Runs.STEPS: "a frame in every step",
            Runs.STATES: "a frame and its state in every step",
        }[how]
    return {
        Runs.IMAGES: "images",
        Runs.SEQUENCE: "a sequence [T,N,C,H,W]",
        Runs.MERGED: "merged frames [N*T,C,H,W]",
        Runs.STEPS: "images in every step",
        Runs.STATES: "images and its state in every step",
    }[how]


def _said(counts: dict[str, int]) -> str:
    if not counts:
        return "no spiking layer fires"
    least, most = min(counts.values()), max(counts.values())
    label = next(label for label, count in counts.items() if count == most)
    if least == most:
        return f"every layer runs {most} step{'s' * (most != 1)}"
    other = next(label for label, count in counts.items() if count == least)
    return f"{label} runs {most} steps and {other} {least}"


@contextlib.contextmanager
def _quiet(net: nn.Module) -> Iterator[None]:
    """Eval mode, so that a trial moves no batch norm's statistics; each flag restored."""
    before = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
