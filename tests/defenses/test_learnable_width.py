"""Learned widths: the gradient of the smooth spike, bounds, LSG's widths by its decays, Dspike's choice, and files."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy
from training_steps import step_on

from spikeproof.attacks import evaluating
from spikeproof.data import load_data
from spikeproof.defenses import compose
from spikeproof.defenses.dspike import Dspike, alignments
from spikeproof.defenses.learnable_width import LearnableWidth
from spikeproof.defenses.lsg import LSG
from spikeproof.models import create_model, load_model, save_model
from spikeproof.spiking import Neuron, Rectangular, Sigmoid, Site, sites
from spikeproof.train import TrainConfig, train

KINDS = [LearnableWidth(), LSG(), Dspike(weights=4, every=2)]


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))


LABELS = torch.arange(6)


def new_model(**changes):
    torch.manual_seed(0)
    settings = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 3, "width": 0.25}
    return create_model("conv", **(settings | changes))


@pytest.mark.parametrize("sharpness", [0.5, 2.0])
def test_the_sharpness_has_the_smooth_spikes_gradient(sharpness):
    # One step of one site: the smooth spike of a sigmoid surrogate is the logistic function of 4 a v.
    site = Site(Neuron(surrogate=Sigmoid(4.0)), num_steps=1).double()
    LearnableWidth(start=sharpness).install(site)
    site.sharpness = torch.nn.Parameter(site.sharpness.double())
    current, weight = torch.randn(7, 3, dtype=torch.float64) + 1, torch.randn(7, 3, dtype=torch.float64)
    spikes = site(current)
    assert torch.equal(spikes, (current >= 1).double())
    (found,) = torch.autograd.grad((weight * spikes).sum(), site.sharpness)

    def smooth(a):
        return (weight * torch.sigmoid(4 * a * (current - 1))).sum().item()

    expected = (smooth(sharpness + 1e-6) - smooth(sharpness - 1e-6)) / 2e-6
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_learned_widths_train_and_stay_within_their_bounds(images):
    model, defense = new_model(), LearnableWidth(start=1.0, least=0.9, most=1.05)
    defense.install(model)
    (group,) = defense.groups(model)
    assert group["weight_decay"] == 0
    assert [id(p) for p in group["params"]] == [id(site.sharpness) for site in sites(model).values()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(4):
        optimizer.zero_grad()
        cross_entropy(model.train()(images), LABELS).backward()
        optimizer.step()
        defense.after_step(model, 0)
    widths = [site.sharpness.item() for site in sites(model).values()]
    assert all(0.9 - 1e-6 <= a <= 1.05 + 1e-6 for a in widths) and any(abs(a - 1) > 0.01 for a in widths)


@pytest.mark.parametrize(("surrogate", "threshold"), [(Rectangular(1.0), 0.5), (Sigmoid(4.0), 1.0)], ids=str)
def test_lsgs_window_follows_its_decay(surrogate, threshold):
    model = new_model(neuron=Neuron(surrogate=surrogate, threshold=threshold))
    defense = LSG(start=0.2)
    defense.install(model)
    for site in sites(model).values():
        assert site.decay.item() == pytest.approx(0.2)
        assert not site.sharpness.requires_grad
        # The paper's alpha = 2 V_th sqrt(1 + beta^2) is the whole width of its rectangle.
        assert 2 * surrogate.window / site.sharpness.item() == pytest.approx(2 * threshold * math.sqrt(1.04))
    first, second, third = sites(model).values()
    with torch.no_grad():
        first.decay.fill_(0.8)
        second.decay.fill_(1.7)
        third.decay.fill_(-0.3)
    defense.after_step(model, 0)
    assert [site.decay.item() for site in sites(model).values()] == pytest.approx([0.8, 1.0, 0.0])
    expected = [threshold * math.sqrt(1 + decay**2) for decay in (0.8, 1.0, 0.0)]
    assert [surrogate.window / site.sharpness.item() for site in sites(model).values()] == pytest.approx(expected)
    if threshold == 0.5:
        assert 2 * surrogate.window / first.sharpness.item() == pytest.approx(1.2806, abs=1e-4)  # the paper's example


def test_lsgs_decay_is_the_neurons_and_learns(images):
    model = new_model()
    LSG(start=0.3).install(model)
    plain = new_model(neuron=Neuron(decay=0.3))
    assert torch.equal(model.eval()(images), plain.eval()(images))
    cross_entropy(model.train()(images), LABELS).backward()
    assert all(site.decay.grad.abs().max() > 0 and site.sharpness.grad is None for site in sites(model).values())


def test_dspikes_alignment_is_that_of_slow_differences(images):
    model = new_model().double()
    images = images.double()
    Dspike().install(model)
    for site in sites(model).values():
        site.sharpness.data = site.sharpness.data.double()
    before = {name: held.clone() for name, held in model.state_dict().items()}
    count = model.stem.weight.numel()
    found = alignments(model, images, LABELS, [0.5, 1.0, 3.0], 0.1, count, seed=1)
    assert all(torch.equal(held, before[name]) for name, held in model.state_dict().items())
    weight = model.stem.weight.detach().clone()
    differences = torch.zeros_like(weight)
    with evaluating(model), torch.no_grad():
        for place in torch.cartesian_prod(*(torch.arange(size) for size in weight.shape)).tolist():
            sides = []
            for side in (0.1, -0.1):
                model.stem.weight.copy_(weight)
                model.stem.weight[tuple(place)] += side
                sides.append(cross_entropy(model(images), LABELS))
            differences[tuple(place)] = (sides[0] - sides[1]) / 0.2
        model.stem.weight.copy_(weight)
    for a, cosine in zip([0.5, 1.0, 3.0], found, strict=True):
        for site in sites(model).values():
            site.sharpness.data.fill_(a)
        model.eval().zero_grad()
        cross_entropy(model(images), LABELS).backward()
        expected = cosine_similarity(model.stem.weight.grad.flatten(), differences.flatten(), dim=0).item()
        assert cosine == pytest.approx(expected, abs=1e-5)


def test_dspike_takes_the_best_aligned_of_three_and_keeps_its_place(images):
    model, defense = new_model(), Dspike(ratio=1.5, weights=12, every=2)
    defense.install(model)
    step = step_on(model, images, LABELS, seed=5)
    cosines = alignments(model, images, LABELS, [1.0, 1 / 1.5, 1.5], 0.05, 12, seed=5)
    state = torch.get_rng_state()
    defense.begin(step)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    best = [1.0, 1 / 1.5, 1.5][cosines.index(max(cosines))]
    chosen = {site.sharpness.item() for site in sites(model).values()}
    assert list(chosen) == pytest.approx([best])
    defense.begin(step)  # the second of two steps: nothing is chosen
    assert {site.sharpness.item() for site in sites(model).values()} == chosen
    assert int(step.memory["Dspike steps"]) == 2
    part = step_on(model, images, LABELS, part=1)
    defense.begin(part)
    assert part.memory == {}


@pytest.mark.thorough
@pytest.mark.parametrize("defense", KINDS, ids=lambda kind: kind.label)
def test_they_train_save_load_and_resume(defense, tmp_path):
    data = load_data("digits", validation=50, train_limit=96)
    config = TrainConfig(epochs=2, batch_size=32, augmentation=None, device="cpu", precision="fp32")

    class Stopped(Exception):
        pass

    def stop(_, step):
        if step.progress >= 0.5:
            raise Stopped

    def run(folder):
        return train(new_model(), data, [defense], config, out=tmp_path / folder, resume=True, show=False).model

    whole = run("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(defense), "learned", stop)
        with pytest.raises(Stopped):
            run("parts")
    resumed = run("parts").state_dict()
    assert all(torch.equal(held, resumed[name]) for name, held in whole.state_dict().items())
    save_model(whole, tmp_path / "kept.safetensors")
    loaded = load_model(tmp_path / "kept.safetensors")
    pixels = data.validation.images.float() / 255
    assert torch.equal(loaded(pixels), whole.eval()(pixels))
    before, after = sites(whole)["body.0"].sharpness, sites(loaded)["body.0"].sharpness
    assert torch.equal(before, after)


def test_two_that_set_widths_do_not_go_together(refuses):
    for first, second in itertools.permutations(KINDS, 2):
        with refuses(first.label, second.label, "the surrogate"):
            compose([first, second])
    model = new_model()
    sites(model)["body.0"].random_decay = (0.5, 1.0)
    with refuses("LSG", "body.0", "at random"):
        LSG().install(model)


def test_one_sharpness_for_each_channel_is_none_for_a_site(refuses):
    for defense in KINDS:
        model = new_model()
        sites(model)["body.0"].sharpness = torch.nn.Parameter(torch.ones(1, 4))
        with refuses(type(defense).__name__, "body.0 has 4"):
            defense.install(model)


@pytest.mark.parametrize("defense", KINDS, ids=lambda kind: kind.label)
def test_a_model_without_sites_is_refused(defense, refuses):
    with refuses(type(defense).__name__, "sites"):
        defense.install(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (LearnableWidth, {"start": 0.01}),
        (LearnableWidth, {"least": 0.0}),
        (LearnableWidth, {"most": math.inf}),
        (LSG, {"start": 1.5}),
        (Dspike, {"start": 20.0}),
        (Dspike, {"ratio": 1.0}),
        (Dspike, {"epsilon": 0.0}),
        (Dspike, {"weights": 1}),
        (Dspike, {"every": 0}),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(kind, bad, refuses):
    with refuses(*bad):
        kind(**bad)
