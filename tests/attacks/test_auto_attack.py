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
from spikeproof.attacks.objective import margin_of
from spikeproof.attacks.square import square
from spikeproof.gradients import ASSG, BPTT, RGA, Mixed, ReluTransfer
from spikeproof.threat import L2, Linf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_projections import projection_l2, projection_linf
    from pyautoattack.fab_pt import FABAttack_PT
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
    right_at_first = right.clone()
    for candidates, logits, _ in asked:
        # No two digits are so alike that an image in the ball of one could be taken for one of another's.
        owners = torch.cdist(candidates.flatten(1), images.flatten(1)).argmin(1)
        allowed = threat.distance(candidates, images[owners]) <= threat.eps + 1e-6
        candidates, logits, owners = candidates[allowed], logits[allowed], owners[allowed]
        assert len(owners.unique()) == len(owners)
        loss = cross_entropy(logits, labels[owners], reduction="none")
        counts = right[owners]
        wrong = counts & (logits.argmax(1) != labels[owners])
        better = wrong | counts & (loss > highest[owners])
        wanted[owners[better]], highest[owners[better]] = candidates[better], loss[better]
        right[owners[wrong]] = False
    assert 4 < right.sum() < right_at_first.sum() - 4, "all samples end alike: nothing is shown"
    return wanted, right


def compare(ours, original, model, batch, threat, only_queries=False):
    images, labels = (part[:45] for part in batch)
    recorder = Recorder(model)
    theirs = original(recorder).perturb(images.clone(), labels.clone()).detach()
    asked = [question for question in recorder.asked if not (only_queries and question[2])]
    wanted, right = first_mistakes(asked, images, labels, threat, judge(model, images))
    assert torch.equal(right, judge(model, theirs).argmax(1) == labels)
    found = ours(model, images, labels, threat, Crafting(source=BPTT(), seed=SEED))
    assert torch.equal(found.correct, right)
    torch.testing.assert_close(found.images, wanted, rtol=0, atol=1e-5)


QUIET = logging.getLogger("quiet")


@pytest.mark.sweep
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
            eps=threat.eps,
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
            eps=threat.eps,
            seed=SEED,
            n_target_classes=4,
            logger=QUIET,
        ),
        exact_model,
        batch,
        threat,
    )


@each_threat
def test_fab_ts_images_and_outcomes_are_as_pyautoattacks(exact_model, batch, threat):
    """Of theirs only the queries count: it does not look at the logits of the points where it takes gradients."""
    compare(
        partial(fab_targeted, steps=8, classes=2, restarts=2),
        lambda model: FABAttack_PT(
            model,
            norm=norm_of(threat),
            n_iter=8,
            n_restarts=2,
            eps=1.3 * threat.eps,
            seed=SEED,
            targeted=True,
            n_target_classes=2,
        ),
        exact_model,
        batch,
        type(threat)(1.3 * threat.eps),  # it finds less than the others
        only_queries=True,
    )


@each_threat
def test_squares_images_and_outcomes_are_as_pyautoattacks(exact_model, batch, threat):
    compare(
        partial(square, queries=100),
        lambda model: SquareAttack(
            model, norm=norm_of(threat), n_queries=100, eps=threat.eps, seed=SEED, resc_schedule=False
        ),
        exact_model,
        batch,
        threat,
    )


