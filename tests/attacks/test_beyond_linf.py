"""L1, few pixels, patches: against the authors' code, against every choice there is, and with rows of their own."""

import itertools
import warnings

import torch
from test_auto_attack import QUIET, SEED, Recorder
from torch import nn

from digit_networks import InDouble, network
from spikeproof.attacks import Crafting, apgd_l1, crafting, cross_entropy_of, fgsm, judge, patch_pgd, pgd, sparse_rs
from spikeproof.attacks.auto_pgd_l1 import _SparseClimb
from spikeproof.audit import AuditConfig, audit, make_trial
from spikeproof.data import load_data
from spikeproof.report.wording import kind_of
from spikeproof.threat import L0, L1, L2, Linf, Patch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyautoattack import autopgd_base


def test_the_l1_projection_is_pyautoattacks():
    torch.manual_seed(0)
    images = torch.rand(40, 3, 5, 5)
    images[0], images[1] = 0, 1
    for eps, size in ((0.5, 0.1), (2.0, 1.0), (7.0, 0.02), (0.0, 1.0)):
        moved = size * torch.randn_like(images)
        theirs = images + moved + autopgd_base.L1_projection(images, moved.clone(), eps)
        found = L1(eps).project(images + moved, images)
        torch.testing.assert_close(found, theirs.clamp(0, 1), rtol=0, atol=2e-5)
        assert (L1(eps).distance(found, images) <= eps + 1e-5).all()


def test_the_l1_projection_is_the_nearest_allowed_image():
    torch.manual_seed(1)
    images, ball = torch.rand(6, 1, 2, 2, dtype=torch.float64), L1(0.8)
    aims = images + torch.randn_like(images)
    found = ball.project(aims, images)
    distance = L2(0).distance(found, aims)
    for _ in range(300):
        other = (found + 0.1 * torch.rand(1).item() * torch.randn_like(found)).clamp(0, 1)
        allowed = ball.distance(other, images) <= ball.eps
        assert (L2(0).distance(other, aims)[allowed] >= distance[allowed] - 1e-9).all()


def test_apgd_l1_goes_pyautoattacks_way(monkeypatch):
    """Of a smooth network, step by step. Theirs counts values as moved that rounding moved, here it does not.

    From the ninth step on a few samples part, at ties between values of the gradient: the two projections round
    differently. So the first steps are compared image by image, checks among them, and the end by its verdicts.
    """
    monkeypatch.setattr(autopgd_base, "L0_norm", lambda change: (change.abs() > 1e-6).flatten(1).sum(1).float())
    torch.manual_seed(0)
    net = InDouble(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))).eval()
    images, steps, threat = torch.rand(45, 1, 8, 8), 60, L1(1.0)
    labels, recorder = net(images).argmax(1), Recorder(net)
    original = autopgd_base.APGDAttack(
        recorder, n_iter=steps, norm="L1", n_restarts=1, eps=threat.eps, seed=SEED, loss="ce", logger=QUIET
    )
    theirs = original.perturb(images.clone(), labels.clone()).detach()
    asked = [candidates for candidates, _, wanted in recorder.asked if wanted][1:]  # the first are the clean images
    with crafting(net, Crafting(seed=SEED)) as craft:
        current = threat.project(images + torch.randn_like(images), images)
        climb, objective = _SparseClimb(threat, steps, current), cross_entropy_of(labels)
        for step in range(9):
            torch.testing.assert_close(current, asked[step], rtol=0, atol=1e-5)
            gradient, logits = craft.gradient(current, objective)
            climb.note(current, gradient, objective(logits))
            current, gradient = climb.check(current, images, gradient, step)
            current = climb.move(current, images, gradient)
    found = apgd_l1(net, images, labels, threat, Crafting(seed=SEED), steps=steps)
    right = judge(net, theirs).argmax(1) == labels
    assert 8 < right.sum() < 37 and (found.correct != right).sum() <= 2


class OfPairs(nn.Module):
    """Two classes of 3x3 images of black and white: the second where two certain pixels both are white."""

    def __init__(self):
        super().__init__()
        self.pairs = torch.tensor([[0, 5], [7, 2]])

    def forward(self, images):
        flat = images.flatten(1)
        both = torch.stack([flat[:, pair].prod(1) for pair in self.pairs], 1).amax(1)
        return torch.stack([0.5 - both, both - 0.5], 1)


def test_few_pixels_break_what_any_choice_of_them_breaks():
    """Every pair of pixels at every colour is asked; the search finds each image that one of these breaks."""
    torch.manual_seed(0)
    images = (torch.rand(40, 1, 3, 3) < 0.3).float()
    model = OfPairs()
    labels = model(images).argmax(1)
    for pixels in (1, 2):
        breakable = torch.zeros(40, dtype=torch.bool)
        for places in itertools.combinations(range(9), pixels):
            for colours in itertools.product((0.0, 1.0), repeat=pixels):
                asked = images.clone().flatten(1)
                asked[:, list(places)] = torch.tensor(colours)
                breakable |= model(asked.view_as(images)).argmax(1) != labels
        found = sparse_rs(model, images, labels, L0(pixels), queries=200)
        assert torch.equal(found.correct, ~breakable)
    assert breakable.any()


