"""A look at a network before hours are spent on it: does it keep a state, and does it draw random numbers?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spikeproof.attacks.evaluating import evaluating, working_dtype
from spikeproof.attacks.generators import Generator, generators_of, put_back
from spikeproof.errors import FAILURES, SpikeproofError, first_line
from spikeproof.models import check_finite, unwrapped
from spikeproof.private_rng import private_rng

_FEW = 8  # images in look_at
_GLANCED = 2  # images in refuse_state, as long as they show nothing
_ROUNDING = 1e-4  # of the largest logit
_OTHER_SEEDS = (1, 2, 3, 4)  # several, as two draws among few values may be equal


@dataclasses.dataclass(frozen=True)
class Randomness:
    """How a network's logits depend on random numbers.

    Attributes:
        drawn: whether they change with the seed of all generators.
        unfixed: names of the generators that the logits change with and that torch's seed does not fix.
        classes: how many logits an image has; 0 where no image was given.
    """

    drawn: bool
    classes: int
    unfixed: tuple[str, ...] = ()


@torch.no_grad()
def look_at(model: nn.Module, images: Float[Tensor, " n *chw"], called: str = "this network") -> Randomness:
    """Whether the logits of the same images change with random numbers, and with which.

    Args:
        model: the network.
        images: in [0, 1]; the first eight are asked.
        called: how messages call the network.

    Raises:
        SpikeproofError: they change though every random number is the same, so an attack would change the network that
            it attacks; they are no logits [N,K]; or the network holds NaN.
    """
    few = images[:_FEW].to(working_dtype(model))
    if len(few) == 0:
        return Randomness(drawn=False, classes=0)
    asking = _Asking(model, called)
    with private_rng(), put_back(asking.generators), evaluating(model):
        once, steady = asking.without_state(few)
        if not asking.changes(few, once, steady, None, *asking.generators):
            return Randomness(drawn=False, classes=once.shape[1])
        unfixed = (each for each in asking.generators if asking.changes(few, once, steady, each))
        return Randomness(True, once.shape[1], tuple({each.name: None for each in unfixed}))


@torch.no_grad()
def refuse_state(model: nn.Module, images: Float[Tensor, " n *chw"], called: str = "this network") -> bool:
    """Refuse a network whose logits depend on earlier forwards, and find whether it draws random numbers.

    Two images are asked in four forwards, so that it costs little before an attack. More are asked where their logits
    change from forward to forward, or with the seeds of NumPy, Python or a generator of the network's own.

    Args:
        model: the network.
        images: in [0, 1]; up to eight are asked.
        called: how messages call the network.

    Returns:
        Whether it draws from torch's generators, or its logits change with another generator.

    Raises:
        SpikeproofError: it keeps a state, gives no logits [N,K], or holds NaN.
    """
    images = images.to(working_dtype(model))
    if len(images) == 0:
        return False
    asking, few = _Asking(model, called), images[:_GLANCED]
    with private_rng(), put_back(asking.generators), evaluating(model):
        try:
            moved = asking.moved(few)
        except _FailsError:
            few = images  # some networks take a whole batch only
            moved = asking.moved(few)
        drawn = asking.drew
        if not moved.any():
            return drawn
        more = images[:_FEW]
        try:
            once, steady = asking.without_state(more)
        except _FailsError:
            more = few  # what is left in it fits these
            once, steady = asking.without_state(more)
        return drawn or asking.changes(more, once, steady, *asking.generators)


class _FailsError(SpikeproofError):
    """The network cannot take so many images."""


class _Asking:
    """A network that is asked with random numbers of a known seed."""

    drew = False  # whether any forward so far drew from torch's generators; seen also where no logit changes

    def __init__(self, model: nn.Module, called: str) -> None:
        # Of a compiled network what it was compiled from: another size of a batch would be compiled anew.
        self._network, self._called = unwrapped(model), called
        check_finite(self._network, called)
        self.generators = generators_of(self._network)

    def logits(self, images: Tensor, seed: int = 0, seeded: Sequence[Generator | None] = ()) -> Float[Tensor, "n k"]:
        """Its logits with all generators at 0, but for those that are ``seeded``; None is torch's."""
        torch.manual_seed(seed if None in seeded else 0)
        for generator in self.generators:
            generator.seed(seed if generator in seeded else 0)
        before = _torchs_states()
        try:
            logits = self._network(images.clone())
        except (SpikeproofError, torch.OutOfMemoryError):
            raise
        except FAILURES as error:
            size = "x".join(map(str, images.shape[1:]))
            raise _FailsError(
                f"Asked for logits of {len(images)} images of {size}, {self._called} fails ({first_line(error)}); it "
                "must take such images in batches of any size, and keep nothing of one batch for the next. Pass a "
                "network of another library through spikeproof.adapt(net, num_steps=T)."
            ) from error
        self.drew |= any(not torch.equal(*pair) for pair in zip(before, _torchs_states(), strict=True))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            given = f"{tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise SpikeproofError(
                f"The network must turn {len(images)} images into logits [{len(images)}, K], one row for each image, "
                f"and gives {given}; pass it through spikeproof.adapt(net, num_steps=T, output=...), or wrap it so "
                "that it does (average over time steps, take the first of a tuple)."
            )
        return logits.float()

    def moved(self, images: Tensor) -> Bool[Tensor, " n"]:
        """Of which images the logits change with what was asked in between, or with other seeds of all but torch's."""
        pairs = zip((images, 1 - images, images, images), (0, *_OTHER_SEEDS), strict=False)
        once, _, *again = (self.logits(each, seed, self.generators) for each, seed in pairs)
        return _differ(once, again[0]) | _differ(once, again[1])

    def without_state(self, images: Tensor) -> tuple[Float[Tensor, "n k"], bool]:
        """The logits, and whether they came out alike each time; one flipped spike is rounding and no state."""
        # The first forward may fill in what is lazy. Of the next ones two come after the same images, one does not.
        _, once, _, *again = (self.logits(batch) for batch in (images, images, 1 - images, images, images))
        differs = [_differ(once, each) for each in again]
        if any(map(_most, differs)):
            most = max((once - each).abs().max().item() for each in again)
            raise SpikeproofError(
                f"Two forwards of the same images differ by {most:.2g} in their logits, with the same random numbers: "
                f"{self._called} keeps its state, or draws random numbers that no seed fixes. Reset its potentials and "
                "buffers at the beginning of each forward, as spikeproof.adapt(net, num_steps=T) does for networks of "
                "other libraries, and draw from torch's own generator; an attack would change the network that it "
                "attacks."
            )
        return once, not any(bool(each.any()) for each in differs)

    def changes(self, images: Tensor, once: Tensor, steady: bool, *generators: Generator | None) -> bool:
        """Whether other seeds of these generators give other logits than ``once``; None is torch's."""
        others = (self.logits(images, seed, generators) for seed in _OTHER_SEEDS)
        differs = (_differ(once, other) for other in others)
        # Where some samples differ already with equal seeds, it is rounding that flips spikes.
        return any(bool(each.any()) if steady else _most(each) for each in differs)


def _torchs_states() -> list[Tensor]:
    return [each.get_state() for each in (torch.default_generator, *torch.cuda.default_generators)]


def _differ(once: Tensor, again: Tensor) -> Bool[Tensor, " n"]:
    """Which samples' logits differ by more than rounding; of equal ones that are not finite none do."""
    scale = once.abs().amax().clamp_min(1e-12)
    return (once - again).abs().amax(1) > _ROUNDING * scale


def _most(differs: Bool[Tensor, " n"]) -> bool:
    return 2 * int(differs.sum()) > len(differs)