class SlowMtpgd:
    """MTPGD written out: every sample of a start goes on to the end, broken or not."""

    def __init__(self, model, threat, steps, size, classes):
        self.model, self.threat, self.steps, self.size, self.classes = model, threat, steps, size, classes

    def perturb(self, images, labels):
        found, left = images.clone(), self.model(images).argmax(1) == labels
        ranking = self.model(images).sort(dim=1).indices
        torch.manual_seed(SEED)
        for rank in range(2, self.classes + 2):
            rows = left.nonzero().flatten()
            originals, at = images[rows], torch.arange(len(rows))
            x = self.threat.random_start(originals)
            for step in range(self.steps + 1):
                leaf = x.clone().requires_grad_()
                logits = self.model(leaf)
                wrong = logits.argmax(1) != labels[rows]
                found[rows[wrong]], left[rows[wrong]] = x[wrong], False
                if step < self.steps:
                    gap = logits[at, ranking[rows, -rank]] - logits[at, labels[rows]]
                    (gradient,) = torch.autograd.grad(gap.sum(), leaf)
                    x = self.threat.project(x + self.size * self.threat.steepest(gradient), originals)
        return found


@each_threat
def test_mtpgds_images_and_outcomes_are_those_of_the_slow_loop(exact_model, batch, threat):
    size = threat.eps / 4
    with torch.random.fork_rng():
        compare(
            partial(mtpgd, steps=8, classes=3, step_size=size),
            lambda model: SlowMtpgd(model, threat, 8, size, 3),
            exact_model,
            batch,
            threat,
        )


class FirstClasses(nn.Module):
    """The same network, asked about its first classes only."""

    def __init__(self, inner, classes):
        super().__init__()
        self.inner, self.classes = inner, classes

    def forward(self, images):
        return self.inner(images)[:, : self.classes]


def known(model, batch, classes):
    """A network of so many classes, and the samples of which it is surest."""
    few = FirstClasses(model, classes).eval()
    images, labels = (part[batch[1] < classes] for part in batch)
    surest = (-margin_of(labels)(judge(few, images))).topk(8)
    assert surest.values.min() > 0
    return few, images[surest.indices], labels[surest.indices]


@pytest.mark.sweep
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("attack", [mtpgd, apgd_targeted, fab_targeted])
def test_all_wrong_classes_are_tried_and_no_more(exact_model, batch, attack, classes):
    """Nine are asked for: a network of K classes has K - 1, and each of them gets its steps."""
    model, images, labels = known(exact_model, batch, classes)
    threat = L2(0.01)  # nothing breaks, so nothing is cut short
    asked = {}
    for tried in (classes - 1, 9):
        recorder = Recorder(model)
        found = attack(recorder, images, labels, threat, Crafting(source=BPTT()), steps=3, classes=tried)
        assert found.correct.all() and found.images.isfinite().all()
        asked[tried] = recorder.asked
    gradients = [question for question in asked[9] if question[2]]
    assert len(gradients) == 3 * (classes - 1)
    assert len(asked[classes - 1]) == len(asked[9])
    assert all(torch.equal(one[0], other[0]) for one, other in zip(asked[classes - 1], asked[9], strict=True))
    found = attack(model, images, labels, Linf(0.5), Crafting(source=BPTT()), steps=10)
    assert found.correct.sum() < len(labels) / 2


@pytest.mark.parametrize(
    ("targeted", "plain"),
    [(mtpgd, partial(pgd, objective="margin")), (apgd_targeted, partial(apgd, objective="margin"))],
    ids=["mtpgd", "apgd-t"],
)
def test_of_two_classes_the_one_target_is_the_other(exact_model, batch, targeted, plain):
    """The only wrong class is the nearest one. (Where there are two classes the DLR is constant: no use.)"""
    model, images, labels = known(exact_model, batch, 2)
    for threat in (Linf(0.1), Linf(0.3)):
        expected = plain(model, images, labels, threat, Crafting(source=BPTT()), steps=10)
        found = targeted(model, images, labels, threat, Crafting(source=BPTT()), steps=10)
        assert torch.equal(found.correct, expected.correct)
        torch.testing.assert_close(found.images, expected.images, rtol=0, atol=1e-6)
        assert (found.images - images).abs().max() > 0.05
    assert not found.correct.all()


