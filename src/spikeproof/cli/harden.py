"""The command around hardening: a run folder's network, or whatever network a caller hands over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from spikeproof.audit import AuditConfig
from spikeproof.cli.arguments import HardenArguments, HardenOwnArguments, asks_for_help, named, read_arguments
from spikeproof.data import Augmentation, Data, load_data
from spikeproof.errors import SpikeproofError
from spikeproof.harden import harden
from spikeproof.interop import Adapted
from spikeproof.machine.device import pick_device
from spikeproof.models import SpikingModel
from spikeproof.recipes import is_own_network, load_run, own_network, recorded_audit_config
from spikeproof.recipes.workload import threads_for
from spikeproof.runs import RunFolder
from spikeproof.threat import parse_eps


def harden_command(words: list[str], command: str) -> None:
    if asks_for_help(words):
        read_arguments(HardenArguments, ["--help"], prog="spikeproof harden RUN")
    name, rest = named(words, "harden", "RUN", "runs/demo/vanilla, or FILE.py:FUNCTION")
    if is_own_network(name):
        _harden_own(name, rest, command)
        return
    folder = Path(name)
    recorded = recorded_audit_config(folder)
    default = HardenArguments()
    if recorded.norm == "linf" and recorded.eps is not None:
        default.eps = recorded.eps
    arguments = read_arguments(HardenArguments, rest, prog=f"spikeproof harden {name}", default=default)
    model, data = load_run(folder, arguments.data_dir)
    config = RunFolder(folder).config()
    show_hardened(
        model,
        data,
        arguments,
        out=arguments.out or folder.absolute().with_name(f"{folder.absolute().name}-hardened"),
        augmentation=_augmentation(config["recipe"]),
        name=f"{config['name']}-hardened",
        origin=config["recipe"],
        command=command,
    )


def _harden_own(word: str, rest: list[str], command: str) -> None:
    """Make the user's network, and harden it into a run folder of its own."""
    prog = f"spikeproof harden {word}"
    arguments = read_arguments(HardenOwnArguments, rest, prog=prog, default=HardenOwnArguments())
    if arguments.data is None:
        raise SpikeproofError(
            f"`{prog}` needs --data NAME, the images that the network was trained on, such as cifar10."
        )
    own = own_network(word, arguments.weights, arguments.adapting)
    name = f"{own.name}-hardened"
    show_hardened(
        own.net,
        load_data(arguments.data, data_dir=arguments.data_dir),
        arguments,
        out=arguments.out or Path("runs") / name,
        name=name,
        origin={"network": own.settings},
        command=command,
    )


def show_hardened(
    model: nn.Module,
    data: Data,
    arguments: HardenArguments,
    *,
    out: Path,
    augmentation: Augmentation | None = None,
    name: str = "hardened",
    origin: Mapping[str, Any] | None = None,
    command: str = "",
) -> None:
    """Harden any network as the words ask, and print what it gained.

    Args:
        out: the run folder that comes of it.
        augmentation: of the training images.
        name, origin, command: see :func:`spikeproof.harden.harden`.
    """
    samples = len(data.test if arguments.split == "test" else data.validation)
    config = AuditConfig(
        eps=parse_eps(arguments.eps) or None,  # harden has the sentence for 0
        battery=arguments.battery,
        samples=min(arguments.samples, samples),
        split=arguments.split,
    )
    device = pick_device(arguments.device)
    threads = threads_for(model, arguments.batch_size, device) if isinstance(model, SpikingModel) else nullcontext()
    with threads:
        found = harden(
            model,
            data,
            eps=arguments.eps,
            minutes=arguments.minutes,
            config=config,
            learning_rate=arguments.learning_rate,
            batch_size=arguments.batch_size,
            augmentation=augmentation,
            seed=arguments.seed,
            device=arguments.device,
            out=out,
            name=name,
            origin=origin,
            command=command,
            show=not arguments.quiet,
        )
    if arguments.json:
        print(json.dumps(found.to_json(command), indent=1))
    else:
        print(f"{found}\n\nRun: {out}")
        if isinstance(model, Adapted) and found.kept:
            weights = RunFolder(out).weights
            print(f"Weights: {weights}\n  net.load_state_dict(safetensors.torch.load_file({str(weights)!r}))")


def _augmentation(recipe: Mapping[str, Any]) -> Augmentation | None:
    train = recipe.get("train")
    plain = train.get("augmentation") if isinstance(train, dict) else None
    if plain is None:
        return None
    try:
        return Augmentation(**plain)
    except TypeError as error:
        raise SpikeproofError(
            f"The run's config.json does not describe its augmentation in a way this version knows ({error}); use the "
            "version that wrote it."
        ) from None
