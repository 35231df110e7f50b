"""The door of every attack: what is given is made fit or refused; nothing given is changed; no image is not finite."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof import attacks
from spikeproof.attacks import Crafting, judge, norms_of, pgd
from spikeproof.attacks.judge import working_dtype
from spikeproof.gradients import ASSG, BPTT
from spikeproof.models import create_model, unwrapped
from spikeproof.spiking import sites
from spikeproof.threat import EVERY_NORM, L0, L1, L2, Linf, Patch

SETTINGS = {
    "apgd": {"steps": 3},
    "apgd_targeted": {"steps": 2, "classes": 2},
    "corruption": {"kind": "contrast", "severity": 2},
    "cw_feel": {"steps": 3},
    "cw_l2": {"steps": 3, "searches": 1},
    "ddn": {"steps": 3},
    "fab_targeted": {"steps": 2, "classes": 2},
    "iterated_rfgsm": {"steps": 2},
    "local_search": {"queries": 4},
    "mi_fgsm": {"steps": 2},
    "mtpgd": {"steps": 2, "classes": 2},
    "apgd_l1": {"steps": 3},
    "patch_pgd": {"steps": 2, "places": 1},
    "pgd": {"steps": 3},
    "sparse_rs": {"queries": 4},
    "sa_pgd": {"steps": 3},
    "spsa": {"steps": 1, "samples": 4},
    "square": {"queries": 4},
    "tpgd": {"steps": 2},
}
THREATS = {"linf": Linf(0.1), "l2": L2(0.1), "l1": L1(2.0), "l0": L0(3), "patch": Patch(3)}
# Not SDA: these images are not binary.
EVERY = [name for name in attacks.__all__ if hasattr(getattr(attacks, name), "norms") and name != "sda"]
each = pytest.mark.parametrize("name", EVERY)


def run(name, model, images, labels, threat=None, how=None):
    attack = getattr(attacks, name)
    threat = threat or THREATS[(attack.norms or ("linf",))[0]]
    more = {"substitutes": [model]} if name == "transfer" else {}
    return attack(model, images, labels, threat, how, **SETTINGS.get(name, {}), **more)


def test_every_attack_passes_it():
    exported = {name for name in attacks.__all__ if callable(getattr(attacks, name))}
    no_attacks = exported - set(EVERY) - {"bim"}
    assert no_attacks.isdisjoint(SETTINGS)
    assert norms_of(attacks.bim) == ("linf", "l2") and norms_of(attacks.cw_l2) == ("l2",)


@pytest.mark.sweep
@each
def test_a_norm_that_it_cannot_search_is_refused(name, model, batch, refuses):
    attack = getattr(attacks, name)
    assert set(attack.norms) <= set(THREATS)
    for norm, threat in THREATS.items():
        if norm in attack.norms or not attack.norms:
            found = run(name, model, *batch, threat)
            assert found.images.shape == batch[0].shape
        else:
            with refuses(EVERY_NORM[norm]):
                run(name, model, *batch, threat)


@each
@pytest.mark.parametrize("threat", [8 / 255, "8/255", 1], ids=str)
def test_a_number_is_no_threat(name, model, batch, refuses, threat):
    if getattr(attacks, name).norms:
        with refuses("Linf", str(threat)):
            run(name, model, *batch, threat)


@pytest.mark.sweep
@each
def test_other_dtypes_arrays_and_inference_mode_are_the_same_attack(name, model, batch):
    images, labels = batch[0][:6], batch[1][:6]
    expected = run(name, model, images, labels)
    for given in ((images.double(), labels.int()), (images.numpy(), labels.numpy()), (images, labels.tolist())):
        found = run(name, model, *given)
        assert found.images.dtype == torch.float32
        assert torch.equal(found.images, expected.images) and torch.equal(found.correct, expected.correct)
    with torch.inference_mode():
        found = run(name, model, images.clone(), labels.clone())
    assert torch.equal(found.images, expected.images) and not found.images.is_inference()
    half = run(name, model, images.half(), labels)
    assert half.images.dtype == torch.float32 and half.images.isfinite().all()


def test_targets_are_made_fit_too(model, batch):
    images, labels = batch
    targets = (labels + 1) % 10
    expected = pgd(model, images, labels, Linf(0.1), steps=3, targets=targets)
    found = pgd(model, images, labels, Linf(0.1), steps=3, targets=targets.numpy().astype(np.int32))
    assert torch.equal(found.reached, expected.reached)


@pytest.mark.sweep
@each
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28), (1, 8, 9)], ids=str)
def test_images_of_another_shape(name, model, batch, refuses, shape):
    with refuses("1x8x8", "x".join(map(str, shape))):
        run(name, model, torch.rand(4, *shape), batch[1][:4])


class Root(nn.Module):
    """The same logits; the corner pixel goes through a root on the way, whose gradient at 0 is not a number."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images) + 0 * images[:, :, 0, 0].sqrt()


