"""HoSNN: the moving threshold against a network written out, how the usual course is measured, and a resumed run."""

import math

import pytest
import torch
from slow_conv import STEPS, SlowSpike, awake_conv, channels_first, slow_logits
from torch import nn
from training_steps import step_on

from spikeproof.data import load_data
from spikeproof.defenses.homeostatic import HoSNN
from spikeproof.models import create_model, load_model, save_model
from spikeproof.spiking import Neuron, Site, probe, sites
from spikeproof.train import TrainConfig, train
from stops import stopped_at


def with_drawn_thresholds(model):
    generator = torch.Generator().manual_seed(7)
    HoSNN().install(model)
    with torch.no_grad():
        for site in sites(model).values():
            site.adaptation.copy_(torch.rand(site.adaptation.shape, generator=generator, dtype=torch.float64) * 0.6)
            site.setpoint.copy_(torch.randn(site.setpoint.shape, generator=generator, dtype=torch.float64) * 0.5)
            site.adaptation.requires_grad_(True)
    return model


def homeostatic(thetas, setpoints, seen=None):
    def fire(name, currents):
        carried, threshold, spikes = torch.zeros_like(currents[0]), 1.0, []
        for t, current in enumerate(currents):
            potential = carried + current
            threshold = threshold + thetas[name] * (potential - setpoints[name][t])
            spikes.append(SlowSpike.apply(potential - threshold))
            carried = (1 - spikes[-1]) * potential
            if seen is not None:
                seen.setdefault(name, []).append((potential.detach(), (potential - threshold).detach()))
        return spikes

    return fire


def frames_of(images):
    return (images.expand(STEPS, *images.shape) - 0.5) / 0.25


def test_a_network_with_moving_thresholds_is_the_one_written_out_with_all_its_gradients():
    model, images, _ = awake_conv()
    plain = model(images)
    with_drawn_thresholds(model)
    thetas = {name: site.adaptation for name, site in sites(model).items()}
    seen = {}
    fire = homeostatic(
        {name: channels_first(theta)[0] for name, theta in thetas.items()},
        {name: channels_first(site.setpoint) for name, site in sites(model).items()},
        seen,
    )
    slow = slow_logits(model, frames_of(images), fire)
    with probe(model, "margins") as record:
        found = model(images)
    assert not torch.allclose(found, plain, atol=1e-3)
    torch.testing.assert_close(found, slow, rtol=1e-11, atol=1e-11)
    for name, steps in seen.items():  # what is recorded is the distance from the threshold as it has moved
        torch.testing.assert_close(record[name].margins, torch.stack([v for _, v in steps]), rtol=0, atol=1e-11)
    wanted = [*thetas.values(), model.stem.weight]
    weights = torch.arange(4, dtype=torch.float64) - 1.3
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), wanted),
        torch.autograd.grad((slow * weights).sum(), wanted),
        strict=True,
    ):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_the_gradient_of_theta_is_that_of_differences_where_nothing_fires():
    """Margins are smooth in theta until a spike: their sum against central differences."""
    site = Site(Neuron(decay=0.8, threshold=5.0), 4).double()
    theta = torch.tensor([[0.1, 0.3, 0.0]], dtype=torch.float64)
    site.setpoint = torch.rand(4, 3, dtype=torch.float64)
    current = torch.rand(4 * 5, 3, dtype=torch.float64)

    def total(values):
        site.adaptation = nn.Parameter(values)
        with probe(site, "moments") as record:
            assert site(current).sum() == 0
        return (record[""].total * torch.tensor([1.0, -2.0, 3.0, 0.5])[:, None]).sum()

    total(theta).backward()
    gradient = site.adaptation.grad.clone()
    for at in range(3):
        shift = torch.zeros_like(theta)
        shift[0, at] = 1e-5
        slope = (total(theta + shift) - total(theta - shift)).item() / 2e-5
        assert gradient[0, at].item() == pytest.approx(slope, rel=1e-7)


def test_fused_kernels_do_the_same():
    generator = torch.Generator().manual_seed(0)
    theta = torch.rand(1, 7, generator=generator, dtype=torch.float64) * 0.5
    setpoint = torch.randn(2, 7, generator=generator, dtype=torch.float64) * 0.5
    current = torch.rand(2 * 9, 7, generator=generator, dtype=torch.float64) * 3 - 0.5
    seen = []
    for kernels in ("reference", "fused"):
        site = Site(Neuron(decay=0.9), 2, kernels)
        site.adaptation, site.setpoint = nn.Parameter(theta.clone()), setpoint
        leaf = current.clone().requires_grad_()
        spikes = site(leaf)
        weights = torch.rand(spikes.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        seen.append([spikes.detach(), *torch.autograd.grad((spikes * weights).sum(), [leaf, site.adaptation])])
    assert 0.1 < seen[0][0].mean() < 0.9 and seen[0][2].abs().min() > 0
    assert torch.equal(seen[1][0], seen[0][0])
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-10, atol=1e-12)


