"""certificate.json: what a certificate proves, image by image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from spikeproof.disk import sealed, write_atomically
from spikeproof.records.reading import read_record
from spikeproof.records.record import RunRecord
from spikeproof.records.trials import Counted
from spikeproof.records.values import FromOne, Number, Positive, Seed, Share, Text, Truth, Whole, contradiction, whole

CERTIFICATE_VERSION: Final = 1
FILE = "certificate.json"
NotNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]


class CertifiedImage(RunRecord):
    """What is proved of one image.

    Attributes:
        sample: its number in the split.
        predicted: the class that is proved, right or wrong; None where a vote abstains.
        radius: every image within it, the border included, has that class; 0 where nothing is proved.
    """

    sample: Whole
    label: Whole
    predicted: Whole | None = None
    radius: NotNegative

    @property
    def right(self) -> bool:
        return self.predicted == self.label


class CertificateRecord(RunRecord):
    """What certificate.json says: for each image a class and a radius, and how many that is at one radius.

    Attributes:
        method: "smoothing", "rate" or "ibp"; words: how sentences call it.
        norm, eps: of the balls, and the radius of ``certified``.
        of_votes: whether it is about the majority of a random network's votes, where each image's claim errs with
            probability ``alpha``; else about the network itself.
        settings: the method's own, by name.
        split_images, images: fingerprints of the split and of the certified images; two certificates or audits with the
            same ``images`` are of the same images.
        clean: how many images are classified as labelled, votes that abstain aside.
        certified: how many of these are proved within eps.
        abstained: votes without a majority that the draws show.
        notes: what is unusual about the images, in sentences.
    """

    version: Annotated[Literal[1], BeforeValidator(whole)]
    method: Text
    words: Text
    norm: Text
    eps: Positive
    of_votes: Truth
    settings: dict[str, Number] = {}
    samples: FromOne
    split: Text
    split_images: Text
    images: Text
    clean: Counted
    certified: Counted
    abstained: Whole
    outcomes: tuple[CertifiedImage, ...]
    device: Text
    machine: Text = ""
    seed: Seed
    seconds: Number
    command: Text
    notes: tuple[Text, ...] = ()

    @property
    def alpha(self) -> Share:
        """How probable it may be that an image's claim is false; 0 for a proof."""
        return self.settings.get("alpha", 0.0)

    def at(self, eps: float) -> Counted:
        """Certified accuracy at another radius.

        Args:
            eps: in the norm of this certificate. Interval bounds prove nothing beyond the radius that they were asked.
        """
        return Counted.of(len(self.proved(eps)), self.samples)

    def proved(self, eps: float) -> frozenset[int]:
        """The numbers, in the split, of the images that are right in the whole ball of this radius."""
        return frozenset(each.sample for each in self.outcomes if each.right and each.radius >= eps)

    def save(self, folder: Path) -> Path:
        """Write it into a folder, whole or not at all; the file."""
        text = json.dumps(sealed(self.plain()), indent=1) + "\n"
        write_atomically(folder / FILE, lambda path: path.write_text(text))
        return folder / FILE

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if len(self.outcomes) != self.samples:
            raise contradiction("outcomes", f"one for each of {self.samples} images, got {len(self.outcomes)}")
        counts = {
            "clean": (self.clean, sum(each.right for each in self.outcomes)),
            "certified": (self.certified, len(self.proved(self.eps))),
        }
        for name, (told, counted) in counts.items():
            if (told.correct, told.samples) != (counted, self.samples):
                expected = f"{counted} of {self.samples}, as the outcomes say, got {told.correct} of {told.samples}"
                raise contradiction(name, expected)
        if self.abstained != sum(each.predicted is None for each in self.outcomes):
            raise contradiction("abstained", f"as many as the outcomes without a class, got {self.abstained}")
        return self


def read_certificate(path: Path) -> CertificateRecord:
    """The certificate that ``path`` holds.

    Raises:
        SpikeproofError: the file is missing, damaged, of another version, or disagrees with itself.
    """
    return read_record(CertificateRecord, path, "certify the run again with `spikeproof certify`")