@pytest.mark.sweep
@each_attack
@pytest.mark.parametrize("threat", [Linf(0.05), Linf(0.3), L2(0.0), L2(0.3), L2(2.0)], ids=str)
def test_ball_box_verdict_and_never_a_worse_image(model, batch, attack, threat):
    images, labels = (part[:30].clone() for part in batch)
    labels[:4] = (labels[:4] + 1) % 10  # wrong from the start
    known = judge(model, images).argmax(1) == labels
    found = attack(model, images, labels, threat, Crafting(source=BPTT()))
    assert (threat.distance(found.images, images) <= threat.eps + 1e-6).all()
    assert found.images.min() >= 0 and found.images.max() <= 1
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    assert torch.equal(found.images[~known], images[~known])
    assert not (found.correct & ~known).any()
    before, after = (cross_entropy(judge(model, each), labels, reduction="none") for each in (images, found.images))
    assert (after[found.correct] >= before[found.correct] - 1e-5).all()
    if threat.eps == 0:
        torch.testing.assert_close(found.images, images, rtol=0, atol=1e-7)
    else:
        assert threat.distance(found.images, images).max() > threat.eps / 2
    if threat in (Linf(0.3), L2(2.0)):
        assert found.correct.sum() < known.sum() / 2


@pytest.mark.parametrize("objective", ["ce", "margin"])
@pytest.mark.parametrize("source", [BPTT(), ASSG()], ids=lambda source: source.name)
def test_a_sample_ends_alike_among_few_and_among_many(exact_model, batch, objective, source):
    """Who leaves when must not matter to others. (With several starts the draws differ: see the originals, above.)"""
    right = exact_model(batch[0]).argmax(1) == batch[1]
    images, labels = batch[0][right][:24], batch[1][right][:24]
    how = Crafting(source=source, seed=2)
    together = apgd(exact_model, images, labels, Linf(0.05), how, steps=20, objective=objective)
    assert 3 < together.correct.sum() < 21
    few = apgd(exact_model, images[:7], labels[:7], Linf(0.05), how, steps=20, objective=objective)
    assert torch.equal(few.correct, together.correct[:7])
    torch.testing.assert_close(few.images, together.images[:7], rtol=0, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("attack", "eps"),
    [
        (partial(apgd, steps=3), 0.05),
        (partial(apgd_targeted, steps=3, classes=1), 0.05),
        (partial(mtpgd, steps=2, classes=1), 0.05),
        (partial(fab_targeted, steps=2, classes=1), 0.09),
    ],
    ids=["apgd", "apgd-t", "mtpgd", "fab-t"],
)
def test_more_restarts_break_whatever_fewer_broke_and_more(exact_model, batch, attack, eps):
    standing = [attack(exact_model, *batch, Linf(eps), restarts=many).correct for many in (1, 2, 5)]
    for fewer, more in zip(standing, standing[1:], strict=False):
        assert not (more & ~fewer).any()
    assert standing[-1].sum() < standing[0].sum()


def test_apgd_reaches_its_targets(model, batch):
    images, labels = batch
    targets = (labels + 1) % 10
    found = apgd(model, images, labels, Linf(0.3), steps=20, targets=targets)
    assert torch.equal(found.reached, judge(model, found.images).argmax(1) == targets)
    assert found.reached.sum() > 40


@pytest.mark.sweep
@each_attack
@pytest.mark.parametrize(
    "how",
    [
        Crafting(source=ASSG(), eot_iter=2),
        Crafting(source=ReluTransfer()),
        Crafting(source=Mixed((BPTT(), RGA())), eot_iter=2),
        Crafting(source=BPTT(), precision="bf16"),
    ],
    ids=["assg", "relu", "mixed", "bf16"],
)
def test_any_source_any_draws_either_precision(model, batch, attack, how):
    images, labels = (part[:14] for part in batch)
    before = torch.get_rng_state()
    found = attack(model, images, labels, Linf(0.12), how)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.images.dtype == torch.float32
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    assert found.correct.sum() < (judge(model, images).argmax(1) == labels).sum() - 2


