"""`spikeproof audit FILE.py:FUNCTION`: the audit of a network of the user's own."""

from __future__ import annotations

from pathlib import Path

from spikeproof.audit import AuditConfig, Shard
from spikeproof.cli.arguments import OwnNetworkArguments, read_arguments
from spikeproof.cli.audited import check_radius, show_audit
from spikeproof.data import load_data
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import audit_folder, audit_own, own_network


def audit_own_network(word: str, rest: list[str], command: str) -> None:
    """Make the network, audit it and report it."""
    default = OwnNetworkArguments(config=AuditConfig())
    arguments = read_arguments(OwnNetworkArguments, rest, prog=f"spikeproof audit {word}", default=default)
    check_radius("The usual audit has", arguments.config, default.config)
    if arguments.data is None:
        raise SpikeproofError(
            f"`spikeproof audit {word}` needs --data NAME, the images that the network was made for, such as cifar10."
        )
    own = own_network(word, arguments.weights, arguments.adapting)
    out = arguments.out or Path("runs") / own.name
    audit_own(
        own,
        load_data(arguments.data, data_dir=arguments.data_dir),
        arguments.config,
        out=out,
        device=arguments.device,
        command=command,
        show=not arguments.quiet,
        force=arguments.force,
    )
    if Shard.of_this_process().first:
        show_audit(out, audit_folder(out, arguments.config), json=arguments.json)
