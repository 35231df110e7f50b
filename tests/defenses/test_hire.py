"""HIRE: noise from gradients that training has anyway, and a learned threshold that is a gain in another unit."""

import math

import pytest
import torch
from watching import Watcher, config, whole_and_resumed

from spikeproof.data import load_data
from spikeproof.defenses import AdversarialTraining, compose
from spikeproof.defenses.feel import FEEL
from spikeproof.defenses.hire import HIRE
from spikeproof.defenses.random_decay import RandHet
from spikeproof.models import create_model, load_model, save_model
from spikeproof.spiking import Neuron, Site, Triangle, sites
from spikeproof.train import train

EPS = 0.1


@pytest.fixture(scope="module")
def data():
    return load_data("digits", validation=50, train_limit=160)


@pytest.fixture
def new_model(data):
    def create(seed=0, **changes):
        torch.manual_seed(seed)
        settings = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 2}
        return create_model("conv", **(settings | {"mean": data.mean, "std": data.std} | changes))

    return create


def currents(*, seed=0, steps=6, samples=5, channels=3):
    torch.manual_seed(seed)
    return torch.randn(steps * samples, channels).double() * 0.8


def spikes_of(current, neuron, *, gain=None, steps=6):
    site = Site(neuron, num_steps=steps)
    if gain is not None:
        site.gain = torch.nn.Parameter(torch.full((1, 1), gain, dtype=torch.float64))
    return site(current), site


@pytest.mark.sweep
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("decay", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("threshold", [0.25, 0.37, 1.9])
@pytest.mark.parametrize("fixed", [1.0, 0.5])
def test_a_threshold_of_theta_is_a_gain_of_v_over_theta(reset, decay, threshold, fixed):
    current = currents()
    by_threshold, _ = spikes_of(current, Neuron(threshold=threshold, decay=decay, reset=reset))
    by_gain, _ = spikes_of(current, Neuron(threshold=fixed, decay=decay, reset=reset), gain=fixed / threshold)
    assert torch.equal(by_threshold, by_gain)
    assert 0.02 < by_threshold.mean() < 0.6


def test_the_gain_has_the_gradient_of_the_papers_threshold():
    """u = decay u + x, z = u / theta - 1, a spike where z > 0 with slope h(z), u - theta s with s detached."""
    current = currents().requires_grad_()
    theta = torch.tensor(0.37, dtype=torch.float64, requires_grad=True)
    decay = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 5, 3).double()
    potential, loss = torch.zeros(5, 3).double(), torch.zeros(()).double()
    for t in range(6):
        potential = decay * potential + current.unflatten(0, (6, 5))[t]
        z = potential / theta - 1
        fired = (z > 0).double()
        slope = (1 - z.detach().abs()).clamp_min(0)
        loss = loss + (weights[t] * (fired + (z - z.detach()) * slope)).sum()
        potential = potential - theta * fired
    expected = torch.autograd.grad(loss, (theta, decay, current))

    neuron = Neuron(decay=0.8, reset="soft", detach_reset=True, surrogate=Triangle(gamma=1.0))
    own = current.detach().requires_grad_()
    site = Site(neuron, num_steps=6)
    site.gain = torch.nn.Parameter(torch.full((1, 1), 1 / 0.37, dtype=torch.float64))
    site.decay = torch.nn.Parameter(torch.full((1, 1), 0.8, dtype=torch.float64))
    value = (weights * site(own).unflatten(0, (6, 5))).sum()
    by_gain, by_decay, by_current = torch.autograd.grad(value, (site.gain, site.decay, own))
    torch.testing.assert_close(-by_gain.sum() / 0.37**2, expected[0])  # gain = 1 / theta
    torch.testing.assert_close(by_decay.sum(), expected[1])
    torch.testing.assert_close(by_current, expected[2])
    assert expected[0].abs() > 1e-3 and expected[1].abs() > 1e-3


def test_installing_changes_nothing_yet_and_keeps_what_was_learned(new_model, data):
    model = new_model(neuron=Neuron(decay=0.9, threshold=0.5)).double().eval()
    images = data.validation.images[:8].double() / 255
    before = model(images)
    HIRE(eps=EPS).install(model)
    torch.testing.assert_close(model(images), before)
    for site in sites(model).values():
        assert isinstance(site.decay, torch.nn.Parameter) and site.decay.dtype == torch.float64
        assert (site.decay.item(), site.gain.item()) == (0.9, 1.0)
    with torch.no_grad():
        next(iter(sites(model).values())).gain.fill_(0.8)
    HIRE(eps=EPS).install(model)
    assert next(iter(sites(model).values())).gain == 0.8


