"""``certify``: what is proved of a network, image by image, beside what an audit finds broken."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import check_batch, evaluating, judged, look_at, refuse_state, working_dtype
from spikeproof.audit.fingerprint import images_fingerprint
from spikeproof.certify.bounds import never_another
from spikeproof.certify.config import CertifyConfig
from spikeproof.certify.radius import l1_radius, l2_radius
from spikeproof.certify.votes import count_votes
from spikeproof.coding import Poisson, SignedRate
from spikeproof.counts import at_least
from spikeproof.data import ImageSet
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds
from spikeproof.machine.compiling import working_time
from spikeproof.machine.device import machine_name
from spikeproof.models import SpikingModel, unwrapped
from spikeproof.private_rng import private_rng
from spikeproof.progress import Progress
from spikeproof.records.certificate_json import CERTIFICATE_VERSION, CertificateRecord, CertifiedImage
from spikeproof.records.record import in_one_sentence
from spikeproof.records.trials import Counted
from spikeproof.threat import Linf


@check_kinds
def certify(
    model: nn.Module,
    images: ImageSet,
    config: CertifyConfig | None = None,
    *,
    command: str = "spikeproof.certify(...)",
    notes: Sequence[str] = (),
    show: bool = True,
) -> CertificateRecord:
    """Prove for each image a radius within which its class does not change.

    Certified accuracy is a lower bound of the true robust accuracy, as an audit's worst case is an upper one. Both are
    of the same classifier for the method "ibp". The other methods are about the majority of a random network's votes:
    "smoothing" of the network under Gaussian noise, which :class:`Smoothed` makes and an audit can attack; "rate" of a
    network with Bernoulli coding as it is (``Smoothed(model, 0)``), whereas an audit of it judges by mean logits.

    Args:
        model: images [N,C,H,W] in [0,1] -> logits; any network for "smoothing", an adapted one too.
        images: the split, on the model's device or any other.
        config: what to prove; ``CertifyConfig()`` by default.
        command: that asked for it, as the record keeps it.
        notes: sentences that the record keeps too.
        show: whether to show progress.

    Returns:
        The record, which ``save(folder)`` writes; ``certified.accuracy`` at the config's eps, ``at(eps)`` at another.

    Raises:
        SpikeproofError: no such samples, images that do not fit, a model that keeps a state or that the method knows
            nothing of, logits that are not finite.

    Example:
        >>> from spikeproof.data import load_data
        >>> from spikeproof.models import create_model
        >>> data = load_data("digits", validation=50)
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25)
        >>> found = certify(model, data.test, CertifyConfig(samples=10, n=50), show=False)
        >>> found.certified.accuracy <= found.clean.accuracy
        True

    Source: Cohen et al. 2019 (smoothing), Mukhoty et al. 2024 (rate coding), Gowal et al. 2018 and Liang et al. 2022
    (interval bounds); what we do otherwise stands in ``radius.py``, ``bounds.py`` and ``recurrence.py``.
    """
    config = config or CertifyConfig()
    began = working_time()
    rows, chosen = _chosen(model, images, config)
    pixels, labels, _ = check_batch(chosen.images.to(working_dtype(model)) / 255, chosen.labels, model=model)
    classes = look_at(model, pixels).classes
    if classes != images.num_classes:
        raise SpikeproofError(
            f"The model tells {classes} classes apart and these images have {images.num_classes}; give the data it was "
            "made for."
        )
    prover = _Prover(model, config, pixels)
    work = len(labels) * (config.n0 + config.n if config.how.of_votes else 1)
    found: list[tuple[int | None, float]] = []
    with _undisturbed(model), Progress(work, "certify", show=show) as progress:
        torch.manual_seed(config.seed)
        for batch in pixels.split(config.batch_size):
            found += prover.proved(batch, progress.advance)
    device = pixels.device.type
    outcomes = tuple(
        CertifiedImage(sample=row, label=label, predicted=given, radius=radius)
        for row, label, (given, radius) in zip(rows.tolist(), labels.tolist(), found, strict=True)
    )
    right = [each for each in outcomes if each.right]
    proved = [each for each in right if each.radius >= config.radius]
    with in_one_sentence("This certificate", "report this, as it is a fault of spikeproof's own"):
        return CertificateRecord(
            version=CERTIFICATE_VERSION,
            method=config.method,
            words=config.how.words,
            norm=config.how.norm,
            eps=config.radius,
            of_votes=config.how.of_votes,
            settings={name: float(value) for name, value in config.settings().items()},
            samples=len(outcomes),
            split=config.split,
            split_images=images.fingerprint(),
            images=images_fingerprint(chosen),
            clean=Counted.of(len(right), len(outcomes)),
            certified=Counted.of(len(proved), len(outcomes)),
            abstained=sum(given is None for given, _ in found),
            outcomes=outcomes,
            device=device,
            machine=machine_name(device),
            seed=config.seed,
            seconds=round(working_time() - began, 1),
            command=command,
            notes=tuple(notes),
        )


def _chosen(model: nn.Module, images: ImageSet, config: CertifyConfig) -> tuple[Int64[Tensor, " n"], ImageSet]:
    """The part of the split that an audit of as many samples takes, on the model's device."""
    if not len(images):
        raise SpikeproofError(f"The {config.split} split has no images, and a certificate needs one or more.")
    count = len(images) if config.samples is None else config.samples
    if count > len(images):
        raise SpikeproofError(f"The {config.split} split has {len(images)} images, fewer than the {count} asked for.")
    images.brightest(f"the {config.split} images")  # refuses what is no image
    rows = images.part(count)
    parameter = next(model.parameters(), None)
    chosen = images.take(rows.to(images.labels.device))
    return rows, chosen if parameter is None else chosen.to(parameter.device)


