"""The command that certifies a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from spikeproof.audit import Shard
from spikeproof.certify import CertifyConfig
from spikeproof.cli.arguments import asks_for_help, named, read_arguments
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import certificate_folder, certify_run
from spikeproof.records.certificate_json import FILE, CertificateRecord
from spikeproof.report.numbers import percent


@dataclasses.dataclass(kw_only=True)
class CertifyArguments:
    """Prove for each image of a run's split a radius within which no attack can change its class."""

    config: Annotated[CertifyConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=CertifyConfig)
    data_dir: Path | None = None
    """Folder of the data sets; else SPIKEPROOF_DATA_DIR, else the Hugging Face hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    force: bool = False
    """Replace a certificate that was asked the same."""
    quiet: bool = False
    """Say nothing on the way."""
    json: bool = False
    """Print certificate.json instead of the sentences."""


def certify_command(words: list[str], command: str) -> None:
    if asks_for_help(words):
        read_arguments(CertifyArguments, ["--help"], prog="spikeproof certify RUN")
    name, rest = named(words, "certify", "RUN", "runs/demo/vanilla")
    arguments = read_arguments(CertifyArguments, rest, prog=f"spikeproof certify {name}")
    if Shard.of_this_process().world > 1:
        raise SpikeproofError("`spikeproof certify` is the work of one process; start it without torchrun.")
    folder = Path(name)
    found = certify_run(
        folder,
        arguments.config,
        data_dir=arguments.data_dir,
        device=arguments.device,
        command=command,
        show=not arguments.quiet,
        force=arguments.force,
    )
    place = certificate_folder(folder, arguments.config)
    if arguments.json:
        print((place / FILE).read_text(), end="")
    else:
        print(f"{_told(found)}\nCertificate: {place}")


def _told(found: CertificateRecord) -> str:
    """What was proved, in sentences."""
    count, clean, certified = found.samples, found.clean.accuracy, found.certified
    lines = [
        f"Certified by {found.words} within {found.norm} {found.eps:.4g}: {percent(certified.accuracy)} % of {count} "
        f"images ({percent(certified.low)} to {percent(certified.high)} %); clean {percent(clean)} %.",
    ]
    if found.of_votes:
        lines.append(
            f"Of the majority of the network's votes under random numbers; {found.abstained} images abstain, and each "
            f"image's radius is false with a probability of at most {found.alpha:g}."
        )
    return "\n".join([*lines, *found.notes])
