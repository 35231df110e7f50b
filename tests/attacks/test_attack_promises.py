"""What every attack promises: the ball, the box, the verdict, and a model left as it was."""

from functools import partial

import pytest
import torch
from every_attack import EVERY
from torch import nn
from torch.nn.functional import cross_entropy

from spikeproof import attacks
from spikeproof.attacks import ATTACKS, Crafting, bim, crafting, cross_entropy_of, fgsm, judge, pgd, sa_pgd
from spikeproof.audit import AuditConfig
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import ASSG, BPTT
from spikeproof.models import create_model
from spikeproof.spiking import ArcTan, Neuron, Rectangular, sites
from spikeproof.threat import BALLS, Linf

each_attack = pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
CHASING = {"pgd": partial(pgd, steps=5), "bim": partial(bim, steps=5), "sa-pgd": partial(sa_pgd, steps=5)}
chasing = pytest.mark.parametrize("attack", CHASING.values(), ids=CHASING)
# Those that draw nothing, and some that do: another seed is another search.
DRAWS_NOTHING = ("FGSM", "BIM", "MI-FGSM", "FAB-T", "CW", "CW-FEEL", "CONTRAST", "BRIGHTNESS", "GAUSSIAN-BLUR")
DRAWS = (
    "R+FGSM",
    "FFGSM",
    "PGD",
    "SA-PGD",
    "APGD-CE",
    "APGD-T",
    "MTPGD",
    "SQUARE",
    "SPSA",
    "LOCAL",
    "TRANSFER",
    "APGD-L1",
    "PATCH",
)


def test_no_attack_of_the_room_is_left_out():
    """A function that passes the door of attacks is one that a trial can name."""
    functions = {name for name, value in vars(attacks).items() if hasattr(value, "norms")}
    named = {name for name in functions for form in ATTACKS.values() if origin(form.attack) is getattr(attacks, name)}
    assert functions - named == {"transfer"}


def origin(attack):
    while isinstance(attack, partial):
        attack = attack.func
    return attack


def test_the_battery_of_everything_has_them_all():
    tried = {trial.attack_name for norm in BALLS for trial in AuditConfig(norm=norm, battery="everything").members()}
    assert tried == {name for name, form in ATTACKS.items() if not form.apart}


def losses(model, images, labels):
    return cross_entropy(judge(model, images), labels, reduction="none")


@pytest.mark.sweep
@each_attack
@pytest.mark.parametrize("eps", [0.0, 8 / 255, 0.3])
def test_images_stay_in_ball_and_box_and_the_verdict_is_the_judges(model, batch, attack, eps):
    images, labels = batch
    assert images.min() == 0 and images.max() == 1  # the box matters
    found = attack(model, images, labels, attack.threat(eps))
    assert found.images.min() >= 0 and found.images.max() <= 1
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    if not attack.near:
        return
    threat = attack.threat(eps)
    assert threat.distance(found.images, images).max() <= threat.eps + (1e-7 if attack.norm == "linf" else 1e-5)
    if eps == 0:
        assert torch.equal(found.images, images)
    elif attack.form.norm == "ball":  # what looks for the nearest need not go far
        assert (found.images - images).abs().max() > eps / 2


@pytest.mark.sweep
@each_attack
def test_a_larger_radius_is_not_safer_and_a_huge_one_is_fatal(model, batch, attack):
    if not attack.near:
        pytest.skip("its images are no nearer under a smaller radius")
    standing = [attack(model, *batch, attack.threat(eps)).correct.sum().item() for eps in (0.0, 0.1, 0.2, 0.5)]
    assert standing == sorted(standing, reverse=True)
    assert standing[0] > 54
    if attack.form.name in ("PGD", "BIM", "SA-PGD"):
        assert standing[-1] == 0


def test_many_steps_beat_one(model, batch):
    threat = Linf(0.15)
    one, many = fgsm(model, *batch, threat).correct.sum(), pgd(model, *batch, threat, steps=20).correct.sum()
    assert many < one


def test_more_steps_break_whatever_fewer_broke(exact_model, batch):
    """BIM's first steps are the same whatever their number, and the best image is kept: the survivors nest."""
    images, labels = batch[0].double(), batch[1]
    standing = [bim(exact_model, images, labels, Linf(0.15), steps=k, step_size=0.02).correct for k in (1, 3, 10, 20)]
    for fewer, more in zip(standing, standing[1:], strict=False):
        assert not (more & ~fewer).any()
    assert standing[-1].sum() < standing[0].sum()


