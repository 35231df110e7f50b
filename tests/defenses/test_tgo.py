"""TGO: the hinge from slow sums and in closed form, the rise of lambda, and the noise it installs."""

import math

import pytest
import torch
from torch import nn
from training_steps import after_forward, step_on

from spikeproof.data import load_data
from spikeproof.defenses.defense import watch
from spikeproof.defenses.normal_hinge import normal_hinge
from spikeproof.defenses.tgo import TGO
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model, load_model, save_model
from spikeproof.models.spiking_model import draws_at_random
from spikeproof.spiking import Hinge, Neuron, Record, Site, SiteRecord, inference_noise, probe, sites
from spikeproof.train import TrainConfig, train
from stops import stopped_at


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, width=0.25).train()


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("hinge", "power"), [("linear", 1), ("quadratic", 2)])
@pytest.mark.parametrize("delta", [0.2, 0.9])
@pytest.mark.parametrize("which", ["normed", "all"])
def test_mc_is_the_slow_sum_over_sites_of_the_mean_hinge(model, images, delta, hinge, power, which):
    defense = TGO(lambda_max=0.6, delta=delta, sigma=0.0, hinge=hinge, sites=which)
    assert defense.needs.cost == Hinge(delta, power) and not defense.needs.moments
    with probe(model, "margins", cost=defense.needs.cost) as record:
        model(images)
    expected = 0.0
    for seen in record.values() if which == "all" else (record["body.0"], record["body.2"]):
        margins = seen.margins.double().flatten().tolist()
        expected += sum(max(0.0, delta - abs(v)) ** power for v in margins) / len(margins)
    assert expected > 0
    for progress, weight in ((0.0, 0.0), (0.5, 0.3), (1 / 3, 0.15), (1 - 1e-9, 0.6)):
        assert defense.penalty(after_forward(record, progress)).item() == pytest.approx(
            weight * expected, rel=1e-5, abs=1e-12
        )


@pytest.mark.parametrize("width", ["fixed", "spread"])
def test_by_channel_each_layer_counts_by_its_channels(model, images, width):
    """A layer's mean times its channels over 64: so each channel's pull is the same in a network of any width."""
    defenses = [TGO(lambda_max=0.6, sigma=0.0, dose=dose, width=width) for dose in ("mean", "channel")]
    with probe(model, "moments", cost=Hinge(0.5)) as record:
        model(images)
    sums = {"mean": 0.0, "channel": 0.0}
    for name in ("body.0", "body.2"):
        alone = Record({name: record[name]})
        mean, channel = (defense.penalty(after_forward(alone, 0.5)).item() for defense in defenses)
        assert channel == pytest.approx(mean * record[name].total.shape[1] / 64) and mean > 0
        sums["mean"] += mean
        sums["channel"] += channel
    for defense in defenses:
        assert defense.penalty(after_forward(record, 0.5)).item() == pytest.approx(sums[defense.dose])