@each_attack
def test_no_images_and_float64_images(model, batch, attack):
    nothing = attack(model, batch[0][:0], batch[1][:0], Linf(0.1))
    assert nothing.images.shape == (0, 1, 8, 8) and nothing.correct.shape == (0,)
    model.double()
    found = attack(model, batch[0][:10].double(), batch[1][:10], L2(0.5))
    assert found.images.dtype == torch.float64


def test_square_needs_no_gradient_and_keeps_to_its_queries(exact_model, batch):
    images, labels = batch
    recorder = Recorder(exact_model)
    found = square(recorder, images, labels, Linf(0.05), queries=30)
    assert not any(wants_gradient for *_, wants_gradient in recorder.asked)
    searching = found.correct.nonzero().flatten()
    assert len(searching) > 10
    last = searching[-1:]
    asked = sum(
        bool((torch.cdist(x.float().flatten(1), images[last].flatten(1)) < 0.41).any()) for x, *_ in recorder.asked
    )
    assert asked == 1 + 31 + 1  # clean, the start and 30 queries, the last word


@each_threat
def test_least_moves_are_pyautoattacks_and_close_the_gap(threat):
    torch.manual_seed(0)
    points, normal = torch.rand(400, 1, 4, 5, dtype=torch.float64), torch.randn(400, 1, 4, 5, dtype=torch.float64)
    points[:100] = points[:100].round()  # at walls already
    normal[::7, :, 1] = 0
    gap = 3 * torch.randn(400, dtype=torch.float64) * torch.logspace(-3, 0.5, 400)
    move = least_move(points, normal, gap, threat)
    projection = projection_linf if isinstance(threat, Linf) else projection_l2
    flat, plane = points.flatten(1), normal.flatten(1)
    theirs = projection(flat, plane, (plane * flat).sum(1) - gap).view_as(move)
    rest = gap + (normal * move).flatten(1).sum(1)
    closed = rest.abs() < 1e-6
    assert 250 < closed.sum() < 390
    assert ((points + move).clamp(0, 1) - points - move).abs().max() < 1e-9
    torch.testing.assert_close(move, theirs, rtol=0, atol=1e-6)
    none = least_move(points, torch.zeros_like(points), gap, threat)
    assert torch.equal(none, torch.zeros_like(none))
    # A plane is the same plane at any scale, also where squares underflow.
    tiny = least_move(points.float(), 1e-30 * normal.float(), 1e-30 * gap.float(), threat)
    torch.testing.assert_close(tiny[closed], move[closed].float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "pieces"),
    [
        (partial(apgd, steps=0), ("APGD", "steps", "0")),
        (partial(apgd, restarts=0), ("APGD", "restarts", "0")),
        (partial(apgd, objective="cw"), ("cw",)),
        (partial(apgd_targeted, classes=0), ("APGD-T", "classes", "0")),
        (partial(fab_targeted, steps=-1), ("FAB-T", "steps", "-1")),
        (partial(mtpgd, classes=0), ("MTPGD", "classes")),
        (partial(mtpgd, step_size=0.0), ("MTPGD", "step size")),
        (partial(square, queries=0), ("Square", "queries", "0")),
        (partial(square, p_init=1.5), ("p_init", "1.5")),
    ],
)
def test_what_cannot_be_is_refused(model, batch, refuses, call, pieces):
    with refuses(*pieces):
        call(model, *batch, Linf(0.1))


def test_square_in_l2_refuses_images_too_small_for_its_grid(batch, refuses):
    with refuses("5x5", "(4, 4)"):
        square(torch.nn.Flatten(), batch[0][:, :, :4, :4], batch[1], L2(0.1))


@each_attack
def test_labels_that_are_no_class_are_refused(model, batch, refuses, attack):
    images, labels = batch
    labels[3] = 10
    with refuses("10"):
        attack(model, images, labels, Linf(0.1))
