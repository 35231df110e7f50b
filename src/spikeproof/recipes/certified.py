"""A run certified: its network on its own data, the record among the run's certificates, held against its audits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from spikeproof.certify import CertifyConfig, certify
from spikeproof.disk import alone
from spikeproof.errors import SpikeproofError
from spikeproof.machine.device import pick_device
from spikeproof.recipes.run import load_run
from spikeproof.recipes.workload import threads_for
from spikeproof.records.certificate_json import FILE, CertificateRecord
from spikeproof.report import audits_in, check_agreement, read_audit
from spikeproof.runs import RunFolder, other_data


def certify_run(
    folder: Path,
    config: CertifyConfig,
    *,
    data_dir: Path | None,
    device: str = "auto",
    command: str = "",
    show: bool = True,
    force: bool = False,
) -> CertificateRecord:
    """Certify a run folder's network on its own data and keep the record among the run's certificates.

    Audits of the run on the same images in the same norm are looked at: none may have broken what is proved.

    Args:
        force: replace a certificate that was asked the same.

    Raises:
        SpikeproofError: whatever :func:`load_run` and :func:`spikeproof.certify` refuse, a certificate that is there
            already, or an audit that contradicts this one.
    """
    place = certificate_folder(folder, config)
    if (place / FILE).exists() and not force:
        raise SpikeproofError(
            f"This certificate is in {place} already, and nothing is replaced unasked; `spikeproof report` shows it "
            "beside an audit of the same images, and --force (in Python force=True) makes it anew."
        )
    model, data = load_run(folder, data_dir)
    notes = other_data(folder, RunFolder(folder).images(), data.fingerprints(), config.split)
    where = pick_device(device)
    with alone(place / ".lock", f"this certificate of {folder}"), threads_for(model, config.batch_size, where):
        images = data.test if config.split == "test" else data.validation
        found = certify(model.to(where), images, config, command=command, notes=notes, show=show)
        for audited in audits_in(folder):
            check_agreement(found, audited, read_audit(audited / "audit.json"))
        found.save(place)
    return found


def certificate_folder(folder: Path, config: CertifyConfig) -> Path:
    """Where a run keeps a certificate that is asked this: in words what matters most, and six hex digits for all.

    Example:
        >>> certificate_folder(Path("runs/mine"), CertifyConfig(method="ibp", samples=200)).name[:-7]
        'ibp-linf-0.003922-n200'
    """
    words = [
        config.method,
        config.how.norm,
        f"{config.radius:.4g}",
        "all" if config.samples is None else f"n{config.samples}",
        *([] if config.split == "test" else [config.split]),
    ]
    asked = {name: value for name, value in dataclasses.asdict(config).items() if name != "batch_size"}
    settings = json.dumps(asked, sort_keys=True)
    return folder / "certificates" / f"{'-'.join(words)}-{hashlib.sha256(settings.encode()).hexdigest()[:6]}"
