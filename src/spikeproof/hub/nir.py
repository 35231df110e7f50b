"""A network as an NIR graph, for other simulators and for neuromorphic hardware (Pedersen et al. 2024).

NIR's neurons are ordinary differential equations. One step of size dt by Euler's rule is exactly our recurrence::

    tau dv/dt = -v + r I,    tau = dt / (1 - decay),   r = tau / dt     ->    v <- decay v + I

and with decay 1 it is NIR's IF with r = 1 / dt. Both reset to 0. NIR's neuron fires above the threshold and ours at it,
which differs where a potential is the threshold to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeproof.attacks import evaluating
from spikeproof.checked import real
from spikeproof.coding import Direct, Frames
from spikeproof.disk import user_path, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.models import SpikingModel, unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.spiking import Site

_LEARNED = ("decay", "gain", "adaptation", "setpoint", "gate", "random_decay")


def export_nir(model: nn.Module, path: str | Path, *, dt: float = 1e-4) -> Path:
    """Write a network to an NIR graph: convolutions, linear layers, average pooling and (leaky) integrate-and-fire.

    Batch norms are folded into the layers before them. Not in the graph: the normalisation, so its input is
    (image - mean) / std at every step; and the mean of its outputs over the steps.

    Args:
        model: of ``create_model`` or ``load_model``, such as a conv or a vgg, with direct coding or frames.
        path: the file, which is replaced.
        dt: the step in seconds at which a simulator does what the network does; 1e-4 is usual.

    Returns:
        Where the file is.

    Raises:
        SpikeproofError: a network, coding, layer or neuron that the graph cannot have, with its name and why; or nir is
            not installed.

    Example:
        >>> import spikeproof as sp
        >>> model = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> sp.export_nir(model, "/tmp/digits.nir")  # doctest: +SKIP
        PosixPath('/tmp/digits.nir')

    Source: Pedersen et al. 2024 (Nature Communications).
    """
    if find_spec("nir") is None:
        raise SpikeproofError("An NIR graph needs nir: pip install 'spikeproof[nir]'.")
    real(dt, "export_nir", "dt", 0, 1, above=True)
    network = unwrapped(model)
    if not isinstance(network, SpikingModel):
        raise SpikeproofError(
            f"export_nir writes networks of create_model, and this is a {type(network).__name__}; export a network of "
            "another library by that library."
        )
    if not isinstance(network.coding, Direct | Frames):
        raise SpikeproofError(
            f"The coding {type(network.coding).__name__} draws or filters images, which no node of NIR does; export a "
            "network with direct coding or frames."
        )
    import nir

    shapes = _shapes(network)
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(_sizes(network))})}
    for name, node in _nodes(network, shapes, dt):
        nodes[name] = node
    nodes["output"] = nir.Output({"output": np.array([network.description.num_classes])})
    names = list(nodes)
    graph = nir.NIRGraph(nodes=nodes, edges=list(zip(names, names[1:], strict=False)))
    target = user_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda file: nir.write(str(file), graph))
    return target


def _sizes(network: SpikingModel) -> tuple[int, ...]:
    """[C,H,W] of what enters at a step."""
    return network.description.sample_shape[-3:]


def _chain(network: SpikingModel) -> dict[str, nn.Module]:
    """The layers in order, by name."""
    layers: dict[str, nn.Module] = {}
    for half in ("stem", "body"):
        part = getattr(network, half)
        if isinstance(part, nn.Sequential):
            layers |= {f"{half}.{name}": layer for name, layer in part.named_children()}
        else:
            layers[half] = part
    return layers


def _shapes(network: SpikingModel) -> dict[str, tuple[int, ...]]:
    """What enters each layer, of one sample and step."""
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: shapes.update({name: tuple(given[0].shape[1:])}))
        for name, layer in _chain(network).items()
    ]
    like = next(network.parameters())
    try:
        with private_rng(), evaluating(network), torch.no_grad():
            network(like.new_zeros(1, *network.description.sample_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _nodes(network: SpikingModel, shapes: dict[str, tuple[int, ...]], dt: float) -> Iterator[tuple[str, Any]]:
    import nir

    layers = list(_chain(network).items())
    for place, (name, layer) in enumerate(layers):
        following = layers[place + 1][1] if place + 1 < len(layers) else None
        shape = shapes[name]
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight, bias = _folded(layer, following)
            if isinstance(layer, nn.Linear):
                yield name, nir.Affine(weight=weight, bias=bias)
            else:
                how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
                yield name, nir.Conv2d(input_shape=shape[1:], weight=weight, bias=bias, groups=layer.groups, **how)
        elif isinstance(layer, nn.Flatten) and layer.start_dim == 1:
            yield name, nir.Flatten({"input": np.array(shape)}, start_dim=0, end_dim=-1)
        elif isinstance(layer, nn.AvgPool2d) and not (np.array(shape[1:]) % np.array(layer.kernel_size)).any():
            yield name, _pool(nir, layer.kernel_size)
        elif isinstance(layer, Site):
            before = layers[place - 1][1] if place else None
            _check_site(name, layer, before)
            yield name, _neurons(nir, layer, shape, dt)
            if layer.pool > 1:
                yield f"{name}.pool", _pool(nir, layer.pool)
        else:
            raise SpikeproofError(
                f"{name} of this network is a {type(layer).__name__}, for which export_nir has no node; it writes "
                "chains of convolutions, linear layers, average pooling and neurons, such as conv and the vggs."
            )


def _pool(nir: Any, size: Any) -> Any:
    each = np.broadcast_to(np.array(size), (2,)).copy()
    return nir.AvgPool2d(kernel_size=each, stride=each, padding=np.zeros(2, dtype=int))


def _check_site(name: str, site: Site, before: nn.Module | None) -> None:
    """Refuse what no node of NIR does."""
    changed = [part for part in _LEARNED if getattr(site, part, None) is not None]
    changed += ["noise at inference"] if site.noise_std > 0 and site.noise_at_inference else []
    if changed:
        raise SpikeproofError(
            f"{name} of this network has {changed[0].replace('_', ' ')}, which a defense gave it and NIR's neurons do "
            "not have; export a network without it."
        )
    if site.neuron.reset != "hard":
        raise SpikeproofError(
            f"{name} of this network resets by subtraction, and NIR's neurons to a fixed potential; train one with "
            "reset='hard'."
        )
    norm: Any = site.norm
    if norm is not None and not (isinstance(norm, nn.BatchNorm2d) and isinstance(before, nn.Conv2d | nn.Linear)):
        raise SpikeproofError(
            f"The batch norm of {name} has no single layer before it into which it could be folded "
            f"({type(norm).__name__}); export a network with batch_norm='merged' and no residual blocks."
        )


def _folded(layer: nn.Conv2d | nn.Linear, following: nn.Module | None) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias, with the batch norm of the site that follows."""
    weight = layer.weight.detach()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    norm = following.norm if isinstance(following, Site) else None
    if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
        scale = (norm.running_var + norm.eps).rsqrt() * norm.weight.detach()
        weight = weight * scale.view(-1, *(1,) * (weight.ndim - 1))
        bias = (bias - norm.running_mean) * scale + norm.bias.detach()
    return _array(weight), _array(bias)


def _neurons(nir: Any, site: Site, shape: tuple[int, ...], dt: float) -> Any:
    neuron, ones = site.neuron, np.ones(shape)
    fixed = {"v_threshold": neuron.threshold * ones, "v_reset": 0 * ones}
    if neuron.decay == 1:
        return nir.IF(r=ones / dt, **fixed)
    tau = dt / (1 - neuron.decay)
    return nir.LIF(tau=tau * ones, r=tau / dt * ones, v_leak=0 * ones, **fixed)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().cpu().numpy()
