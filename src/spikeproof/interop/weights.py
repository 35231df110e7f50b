"""An adapted network's weights on disk: the user's own, by the user's own keys, and what was adapted in words.

Its code is the user's and no file holds it, so weights go back into a network that the user hands over again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.contents import contents
from spikeproof.errors import SpikeproofError
from spikeproof.interop.adapted import Adapted, Handed
from spikeproof.interop.native import Native
from spikeproof.interop.native_site import NativeSite
from spikeproof.interop.running import Runs
from spikeproof.models.weights import read_weights, write_weights
from spikeproof.spiking import sites

_OURS = "spikeproof."  # what the names of parts begin with that are not the user's


def check_adapted_writable(model: Adapted) -> None:
    """Refuse a network whose ``state_dict`` holds what a file of weights cannot.

    Raises:
        SpikeproofError: an entry that is no tensor.
    """
    for name, held in model.net.state_dict().items():
        if not isinstance(held, Tensor):
            raise SpikeproofError(
                f"The state_dict of this network holds a {type(held).__name__} at {name}, and a file of weights holds "
                "tensors; train it without a folder, and save it yourself."
            )


def save_adapted(model: Adapted, path: str | Path) -> None:
    """Write the user's ``state_dict`` to a safetensors file, with a word of what was adapted and how.

    What a defense put at native sites is there too, by names that begin with "spikeproof.": so a strict
    ``load_state_dict`` into the user's network alone, which would be another one, says so.

    Raises:
        SpikeproofError: see :func:`check_adapted_writable`.
    """
    check_adapted_writable(model)
    write_weights(path, model.net.state_dict() | _at_sites(model), {"adapted": said_of_adapted(model)})


def load_adapted(model: Adapted, path: Path) -> dict[str, Tensor]:
    """The weights that ``save_adapted`` wrote of a network like this one, by the names of ``model.state_dict()``.

    Raises:
        SpikeproofError: a file that is none, or is of another network.
    """
    said, weights = read_weights(path)
    own = model.net.state_dict() | _at_sites(model)
    shapes, wanted = ({name: tuple(held.shape) for name, held in each.items()} for each in (weights, own))
    if "adapted" not in said or shapes != wanted:
        odd = sorted(shapes.items() ^ wanted.items())
        named = f" ({odd[0][0]})" if odd else ""
        raise SpikeproofError(
            f"{path} holds the weights of another network{named} than this {type(model.net).__name__}; hand over the "
            "network that the run trained."
        )
    parts = {name: held for name, held in weights.items() if not (name.startswith(_OURS) and held.numel() == 0)}
    return {name.removeprefix(_OURS) if name.startswith(_OURS) else f"net.{name}": held for name, held in parts.items()}


def _at_sites(model: Adapted) -> dict[str, Tensor]:
    """What is at the sites and not the user's; what is no tensor as an empty one."""
    held = {f"{_OURS}sites.{name}": part for name, part in model.sites.state_dict().items()}
    for place, site in enumerate(model.sites):
        if isinstance(site, NativeSite):
            held |= {f"{_OURS}sites.{place}.{name}": torch.empty(0) for name in site.changed}
    return held


def said_of_adapted(model: Adapted) -> dict[str, Any]:
    """Which network was adapted, and the call that adapts it again.

    Its noise is in it, where a defense has left some that stays on at inference: no weight tells of it.
    """
    said: dict[str, Any] = {
        "library": model.library,
        "network": type(model.net).__name__,
        "num_steps": model.num_steps,
        "call": _call(model),
    }
    left = sorted({name.rpartition(".")[2] for name in _at_sites(model)})
    said |= {"at_sites": left} if left else {}
    noise = {name: site.noise_std for name, site in sites(model).items() if site.noise_at_inference}
    return said | ({"noise_at_inference": noise} if noise else {})


def identity_of_adapted(model: Adapted) -> dict[str, Any]:
    """What a run with this network may be gone on with: the call, the neurons' settings and the weights' shapes.

    What the user named stands in texts, since keys by former names of ours are read as today's.
    """
    handed = {name: told for name, told in contents(model.handed).items() if name != "class"}
    handed |= {"native": True} if isinstance(model, Native) else {}
    return {
        "adapted": {"library": model.library, "network": type(model.net).__name__, **handed},
        "neurons": [f"{name}: {_settings(layer)}" for name, layer in model.layers.items()],
        "weights": [
            f"{name}: {str(held.dtype).removeprefix('torch.')} {list(held.shape)}"
            for name, held in model.net.state_dict().items()
            if isinstance(held, Tensor)
        ],
        "frozen weights": [
            f"{name}: frozen" for name, parameter in model.net.named_parameters() if not parameter.requires_grad
        ],
    }


def _settings(layer: nn.Module) -> str:
    """The plain numbers and words of a layer; what it learns is among the weights."""
    plain = {
        name: value
        for name, value in vars(layer).items()
        if not name.startswith("_") and name != "training" and isinstance(value, bool | int | float | str)
    }
    return ", ".join([type(layer).__name__, *(f"{name}={value!r}" for name, value in plain.items())])


def _call(model: Adapted) -> str:
    handed: Handed = model.handed
    words = [f"num_steps={handed.num_steps}"]
    if handed.runs is not None:
        words.append(f"runs={handed.runs.value!r}" if isinstance(handed.runs, Runs) else "runs=...")
    words += [f"reads={handed.reads!r}"] if handed.reads != "mean" else []
    words += [f"output={handed.output}"] if handed.output is not None else []
    words += [f"mean={list(handed.mean)}, std={list(handed.std)}"] if handed.mean else []
    words += ["native=True"] if isinstance(model, Native) else []
    return f"adapt(net, {', '.join(words)})"
