"""ASSG: a surrogate whose sharpness follows each potential's distance from the threshold during the attack.

Source: "Towards Reliable Evaluation of Adversarial Robustness for SNNs" (CVPR 2026, arXiv 2512.22522), Cor. 1 and the
update rule of its code. Deviations: none in the rule; A' is a fixed default here and never searched on test data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.checked import real
from spikeproof.errors import SpikeproofError
from spikeproof.gradients.named import Named, Tunable, a_number
from spikeproof.gradients.source import Attached
from spikeproof.interop import ForeignSite
from spikeproof.spiking import ArcTan, Drive, Site, override_gradient, sites
from spikeproof.spiking.ops.drive import Following, Setting, follow, followed

_UNIT = ArcTan(alpha=1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ASSG:
    """Adaptive sharpness surrogate gradient, per element (sample, neuron, step), renewed by every forward::

        M <- b M + (1-b) |v|,    D <- b D + (1-b) ||v| - M|,    a = w / (M + relax D + 1e-4)
        h(v) = a/2 / (1 + (pi/2 a v)^2),    w = 2 tan(pi half_mass) / pi

    from M = 1, D = 0, all detached. Whatever scale the potentials live at, about 2 half_mass of the surrogate's mass
    then covers them: a defense that moves potentials away from a *fixed* surrogate hides nothing from this one.

    Args:
        half_mass: A' = A/2 in (0, 1/2); the paper's models choose between 0.41 and 0.45.
        momentum: b of both averages, in [0, 1).
        relax: weight of the spread D, >= 0.

    Raises:
        SpikeproofError: a value outside its range; on attaching, a model without sites.

    Example:
        >>> ASSG().name
        'ASSG'

    Source: arXiv 2512.22522 (CVPR 2026), Corollary 1. The default of half_mass is ours; there it is chosen per model.
    """

    half_mass: float = 0.43
    momentum: float = 0.9
    relax: float = 1.5

    def __post_init__(self) -> None:
        if real(self.half_mass, "ASSG", "half_mass", 0, 0.5, above=True) == 0.5:
            raise SpikeproofError(f"ASSG's half_mass must lie strictly between 0 and 0.5, got {self.half_mass}.")
        if real(self.momentum, "ASSG", "momentum", 0, 1) == 1:
            raise SpikeproofError(f"ASSG needs a momentum in [0, 1), got {self.momentum}.")
        real(self.relax, "ASSG", "relax", 0)

    @property
    def name(self) -> str:
        """ "ASSG", with the values that differ from the defaults."""
        changed = [
            f"{field.name}={value}"
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        ]
        return "ASSG" + (f" {' '.join(changed)}" if changed else "")

    @contextlib.contextmanager
    def attach(self, model: nn.Module) -> Iterator[Attached]:
        """A context in which each site has an M, D and sharpness of its own; see :meth:`GradientSource.attach`."""
        watched = sites(model)
        if not watched:
            raise SpikeproofError("ASSG needs spiking sites and this model has none; use the BPTT source instead.")
        adaptive = {name: _AdaptiveSite(self) for name in watched}
        with override_gradient(model, dict(adaptive)):
            yield _AttachedASSG(list(adaptive.values()))


class _AdaptiveSite:
    """One site's backward under ASSG, with its M, D and sharpness."""

    def __init__(self, source: ASSG) -> None:
        self.source = source
        self.held = False
        self.state: list[Tensor] | None = None  # M, D, sharpness
        self.by_step: list[list[Tensor]] = []  # the same, of each step of a site that shows one at a time

    def __call__(self, site: Site, drive: Drive, *, pooled: bool) -> Tensor:
        if not self.held or self.state is None:
            if self.state is None:
                values = drive.values
                shape = (site.num_steps, *values.shape[1:])
                start = values.new_ones(shape, dtype=torch.promote_types(values.dtype, torch.float32))
                self.state = [start, torch.zeros_like(start), start]
            with torch.no_grad():
                self.state = site.elementwise(follow, self._how(site), drive, *self.state[:2])
        return site.fire(drive._replace(sharpness=self.state[2]), surrogate=_UNIT, pooled=pooled).spikes

    def slope(self, site: ForeignSite, step: int, margin: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        wide = margin.to(torch.promote_types(margin.dtype, torch.float32))
        first = step == len(self.by_step)
        if first:
            start = torch.ones_like(wide)
            self.by_step.append([start, torch.zeros_like(start), start])
        if first or not self.held:
            self.by_step[step] = list(followed(self._how(site), wide.abs(), *self.by_step[step][:2]))
        sharpness = self.by_step[step][2]
        return sharpness * _UNIT(sharpness * wide)

    def _how(self, site: Site) -> Following:
        source = self.source
        omega = 2 * math.tan(math.pi * source.half_mass) / math.pi
        return Following(Setting(site.neuron, _UNIT, site.num_steps), source.momentum, source.relax, omega)

    def keep(self, kept: Tensor) -> None:
        if self.state is not None:
            self.state = [tensor[:, kept] for tensor in self.state]
        self.by_step = [[tensor[kept] for tensor in state] for state in self.by_step]


class _AttachedASSG(Attached):
    def __init__(self, adaptive: list[_AdaptiveSite]) -> None:
        self._adaptive = adaptive

    def keep(self, kept: Int64[Tensor, " m"]) -> None:
        for site in self._adaptive:
            site.keep(kept)

    def hold(self, held: bool) -> None:
        for site in self._adaptive:
            site.held = held


_HALF_MASS = Tunable(
    name="half_mass",
    label="ASSG's A′",
    default=ASSG().half_mass,
    values=(0.39, 0.41, 0.43, 0.45),
    make=lambda value: ASSG(half_mass=value),
    search="SA-PGD",
)
NAMED = (
    Named(
        name="ASSG",
        make=lambda tuned: ASSG(half_mass=tuned["half_mass"]),
        of_text=lambda text: ASSG(half_mass=a_number(text)),
        adaptive=True,
        tunable=_HALF_MASS,
    ),
)
