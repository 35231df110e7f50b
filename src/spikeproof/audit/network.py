"""What was audited: whose network, and how it runs; whether it spikes at all."""

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
from spikeproof.interop import Adapted, Layout, Runs, libraries_in
from spikeproof.models import SpikingModel, unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.spiking import sites

OURS = "spikeproof"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """What an audit says of its network.

    Attributes:
        name: its class, or the name by which ``create_model`` knows it.
        library: whose spiking layers it has: "spikeproof", other libraries' names, "your code"; None for none.
        num_steps: T; None where its layers are no sites, or there are none.
        runs: how an adapted network is called ("images", "sequence", ...; "function" for the user's own).
        reads: how its logits are read from those of its steps ("mean", ...); None where it gives one for all.
        readouts: its layers that fire without reaching the logits.
        functions: in a network without sites, what its backward calls beyond PyTorch: it may form spikes.
    """

    name: str
    library: str | None = None
    num_steps: int | None = None
    runs: str | None = None
    reads: str | None = None
    readouts: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it is an ANN, as far as its layers and its backward tell: its own gradient is exact then."""
        return self.library is None and not self.functions

    @property
    def hidden(self) -> str | None:
        """Why its spikes are no sites, where it has or may have some; the beginning of a sentence that mends it."""
        if self.plain or self.num_steps is not None:
            return None
        if self.library is not None:
            return (
                f"The layers of {self.library} in this {self.name} were not adapted, so no attack follows their "
                "potentials: pass it through spikeproof.adapt(net, num_steps=T)"
            )
        return (
            f"The backward of this {self.name} has functions of its own ({', '.join(self.functions)}); if one forms "
            f"spikes, pass it through spikeproof.adapt(net, num_steps=T, spikes={self.functions[0]})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for audit.json."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def network_of(model: nn.Module, images: Float[Tensor, "n c h w"]) -> Network:
    """What this network is; an adapted one has run before.

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
    name, held = type(inner).__name__, list(sites(inner).values())
    if held:
        return Network(name=name, library=OURS, num_steps=held[0].num_steps)
    libraries = " and ".join(library.name for library in libraries_in(inner))
    if libraries:
        return Network(name=name, library=libraries)
    return Network(name=name, functions=_functions(inner, images))


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
        readouts=settled.readouts,
    )


def _functions(network: nn.Module, images: Float[Tensor, "n c h w"]) -> tuple[str, ...]:
    """The ``autograd.Function`` classes, but for PyTorch's own, on the way from the logits to the image."""
    with (
        private_rng(),
        put_back(generators_of(network)),
        evaluating(network),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        asked = images[:2].to(working_dtype(network)).clone().requires_grad_()
        logits: Tensor = network(asked.clone())
    found: dict[str, None] = {}
    seen, ahead = set(), [logits.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        ahead += [before for before, _ in node.next_functions]
        if isinstance(node, BackwardCFunction):
            function = type(node)._forward_cls
            if function.__module__.split(".")[0] != "torch":
                found[function.__name__] = None
    return tuple(found)