def test_thresholds_do_not_move_until_they_have_a_usual_course():
    model, images, labels = awake_conv()
    plain = model(images)
    defense = HoSNN(warmup=0.5, start=0.3)
    defense.install(model)
    assert torch.equal(model(images), plain)
    thetas = [site.adaptation for site in sites(model).values()]
    assert [tuple(theta.shape) for theta in thetas] == [(1, 8, 8, 5), (1, 4, 4, 10), (1, 38)]
    assert {id(theta) for theta in defense.groups(model)[0]["params"]} == {id(theta) for theta in thetas}
    assert defense.groups(model)[0]["weight_decay"] == 0
    memory = {}
    for progress in (0.0, 0.3, 0.499):
        defense.begin(step_on(model, images, labels, progress=progress, memory=memory))
        assert list(memory) == ["HoSNN thresholds stand"] and not any(theta.requires_grad for theta in thetas)
    for progress in (0.5, 0.53):
        defense.begin(step_on(model, images, labels, progress=progress, memory=memory))
        assert not any(theta.requires_grad or theta.any() for theta in thetas)
        assert torch.equal(model(images), plain)
    defense.begin(step_on(model, images, labels, progress=0.55, memory=memory))
    assert all(theta.requires_grad and (theta == 0.3).all() for theta in thetas)
    assert not torch.equal(model(images), plain)
    with torch.no_grad():
        thetas[0][0, 0, 0, :2] = torch.tensor([-0.1, 0.2])
    defense.after_step(model, 0)
    assert thetas[0][0, 0, 0].tolist() == pytest.approx([0.0, 0.2, 0.3, 0.3, 0.3])
    defense.begin(step_on(model, images, labels, progress=0.6, memory=memory))
    assert thetas[0][0, 0, 0].tolist() == pytest.approx([0.0, 0.2, 0.3, 0.3, 0.3])


def test_the_usual_course_is_the_mean_potential_on_clean_images_in_eval_mode():
    model, *_ = awake_conv()
    many = torch.rand(50, 1, 8, 8, dtype=torch.float64)
    defense = HoSNN(warmup=0.0)
    defense.install(model)
    memory = {}
    for part, clean in enumerate((many[:40], many[40:46], many[46:])):  # one step in two parts, and another
        labels = torch.zeros(len(clean)).long()
        step = step_on(model.train(), clean, labels, memory=memory, progress=0.02 * (part == 2), part=part % 2)
        step.images = torch.zeros_like(clean)
        defense.begin(step)
        assert model.training
        step.replay = 1
        defense.begin(step)
    seen = {}
    nothing = dict.fromkeys(sites(model), 0.0)
    slow_logits(model, frames_of(many), homeostatic(nothing, dict.fromkeys(sites(model), [0.0] * STEPS), seen))
    for name, site in sites(model).items():
        expected = torch.stack([potential.mean(0) for potential, _ in seen[name]])
        torch.testing.assert_close(channels_first(site.setpoint), expected, rtol=0, atol=1e-11)
        assert expected.abs().max() > 0.1


def test_more_current_adds_fewer_spikes_where_thresholds_follow_it():
    current = torch.rand(4 * 500, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rates = {}
    for theta in (0.0, 0.3):
        site = Site(Neuron(decay=0.5), 4).double()
        with probe(site, "margins") as record:
            site(current)
        site.setpoint = (record[""].margins + 1).mean(1)
        site.adaptation = nn.Parameter(torch.full((1, 6), theta, dtype=torch.float64))
        rates[theta] = [site(current + more).mean().item() for more in (0.0, 0.3)]
    assert rates[0.3][1] - rates[0.3][0] < 0.7 * (rates[0.0][1] - rates[0.0][0])


def test_it_comes_back_from_disk(tmp_path):
    model, images, _ = awake_conv()
    model, images = with_drawn_thresholds(model).float(), images.float()
    save_model(model, tmp_path / "homeostatic")
    loaded = load_model(tmp_path / "homeostatic")
    assert torch.equal(loaded(images), model(images))
    assert all(site.setpoint.shape[0] == STEPS for site in sites(loaded).values())


@pytest.fixture(scope="module")
def few_digits():
    return load_data("digits", validation=50, train_limit=160)


def run(data, **options):
    torch.manual_seed(1)
    size = {"image_size": 8, "in_channels": 1, "width": 0.25, "num_steps": 2}
    model = create_model("conv", num_classes=data.num_classes, neuron=Neuron(threshold=0.5), **size)
    config = TrainConfig(
        epochs=4, batch_size=32, augmentation=None, microbatch=24, validate_every=4, device="cpu", precision="fp32"
    )
    return train(model, data, [HoSNN(warmup=0.4)], config, settings={}, show=False, **options).model.state_dict()


@pytest.fixture(scope="module")
def whole(few_digits):
    return run(few_digits)


@pytest.mark.sweep
@pytest.mark.parametrize("share", [0.35, 0.4, 0.45, 0.7])
def test_a_run_stopped_before_while_and_after_measuring_ends_the_same(few_digits, whole, tmp_path, share):
    with stopped_at(share):
        run(few_digits, out=tmp_path / "cut")
    resumed = run(few_digits, out=tmp_path / "cut", resume=True)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)
    theta = whole["body.0.adaptation"]
    assert (theta >= 0).all() and (theta - 0.2).abs().max() > 1e-4 and whole["body.5.setpoint"].any()


@pytest.mark.parametrize(
    "bad", [{"warmup": -0.1}, {"warmup": 0.95}, {"warmup": math.nan}, {"start": 0.0}, {"start": math.inf}], ids=str
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses("HoSNN", next(iter(bad))):
        HoSNN(**bad)


def test_other_models_are_refused(refuses):
    with refuses("HoSNN", "create_model"):
        HoSNN().install(nn.Linear(2, 2))