@pytest.mark.sweep
@each
def test_a_gradient_that_is_not_finite_counts_as_zero(name, model, batch):
    images, labels = batch[0][:20], batch[1][:20]
    assert (images[:, :, 0, 0] == 0).all()
    for norm in getattr(attacks, name).norms:
        rooted, threat = Root(model).eval(), (THREATS | {"l2": L2(1.0)})[norm]
        found, plain = (run(name, network, images, labels, threat) for network in (rooted, model))
        assert found.images.isfinite().all()
        assert torch.equal(found.correct, judge(model, found.images).argmax(1) == labels)
        assert int(found.correct.sum()) <= int(plain.correct.sum()) + 4  # it searches all other pixels as before
        if name not in ("uniform_noise", "gaussian_noise"):
            assert (found.images != images).flatten(1).any(1).any()


def test_logits_that_are_not_finite_are_no_verdict(model, batch, refuses):
    class Dark(nn.Module):
        """A logarithm of the brightness: none of a black image."""

        def forward(self, images):
            return model(images) + 0 * images.mean((1, 2, 3)).log()[:, None]

    images = batch[0].clone()
    images[:3] = 0
    with refuses("3 of 60 images", "not finite"):
        judge(Dark(), images)
    with refuses("not finite"):
        pgd(Dark(), images, batch[1], Linf(0.1), steps=2)


class InPlace(nn.Module):
    """It normalises the very tensor that it is given."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images.mul_(0.9))


@pytest.mark.sweep
@each
def test_a_network_that_works_in_place_changes_nobodys_images(name, model, batch):
    images, labels = batch[0][:10], batch[1][:10]
    kept = images.clone()

    class Apart(InPlace):
        def forward(self, images):
            return self.inner(images * 0.9)

    found, expected = (run(name, network(model).eval(), images, labels) for network in (InPlace, Apart))
    assert torch.equal(images, kept)
    assert torch.equal(found.images, expected.images)
    judge(InPlace(model), images)
    assert torch.equal(images, kept)


def test_threads_leave_flags_and_random_numbers_as_one_after_the_other_would(model, batch):
    images, labels = batch
    model.train()
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    alone = [pgd(model, images, labels, Linf(0.1), Crafting(seed=seed), steps=3).images for seed in range(6)]
    found, state = {}, torch.get_rng_state()

    def attack(seed):
        network = model if seed % 2 else copy.deepcopy(model)  # the generator is everybody's, the model is not
        found[seed] = pgd(network, images, labels, Linf(0.1), Crafting(seed=seed), steps=3).images

    threads = [threading.Thread(target=attack, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted == [True] * len(wanted)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(found[seed], expected) for seed, expected in enumerate(alone))
    assert torch.equal(torch.get_rng_state(), state)


def plain_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)).eval()


def compiled(network):
    return torch.compile(network, backend="eager")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled], ids=["data-parallel", "compiled"])
def test_a_wrapped_network_is_attacked_as_the_one_inside(model, batch, wrap, precision):
    # The compiler cannot see through the shape checks that tests put on our own networks.
    for network in (plain_network(),) if wrap is compiled else (plain_network(), model):
        expected = pgd(network, *batch, Linf(0.05), Crafting(precision=precision), steps=3)
        found = pgd(wrap(network), *batch, Linf(0.05), Crafting(precision=precision), steps=3)
        assert torch.equal(found.images, expected.images) and torch.equal(found.correct, expected.correct)
        assert unwrapped(wrap(network)) is network


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_traced_network_and_weight_norm(batch, precision):
    network, how = plain_network(), Crafting(precision=precision)
    expected = pgd(network, *batch, Linf(0.05), how, steps=3)
    traced = pgd(torch.jit.trace(network, batch[0]), *batch, Linf(0.05), how, steps=3)
    assert int((traced.correct != expected.correct).sum()) <= 3
    nn.utils.parametrizations.weight_norm(network[0])
    normed = pgd(network, *batch, Linf(0.05), how, steps=3)
    assert int((normed.correct != expected.correct).sum()) <= 3


def test_a_network_in_double_is_judged_and_attacked_in_double(model, batch):
    double = copy.deepcopy(model).double()
    assert working_dtype(double) == torch.float64
    images, labels = batch
    assert judge(double, images).dtype == torch.float64
    found = pgd(double, images.double(), labels, Linf(0.1), steps=3)
    assert found.images.dtype == torch.float64
    assert pgd(double, images, labels, Linf(0.1), steps=3).images.dtype == torch.float32


@pytest.mark.parametrize("source", [BPTT(), ASSG()], ids=lambda source: source.name)
def test_an_l2_step_may_be_longer_than_one(batch, source):
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, width=0.25)
    assert sites(model)
    found = pgd(model, *batch, L2(3.0), Crafting(source=source), steps=2, step_size=2.5, keep="last")
    assert (found.images - batch[0]).flatten(1).norm(dim=1).max() <= 3.0 + 1e-5