def test_training_learns_decays_and_thresholds_without_weight_decay(new_model, data):
    model = new_model()
    defense = HIRE(eps=EPS)
    train(model, data, [defense], config(), show=False)
    for site in sites(model).values():
        assert site.decay.item() != 1.0 and site.gain.item() != 1.0
        assert math.isfinite(site.decay.item()) and site.gain.item() > 0
    (group,) = defense.groups(model)
    assert group["weight_decay"] == 0
    assert len(group["params"]) == 2 * len(sites(model))
    frozen = new_model()
    train(frozen, data, [defense], config(epochs=1, learning_rate=1e-12, weight_decay=1e9), show=False)
    assert all(abs(site.decay.item() - 1) < 1e-6 for site in sites(frozen).values())


def test_saved_and_loaded_it_is_the_same_network(new_model, data, tmp_path):
    model = new_model()
    train(model, data, [HIRE(eps=EPS)], config(epochs=1), show=False)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    images = data.validation.images.float() / 255
    assert torch.equal(loaded(images), model.eval()(images))
    learned = [site.decay.item() for site in sites(loaded).values()]
    assert learned == [site.decay.item() for site in sites(model).values()]


@pytest.mark.sweep
@pytest.mark.parametrize("microbatch", [None, 20], ids=["whole", "uneven parts"])
@pytest.mark.parametrize(("periods", "step_size"), [(1, None), (2, None), (4, 0.04)])
def test_each_period_moves_by_the_sign_of_the_last_ones_gradient(new_model, data, microbatch, periods, step_size):
    watcher, forwards = Watcher(), []
    model = new_model()
    model.register_forward_pre_hook(lambda module, _: forwards.append(module.training))
    defense = HIRE(eps=EPS, periods=periods, step_size=step_size)
    train(model, data, [defense, watcher], config(epochs=1, microbatch=microbatch), show=False)
    parts = [[32], [20, 12]][microbatch is not None]
    batches = len(data.train) // 32
    assert [len(step.images) for step in watcher.seen] == parts * periods * batches
    assert forwards.count(True) == len(watcher.seen)
    assert len(watcher.moves) == periods * batches
    last = {}
    for step, held in zip(watcher.seen, watcher.held, strict=True):
        if step.replay == 0:
            expected = step.clean
            assert f"HIRE/images/{step.part}" not in held
        else:
            before = last[step.part]
            assert torch.equal(before.clean, step.clean)
            moved = before.images.detach() + (step_size or EPS) * before.images.grad.sign()
            expected = torch.minimum(torch.maximum(moved, step.clean - EPS), step.clean + EPS).clamp(0, 1)
            assert not torch.equal(step.images, step.clean)
        torch.testing.assert_close(step.images.detach(), expected, rtol=0, atol=1e-6)
        last[step.part] = step
    assert watcher.seen[-1].memory == {}  # nothing is handed to the next batch


@pytest.mark.thorough
def test_resumed_in_the_middle_of_an_epoch_bit_by_bit(new_model, data, tmp_path):
    whole, resumed, state = whole_and_resumed(
        new_model, data, [HIRE(eps=EPS, periods=3)], config(microbatch=20), tmp_path, share=0.65
    )
    assert state["step"] == 8 and state["memory"] == {}
    assert sum(name.endswith((".decay", ".gain")) for name in whole) == 6
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("bad", "pieces"),
    [
        ({"eps": 1.5}, ["1.5"]),
        ({"periods": 0}, ["periods", "0"]),
        ({"step_size": 0.0}, ["step_size"]),
        ({"step_size": "one"}, ["step size", "one"]),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_in_one_sentence(refuses, bad, pieces):
    with refuses(*pieces):
        HIRE(**bad)


def test_a_model_without_sites_or_with_anothers_decay_is_refused(refuses, new_model):
    with refuses("HIRE", "sites"):
        HIRE().install(torch.nn.Linear(2, 2))
    model = new_model()
    name, site = next(iter(sites(model).items()))
    site.decay = torch.nn.Parameter(torch.ones(2, 8, 8, 16))
    with refuses("HIRE", "decay", name, "2048"):
        HIRE().install(model)


def test_only_one_defense_makes_the_batch(refuses):
    with refuses("HIRE", "AT", "make the training batch"):
        compose([AdversarialTraining(), HIRE()])


def test_another_defense_of_the_decays_is_refused(refuses):
    for other in (FEEL(), RandHet()):
        for defenses in ([HIRE(), other], [other, HIRE()]):
            with refuses("HIRE", other.label, "decay"):
                compose(defenses)
    compose([HIRE(), FEEL(leak=False)])
