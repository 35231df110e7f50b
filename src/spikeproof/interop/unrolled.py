"""A user's network as a graph in which each spiking layer is called once, for all steps.

A loop over steps calls every layer T times. ``torch.fx`` follows that loop and writes down the calls. Here the T calls
of a spiking layer become one of a site, with the T currents stacked, and the calls are put in an order in which all
currents of a layer are there before it runs. The layers between are the user's own modules, called as often as before.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeproof.errors import FAILURES, SpikeproofError, first_line
from spikeproof.interop.layout import Layout
from spikeproof.interop.running import Caller, Runs, run
from spikeproof.interop.settle import Layer

_CONSTANT = "_tensor_constant"  # how torch.fx names tensors that a forward makes itself


class _Whole(nn.Module):
    """All that one forward calls; the user's network keeps its place under ``net``."""

    def __init__(self, net: nn.Module, how: Runs | Caller, steps: int, by_frame: bool) -> None:
        super().__init__()
        self.net, self._how, self._steps, self._by_frame = net, how, steps, by_frame

    def forward(self, frames: Tensor | fx.Proxy) -> list[Any]:
        return run(self.net, frames, self._how, self._steps, self._by_frame)


class _Following(fx.Tracer):
    """Follows the code of the modules that hold spiking layers; all others are calls."""

    def __init__(self, inside: Collection[nn.Module]) -> None:
        super().__init__()
        self._inside = set(inside)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m not in self._inside and not isinstance(m, _Whole)


def followed(net: nn.Module, layers: Collection[nn.Module]) -> list[nn.Module]:
    """The modules whose own code is followed: those that hold a spiking layer."""
    return [each for each in net.modules() if each not in layers and any(part in layers for part in each.modules())]


def unrolled(
    net: nn.Module,
    layers: Mapping[str, Layer],
    gains: Mapping[str, float],
    how: Runs | Caller,
    steps: int,
    by_frame: bool,
    tag: str,
) -> tuple[Callable[..., list[Any]], dict[str, Tensor]]:
    """What a network does, with ``sites.N`` in the place of the N-th of ``layers``.

    Args:
        layers: those that become sites, by their names, in order of firing.
        gains: what multiplies the current before each.
        how: the way it is called.
        steps: T.
        by_frame: whether each step has a frame of its own.
        tag: what the names of constants begin with.

    Returns:
        A function of an object and frames: the object has the network as ``net``, the sites as ``sites`` and the
        constants as attributes. And these constants, tensors that the network's forward makes itself.

    Raises:
        SpikeproofError: code that cannot be followed, that draws random numbers, reads a potential, or lets a layer's
            spikes reach its own current.
    """
    modules = dict(net.named_modules())
    spiking = [modules[label] for label in layers]
    root = _Whole(net, how, steps, by_frame)
    before = torch.get_rng_state()
    try:
        graph = _Following(followed(net, spiking)).trace(root)
    except FAILURES as error:
        raise SpikeproofError(
            f"native=True follows the code of a forward without values, and that of this {type(net).__name__} cannot "
            f"be followed ({first_line(error)}); leave native=True out."
        ) from error
    if not torch.equal(before, torch.get_rng_state()):
        raise SpikeproofError(
            f"The forward of this {type(net).__name__} draws random numbers outside of layers, which native=True would "
            "draw once for all; leave native=True out."
        )
    old = {
        label: [node for node in graph.nodes if node.op == "call_module" and node.target == f"net.{label}"]
        for label in layers
    }
    in_place = any(_works_in_place(node) for node in graph.nodes)
    for place, (label, layer) in enumerate(layers.items()):
        _put(graph, old[label], label, place, layer, gains[label], steps, in_place)
    ordered = _ordered(graph, old)
    constants: dict[str, Tensor] = {}
    for node in ordered.nodes:
        if node.op == "get_attr" and str(node.target).startswith(_CONSTANT):
            constants[f"{tag}{node.target}"] = getattr(root, str(node.target))
            node.target = f"{tag}{node.target}"
    holder = _Whole(net, how, steps, by_frame)
    holder.sites = nn.ModuleList(nn.Identity() for _ in layers)
    for name, constant in constants.items():
        setattr(holder, name, constant)
    return type(fx.GraphModule(holder, ordered)).forward, constants


