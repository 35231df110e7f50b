"""Weights on disk: safetensors that say which network they belong to, and what defenses made of its sites."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from spikeproof.disk import sealed, unsealed, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.former_names import todays, todays_tensors
from spikeproof.kinds import check_kinds
from spikeproof.models.described import Unknown, description_of, made_again, said_of
from spikeproof.models.description import ModelDescription
from spikeproof.models.hub import weights_at
from spikeproof.models.spiking_model import SpikingModel
from spikeproof.models.wrapped import unwrapped
from spikeproof.models.writable import check_writable
from spikeproof.spiking import Kernels


@check_kinds
def save_model(model: nn.Module, path: str | Path) -> None:
    """Write weights, description and what was changed at the sites to a safetensors file, whole or not at all.

    Of a network that ``torch.compile`` or DataParallel holds, the weights inside are written.

    Raises:
        SpikeproofError: a network that ``create_model`` did not make, or one of which the file could not say what was
            made of it since (see :func:`spikeproof.models.check_writable`).
    """
    inner = unwrapped(model)
    if not isinstance(inner, SpikingModel):
        raise SpikeproofError(
            f"save_model writes networks of spikeproof.create_model, not a {type(inner).__name__}; save its "
            "state_dict with torch.save or safetensors."
        )
    check_writable(inner)
    write_weights(path, inner.state_dict(), said_of(inner))


def write_weights(path: str | Path, weights: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Write tensors and what is said of their network, with checksums, whole or not at all."""
    # Copies, since safetensors refuses tensors that share their memory (tied weights).
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    told = sealed({**said, "weights": _digest(plain)})
    # One entry: safetensors writes several in any order, and equal weights are to have equal bytes.
    content = save(plain, {"spikeproof": json.dumps(told, sort_keys=True)})
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


@check_kinds
def load_model(
    path: str | Path, *, expected: ModelDescription | None = None, kernels: Kernels = "reference"
) -> SpikingModel:
    """The network a file describes, with its weights, in eval mode.

    Args:
        path: a file that ``save_model`` or a run wrote; ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION`` for a model
            of the Hugging Face hub; or ``hub:FOLDER`` for a folder that ``spikeproof push`` wrote.
        expected: refuse a file that describes another network than this.

    Raises:
        SpikeproofError: no such file, a damaged one, one that spikeproof did not write, one of another model, one of
            an adapted network, whose code no file holds, or one that the hub does not give.
    """
    path = weights_at(path)
    said, weights = read_weights(path)
    if "adapted" in said:
        raise SpikeproofError(_of_an_adapted(path, said["adapted"]))
    try:
        said, weights = todays(said), todays_tensors(weights)
        described = description_of(said)
        if expected is not None and described != expected:
            raise SpikeproofError(_another(path, described, expected))
        model = made_again(described, said, weights, kernels)
        model.load_state_dict(weights)
    except Unknown as error:
        raise _not_known(path, error) from None
    except RuntimeError:
        raise SpikeproofError(
            f"The weights in {path} do not fit the {described.name} that it says it holds; train again."
        ) from None
    return model.eval()


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What ``write_weights`` wrote: what is said of the network, and its tensors.

    Raises:
        SpikeproofError: no such file, a damaged one, or one that spikeproof did not write.
    """
    if not path.is_file():
        raise SpikeproofError(f"There are no weights at {path}; train the model first or give another path.")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise SpikeproofError(f"{path} is damaged ({error}); train again or restore it from a copy.") from None
    if "spikeproof" not in metadata:
        raise SpikeproofError(
            f"{path} does not say which model it holds; give a model.safetensors that spikeproof wrote."
        )
    said = _parse_metadata(metadata, path)
    if "weights" in said and said["weights"] != _digest(weights):
        raise SpikeproofError(
            f"{path} is damaged: its weights are not those that were written (their checksum differs); restore it from "
            "a copy or train again."
        )
    return said, weights


def _of_an_adapted(path: Path, adapted: Any) -> str:
    held = adapted if isinstance(adapted, dict) else {}
    noise = held.get("noise_at_inference")
    given = sorted(set(noise.values())) if isinstance(noise, dict) else []
    noisy = (
        f" Its noise at inference is no weight: spikeproof.TGO(sigma={given[0]}, noise_at_inference=True).install(net) "
        "gives it back."
        if given
        else ""
    )
    left = held.get("at_sites")
    ours = (
        f" A defense left {', '.join(map(str, left))} at its sites (the entries that begin with spikeproof.): with the "
        "same defenses, config and resume=True, spikeproof.train gives them back and trains nothing."
        if isinstance(left, list)
        else ""
    )
    return (
        f"{path} holds the weights of a network of {held.get('library')} ({held.get('network')}) and no code to make "
        "it again; make the network yourself, give it the weights by net.load_state_dict(safetensors.torch.load_file("
        f"{str(path)!r})), and adapt it: spikeproof.{held.get('call')}.{ours or noisy}"
    )


def _not_known(path: Path, error: Unknown) -> SpikeproofError:
    return SpikeproofError(
        f"{path} describes {error.part} this version does not know ({error}); use the version that wrote it."
    )


def _another(path: Path, described: ModelDescription, expected: ModelDescription) -> str:
    theirs, ours = described.to_json(), expected.to_json()
    differing = [f"{field} {theirs[field]} instead of {ours[field]}" for field in ours if theirs[field] != ours[field]]
    return f"{path} holds another model: {'; '.join(differing)}. Give this run's own weights."


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Of all tensors with their names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parse_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The parts of what a file says of its network. A file from before there were checksums has two entries for it."""
    try:
        said = json.loads(metadata["spikeproof"])
        if "sites" in metadata:
            said = {"model": said, "sites": json.loads(metadata["sites"])}
        if not isinstance(said, dict) or not ("adapted" in said or {"model", "sites"} <= said.keys()):
            raise ValueError("it names no model and sites")
    except (ValueError, RecursionError) as error:
        raise _not_known(path, Unknown("a model", error)) from None
    return unsealed(said, str(path), "restore it from a copy or train again")