def test_pixels_that_are_moved_are_as_many_as_allowed_and_black_or_white(model, batch):
    images, labels = batch
    found = sparse_rs(model, images, labels, L0(6), Crafting(seed=1), queries=40)
    assert (L0(6).distance(found.images, images) <= 6).all()
    changed = found.images != images
    assert set(found.images[changed].tolist()) == {0.0, 1.0}
    assert found.correct.sum() < judge(model, images).argmax(1).eq(labels).sum() - 10
    more = sparse_rs(model, images, labels, L0(6), Crafting(seed=1), queries=10)
    assert more.correct.sum() >= found.correct.sum()


def test_a_patch_that_covers_the_pixel_that_decides_breaks_and_no_other_can():
    """Class by one pixel: with enough places the patch comes to lie on it; beside it nothing is broken."""

    class OfOne(nn.Module):
        def forward(self, images):
            side = images[:, 0, 3, 4] - 0.5
            return torch.stack([-side, side], 1)

    torch.manual_seed(0)
    images = torch.rand(12, 1, 6, 6)
    labels = OfOne()(images).argmax(1)
    tried = patch_pgd(OfOne(), images, labels, Patch(3), places=40, steps=8)
    assert not tried.correct.any()
    changed = (tried.images != images)[:, 0]
    assert changed[:, 3, 4].all() and (changed.flatten(1).sum(1) <= 9).all()
    assert (Patch(3).distance(tried.images, images) <= 3).all()


def test_a_larger_patch_breaks_more(model, batch):
    standing = [patch_pgd(model, *batch, Patch(side), steps=5, places=2).correct.sum() for side in (0, 2, 4, 8)]
    assert standing == sorted(standing, reverse=True) and standing[-1] < standing[0] / 2


def test_distances_of_squares():
    image, other = torch.zeros(3, 2, 5, 5), torch.zeros(3, 2, 5, 5)
    other[1, 1, 2, 2] = 0.1
    other[2, 0, 0, 1] = other[2, 1, 3, 2] = 1
    assert Patch(1).distance(image, other).tolist() == [0, 1, 4]
    assert L0(1).distance(image, other).tolist() == [0, 1, 2]


def test_threats_and_attacks_refuse_what_does_not_fit(model, batch, refuses):
    with refuses("APGD-L1", "L1", "Linf"):
        apgd_l1(model, *batch, Linf(0.1))
    with refuses("PGD", "L0"):
        pgd(model, *batch, L0(3))
    with refuses("FGSM", "a patch"):
        fgsm(model, *batch, Patch(3))
    for make in (lambda: L0(-1), lambda: Patch(-1), lambda: L1(-1)):
        with refuses("-1"):
            make()
    with refuses("far"):
        L1("far")
    with refuses("threat", "Linf"):
        audit(model, load_data("digits", validation=50).test, threat=L1(2.0))


def test_a_trial_carries_its_ball_and_an_audit_gives_it_a_row_of_its_own():
    trial = make_trial("APGD-L1-3@ASSG")
    assert (trial.norm, trial.bounded, trial.kind, trial.threat(0.1, 64)) == ("l1", False, "fixed", L1(3))
    assert make_trial("SPARSE-RS-4", "l2").threat(0.1, 64) == L0(4) and make_trial("PATCH").threat(0.1, 64) == Patch(5)
    digits = load_data("digits", validation=50).test
    config = AuditConfig(
        eps=0.02, samples=12, battery=None, trials=("FGSM", "PATCH-4", "CONTRAST-5"), per_member=True, diagnostics=False
    )
    found = audit(network("tiny"), digits, config, show=False)
    rows = {result.trial.name: result for result in found.results}
    assert rows["PATCH-4"].own is not None and rows["PATCH-4"].newly == 0
    assert found.worst_case.correct == rows["FGSM"].own.correct  # a patch is no part of it
    outcomes = [row for row in found.outcomes.to_pylist() if row["trial"] == "PATCH-4"]
    assert {(row["norm"], row["eps"]) for row in outcomes} == {("patch", 4.0)} and len(outcomes) == 12
    told = {trial.name: kind_of(trial) for trial in found.record("").trials}
    assert "square" in told["PATCH-4"] and "no ball" in told["CONTRAST-5"] and told["FGSM"] == "protocol"


def test_the_battery_has_every_kind_of_threat_and_every_severity():
    members = AuditConfig(battery="beyond-linf").members()
    assert {trial.norm for trial in members} == {"linf", "l1", "l0", "patch", "none"}
    corrupted = [trial for trial in members if trial.norm == "none"]
    assert len(corrupted) == 5 * len({trial.attack_name for trial in corrupted})
    assert AuditConfig(battery="beyond-linf").every_member_attacks_all
