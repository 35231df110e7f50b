"""``adapt``: a network of another library, handed over in one line."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import cast, get_args

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from spikeproof.checked import told, whole
from spikeproof.errors import SpikeproofError
from spikeproof.interop.adapted import Adapted, Handed
from spikeproof.interop.libraries import LIBRARIES, libraries_in
from spikeproof.interop.native import Native
from spikeproof.interop.own_code import OwnCode
from spikeproof.interop.running import Caller, Reads, Runs
from spikeproof.interop.seam import Library
from spikeproof.kinds import check_kinds
from spikeproof.models import is_compiled, is_scripted
from spikeproof.models.spiking_model import MOST_STEPS
from spikeproof.spiking import sites


@check_kinds
def adapt(
    net: nn.Module,
    *,
    num_steps: int,
    runs: str | Caller = "auto",
    reads: str = "mean",
    output: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    spikes: str | type[torch.autograd.Function] | types.MethodType | None = None,
    native: bool = False,
) -> Adapted:
    """A network of another library as one of ours: images [N,C,H,W] in [0,1] to logits [N,K], stateless.

    With event data it takes frames [N,T,C,H,W], one for each step, and T must be ``num_steps``.

    Every battery, attack, gradient source, probe and picture then works on it. Each of its spiking layers is a site
    (``spikeproof.sites``); the forward stays the library's own, to the bit on the CPU. How it is called and what it
    returns are found out at the first forward, in eval mode; where that leaves a doubt, a sentence names the argument.

    Args:
        net: the network, with its weights; it is not copied and not changed.
        num_steps: T, how many steps it runs for an image.
        runs: "images" (it unrolls itself), "sequence" (it takes [T,N,C,H,W]), "steps" (it is called T times),
            "states" (so, too, with the state that it returned before), "merged" (it takes [N*T,C,H,W]), a function of
            the network and images [N,C,H,W], or "auto". "images" with frames: it takes [N,T,C,H,W].
        reads: the logits of an output with steps, [T,N,K] or [N,T,K]: their "mean", "sum", "last" or "max".
        output: the place of the logits, where the network returns a tuple.
        mean, std: of the normalisation that its training used, a number or one for each channel. Leave them out where
            it normalises inside.
        spikes: for code of one's own, what turns margins (potential - threshold) into spikes: an autograd.Function, or
            the name of the attribute by which the layers hold it, or of the global that its apply is bound to.
        native: replace each spiking layer by the neuron of ours that does the same, so that fused kernels run and every
            defense trains it. The first forward compares both in float64: logits, and gradients by the images and by
            all weights, to 1e-10 of the largest. Layers of SpikingJelly (IF, LIF) and snnTorch (Leaky) have such a
            neuron. ``net`` itself stays as it is and keeps its weights.

    Returns:
        The adapted network. ``adapted.net`` is the network handed over.

    Raises:
        SpikeproofError: no network of a known library, parallel or multi-spike neurons, a compiled or data-parallel
            network, one that is adapted already; or an argument that is none. At the first forward: a network that
            cannot be called or read as asked, or one that ``native`` would change.

    Example:
        >>> import spikeproof as sp
        >>> from spikingjelly.activation_based import layer, neuron  # doctest: +SKIP
        >>> net = nn.Sequential(layer.Flatten(), layer.Linear(64, 10), neuron.LIFNode())  # doctest: +SKIP
        >>> sp.audit(sp.adapt(net, num_steps=4), sp.load_data("digits").test)  # doctest: +SKIP
    """
    _check_network(net)
    whole(num_steps, "adapt", "num_steps", 1, MOST_STEPS)
    if reads not in get_args(Reads):
        raise SpikeproofError(f"adapt reads logits by their {', '.join(get_args(Reads))}, got {told(reads)}.")
    if output is not None:
        whole(output, "adapt", "output", -100, 100)
    mean, std = _normalisation(mean, std)
    libraries: list[Library] = libraries_in(net)
    if spikes is not None:
        libraries.append(OwnCode(spikes))
    handed = Handed(num_steps, _runs(runs), cast(Reads, reads), output, mean, std)
    adapted = Native(net, libraries, handed) if native else Adapted(net, libraries, handed)
    if not len(adapted.sites):
        names = ", ".join(library.name for library in LIBRARIES)
        raise SpikeproofError(
            f"No spiking layer was found in this {type(net).__name__}: its layers are none of {names}. For "
            "code of your own name what forms the spikes: adapt(net, spikes=...), an autograd.Function or the name of "
            "the attribute that holds it; put spikes that are formed by detach() into an autograd.Function first. A "
            "network without spikes needs no adapting: audit it as it is."
        )
    return adapted


def _check_network(net: nn.Module) -> None:
    if any(isinstance(module, Adapted) for module in net.modules()):
        raise SpikeproofError("This network is adapted already; hand it over as it is.")
    if sites(net):
        raise SpikeproofError("This network has spikeproof's own sites and needs no adapting; hand it over as it is.")
    if any(is_compiled(module) for module in net.modules()):
        raise SpikeproofError(
            "A compiled network cannot be adapted: what forms its spikes is no longer called. Adapt the network that "
            "you compiled (net._orig_mod)."
        )
    if is_scripted(net):
        raise SpikeproofError(
            "A TorchScript network cannot be adapted: its code is compiled, so what forms its spikes is out of reach. "
            "Adapt the module that it was scripted or traced from."
        )
    if isinstance(net, nn.DataParallel | DistributedDataParallel):
        raise SpikeproofError(
            f"A {type(net).__name__} runs copies of the network, which an adapted one cannot see into; adapt the "
            "network inside (net.module)."
        )
    halves = [name for name, each in net.named_parameters() if each.is_floating_point() and each.dtype.itemsize < 4]
    if halves:
        raise SpikeproofError(
            f"The weights of this network are in half precision ({halves[0]}), where rounding moves potentials across "
            "the threshold; give it in float32: adapt(net.float(), ...)."
        )


def _runs(runs: str | Caller) -> Runs | Caller | None:
    if callable(runs):
        return runs
    names = [each.value for each in Runs]
    if runs == "auto":
        return None
    if runs not in names:
        raise SpikeproofError(
            f"adapt runs a network as auto, {', '.join(names)}, or by a function of it and images, got {told(runs)}."
        )
    return Runs(runs)


def _normalisation(
    mean: float | Sequence[float] | None, std: float | Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if (mean is None) != (std is None):
        raise SpikeproofError("A normalisation is a mean and a std; give adapt both, or none.")
    if mean is None or std is None:
        return (), ()
    means, stds = (tuple(map(float, each)) if isinstance(each, Sequence) else (float(each),) for each in (mean, std))
    if not all(each > 0 for each in stds):
        raise SpikeproofError(f"adapt's std must be positive, got {told(std)}; it divides the images.")
    if not all(0 <= each <= 1 for each in means):
        raise SpikeproofError(
            f"adapt's mean lies outside [0, 1], got {told(mean)}; images are in [0, 1] here, so divide mean and std "
            "of pixels by 255."
        )
    if len(means) != len(stds):
        raise SpikeproofError(f"adapt's mean has {len(means)} channels and its std {len(stds)}; give one for each.")
    return means, stds