@contextlib.contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    with private_rng(), evaluating(model), torch.no_grad():
        yield


class _Prover:
    """A method, ready for a network."""

    def __init__(self, model: nn.Module, config: CertifyConfig, pixels: Float[Tensor, " n *chw"]) -> None:
        self._model, self._config = model, config
        self._draws = refuse_state(model, pixels)
        self._steps = _bernoulli_steps(model) if config.method == "rate" else 0

    def proved(
        self, images: Float[Tensor, " n *chw"], advance: Callable[[int], object]
    ) -> list[tuple[int | None, float]]:
        """Of each image the class and the radius; None and 0 for a vote that abstains."""
        if self._config.how.of_votes:
            return self._votes(images, advance)
        classes = judged(self._model, images).argmax(1)
        threat = Linf(self._config.radius)
        held = never_another(self._model, images, classes, threat)
        advance(len(images))
        radii = (threat.eps if each else 0.0 for each in held.tolist())
        return list(zip(classes.tolist(), radii, strict=True))

    def _votes(
        self, images: Float[Tensor, " n *chw"], advance: Callable[[int], object]
    ) -> list[tuple[int | None, float]]:
        config = self._config
        sigma = config.sigma if config.method == "smoothing" else 0.0
        copies = 1 if self._draws else max(1, config.batch_size // len(images))
        with torch.autocast(images.device.type, enabled=False):
            top = count_votes(self._model, images, sigma, config.n0, copies, advance).argmax(1)
            counts = count_votes(self._model, images, sigma, config.n, copies, advance)
        won = counts.gather(1, top[:, None])[:, 0].tolist()
        bounds = {votes: at_least(votes, config.n, config.alpha) for votes in set(won)}
        size = images[0].numel()
        return [
            (given, self._radius(bounds[votes], size)) if bounds[votes] > 0.5 else (None, 0.0)
            for given, votes in zip(top.tolist(), won, strict=True)
        ]

    def _radius(self, least: float, size: int) -> float:
        """Closed: the theorems' radii do not themselves belong to what is proved."""
        if self._config.method == "smoothing":
            return math.nextafter(l2_radius(least, self._config.sigma), 0.0)
        return math.nextafter(l1_radius(least, self._steps, size), 0.0)


def _bernoulli_steps(model: nn.Module) -> int:
    """T of a network with Bernoulli spikes, whose probabilities move no faster than the pixels."""
    network = unwrapped(model)
    if not isinstance(network, SpikingModel) or not isinstance(network.coding, Poisson | SignedRate):
        held = type(network.coding if isinstance(network, SpikingModel) else network).__name__
        raise SpikeproofError(
            f"The method rate is of networks of create_model with Bernoulli coding (poisson, signedrate), and this one "
            f"is or has {held}; the method smoothing certifies any network."
        )
    return network.num_steps
