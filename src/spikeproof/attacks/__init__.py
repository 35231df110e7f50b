"""Attacks: functions of (model, images, labels, threat, how) that return images and outcomes."""

from spikeproof.attacks.auto_pgd import FORMS as _AUTO_PGD
from spikeproof.attacks.auto_pgd import apgd, apgd_targeted
from spikeproof.attacks.auto_pgd_l1 import FORMS as _AUTO_PGD_L1
from spikeproof.attacks.auto_pgd_l1 import apgd_l1
from spikeproof.attacks.carlini_wagner import FORMS as _CARLINI_WAGNER
from spikeproof.attacks.carlini_wagner import cw_l2
from spikeproof.attacks.confirm import PATIENCE
from spikeproof.attacks.corruptions import FORMS as _CORRUPTIONS
from spikeproof.attacks.corruptions import corrupt, corruption
from spikeproof.attacks.craft import Attacked, Craft, Crafting, crafting
from spikeproof.attacks.ddn import FORMS as _DDN
from spikeproof.attacks.ddn import ddn
from spikeproof.attacks.door import attack, check_batch, check_threat, norms_of
from spikeproof.attacks.evaluating import evaluating, working_dtype
from spikeproof.attacks.fab import FORMS as _FAB
from spikeproof.attacks.fab import fab_targeted
from spikeproof.attacks.feel_cw import FORMS as _FEEL_CW
from spikeproof.attacks.feel_cw import cw_feel
from spikeproof.attacks.form import Attack, Form, Kind
from spikeproof.attacks.gradient_sign import FORMS as _GRADIENT_SIGN
from spikeproof.attacks.gradient_sign import ffgsm, fgsm, rfgsm
from spikeproof.attacks.judge import judge, judged, outputs
from spikeproof.attacks.local_search import FORMS as _LOCAL_SEARCH
from spikeproof.attacks.local_search import local_search
from spikeproof.attacks.look import Randomness, look_at, refuse_state
from spikeproof.attacks.multi_targeted import FORMS as _MULTI_TARGETED
from spikeproof.attacks.multi_targeted import mtpgd
from spikeproof.attacks.noise import FORMS as _NOISE
from spikeproof.attacks.noise import gaussian_noise, uniform_noise
from spikeproof.attacks.objective import cross_entropy_of, divergence_of, dlr_of, margin_of
from spikeproof.attacks.patch import FORMS as _PATCH
from spikeproof.attacks.patch import patch_pgd
from spikeproof.attacks.projected_gradient import FORMS as _PROJECTED_GRADIENT
from spikeproof.attacks.projected_gradient import SteepestStep, bim, iterated_rfgsm, mi_fgsm, pgd
from spikeproof.attacks.pursuit import Pursuit, chase, climb
from spikeproof.attacks.sparse_dynamic import FORMS as _SPARSE_DYNAMIC
from spikeproof.attacks.sparse_dynamic import sda
from spikeproof.attacks.sparse_rs import FORMS as _SPARSE_RS
from spikeproof.attacks.sparse_rs import sparse_rs
from spikeproof.attacks.spsa import FORMS as _SPSA
from spikeproof.attacks.spsa import spsa
from spikeproof.attacks.square import FORMS as _SQUARE
from spikeproof.attacks.square import square
from spikeproof.attacks.stable_adaptive import FORMS as _STABLE_ADAPTIVE
from spikeproof.attacks.stable_adaptive import sa_pgd
from spikeproof.attacks.tpgd import FORMS as _TPGD
from spikeproof.attacks.tpgd import tpgd
from spikeproof.attacks.transfer import transfer

# Every attack that a trial can name. A new one needs its file's FORMS here: trials, the battery of everything and the
# tests over all attacks read this list. Not in it: transfer, which runs one of these on another network.
ATTACKS: dict[str, Form] = {
    form.name: form
    for forms in (
        _GRADIENT_SIGN,
        _PROJECTED_GRADIENT,
        _TPGD,
        _STABLE_ADAPTIVE,
        _AUTO_PGD,
        _FAB,
        _MULTI_TARGETED,
        _SQUARE,
        _LOCAL_SEARCH,
        _SPSA,
        _CARLINI_WAGNER,
        _FEEL_CW,
        _DDN,
        _AUTO_PGD_L1,
        _SPARSE_RS,
        _SPARSE_DYNAMIC,
        _PATCH,
        _NOISE,
        _CORRUPTIONS,
    )
    for form in forms
}

__all__ = [
    "ATTACKS",
    "Attack",
    "Form",
    "Kind",
    "transfer",
    "tpgd",
    "square",
    "spsa",
    "uniform_noise",
    "gaussian_noise",
    "mtpgd",
    "fab_targeted",
    "ddn",
    "corruption",
    "corrupt",
    "cw_l2",
    "cw_feel",
    "apgd_targeted",
    "apgd_l1",
    "apgd",
    "patch_pgd",
    "sda",
    "sparse_rs",
    "attack",
    "Attacked",
    "Craft",
    "Crafting",
    "PATIENCE",
    "Pursuit",
    "Randomness",
    "SteepestStep",
    "bim",
    "chase",
    "check_batch",
    "check_threat",
    "climb",
    "crafting",
    "cross_entropy_of",
    "divergence_of",
    "dlr_of",
    "evaluating",
    "ffgsm",
    "fgsm",
    "iterated_rfgsm",
    "judge",
    "judged",
    "local_search",
    "look_at",
    "margin_of",
    "mi_fgsm",
    "norms_of",
    "outputs",
    "pgd",
    "refuse_state",
    "rfgsm",
    "sa_pgd",
    "working_dtype",
]
