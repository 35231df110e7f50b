"""A look at a network before hours are spent on it: does it keep a state, and does it draw random numbers?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spikeproof.attacks.evaluating import evaluating, working_dtype
from spikeproof.attacks.generators import Generator, generators_of, put_back
from spikeproof.errors import SpikeproofError
from spikeproof.models import unwrapped
from spikeproof.private_rng import private_rng

_FEW = 8  # images of a whole look
_GLANCED = 2
_ROUNDING = 1e-4  # of the largest logit
_OTHER_SEEDS = (1, 2, 3, 4)  # several, as a draw among few things may come out alike


@dataclasses.dataclass(frozen=True)
class Randomness:
    """How a network's logits depend on random numbers.

    Attributes:
        drawn: whether they change with the seed of all generators.
        unfixed: the generators that torch's seed does not fix and that they change with, as sentences call them.
    """

    drawn: bool
    unfixed: tuple[str, ...] = ()


@torch.no_grad()
def look_at(model: nn.Module, images: Float[Tensor, "n c h w"], called: str = "this network") -> Randomness:
    """Whether the logits of the same images change with random numbers, and with which.

    Args:
        called: how sentences call the network.

    Raises:
        SpikeproofError: they change though every random number is the same, so an attack would change what it attacks;
            or they are no logits [N,K].
    """
    few = images[:_FEW].to(working_dtype(model))
    if len(few) == 0:
        return Randomness(drawn=False)
    asking = _Asking(model, called)
    with private_rng(), put_back(asking.generators), evaluating(model):
        once, steady = asking.without_state(few)

        def changes(*generators: Generator | None) -> bool:
            others = (asking.logits(few, seed, generators) for seed in _OTHER_SEEDS)
            differs = (_differ(once, other) for other in others)
            # Where some samples differ already with equal seeds, it is rounding that flips spikes.
            return any(bool(each.any()) if steady else _most(each) for each in differs)

        if not changes(None, *asking.generators):
            return Randomness(drawn=False)
        return Randomness(True, tuple({each.name: None for each in asking.generators if changes(each)}))


@torch.no_grad()
def refuse_state(model: nn.Module, images: Float[Tensor, "n c h w"], called: str = "this network") -> None:
    """Refuse a network whose logits depend on what it was asked before.

    Two images are asked in four forwards, so that it costs little before an attack; more only where they say no.

    Raises:
        SpikeproofError: it keeps a state, or gives no logits [N,K].
    """
    images = images.to(working_dtype(model))
    if len(images) == 0:
        return
    asking, few = _Asking(model, called, own_generators=False), images[:_GLANCED]
    with private_rng(), evaluating(model):
        try:
            moved = asking.moved(few)
        except _FailsError:
            few = images  # some networks take a whole batch only
            moved = asking.moved(few)
    if not moved.any():
        return
    asking = _Asking(model, called)
    with private_rng(), put_back(asking.generators), evaluating(model):
        try:
            asking.without_state(images[:_FEW])
        except _FailsError:
            asking.without_state(few)  # what is left in it fits these


class _FailsError(SpikeproofError):
    """The network cannot take so many images."""


class _Asking:
    """A network that is asked with random numbers of a known seed."""

    def __init__(self, model: nn.Module, called: str, *, own_generators: bool = True) -> None:
        # Of a compiled network what it was compiled from: another size of a batch would be compiled anew.
        self._network, self._called = unwrapped(model), called
        self.generators = generators_of(self._network) if own_generators else []

    def logits(self, images: Tensor, seed: int = 0, seeded: Sequence[Generator | None] = ()) -> Float[Tensor, "n k"]:
        """Its logits with all generators at 0, but for those that are ``seeded``; None is torch's."""
        torch.manual_seed(seed if None in seeded else 0)
        for generator in self.generators:
            generator.seed(seed if generator in seeded else 0)
        try:
            logits = self._network(images.clone())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise _FailsError(
                f"Asked for logits of {len(images)} images, {self._called} fails ({_first_line(error)}); it must take "
                "such images in batches of any size, with nothing left in it of another batch."
            ) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            given = f"{tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise SpikeproofError(
                f"The network must turn {len(images)} images into logits [{len(images)}, K], one row for each image, "
                f"and gives {given}; wrap it so that it does (average over time steps, take the first of a tuple)."
            )
        return logits.float()

    def moved(self, images: Tensor) -> Bool[Tensor, " n"]:
        """Of which images the logits change with what was asked in between."""
        once, _, *again = (self.logits(asked) for asked in (images, 1 - images, images, images))
        return _differ(once, again[0]) | _differ(once, again[1])

    def without_state(self, images: Tensor) -> tuple[Float[Tensor, "n k"], bool]:
        """The logits, and whether they came out alike each time; one flipped spike is rounding and no state."""
        # The first forward may fill in what is lazy. Of the next ones two come after the same images, one does not.
        _, once, _, *again = (self.logits(asked) for asked in (images, images, 1 - images, images, images))
        differs = [_differ(once, each) for each in again]
        if any(map(_most, differs)):
            most = max((once - each).abs().max().item() for each in again)
            raise SpikeproofError(
                f"Two forwards of the same images differ by {most:.2g} in their logits, with the same random numbers: "
                f"{self._called} keeps its state, or draws random numbers that no seed fixes. Reset its potentials and "
                "buffers at the beginning of each forward, and draw from torch's own generator; an attack would change "
                "the network that it attacks."
            )
        return once, not any(bool(each.any()) for each in differs)


def _differ(once: Tensor, again: Tensor) -> Bool[Tensor, " n"]:
    """Which samples' logits differ by more than rounding; of equal ones that are not finite none do."""
    scale = once.abs().amax().clamp_min(1e-12)
    return (once - again).abs().amax(1) > _ROUNDING * scale


def _most(differs: Bool[Tensor, " n"]) -> bool:
    return 2 * int(differs.sum()) > len(differs)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
