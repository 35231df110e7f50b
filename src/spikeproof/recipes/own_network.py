"""A network that a function in the user's own file makes, with its weights, and adapted where it needs that."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn

from spikeproof.checked import told
from spikeproof.disk import user_path
from spikeproof.errors import SpikeproofError, first_line
from spikeproof.interop import Adapted, Reads, adapt, libraries_in
from spikeproof.models import unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.recipes.own_weights import digest_of, load_weights
from spikeproof.spiking import sites

Called = Literal["auto", "images", "sequence", "steps", "states", "merged"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapting:
    """How a network of another library is adapted: the arguments of :func:`spikeproof.adapt`."""

    num_steps: int | None = None
    """T, how many steps it runs for an image; only for a network that is to be adapted."""
    runs: Called = "auto"
    """How it is called; found out by itself where that leaves no doubt."""
    reads: Reads = "mean"
    """How its logits are read from those of its steps."""
    output: int | None = None
    """The place of the logits, where it returns a tuple."""
    mean: tuple[float, ...] = ()
    """Of the normalisation of its training, a number or one for each channel."""
    std: tuple[float, ...] = ()
    """Likewise."""
    spikes: str | None = None
    """For code of one's own: what forms the spikes, an autograd.Function of the file or the attribute that holds it."""
    native: bool = False
    """spikeproof's own neurons in the place of the library's: faster, and compared with these before."""


@dataclasses.dataclass(frozen=True)
class OwnNetwork:
    """A network of the user's own, ready for an audit.

    Attributes:
        name: of its file and function.
        settings: what it was made of, to be told from others.
    """

    net: nn.Module
    name: str
    settings: dict[str, Any]


def is_own_network(word: str) -> bool:
    """Whether a word names a Python file, or a function in one, and no folder that is there.

    Example:
        >>> is_own_network("net.py:make"), is_own_network("runs/demo/vanilla")
        (True, False)
    """
    file, _, _ = word.rpartition(":")
    return (file.endswith(".py") or word.endswith(".py")) and not user_path(word).is_dir()


def own_network(word: str, weights: Path | None = None, how: Adapting | None = None) -> OwnNetwork:
    """The network that FILE.py:FUNCTION makes, with these weights, adapted if it is to be.

    The function is called without arguments, with torch's seed at 0.

    Args:
        weights: safetensors, or a state_dict that ``torch.save`` wrote, of the network that the function makes; its
            own without.

    Raises:
        SpikeproofError: no such file or function, one that fails or returns no network; weights of another network; a
            network that needs adapting and is told no number of steps, or one that cannot be adapted so.
    """
    how = how or Adapting()
    path, called = _place(word)
    with _folder_on_path(path.parent), contextlib.redirect_stdout(sys.stderr), private_rng():
        torch.manual_seed(0)
        module = _module(path)
        net = _made(module, path, called)
    if weights is not None:
        load_weights(_inside(net), weights)
    spikes = getattr(module, how.spikes or "", None)
    function = spikes if isinstance(spikes, type) and issubclass(spikes, torch.autograd.Function) else how.spikes
    settings = {
        "made_by": f"{path.name}:{called}",
        "file": hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        "weights": digest_of(_inside(net))[:16],
        **{name: value for name, value in dataclasses.asdict(how).items() if name != "native" or value},
    }
    return OwnNetwork(_adapted(net, how, function), f"{path.stem}-{called}", settings)


def _place(word: str) -> tuple[Path, str]:
    file, colon, called = word.rpartition(":")
    if not colon or not called:
        file = file or word
        raise SpikeproofError(f"{word} names no function; write {file}:FUNCTION, one that returns the network.")
    path = user_path(file)
    if not path.is_file():
        raise SpikeproofError(f"There is no file {file}; give the Python file of a function that makes the network.")
    return path.resolve(), called


@contextlib.contextmanager
def _folder_on_path(folder: Path) -> Iterator[None]:
    """What lies beside the file can be imported, as where Python runs it."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _module(path: Path) -> ModuleType:
    name = f"network_in_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # a file that ends in .py has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look for what is defined there
    with _telling(path, path.name):
        spec.loader.exec_module(module)
    return module


def _made(module: ModuleType, path: Path, called: str) -> nn.Module:
    if not hasattr(module, called):
        own = [name for name, held in vars(module).items() if getattr(held, "__module__", None) == module.__name__]
        raise SpikeproofError(f"{path.name} has no function {called}; it has {', '.join(own) or 'none'}.")
    function: Any = getattr(module, called)
    if not callable(function) or isinstance(function, nn.Module):
        raise SpikeproofError(
            f"{called} in {path.name} is no function (its type is {type(function).__name__}); name one that takes no "
            "arguments and returns the network."
        )
    _check_arguments(function, path, called)
    with _telling(path, f"{called} in {path.name}"):
        net = function()
    if not isinstance(net, nn.Module):
        raise SpikeproofError(
            f"{called} in {path.name} returns {told(net)} and no torch.nn.Module; let it return the network alone."
        )
    return net


def _check_arguments(function: Callable[..., Any], path: Path, called: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # of some built-in things Python does not know it
    wanted = [
        each.name
        for each in signature.parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if wanted:
        raise SpikeproofError(
            f"{called} in {path.name} wants {', '.join(wanted)}, and is called without arguments; give these defaults, "
            "or write a function that fills them in."
        )


@contextlib.contextmanager
def _telling(path: Path, what: str) -> Iterator[None]:
    """What the user's code raises becomes a sentence that says where."""
    try:
        yield
    except SpikeproofError:
        raise
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        raise SpikeproofError(
            f"{what} fails{f' at line {line}' if line else ''} with {type(error).__name__} ({first_line(error)}); mend "
            "it, so that it can be called without arguments."
        ) from error


def _inside(net: nn.Module) -> nn.Module:
    """The network whose weights a file holds."""
    inner = unwrapped(net)
    return inner.net if isinstance(inner, Adapted) else inner


def _adapted(net: nn.Module, how: Adapting, spikes: str | type[torch.autograd.Function] | None) -> nn.Module:
    ready = bool(sites(net)) or any(isinstance(module, Adapted) for module in net.modules())
    foreign = [] if ready else [library.name for library in libraries_in(net)]
    usual = Adapting()
    given = [
        f"--{field.name.replace('_', '-')}"
        for field in dataclasses.fields(how)
        if getattr(how, field.name) != getattr(usual, field.name)
    ]
    if not given and not foreign:
        return net
    name = type(_inside(net)).__name__
    if how.num_steps is None and foreign:
        raise SpikeproofError(
            f"The layers of {' and '.join(foreign)} in this {name} have to be adapted; give --num-steps T, the steps "
            "that it runs for an image."
        )
    if how.num_steps is None:
        raise SpikeproofError(
            f"{given[0]} says how a network is adapted, which needs --num-steps T too; a network that needs no "
            "adapting takes no such option."
        )
    return adapt(
        net,
        num_steps=how.num_steps,
        runs=how.runs,
        reads=how.reads,
        output=how.output,
        mean=how.mean or None,
        std=how.std or None,
        spikes=spikes,
        native=how.native,
    )