@pytest.mark.sweep
@chasing
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("eps", [0.03, 0.05])
def test_no_image_is_less_harmful_than_the_clean_one(model, batch, attack, eps, precision):
    images, labels = batch
    labels[:5] = (labels[:5] + 1) % 10  # wrong from the start
    known = judge(model, images).argmax(1) == labels
    found = attack(model, images, labels, Linf(eps), Crafting(source=BPTT(), precision=precision))
    assert not (found.correct & ~known).any()
    assert torch.equal(found.images[~known], images[~known])
    held = found.correct
    assert held.any() and (found.correct != known).any()
    # One batch or many: float32 sums may differ in the last digits, the loss may not fall.
    assert (losses(model, found.images, labels)[held] >= losses(model, images, labels)[held] - 1e-5).all()


@chasing
@pytest.mark.parametrize("source", [BPTT(), ASSG()], ids=lambda source: source.name)
def test_a_sample_is_attacked_alike_among_few_and_among_many(exact_model, batch, attack, source):
    """The first samples of a batch draw the same start alone; the others, and who leaves when, must not matter."""
    images, labels = batch[0][:20].double(), batch[1][:20]
    how = Crafting(source=source, seed=2)
    together = attack(exact_model, images, labels, Linf(0.06), how)
    assert 0 < together.correct.sum() < 20  # some leave on the way
    few = attack(exact_model, images[:7], labels[:7], Linf(0.06), how)
    assert torch.equal(few.correct, together.correct[:7])
    torch.testing.assert_close(few.images, together.images[:7], rtol=0, atol=1e-9)
    if attack.func is bim.func and attack.keywords == {
        **bim.keywords,
        "steps": 5,
    }:  # no start is drawn: any choice of samples
        few = attack(exact_model, images[::3], labels[::3], Linf(0.06), how)
        torch.testing.assert_close(few.images, together.images[::3], rtol=0, atol=1e-9)


def snapshot(model):
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [None if p.grad is None else p.grad.clone().tolist() for p in model.parameters()],
        {key: value.tolist() for key, value in model.state_dict().items()},
        {name: dict(vars(site)) for name, site in sites(model).items()},
        torch.get_rng_state().tolist(),
    )


@pytest.fixture
def odd_model(model):
    """Flags, gradients and noise of every kind, so that resetting them to a default would show."""
    model.train()
    model.stem.eval()
    model.stem.weight.requires_grad_(False)
    model.body[1].weight.grad = torch.ones_like(model.body[1].weight)
    model.body[0].noise_at_inference = True
    return model


@pytest.mark.sweep
@each_attack
@pytest.mark.parametrize("source", [BPTT(), BPTT(ArcTan()), ASSG()], ids=lambda source: source.name)
def test_model_and_rng_are_left_as_they_were(odd_model, batch, attack, source):
    before = snapshot(odd_model)
    attack(odd_model, *batch, attack.threat(0.1), Crafting(source=source))
    assert snapshot(odd_model) == before


@pytest.mark.sweep
@each_attack
@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_also_when_the_model_fails_midway(odd_model, batch, attack, fails_at):
    calls = []

    def fail(module, inputs):
        calls.append(1)
        if len(calls) > fails_at:
            raise ZeroDivisionError

    handle = odd_model.body[5].register_forward_pre_hook(fail)
    before = snapshot(odd_model)
    try:
        attack(odd_model, *batch, attack.threat(0.1), Crafting(source=ASSG()))
    except ZeroDivisionError:
        pass
    else:
        assert fails_at >= 2 and len(calls) == fails_at  # FGSM has but two forwards
    handle.remove()
    assert snapshot(odd_model) == before


@pytest.mark.sweep
@each_attack
def test_images_are_not_written_to(model, batch, attack):
    images, labels = batch
    copies = images.clone(), labels.clone()
    found = attack(model, images, labels, attack.threat(0.1))
    found.images.zero_()
    assert torch.equal(images, copies[0]) and torch.equal(labels, copies[1])


@pytest.mark.sweep
@each_attack
def test_result_carries_no_graph_even_if_the_images_want_gradients(model, batch, attack):
    images, labels = batch
    images.requires_grad_()
    found = attack(model, images, labels, attack.threat(0.1))
    assert images.requires_grad and images.grad is None
    assert not found.images.requires_grad


