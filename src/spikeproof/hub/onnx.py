"""A network as an ONNX file, for programs that know nothing of PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.attacks.evaluating import evaluating, working_dtype
from spikeproof.attacks.look import look_at
from spikeproof.disk import user_path, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.private_rng import private_rng
from spikeproof.version import __version__

_NEEDS = ("onnx", "onnxscript")


def export_onnx(model: nn.Module, images: Float[Tensor, " n *chw"], path: str | Path) -> Path:
    """Write a network as an ONNX graph: images in, logits out, with the time steps unrolled inside.

    The graph takes batches of any size of at least one image. It is what audits judge: eval mode, float32 (or the
    float64 that the network has itself), normalisation and coding inside. Surrogate gradients are not in it, since ONNX
    holds forwards alone: an attack on the file can only ask for logits.

    Args:
        model: of ``create_model``, ``load_model`` or ``adapt``; or any module that takes images and keeps no state.
        images: one or more, in [0, 1], of the shape that the network takes. Their values do not matter.
        path: the file, which is replaced.

    Returns:
        Where the file is. Its input is called "images" and its output "logits".

    Raises:
        SpikeproofError: a network that draws random numbers, since ONNX does not say how; one that keeps its state;
            code that cannot be written as a graph; or onnx and onnxscript are not installed.

    Example:
        >>> import spikeproof as sp
        >>> model = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> sp.export_onnx(model, torch.rand(1, 1, 8, 8), "/tmp/digits.onnx")  # doctest: +SKIP
        PosixPath('/tmp/digits.onnx')
    """
    if missing := [name for name in _NEEDS if find_spec(name) is None]:
        raise SpikeproofError(f"An ONNX file needs {' and '.join(missing)}: pip install 'spikeproof[onnx]'.")
    target = user_path(path)
    if len(images) == 0:
        raise SpikeproofError("export_onnx needs at least one image, to see what the network takes; got none.")
    if look_at(model, images).drawn:
        raise SpikeproofError(
            "This network draws random numbers, and an ONNX file cannot say which; export one without noise, random "
            "gates or a random coding."
        )
    example = torch.cat([images, images])[:2].to(working_dtype(model))  # a batch of 1 would be taken for a constant
    with private_rng(), evaluating(model), torch.no_grad(), _quiet():
        try:
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                input_names=["images"],
                output_names=["logits"],
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            cause = error.__cause__ or error
            reason = str(cause).strip().partition("\n")[0]
            raise SpikeproofError(
                f"This network cannot be written as an ONNX graph ({type(cause).__name__}: {reason})."
            ) from None
    assert program is not None
    program.model.metadata_props["spikeproof"] = __version__
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, lambda file: program.save(str(file)))
    return target


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own parts: nothing that a user could act on."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
