"""Which images of a split an audit takes, and what these cannot say about the split."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import check_batch, working_dtype
from spikeproof.audit.fingerprint import images_fingerprint
from spikeproof.data import ImageSet
from spikeproof.doubt import Doubt
from spikeproof.errors import SpikeproofError

# Images of digits that were saved as 0 to 16 are darker than this, photographs are not.
_DARK = 64


@dataclasses.dataclass(frozen=True)
class AuditedImages:
    """The images that an audit attacks.

    Attributes:
        pixels: in [0, 1], in the model's dtype and on its device.
        labels: their classes.
        rows: the number of each image in the split.
        split_size: how many images the split has.
        classes: how many images of each class were taken, by "LABEL: NAME".
        fingerprint: of the whole split (``ImageSet.fingerprint``).
        audited: of the taken images alone (:func:`spikeproof.audit.fingerprint.images_fingerprint`).
        doubts: what these images cannot say about the split.
    """

    pixels: Float[Tensor, " n *chw"]
    labels: Int64[Tensor, " n"]
    rows: Int64[Tensor, " n"]
    split_size: int
    classes: dict[str, int]
    fingerprint: str
    audited: str
    doubts: tuple[Doubt, ...]


def take_images(model: nn.Module, images: ImageSet, samples: int | None, split: str) -> AuditedImages:
    """Take a part of a split that stands for the whole: each class has its share (``ImageSet.part``).

    Args:
        model: the images go to its device.
        images: the split.
        samples: how many images to take; None for all. The first N of more are what N alone would be.
        split: what the split is called in sentences.

    Raises:
        SpikeproofError: an empty split, fewer images than ``samples``, or images that do not fit the model.
    """
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    if not len(images):
        raise SpikeproofError(f"The {split} split has no images, and an audit needs one or more; give another split.")
    count = len(images) if samples is None else samples
    if count > len(images):
        raise SpikeproofError(f"The {split} split has {len(images)} images, fewer than the {count} asked for.")
    brightest = images.brightest(f"the {split} images")
    rows = images.part(count)
    chosen = images.take(rows.to(images.labels.device)).to(device)
    pixels, labels, _ = check_batch(chosen.images.to(working_dtype(model)) / 255, chosen.labels, model=model)
    counts = torch.bincount(labels.cpu(), minlength=images.num_classes).tolist()
    # Two classes may share a name.
    by_class = {
        f"{label}: {name}": taken for label, (name, taken) in enumerate(zip(images.class_names, counts, strict=True))
    }
    missing = [name for name, taken in zip(images.class_names, counts, strict=True) if taken == 0]
    doubts: tuple[Doubt, ...] = ()
    if brightest < _DARK:
        text = "No pixel is above {} of 255, so a radius counts for more of the contrast than it says."
        doubts += (Doubt("dark images", text, (str(brightest),)),)
    if missing:
        named = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        text = "The {} audited images have none of {} of {} classes ({})."
        numbers = (str(count), str(len(missing)), str(images.num_classes), named)
        doubts += (Doubt("missing classes", text, numbers),)
    return AuditedImages(
        pixels, labels, rows, len(images), by_class, images.fingerprint(), images_fingerprint(chosen), doubts
    )