@pytest.mark.sweep
@each_attack
def test_works_inside_no_grad(model, batch, attack):
    expected = attack(model, *batch, attack.threat(0.1))
    with torch.no_grad():
        found = attack(model, *batch, attack.threat(0.1))
    assert torch.equal(found.images, expected.images)


@pytest.mark.sweep
@each_attack
def test_same_seed_same_images(model, batch, attack):
    first, again, other = (attack(model, *batch, attack.threat(0.1), Crafting(seed=seed)).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    if attack.form.name in (*DRAWS, *DRAWS_NOTHING):
        assert torch.equal(first, other) == (attack.form.name in DRAWS_NOTHING)


@pytest.mark.sweep
@each_attack
def test_without_any_gradient_images_are_finite_and_allowed(model, batch, attack):
    blind = create_model(
        "conv",
        num_classes=10,
        image_size=8,
        in_channels=1,
        num_steps=3,
        width=0.5,
        neuron=Neuron(surrogate=Rectangular(1e-7)),
    )
    blind.load_state_dict(model.state_dict())
    images, labels = batch
    with crafting(blind, Crafting()) as craft:
        gradient, _ = craft.gradient(images, cross_entropy_of(labels))
    zero = (gradient == 0).flatten(1).all(1)
    assert zero.any()
    found = attack(blind, images, labels, attack.threat(0.1), Crafting(source=BPTT()))  # ASSG is not blind
    assert found.images.isfinite().all()
    assert found.images.min() >= 0 and found.images.max() <= 1
    if attack.near and attack.norm == "linf":
        assert (found.images - images).abs().max() <= 0.1 + 1e-7
    if attack.form.name in ("FGSM", "BIM"):
        assert torch.equal(found.images[zero], images[zero])


@pytest.mark.sweep
@each_attack
def test_bfloat16_crafts_and_float32_judges(model, batch, attack):
    images, labels = batch
    found = attack(model, images, labels, attack.threat(0.1), Crafting(precision="bf16"))
    assert found.images.dtype == torch.float32
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
    exact = attack(model, images, labels, attack.threat(0.1))
    assert abs(int(found.correct.sum()) - int(exact.correct.sum())) <= 6


@pytest.mark.sweep
@each_attack
def test_float64_models_and_images_work(model, batch, attack):
    model.double()
    images, labels = batch[0].double(), batch[1]
    found = attack(model, images, labels, attack.threat(0.1))
    assert found.images.dtype == torch.float64
    assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)


@pytest.mark.sweep
@each_attack
def test_a_network_without_sites_is_attacked_by_bptt(batch, attack):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    images = batch[0]
    labels = plain(images).argmax(1)
    how = Crafting(source=BPTT())
    found = attack(plain, images, labels, attack.threat(0.1), how)
    if attack.form.kind in ("protocol", "fixed"):
        assert found.correct.sum() < len(labels)
    assert torch.equal(found.correct, plain(found.images).argmax(1) == labels)
    if attack.form.name == "TRANSFER":
        return  # its gradients are another network's, which has sites
    before = torch.get_rng_state()
    with pytest.raises(SpikeproofError, match="sites"):
        attack(plain, images, labels, attack.threat(0.1), Crafting(source=ASSG()))
    assert plain.training and torch.equal(torch.get_rng_state(), before)


@each_attack
def test_no_images_no_trouble(model, batch, attack):
    found = attack(model, batch[0][:0], batch[1][:0], attack.threat(0.1))
    assert found.images.shape == (0, 1, 8, 8) and found.correct.shape == (0,)


def test_default_step_of_pgd_is_two_and_a_half_radii_shared_among_the_steps(model, batch):
    plain = pgd(model, *batch, Linf(0.1), steps=4).images
    assert torch.equal(plain, pgd(model, *batch, Linf(0.1), steps=4, step_size=2.5 * 0.1 / 4).images)


def test_sa_pgd_uses_assg_unless_told_otherwise(model, batch):
    plain = sa_pgd(model, *batch, Linf(0.1), steps=5).images
    assert torch.equal(plain, sa_pgd(model, *batch, Linf(0.1), Crafting(source=ASSG()), steps=5).images)
    assert not torch.equal(plain, sa_pgd(model, *batch, Linf(0.1), Crafting(source=BPTT()), steps=5).images)
