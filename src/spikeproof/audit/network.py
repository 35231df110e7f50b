"""Which network was audited: whose layers it has, how it runs, and whether it spikes at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from spikeproof.attacks import evaluating, working_dtype
from spikeproof.attacks.generators import generators_of, put_back
from spikeproof.errors import SpikeproofError
from spikeproof.interop import Adapted, Layout, Native, Runs, libraries_in
from spikeproof.models import SpikingModel, is_scripted, unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.spiking import sites

OURS = "spikeproof"
_FEW = 8
_ROUNDING = 1e-5  # how far from 0 and 1 a straight-through estimator may land


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """What an audit says about its network.

    Attributes:
        name: its class, or the name by which ``create_model`` knows it.
        library: whose spiking layers it has: "spikeproof", other libraries' names, "your code"; None for none.
        num_steps: T; None where its layers are no sites, or there are none.
        runs: how an adapted network is called ("images", "sequence", ...; "function" for the user's own).
        reads: how the steps' outputs become logits ("mean", ...); None where the network gives one output for all.
        native: whether its spiking layers were replaced by neurons of spikeproof (``adapt(net, native=True)``).
        frames: whether it was called with frames [N,T,C,H,W], as event data are.
        readouts: its layers that fire but do not reach the logits.
        functions: in a network without sites, the autograd functions that are not PyTorch's own: one may form spikes.
        binary: in a network without sites, the layers that turn other numbers into zeros and ones alone.
    """

    name: str
    library: str | None = None
    num_steps: int | None = None
    runs: str | None = None
    reads: str | None = None
    native: bool = False
    frames: bool = False
    readouts: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it is an ANN, as far as its layers and its backward show. Its own gradient is exact then."""
        return self.library is None and not self.functions and not self.binary

    @property
    def hidden(self) -> str | None:
        """Why its spikes are no sites and how to mend it, without a full stop; None where it has sites or no spikes."""
        if self.plain or self.num_steps is not None:
            return None
        if self.library is not None:
            return (
                f"The layers of {self.library} in this {self.name} were not adapted, so no attack follows their "
                "potentials: pass it through spikeproof.adapt(net, num_steps=T)"
            )
        if not self.functions:
            return (
                f"Layers of this {self.name} give zeros and ones alone, as spikes are ({', '.join(self.binary[:3])}); "
                "if they spike, pass it through spikeproof.adapt(net, num_steps=T, spikes=...)"
            )
        return (
            f"The backward of this {self.name} has functions of its own ({', '.join(self.functions)}); if one forms "
            f"spikes, pass it through spikeproof.adapt(net, num_steps=T, spikes={self.functions[0]})"
        )


def refuse_scripted(model: nn.Module, called: str = "A network") -> None:
    """Refuse a network of TorchScript, in which no spikes can be seen.

    Args:
        model: any.
        called: how the message calls it.

    Raises:
        SpikeproofError: it is, or holds, a ``torch.jit.ScriptModule``.
    """
    if is_scripted(model):
        raise SpikeproofError(
            f"{called} of TorchScript cannot be audited: its code is compiled, so nobody sees its spiking layers, or "
            "whether its gradient is a surrogate's; give the module that it was scripted or traced from."
        )


def network_of(model: nn.Module, images: Float[Tensor, " n *chw"]) -> Network:
    """Describe a network. One without known layers is run on a few images to look for spikes.

    Args:
        model: an adapted network must have run before.
        images: in [0, 1].

    Raises:
        SpikeproofError: an adapted network that has not run yet.

    Example:
        >>> network_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(3, 1, 2, 2)).plain
        True
    """
    inner = unwrapped(model)
    for module in inner.modules():
        if isinstance(module, Adapted):
            return _of_adapted(module)
        if isinstance(module, SpikingModel):
            return Network(name=module.description.name, library=OURS, num_steps=module.num_steps)
    name, own_sites = type(inner).__name__, list(sites(inner).values())
    if own_sites:
        return Network(name=name, library=OURS, num_steps=own_sites[0].num_steps)
    libraries = " and ".join(library.name for library in libraries_in(inner))
    if libraries:
        return Network(name=name, library=libraries)
    functions, binary = _seen(inner, images)
    return Network(name=name, functions=functions, binary=binary)


def _of_adapted(adapted: Adapted) -> Network:
    settled = adapted.settled
    if settled is None:
        raise SpikeproofError("How an adapted network runs is known once it has run; call it with some images first.")
    return Network(
        name=type(adapted.net).__name__,
        library=adapted.library,
        num_steps=adapted.num_steps,
        runs=settled.runs.value if isinstance(settled.runs, Runs) else "function",
        reads=None if settled.output is Layout.STEP else adapted.handed.reads,
        native=isinstance(adapted, Native),
        frames=settled.frames,
        readouts=settled.readouts,
    )


def _seen(network: nn.Module, images: Float[Tensor, " n *chw"]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of one forward: the ``autograd.Function`` classes that are not PyTorch's own, and the layers that make bits."""
    binary: dict[str, Tensor] = {}

    def look(label: str, given: tuple[Any, ...], returned: Any) -> None:
        if _bits(returned) and not any(_bits(each) for each in given):
            binary[label] = returned

    hooks = [
        module.register_forward_hook(lambda _, given, returned, label=label: look(label, given, returned))
        for label, module in network.named_modules()
    ]
    try:
        with (
            private_rng(),
            put_back(generators_of(network)),
            evaluating(network),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            pixels = images[:_FEW].to(working_dtype(network)).clone().requires_grad_()
            logits: Tensor = network(pixels.clone())
    finally:
        for hook in hooks:
            hook.remove()
    # Not the output itself: probabilities of a network that is sure are zeros and ones too.
    layers = [label for label, bits in binary.items() if bits.shape != logits.shape or not torch.equal(bits, logits)]
    return tuple(_functions(logits.grad_fn)), tuple(layers)


def _bits(value: Any) -> bool:
    """Whether a tensor holds zeros and ones alone, and both."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    zeros, ones = value.abs() < _ROUNDING, (value - 1).abs() < _ROUNDING
    return bool((zeros | ones).all()) and bool(zeros.any()) and bool(ones.any())


def _functions(last: Any) -> dict[str, None]:
    """The names of all such classes in autograd's graph, which is walked from its last node."""
    names: dict[str, None] = {}
    seen, ahead = set(), [last]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        ahead += [before for before, _ in node.next_functions]
        if isinstance(node, BackwardCFunction):
            function: Any = getattr(type(node), "_forward_cls")  # noqa: B009 (PyTorch's stubs do not have it)
            if function.__module__.split(".")[0] != "torch":
                names[function.__name__] = None
    return names
