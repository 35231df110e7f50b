"""Whether a file of weights can describe a network so that ``load_model`` gives the same one back."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from spikeproof.errors import SpikeproofError
from spikeproof.models.as_made import differences
from spikeproof.models.described import Unknown, description_of, made_again, said_of
from spikeproof.models.spiking_model import SpikingModel
from spikeproof.models.wrapped import is_compiled

# What acts in training only: a loaded network gives the same logits without it.
_OF_TRAINING = ("momentum", "flipped")


def check_writable(model: SpikingModel) -> None:
    """Refuse a network that ``load_model`` could not give back as it is.

    Args:
        model: of ``create_model``, perhaps changed since.

    Raises:
        SpikeproofError: a part of it is compiled; weights are computed from others (pruned, weight norm, spectral
            norm); a type other than float32; a coding, surrogate or part of one's own; or a part with a setting that
            ``create_model`` does not give it.

    Example:
        >>> from spikeproof.models import create_model
        >>> check_writable(create_model("conv", num_classes=10, image_size=8, in_channels=1))
    """
    for path, module in model.named_modules():
        _check_plain(path, module)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise SpikeproofError(
                f"This network's {name} is {str(tensor.dtype).removeprefix('torch.')}, and weights are written in "
                "float32; call model.float() first."
            )
    try:
        said = said_of(model)
        described = description_of(said)
        if described != model.description:
            raise Unknown("a model", TypeError("it reads otherwise than it is"))
        with torch.device("meta"):
            weights = {name: tensor.to("meta") for name, tensor in model.state_dict().items()}
            again = made_again(described, said, weights)
    except (Unknown, TypeError, ValueError, RuntimeError) as error:
        raise SpikeproofError(
            f"A file of weights cannot describe this network ({error}): it knows the codings, surrogates and "
            "neurons of spikeproof; save its state_dict, and train it without a folder."
        ) from None
    differing = {name: value for name, value in differences(model, again).items() if not name.endswith(_OF_TRAINING)}
    if differing:
        name, value = next(iter(differing.items()))
        raise SpikeproofError(
            f"A file of weights cannot record that {name} is {value}, since create_model makes it otherwise; save the "
            "network's state_dict, and train it without a folder."
        )


def _check_plain(path: str, module: nn.Module) -> None:
    mend = None
    if is_compiled(module):
        what, mend = "is compiled by itself", "give the network uncompiled, or compile the whole of it"
    elif parametrize.is_parametrized(module):
        what = "has weights that are computed from others"
        mend = "first call torch.nn.utils.parametrize.remove_parametrizations on it"
    elif _is_pruned(module):
        what, mend = (
            "is pruned by a mask",
            "first call torch.nn.utils.prune.remove on it, which makes the zeros weights",
        )
    elif isinstance(vars(module).get("weight"), torch.Tensor):  # where a parameter should stand: hooks put it there
        what = "has weights that are computed from others"
        mend = "first call torch.nn.utils.remove_weight_norm or remove_spectral_norm on it"
    if mend is not None:
        raise SpikeproofError(f"This network's {path} {what}, which a file of weights cannot record; {mend}.")


def _is_pruned(module: nn.Module) -> bool:
    return any(isinstance(hook, prune.BasePruningMethod) for hook in module._forward_pre_hooks.values())
