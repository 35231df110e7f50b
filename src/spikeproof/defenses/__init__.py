"""Defenses: what changes training. One file a method; lists of them compose."""

from spikeproof.defenses.adversarial_training import AdversarialTraining
from spikeproof.defenses.defense import Defense, Needs, Step, compose, watch
from spikeproof.defenses.mpd_sgr import MPDSGR, overlap
from spikeproof.defenses.tgo import TGO

__all__ = ["MPDSGR", "TGO", "AdversarialTraining", "Defense", "Needs", "Step", "compose", "overlap", "watch"]
