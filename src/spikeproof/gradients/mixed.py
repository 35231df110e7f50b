"""Mixed gradients: the mean of several sources' gradients before the step ("MIX" of Hao et al. 2024: BPTT and HART)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.gradients.bptt import BPTT
from spikeproof.gradients.named import Named
from spikeproof.gradients.rate import HART
from spikeproof.gradients.source import Attached, GradientSource, check_source
from spikeproof.spiking import override_gradient, sites
from spikeproof.spiking.site import GradientOverride


@dataclasses.dataclass(frozen=True)
class Mixed:
    """The mean of the gradients of ``sources``; a forward and a backward for each of them.

    With noise every source sees draws of its own.

    Args:
        sources: two gradient sources or more.

    Raises:
        SpikeproofError: fewer than two sources, or one that is none; on attaching, what its sources raise.

    Example:
        >>> Mixed().name
        'BPTT+HART'

    Source: Hao et al. 2024, whose "MIX" is the default, BPTT and HART.
    """

    sources: tuple[GradientSource, ...] = (BPTT(), HART())

    def __post_init__(self) -> None:
        if not isinstance(self.sources, tuple | list) or len(self.sources) < 2:
            raise SpikeproofError(
                "A mixed gradient needs two sources at least; to use one alone, give it as the source itself."
            )
        for source in self.sources:
            check_source(source)

    @property
    def name(self) -> str:
        """The names of its sources, joined by +."""
        return "+".join(source.name for source in self.sources)

    @contextlib.contextmanager
    def attach(self, model: nn.Module) -> Iterator[Attached]:
        """A context in which all the sources are attached; see :meth:`GradientSource.attach`."""
        parts: list[tuple[Attached, Mapping[str, GradientOverride | None]]] = []
        with contextlib.ExitStack() as stack:
            for source in self.sources:
                # Each source finds the sites without any override, and puts its own there.
                stack.enter_context(override_gradient(model, dict.fromkeys(sites(model))))
                attached = stack.enter_context(source.attach(model))
                parts.append((attached, {name: site.override for name, site in sites(model).items()}))
            yield _AttachedMixed(model, parts)


class _AttachedMixed(Attached):
    def __init__(self, model: nn.Module, parts: list[tuple[Attached, Mapping[str, GradientOverride | None]]]) -> None:
        self._model, self._parts = model, parts

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        for attached, _ in self._parts:
            attached.keep(kept)

    def hold(self, held: bool) -> None:
        for attached, _ in self._parts:
            attached.hold(held)

    def gradient(
        self,
        call: Callable[[Tensor], Tensor],
        images: Float[Tensor, " n *chw"],
        objective: Callable[[Tensor], Tensor],
    ) -> tuple[Float[Tensor, " n *chw"], Float[Tensor, "n k"]]:
        """The mean of the sources' gradients, each of the loss at its own logits, and the first source's logits."""
        results = []
        for attached, overrides in self._parts:
            # The first forward of an adapted network may show that a layer is a readout and no site.
            present = sites(self._model)
            with override_gradient(self._model, {name: each for name, each in overrides.items() if name in present}):
                results.append(attached.gradient(call, images, objective))
        gradients, logits = zip(*results, strict=True)
        return torch.stack(gradients).mean(0), logits[0]


NAMED = (Named(name="MIXED", make=lambda tuned: Mixed((BPTT(), HART(width=tuned["hart_width"]))), adaptive=True),)
