"""What a certificate is asked to prove, and by which method."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, get_args

from spikeproof.checked import LARGEST_SEED, MOST, real, told, whole
from spikeproof.errors import SpikeproofError
from spikeproof.threat import OptionalEps, parse_eps

MethodName = Literal["smoothing", "rate", "ibp"]
Split = Literal["test", "validation"]


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to certify.

    Attributes:
        norm: of the balls that it speaks of, as trials write it.
        usual: the radius where none is given.
        most: the largest radius that makes sense.
        of_votes: whether it is about the majority of a random network's votes; else about the network itself. A
            certificate of votes errs for a share alpha of the images.
        words: how reports call it.
    """

    norm: Literal["linf", "l2", "l1"]
    usual: float
    most: float
    of_votes: bool
    words: str


METHODS: dict[MethodName, Method] = {
    "smoothing": Method("l2", 0.25, math.inf, True, "randomised smoothing"),
    "rate": Method("l1", 0.05, math.inf, True, "Bernoulli rate coding"),
    "ibp": Method("linf", 1 / 255, 1.0, False, "interval bounds"),
}
assert set(METHODS) == set(get_args(MethodName))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertifyConfig:
    """What a certificate is asked.

    Args:
        method: "smoothing" proves an L2 radius for the majority vote of the network under Gaussian noise; "rate" an L1
            radius for the majority vote of a network with Bernoulli coding (Poisson, SignedRate); "ibp" a yes or no
            at one Linf radius for the network itself.
        eps: the radius at which certified accuracy is told; a number or text like "1/255". By default 0.25 in L2, 0.05
            in L1 and 1/255 in Linf.
        samples: how many images of the split, the same as an audit of as many has; None for all.
        split: "test", or "validation" while choosing settings.
        sigma: the standard deviation of smoothing's noise, in units of pixels.
        n0: draws that choose the class of a vote.
        n: further draws that bound the class's probability.
        alpha: how probable it may be that a certified image's radius is not true, for each image by itself.
        batch_size: images, or draws of images, in a forward.
        seed: of the draws.

    Raises:
        SpikeproofError: a word or number that it cannot have.

    Example:
        >>> CertifyConfig(method="ibp", eps="2/255").eps == 2 / 255
        True
    """

    method: MethodName = "smoothing"
    eps: OptionalEps = None
    samples: int | None = None
    split: Split = "test"
    sigma: float = 0.25
    n0: int = 100
    n: int = 1000
    alpha: float = 0.001
    batch_size: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        who = "A certificate"
        for name, known in (("method", tuple(METHODS)), ("split", get_args(Split))):
            word = getattr(self, name)
            if not isinstance(word, str) or word not in known:
                raise SpikeproofError(f"{who}'s {name} can be {', '.join(known)}, not {told(word)}.")
        how = METHODS[self.method]
        eps = how.usual if self.eps is None else parse_eps(self.eps, most=how.most)
        if eps == 0:
            raise SpikeproofError(f"{who} needs a radius > 0, got 0; {how.usual:.3g} is usual for {self.method}.")
        object.__setattr__(self, "eps", eps)
        for name, least, most in (("n0", 1, MOST), ("n", 1, MOST), ("batch_size", 1, MOST), ("seed", 0, LARGEST_SEED)):
            object.__setattr__(self, name, whole(getattr(self, name), who, name, least, most))
        if self.samples is not None:
            object.__setattr__(self, "samples", whole(self.samples, who, "samples", 1, MOST))
        object.__setattr__(self, "sigma", real(self.sigma, who, "sigma", 0, above=True))
        object.__setattr__(self, "alpha", real(self.alpha, who, "alpha", 0, 0.5, above=True))

    @property
    def how(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    @property
    def radius(self) -> float:
        """The radius as a number."""
        assert isinstance(self.eps, float)
        return self.eps

    def settings(self) -> dict[str, Any]:
        """The settings that this method reads, beside those that all have."""
        names = ("sigma", "n0", "n", "alpha") if self.method == "smoothing" else ("n0", "n", "alpha")
        return {name: getattr(self, name) for name in names} if self.how.of_votes else {}