def quadrature(mean, std, width, power):
    """The expected hinge by a fine trapezium over the band, in float64; exact where the band is wide in spreads."""
    unit = torch.linspace(-1, 1, 40001, dtype=torch.float64)
    points = width * unit[:, None]
    density = torch.exp(-0.5 * ((points - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    return torch.trapezoid((width - points.abs()) ** power * density, points.expand_as(density), dim=0)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("width", [0.01, 0.5, 3.0])
def test_the_normals_hinge_is_the_integral_with_its_slopes(width, power):
    mean = torch.tensor([-4.0, -1.2, -0.3, 0.0, 0.7, 2.5], dtype=torch.float64).repeat(3).requires_grad_()
    std = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64).repeat_interleave(6).requires_grad_()
    found, expected = normal_hinge(mean, std, width, power), quadrature(mean, std, width, power)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-12)
    slopes, sought = (torch.autograd.grad(part.sum(), (mean, std)) for part in (found, expected))
    for slope, wanted in zip(slopes, sought, strict=True):
        torch.testing.assert_close(slope, wanted, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("power", [1, 2])
def test_the_normals_hinge_keeps_its_digits_in_float32(power):
    # Narrow bands of wide spreads and far ones, where the formula's differences would cancel.
    mean = torch.tensor([0.3, 0.0, -12.0, 40.0])
    std = torch.tensor([30.0, 1e-3, 1.0, 2.0])
    found = normal_hinge(mean, std, 0.1, power)
    assert found.dtype == torch.float32
    expected = normal_hinge(mean.double(), std.double(), 0.1, power)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-12)
    assert (found > -1e-12).all() and found[1].item() == pytest.approx((0.1 - 8e-4) ** power, rel=1e-2)


def made_step(mean, std, **memory):
    record = Record(a=SiteRecord(count=5, window=1.0, total=5 * mean, total_of_squares=5 * (mean**2 + std**2)))
    step = after_forward(record, 0.5)
    step.memory.update(memory)
    return step


@pytest.mark.parametrize("hinge", ["linear", "quadratic"])
def test_the_spreads_band_sees_margins_up_to_a_common_factor(hinge):
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    std = (0.2 + torch.rand(3, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    defense = TGO(lambda_max=1.0, delta=0.8, sigma=0.0, width="spread", hinge=hinge)
    assert defense.needs.moments and defense.needs.cost is None
    found = defense.penalty(made_step(mean, std))
    power = 2 if hinge == "quadratic" else 1
    # In units of the spread v has spread 1.
    expected = quadrature((mean / std).flatten(), torch.ones(12, dtype=torch.float64), 0.8, power).mean() / 2
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(defense.penalty(made_step(7 * mean, 7 * std)), found)
    on_mean, on_std = torch.autograd.grad(found, (mean, std))
    torch.testing.assert_close(mean * on_mean + std * on_std, torch.zeros_like(mean), atol=1e-9, rtol=0)


def test_the_attacks_band_is_in_units_of_the_measured_change():
    mean, std = torch.tensor([[-0.4, 0.1, 0.3]]), torch.tensor([[0.5, 0.3, 0.2]])
    change = torch.tensor([0.2, 0.1, 0.0])
    defense = TGO(lambda_max=1.0, delta=1.5, sigma=0.0, width="attack")
    found = defense.penalty(made_step(mean, std, **{"TGO change a": change}))
    scale = torch.tensor([0.2, 0.1, 1e-3])  # a channel that no attack moves has nothing to guard
    expected = quadrature(mean[0].double() / scale, std[0].double() / scale, 1.5, 1)
    assert found.item() == pytest.approx(expected.mean().item() / 2, rel=1e-4)
    assert expected[2] < 0.01 * expected[0]


@pytest.mark.parametrize("width", ["fixed", "spread"])
def test_the_closed_form_is_near_the_measured_hinge_of_normal_margins(width):
    generator = torch.Generator().manual_seed(2)
    margins = 0.3 + 0.7 * torch.randn(200_000, generator=generator, dtype=torch.float64)
    scale = 1.0 if width == "fixed" else margins.std().item()
    measured = (0.5 - (margins / scale).abs()).clamp_min(0).mean().item()
    found = normal_hinge(margins.mean() / scale, margins.std() / scale, 0.5).item()
    assert found == pytest.approx(measured, rel=0.01)


def test_the_attacks_band_is_measured_in_begin(model, images):
    step = step_on(model, images, torch.arange(6))
    TGO(width="attack", attack_eps=0.1).begin(step)
    assert {name for name in step.memory if name.startswith("TGO change ")} == {f"TGO change {n}" for n in sites(model)}
    for idle in (TGO(), TGO(width="attack", lambda_max=0.0)):
        untouched = step_on(model, images, torch.arange(6))
        idle.begin(untouched)
        assert untouched.memory == {}


def test_after_reset_watches_what_is_carried_on(model, images):
    defense = TGO(sigma=0.0, lambda_max=1.0, potential="after-reset")
    with watch(model, defense.needs) as record:
        model(images)
    after = defense.penalty(after_forward(record, 0.5)).item()
    with watch(model, TGO(sigma=0.0).needs) as record:
        model(images)
    # A hard reset puts what fires a whole threshold away: less is near.
    assert 0 < after < TGO(sigma=0.0, lambda_max=1.0).penalty(after_forward(record, 0.5)).item()


@pytest.mark.parametrize("width", ["fixed", "spread", "attack"])
def test_following_mc_drives_potentials_from_the_threshold(model, images, width):
    defense = TGO(lambda_max=1.0, delta=0.5, sigma=0.0, width=width, attack_eps=0.1, every=100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5 if width == "fixed" else 4.0)
    step, near = step_on(model, images, torch.arange(6), progress=0.9), []
    for _ in range(12):
        defense.begin(step)
        with probe(model.train(), "moments", "margins", cost=Hinge(0.5)) as step.record:
            model(images)
        if width == "fixed":
            near.append(sum((seen.margins.abs() < 0.5).float().mean().item() for seen in step.record.values()))
        else:
            near.append(defense.penalty(step).item())
        optimizer.zero_grad()
        defense.penalty(step).backward()
        optimizer.step()
    assert near[-1] < 0.9 * near[0]


@pytest.mark.parametrize("at_inference", [False, True])
def test_install_sets_the_noise_of_every_site(model, images, at_inference):
    TGO(sigma=0.25, noise_at_inference=at_inference).install(model)
    assert {(site.noise_std, site.noise_at_inference) for site in sites(model).values()} == {(0.25, at_inference)}
    assert all(site.noisy for site in sites(model).values())
    assert all(site.noisy == at_inference for site in sites(model.eval()).values())
    model.train()
    assert not torch.equal(model(images), model(images))


def noise_of(steps, samples, seed):
    """What a site's noise is after this seed, in units of sigma: a silent neuron that keeps nothing shows it."""
    silent = Site(Neuron(decay=0.0, threshold=50.0), steps).eval()
    TGO(lambda_max=0.0, sigma=1.0, noise="potential", noise_at_inference=True).install(silent)
    torch.manual_seed(seed)
    with probe(silent, "margins") as record:
        assert silent(torch.zeros(steps * samples, 4, dtype=torch.float64)).sum() == 0
    return (record[""].margins + 50).flatten(0, 1)


@pytest.mark.thorough
@pytest.mark.parametrize("kernels", ["reference", "fused"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_noise_in_the_potential_is_noise_in_the_current(kernels, reset):
    """u[t] = decay m[t-1] + x[t] + xi: the op without noise, of currents that have it already."""
    current = torch.rand(3 * 200, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    neuron = Neuron(decay=0.5, threshold=0.6, reset=reset)
    noisy, plain = Site(neuron, 3, kernels).eval(), Site(neuron, 3).eval()
    TGO(lambda_max=0.0, sigma=0.25, noise="potential", noise_at_inference=True).install(noisy)
    cost = Hinge(0.3)
    found, expected = [], []
    for site, seen, drawn in (
        (noisy, found, 0.0),
        (plain, expected, 0.25 * noise_of(3, 200, seed=7)),
    ):
        leaf = current.clone().requires_grad_()
        torch.manual_seed(7)
        with probe(site, "moments", "margins", cost=cost) as record:
            spikes = site(leaf + drawn)
        part = record[""]
        (gradient,) = torch.autograd.grad(spikes.square().sum() + part.cost_total.sum(), leaf)
        seen += [spikes, part.margins, part.cost_total, part.total_of_squares, gradient]
    assert 0.1 < found[0].mean() < 0.9
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    assert not torch.equal(found[0], plain(current))


def test_noise_by_default_leaves_the_potential_alone():
    """Potentials by hand: without a spike they are the currents' sums, whatever the noise; carried noise adds up."""
    margins = {}
    for where in ("decision", "potential"):
        site = Site(Neuron(threshold=50.0), 4).eval()
        TGO(lambda_max=0.0, sigma=0.25, noise=where, noise_at_inference=True).install(site)
        torch.manual_seed(0)
        with probe(site, "margins") as record:
            site(torch.full((4 * 20_000, 1), 0.5))
        margins[where] = record[""].margins.flatten(1)
    assert all((step == 0.5 * t - 50).all() for t, step in enumerate(margins["decision"], 1))
    spread = [step.std().item() for step in margins["potential"]]
    assert spread == pytest.approx([0.25 * math.sqrt(t) for t in (1, 2, 3, 4)], rel=0.03)


def test_where_the_noise_acts_is_saved_and_asked_anew(model, images, tmp_path):
    TGO(noise="potential", noise_at_inference=True).install(model)
    save_model(model.eval(), tmp_path / "noisy")
    loaded = load_model(tmp_path / "noisy")
    seen = []
    for network in (model, loaded):
        torch.manual_seed(2)
        seen.append(network(images))
    assert torch.equal(*seen) and all(site.neuron.carries_noise for site in sites(loaded).values())
    with inference_noise(loaded, False):
        assert torch.equal(loaded(images), loaded(images)) and not draws_at_random(loaded)
    assert draws_at_random(loaded)
    TGO().install(loaded)
    assert not any(site.neuron.carries_noise for site in sites(loaded).values())


def test_a_stopped_training_with_carried_noise_ends_as_the_whole_one(tmp_path):
    data = load_data("digits", validation=8, train_limit=64)
    config = TrainConfig(epochs=2, batch_size=32, augmentation=None, validate_every=2, device="cpu", precision="fp32")

    def trained(**options):
        torch.manual_seed(0)
        size = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 2, "width": 0.25}
        return train(create_model("conv", **size), data, [defense], config, show=False, **options).model.state_dict()

    ended = {}
    for where in ("potential", "decision"):
        defense = TGO(noise=where)
        ended[where] = trained()
    defense = TGO(noise="potential")
    with stopped_at(0.5):
        trained(out=tmp_path)
    resumed = trained(out=tmp_path, resume=True)
    assert all(torch.equal(value, resumed[key]) for key, value in ended["potential"].items())
    assert any(not torch.equal(value, ended["decision"][key]) for key, value in ended["potential"].items())


def test_without_mc_nothing_is_recorded_or_added(model):
    noise_only = TGO(lambda_max=0.0, sigma=0.2)
    assert noise_only.needs.cost is None
    assert noise_only.penalty(after_forward(Record(), 0.5)) is None


def test_a_model_without_sites_is_refused():
    with pytest.raises(SpikeproofError, match="sites"):
        TGO().install(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "bad",
    [
        {"lambda_max": -0.1},
        {"lambda_max": math.nan},
        {"lambda_max": math.inf},
        {"sigma": -0.1},
        {"sigma": math.nan},
        {"sigma": math.inf},
        {"delta": 0.0},
        {"delta": math.nan},
        {"delta": math.inf},
        {"lambda_max": 0.0, "sigma": 0.0},
        {"attack_eps": 0.0},
        {"every": 0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses(*bad):
        TGO(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        *({"sites": "some"}, {"dose": "sum"}, {"hinge": "cubic"}, {"potential": "after"}, {"noise": "input"}),
        {"width": "std"},
    ],
    ids=str,
)
def test_unknown_choices_are_refused(bad, refuses):
    defense = TGO()
    for field, value in bad.items():  # the tests' own check of types would stop it at the door
        object.__setattr__(defense, field, value)
    with refuses(*bad, *bad.values(), "one of"):
        defense.__post_init__()
