"""Defenses: what changes training. One file a method; lists of them compose."""

from spikeproof.defenses.adversarial_training import AdversarialTraining
from spikeproof.defenses.defense import Defense, Needs, Step, compose, watch
from spikeproof.defenses.dlif import DLIF
from spikeproof.defenses.dominant_singular_deflation import DSD
from spikeproof.defenses.dspike import Dspike
from spikeproof.defenses.feel import FEEL
from spikeproof.defenses.free_adversarial_training import FreeAdversarialTraining
from spikeproof.defenses.hire import HIRE
from spikeproof.defenses.homeostatic import HoSNN
from spikeproof.defenses.inflor import InfLoR
from spikeproof.defenses.learnable_width import LearnableWidth
from spikeproof.defenses.lsg import LSG
from spikeproof.defenses.mart import MART
from spikeproof.defenses.mpd_sgr import MPDSGR, overlap
from spikeproof.defenses.noisy_neurons import NDL
from spikeproof.defenses.random_leak import RandHet
from spikeproof.defenses.recdis import RecDis
from spikeproof.defenses.retraction import REG
from spikeproof.defenses.rmp_loss import RMPLoss
from spikeproof.defenses.sparse_gradients import SR
from spikeproof.defenses.stochastic_gating import StoG
from spikeproof.defenses.tgo import TGO
from spikeproof.defenses.trades import TRADES
from spikeproof.defenses.weight_average import EMA
from spikeproof.defenses.weight_perturbation import AWP

__all__ = [
    "AWP",
    "DLIF",
    "DSD",
    "EMA",
    "FEEL",
    "HIRE",
    "LSG",
    "MART",
    "MPDSGR",
    "NDL",
    "REG",
    "SR",
    "TGO",
    "TRADES",
    "AdversarialTraining",
    "Defense",
    "Dspike",
    "FreeAdversarialTraining",
    "HoSNN",
    "InfLoR",
    "LearnableWidth",
    "Needs",
    "RMPLoss",
    "RandHet",
    "RecDis",
    "Step",
    "StoG",
    "compose",
    "overlap",
    "watch",
]
