"""Fingerprints of an audit and of its images: another network, image or setting gives another fingerprint."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import evaluating, outputs, working_dtype
from spikeproof.attacks.generators import generators_of, put_back
from spikeproof.data import ImageSet
from spikeproof.models import unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.version import __version__

_FEW = 16  # images whose gradients are looked at


def fingerprint(
    models: Sequence[nn.Module],
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    *settings: Any,
) -> str:
    """A name for exactly this audit. Networks that answer differently, other images or other settings give another.

    What counts of a network: its weights, its logits for every image, and logits and gradients for some images and for
    noise, in eval mode, in float32 (float64 where the network is in that), with every random number seeded. Its code
    does not count. On one machine with one number of threads two processes get the same bits. Where they do not, the
    name differs and the work is done again.

    Args:
        models: the audited one and its substitutes.
        images: the audited ones, in [0, 1].
        labels: one for each image.
        settings: dataclasses, or plain values by name.

    Returns:
        16 hex digits.
    """
    digest = hashlib.sha256(f"{__version__} {torch.__version__} {images.device.type}".encode())
    for model in models:
        for name, value in sorted(unwrapped(model).state_dict().items()):
            if isinstance(value, Tensor):
                digest.update(name.encode())
                _add(digest.update, value)
        for answer in _answers(model, images):
            _add(digest.update, answer)
    for tensor in (images, labels):
        _add(digest.update, tensor)
    for setting in settings:
        plain = setting if isinstance(setting, Mapping) else dataclasses.asdict(setting)
        digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def images_fingerprint(images: ImageSet) -> str:
    """16 hex digits of images and labels. Their order, their split and the names of classes do not count.

    Args:
        images: with values 0 to 255.

    Example:
        >>> from spikeproof.data import load_data
        >>> some = load_data("digits", validation=50).test.take(slice(0, 9))
        >>> images_fingerprint(some) == images_fingerprint(some.take(torch.arange(8, -1, -1)))
        True
    """
    pixels, labels = images.images.cpu().numpy(), images.labels.tolist()
    each = sorted(
        hashlib.sha256(f"{label} ".encode() + image.tobytes()).digest()
        for image, label in zip(pixels, labels, strict=True)
    )
    digest = hashlib.sha256(f"{tuple(pixels.shape[1:])}".encode() + b"".join(each))
    return digest.hexdigest()[:16]


def _answers(model: nn.Module, images: Float[Tensor, " n *chw"]) -> Iterator[Tensor]:
    """The logits of all images, and of some images and of noise the logits and their gradients."""
    network = unwrapped(model)
    generators = generators_of(network)

    def seeded() -> None:
        torch.manual_seed(0)
        for generator in generators:
            generator.seed(0)

    with (
        private_rng(),
        put_back(generators),
        evaluating(model),
        torch.inference_mode(False),
        torch.enable_grad(),
        _repeatable(),
    ):
        seeded()
        yield outputs(network, images)
        # Gradients too: attacks follow them, and a surrogate of another width changes no logit.
        few = images[:_FEW].to(working_dtype(model))
        probes = torch.cat([few, torch.rand(few.shape, generator=_fixed(), dtype=few.dtype).to(few)])
        probes.requires_grad_()
        seeded()
        with torch.autocast(images.device.type, enabled=False):
            logits = network(probes.clone())
        yield logits.detach()
        # A weighted sum of all logits, because the gradient of a loss vanishes where a network is sure.
        weighted = (logits * torch.linspace(1, 2, logits.shape[1]).to(logits)).sum()
        if weighted.requires_grad:
            (gradient,) = torch.autograd.grad(weighted, probes, allow_unused=True)
            if gradient is not None:
                yield gradient


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """A context in which cuDNN takes the same, deterministic algorithms each time."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def _fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)  # of the CPU, whose numbers are the same everywhere


def _add(add: Callable[[bytes], object], tensor: Tensor) -> None:
    add(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    add(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
