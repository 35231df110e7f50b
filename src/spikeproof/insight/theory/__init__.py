"""The papers' theory, checked by numbers: each theorem's value beside the measured one (docs/theory.md)."""

from spikeproof.insight.theory.flips import firing_slope, flip_probability, simulated_firing
from spikeproof.insight.theory.jacobian import jacobian_norms
from spikeproof.insight.theory.local_bound import LocalBound, local_bound
from spikeproof.insight.theory.nearness import flipped_shares, near_shares
from spikeproof.insight.theory.potentials import Simulated, simulated_potentials, unreset_moments
from spikeproof.insight.theory.site_spreads import SiteSpread, site_spreads

__all__ = [
    "LocalBound",
    "Simulated",
    "SiteSpread",
    "firing_slope",
    "flip_probability",
    "flipped_shares",
    "jacobian_norms",
    "local_bound",
    "near_shares",
    "simulated_firing",
    "simulated_potentials",
    "site_spreads",
    "unreset_moments",
]
