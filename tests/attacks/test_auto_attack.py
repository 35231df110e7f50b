"""AutoAttack's four attacks against pyautoattack 0.2.0, the original authors' code, and MTPGD by hand.

The criterion, wherever a test is named "as_pyautoattacks": the original runs with the same seed on the same network,
every image it asks the network about is recorded, and from that record follows what our contract wants of each sample:
its first mistake within the ball, or, if there is none, its image of highest cross-entropy. Our image must be that one
within 1e-5, and our verdicts must be those on the original's own result. So each trajectory is compared, not its end.
"""

import logging
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spikeproof.attacks import Crafting, judge, pgd
from spikeproof.attacks.auto_pgd import apgd, apgd_targeted
from spikeproof.attacks.fab import fab_targeted, least_move
from spikeproof.attacks.multi_targeted import mtpgd
from spikeproof.attacks.square import square
from spikeproof.gradients import Assg, Bptt, Mixed, ReluTransfer, Rga
from spikeproof.threat import L2, Linf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.fab_projections import projection_l2, projection_linf
    from pyautoattack.square import SquareAttack

SEED = 5
ATTACKS = {
    "apgd-ce": partial(apgd, steps=12),
    "apgd-dlr": partial(apgd, steps=12, objective="dlr"),
    "apgd-t": partial(apgd_targeted, steps=6, classes=3),
    "fab-t": partial(fab_targeted, steps=6, classes=3),
    "square": partial(square, queries=40),
    "mtpgd": partial(mtpgd, steps=4, classes=3),
}
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
each_threat = pytest.mark.parametrize("threat", [Linf(0.05), L2(0.3)], ids=["linf", "l2"])


class Recorder(nn.Module):
    """Keeps what the network was asked, and whether a gradient was wanted."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.asked = inner, []

    def forward(self, images):
        logits = self.inner(images)
        self.asked.append((images.detach().clone(), logits.detach().clone(), torch.is_grad_enabled()))
        return logits


def norm_of(threat):
    return "Linf" if isinstance(threat, Linf) else "L2"


def first_mistakes(asked, images, labels, threat, clean_logits):
    """What our contract wants of each sample, given all that was asked about it, in order."""
    wanted, right = images.clone(), clean_logits.argmax(1) == labels
    highest = cross_entropy(clean_logits, labels, reduction="none")
    wrong_from_the_start = ~right
    for candidates, logits, _ in asked:
        # No two digits are so alike that one in the ball of the other could be taken for it.
        owners = torch.cdist(candidates.flatten(1), images.flatten(1)).argmin(1)
        for candidate, logit, n in zip(candidates, logits, owners.tolist(), strict=True):
            if not right[n] or threat.distance(candidate[None], images[n : n + 1]) > threat.radius + 1e-6:
                continue
            loss = cross_entropy(logit[None], labels[n : n + 1])
            right[n] = logit.argmax() == labels[n]
            if not right[n] or loss > highest[n]:
                wanted[n], highest[n] = candidate, loss
    assert 4 < (~right & ~wrong_from_the_start).sum() and 4 < right.sum(), "the regime shows nothing"
    return wanted, right


def compare(ours, original, model, batch, threat, only_queries=False):
    images, labels = batch
    recorder = Recorder(model)
    their_attack = original(recorder)
    theirs = their_attack.perturb(images.clone(), labels.clone()).detach()
    assert recorder.asked
    asked = [entry for entry in recorder.asked if not (only_queries and entry[2])]
    wanted, right = first_mistakes(asked, images, labels, threat, judge(model, images))
    found = ours(model, images, labels, threat, Crafting(source=Bptt(), seed=SEED))
    print(int(right.sum()), int(found.correct.sum()), (found.images - wanted).abs().flatten(1).amax(1))
    their_verdict = judge(model, theirs).argmax(1) == labels
    assert torch.equal(found.correct, their_verdict)
    assert torch.equal(right, their_verdict)
    torch.testing.assert_close(found.images, wanted, rtol=0, atol=1e-5)


QUIET = logging.getLogger("quiet")


@each_threat
@pytest.mark.parametrize("objective", ["ce", "dlr"])
@pytest.mark.parametrize(("steps", "restarts"), [(33, 1), (12, 2)])
def test_apgds_images_and_outcomes_are_as_pyautoattacks(exact_model, batch, threat, objective, steps, restarts):
    compare(
        partial(apgd, steps=steps, restarts=restarts, objective=objective),
        lambda model: APGDAttack(
            model,
            n_iter=steps,
            norm=norm_of(threat),
            n_restarts=restarts,
            eps=threat.radius,
            seed=SEED,
            loss=objective,
            logger=QUIET,
        ),
        exact_model,
        batch,
        threat,
    )


@each_threat
def test_apgd_ts_images_and_outcomes_are_as_pyautoattacks(exact_model, batch, threat):
    compare(
        partial(apgd_targeted, steps=12, classes=4),
        lambda model: APGDAttack_targeted(
            model,
            n_iter=12,
            norm=norm_of(threat),
            eps=threat.radius,
            seed=SEED,
            n_target_classes=4,
            logger=QUIET,
        ),
        exact_model,
        batch,
        threat,
    )


@each_threat
@pytest.mark.parametrize("restarts", [1, 2])
def test_fab_ts_images_and_outcomes_are_as_pyautoattacks(exact_model, batch, threat, restarts):
    """Of theirs only the queries count: it does not look at the logits of the points where it takes gradients."""
    compare(
        partial(fab_targeted, steps=12, classes=4, restarts=restarts),
        lambda model: FABAttack_PT(
            model,
            norm=norm_of(threat),
            n_iter=12,
            n_restarts=restarts,
            eps=threat.radius,
            seed=SEED,
            targeted=True,
            n_target_classes=4,
        ),
        exact_model,
        batch,
        threat,
        only_queries=True,
    )


@each_threat
def test_squares_images_and_outcomes_are_as_pyautoattacks(exact_model, batch, threat):
    compare(
        partial(square, queries=250),
        lambda model: SquareAttack(
            model, norm=norm_of(threat), n_queries=250, eps=threat.radius, seed=SEED, resc_schedule=False
        ),
        exact_model,
        batch,
        threat,
    )
