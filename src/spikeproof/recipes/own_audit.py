"""An audit of a network of the user's own, in a folder that is reported like a run's."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from spikeproof.audit import Audit, AuditConfig, Shard, audit, refuse_present
from spikeproof.data import Data
from spikeproof.disk import alone
from spikeproof.errors import SpikeproofError
from spikeproof.machine.device import pick_device
from spikeproof.recipes.own_network import OwnNetwork
from spikeproof.recipes.run import audit_folder
from spikeproof.runs import RunFolder


def audit_own(
    own: OwnNetwork,
    data: Data,
    config: AuditConfig,
    *,
    out: Path,
    device: str = "auto",
    command: str = "",
    show: bool = True,
    force: bool = False,
) -> Audit:
    """Audit a network and keep the result among the audits in ``out``, which becomes a run without training.

    Audits of one network on one data set stand side by side there; another network, or other data, is refused. One
    that was killed goes on where it was. Under `torchrun` every process does its share.

    Args:
        force: replace an audit that was asked the same.

    Raises:
        SpikeproofError: an audit that is there already, a folder of another network or of other data, or whatever
            :func:`spikeproof.audit` refuses.
    """
    if any(part.is_file() for part in (out, *out.parents)):
        raise SpikeproofError(f"{out} cannot hold an audit: a file is in its way; give another folder.")
    place = audit_folder(out, config)
    refuse_present(place, force=force)
    shard = Shard.of_this_process()
    where, testing = shard.device(pick_device(device)), config.split == "test"
    with contextlib.ExitStack() as held:
        if shard.first:
            held.enter_context(_begun(RunFolder(out), own, data, where.type, command))
            held.enter_context(alone(place / ".lock", f"this audit of {own.name}"))
        found = audit(
            own.net.to(where),
            data.test if testing else data.validation,
            config,
            validation=data.validation if testing else None,
            parts=place / "audit-parts",
            save=lambda found: found.write(place, command),
            show=show and shard.first,
        )
        if shard.first:  # what an earlier try left that could not be gone on with
            shutil.rmtree(place / "audit-parts", ignore_errors=True)
    return found


@contextlib.contextmanager
def _begun(run: RunFolder, own: OwnNetwork, data: Data, device: str, command: str) -> Iterator[None]:
    """A run folder that says what is audited, before hours are spent; taken back where the audit is refused."""
    fresh = not run.exists
    settings = {"name": own.name, "network": own.settings}
    if run.open(own.name, settings, device=device, command=command, resume=True, images=data.fingerprints()):
        run.write_metrics([])
    try:
        yield
    except SpikeproofError:
        if fresh:
            (run.path / "metrics.jsonl").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other audits stay
                (run.path / "audits").rmdir()
            run.abandon()
        raise