def _put(
    graph: fx.Graph,
    calls: Sequence[fx.Node],
    label: str,
    place: int,
    layer: Layer,
    gain: float,
    steps: int,
    in_place: bool,
) -> None:
    """One call of the site beside the calls of the layer, and its spikes where theirs went."""
    currents = tuple(call.args[0] if call.args else next(iter(call.kwargs.values())) for call in calls)
    layout = layer.layout
    by_step = layout is Layout.STEP
    if layout is None or len(calls) != (steps if by_step else 1):
        raise SpikeproofError(
            f"{label} is called {len(calls)} times in {steps} steps or gives something else than its spikes, so "
            "native=True has no place for it; leave native=True out."
        )
    with graph.inserting_after(calls[-1]):
        joined: tuple[Any, ...] = (currents, gain) if by_step else (currents[0], layout.name, steps, gain)
        entering = graph.call_function(_together if by_step else _merged, joined)
    with graph.inserting_after(entering):
        site = graph.call_module(f"sites.{place}", (entering,))
    with graph.inserting_after(site):
        split: tuple[Any, ...] = (site, steps, in_place) if by_step else (site, layout.name, steps, in_place)
        leaving = graph.call_function(_apart if by_step else _laid_out, split)
    last = leaving
    for step, call in enumerate(calls):
        spikes = leaving
        if by_step:
            with graph.inserting_after(last):
                spikes = last = graph.call_function(operator.getitem, (leaving, step))
        for user in list(call.users):
            if not layer.beside:
                user.replace_input_with(call, spikes)
            elif user.target is operator.getitem and user.args[1] == 0:
                user.replace_all_uses_with(spikes)


def _ordered(graph: fx.Graph, old: Mapping[str, Sequence[fx.Node]]) -> fx.Graph:
    """The graph without the layers' own calls, each node after what it needs and else in the order it had."""
    nodes = list(graph.nodes)
    places = {node: place for place, node in enumerate(nodes)}
    replaced = {call for calls in old.values() for call in calls}
    # Modules are called for what they keep, too (a batch norm's statistics, the state of a readout).
    asked = [node for node in nodes if node.op in ("output", "placeholder", "call_module") and node not in replaced]
    needed: set[fx.Node] = set()
    while asked:
        node = asked.pop()
        if node not in needed:
            needed.add(node)
            asked.extend(node.all_input_nodes)
    for label, calls in old.items():
        if any(call in needed for call in calls):
            raise SpikeproofError(
                f"The network reads or returns more of {label} than its spikes, such as its potential, which "
                "native=True does not give; return the spikes alone, or leave native=True out."
            )
    waiting = {node: len(node.all_input_nodes) for node in nodes if node in needed}
    ready = [places[node] for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    while ready:
        node = nodes[heapq.heappop(ready)]
        made[node] = ordered.node_copy(node, made.__getitem__)
        for user in node.users:
            if user in waiting:
                waiting[user] -= 1
                if waiting[user] == 0:
                    heapq.heappush(ready, places[user])
    for place, label in enumerate(old):
        if any(node.target == f"sites.{place}" and node not in made for node in waiting):
            raise SpikeproofError(
                f"What enters {label} depends on its own spikes of the step before, so its steps cannot run at once; "
                "leave native=True out."
            )
    return ordered


def _together(currents: Sequence[Tensor], gain: float) -> Tensor:
    return _gained(torch.cat(list(currents)), gain)


def _merged(current: Tensor, layout: str, steps: int, gain: float) -> Tensor:
    return _gained(Layout[layout].by_step(current, steps).flatten(0, 1), gain)


def _gained(current: Tensor, gain: float) -> Tensor:
    return current if gain == 1 else gain * current


def _works_in_place(node: fx.Node) -> bool:
    """Whether a node may change a tensor that it is given (``out += skip``, ``x.add_(y)``)."""
    named = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    by_method = node.op == "call_method" and named.endswith("_") and not named.endswith("__")
    return by_method or (node.op == "call_function" and named[:1] == "i" and hasattr(operator, named))


def _apart(spikes: Tensor, steps: int, in_place: bool) -> Sequence[Tensor]:
    parts = spikes.chunk(steps)
    return [part.clone() for part in parts] if in_place else parts  # autograd lets nobody change one of several views


def _laid_out(spikes: Tensor, layout: str, steps: int, in_place: bool) -> Tensor:
    steps_first = spikes.unflatten(0, (steps, -1))
    return Layout[layout].of_steps(steps_first.clone() if in_place else steps_first)
