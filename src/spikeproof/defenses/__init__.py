"""Defenses: what changes training. One file a method; lists of them compose.

A new one needs an import here and a place in ``DEFENSES``: recipes, command line, reports, estimates and the tests over
all defenses read that list.
"""

from spikeproof.defenses.adversarial_training import AdversarialTraining
from spikeproof.defenses.defense import Defense as Defense
from spikeproof.defenses.defense import Needs as Needs
from spikeproof.defenses.defense import Step as Step
from spikeproof.defenses.defense import compose as compose
from spikeproof.defenses.defense import watch as watch
from spikeproof.defenses.dlif import DLIF
from spikeproof.defenses.dominant_singular_deflation import DSD
from spikeproof.defenses.dspike import Dspike
from spikeproof.defenses.feel import FEEL
from spikeproof.defenses.foreign import check_foreign as check_foreign
from spikeproof.defenses.free_adversarial_training import FreeAdversarialTraining
from spikeproof.defenses.gaussian_noise import GaussianNoise
from spikeproof.defenses.hire import HIRE
from spikeproof.defenses.homeostatic import HoSNN
from spikeproof.defenses.inflor import InfLoR
from spikeproof.defenses.learnable_width import LearnableWidth
from spikeproof.defenses.lsg import LSG
from spikeproof.defenses.mart import MART
from spikeproof.defenses.mpd_sgr import MPDSGR
from spikeproof.defenses.mpd_sgr import overlap as overlap
from spikeproof.defenses.noisy_neurons import NDL
from spikeproof.defenses.random_decay import RandHet
from spikeproof.defenses.recdis import RecDis
from spikeproof.defenses.retraction import REG
from spikeproof.defenses.rmp_loss import RMPLoss
from spikeproof.defenses.sparse_gradients import SR
from spikeproof.defenses.stochastic_gating import StoG
from spikeproof.defenses.tgo import TGO
from spikeproof.defenses.trades import TRADES
from spikeproof.defenses.weight_average import EMA
from spikeproof.defenses.weight_perturbation import AWP
from spikeproof.errors import SpikeproofError
from spikeproof.names import plain, unknown

# In the order in which a recipe has them: a step calls their hooks in it.
DEFENSES: dict[str, type[Defense]] = {
    kind.name: kind
    for kind in (
        AdversarialTraining,
        FreeAdversarialTraining,
        TRADES,
        MART,
        HIRE,
        GaussianNoise,
        DLIF,
        SR,
        REG,
        DSD,
        StoG,
        FEEL,
        NDL,
        RandHet,
        HoSNN,
        LearnableWidth,
        LSG,
        Dspike,
        RecDis,
        RMPLoss,
        InfLoR,
        MPDSGR,
        TGO,
        AWP,
        EMA,
    )
}


def find_defense(word: str) -> type[Defense]:
    """A defense by its name, by its label or by its class's name, in any case and with or without dashes.

    Args:
        word: such as "mpd-sgr", "MPD-SGR" or "MPDSGR".

    Raises:
        SpikeproofError: there is none of that name.

    Example:
        >>> find_defense("mpd_sgr").label, find_defense("AdversarialTraining").name
        ('MPD-SGR', 'at')
    """
    known = {plain(each): kind for kind in DEFENSES.values() for each in (kind.name, kind.label, kind.__name__)}
    if plain(word) not in known:
        raise SpikeproofError(unknown("defense", word, DEFENSES))
    return known[plain(word)]
