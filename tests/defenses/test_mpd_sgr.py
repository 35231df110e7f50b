"""MPD-SGR: Omega, the penalty from slow sums, its invariances, and where its gradient leads."""

import math

import pytest
import torch
from training_steps import after_forward, step_on

from spikeproof.defenses.defense import compose, watch
from spikeproof.defenses.mpd_sgr import MPDSGR, overlap
from spikeproof.defenses.tgo import TGO
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, Record, Rectangular, Sigmoid, Site, SiteRecord, Triangle, probe


def new_model(surrogate=None):
    torch.manual_seed(0)
    neuron = Neuron(surrogate=surrogate or Triangle())
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, neuron=neuron, width=0.25)


def some_images(n=6):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def phi(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


@pytest.mark.parametrize(("mean", "std", "omega"), [(-0.5, 0.5, 0.83999), (-1.0, 1.0, 0.47725)])
def test_omega_of_the_references(mean, std, omega):
    assert overlap(torch.tensor(mean), torch.tensor(std), 1.0).item() == pytest.approx(omega, abs=5e-6)


def test_omega_is_the_mass_of_the_normal_in_the_window_and_its_slopes_those_of_eq_14_and_15():
    mean = torch.tensor([-1.3, -0.4, 0.0, 0.8], dtype=torch.float64, requires_grad=True)
    std = torch.tensor([0.3, 1.1, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    window = 0.7
    found = overlap(mean, std, window)
    density = torch.distributions.Normal(mean.detach(), std.detach())
    points = torch.linspace(-window, window, 20001, dtype=torch.float64)[:, None]
    torch.testing.assert_close(found.detach(), torch.trapezoid(density.log_prob(points).exp(), points, dim=0))
    on_mean, on_std = torch.autograd.grad(found.sum(), (mean, std))
    for i in range(4):
        m, s = mean[i].item(), std[i].item()
        above, below = m + window, m - window

        def p(z):
            return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        assert on_mean[i].item() == pytest.approx((p(above / s) - p(below / s)) / s)
        assert on_std[i].item() == pytest.approx((-above * p(above / s) + below * p(below / s)) / s**2)


def slow_penalty(seen_at, window, eta):
    """Eq. 16-18 from the recorded margins: plain sums over samples and positions, one channel and step at a time."""
    per_site = []
    for seen in seen_at:
        steps, samples, channels = seen.margins.shape[:3]
        omegas = []
        for t in range(steps):
            for c in range(channels):
                values = [v for n in range(samples) for v in seen.margins[t, n, c].double().flatten().tolist()]
                mean = sum(values) / len(values)
                std = math.sqrt(max(1e-6, sum((v - mean) ** 2 for v in values) / len(values)))
                omegas.append(phi((mean + window) / std) - phi((mean - window) / std))
        per_site.append(sum(omegas) / len(omegas))
    return eta * sum(per_site) / len(per_site)


@pytest.mark.parametrize(
    ("surrogate", "window"),
    [(Triangle(), 1.0), (Triangle(0.4), 0.4), (Rectangular(1.0), 0.5), (Sigmoid(4.0), 1.0), (Sigmoid(10.0), 0.4)],
    ids=str,
)
@pytest.mark.parametrize("which", ["normed", "all"])
def test_penalty_is_the_slow_sum_with_the_surrogates_window(surrogate, window, which):
    model = new_model(surrogate).train()
    with probe(model, "moments", "margins") as record:
        model(some_images())
    found = MPDSGR(eta=0.7, sites=which).penalty(after_forward(record, 0.9))
    assert found.shape == () and found.requires_grad
    taken = list(record.values()) if which == "all" else [record["body.0"], record["body.2"]]  # the last has no norm
    assert len(record) == 3 and found.item() == pytest.approx(slow_penalty(taken, window, 0.7), rel=1e-4)


def made_record(mean, std, window=1.0, count=5):
    """A site's record with these moments [T, C]."""
    return SiteRecord(count=count, window=window, total=count * mean, total_of_squares=count * (mean**2 + std**2))


def some_moments():
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    std = 0.2 + torch.rand(3, 4, generator=generator, dtype=torch.float64)
    return mean.requires_grad_(), std.requires_grad_()


def penalty_of(defense, mean, std):
    return defense.penalty(after_forward(Record(a=made_record(mean, std)), 0.9))


@pytest.mark.parametrize("factor", [0.5, 1.3])
def test_the_spreads_window_sees_margins_up_to_a_common_factor_in_value_and_gradient(factor):
    mean, std = some_moments()
    defense = MPDSGR(eta=1.0, width="spread", factor=factor)
    found = penalty_of(defense, mean, std)
    ratios = (mean / std).flatten().tolist()
    assert found.item() == pytest.approx(sum(phi(r + factor) - phi(r - factor) for r in ratios) / 12)
    torch.testing.assert_close(penalty_of(defense, 7 * mean, 7 * std), found)
    on_mean, on_std = torch.autograd.grad(found, (mean, std))
    # Euler's theorem for a function of degree 0, channel by channel; the fixed window rewards scale.
    torch.testing.assert_close(mean * on_mean + std * on_std, torch.zeros_like(mean))
    fixed = penalty_of(MPDSGR(eta=1.0), mean, std)
    on_mean, on_std = torch.autograd.grad(fixed, (mean, std))
    assert (mean * on_mean + std * on_std < -1e-4).all()
    assert penalty_of(MPDSGR(eta=1.0), 7 * mean, 7 * std) < 0.3 * fixed


def test_a_larger_gain_alone_lowers_the_fixed_windows_overlap_and_raises_the_spreads():
    # u ~ N(0, 0.5^2) before the gain c, threshold 1: v ~ N(-1, (c/2)^2).
    def at(defense, gain):
        return penalty_of(defense, torch.full((1, 1), -1.0), torch.full((1, 1), 0.5 * gain)).item()

    assert at(MPDSGR(), 3.0) < at(MPDSGR(), 1.0)
    assert at(MPDSGR(width="spread"), 3.0) > at(MPDSGR(width="spread"), 1.0)
    # What it rewards instead is silence.
    assert at(MPDSGR(width="spread"), 0.2) < 0.1 * at(MPDSGR(width="spread"), 1.0)


@pytest.mark.parametrize("width", ["surrogate", "spread"])
def test_detached_std_leaves_the_value_and_the_means_gradient(width):
    mean, std = some_moments()
    attached, detached = (
        MPDSGR(eta=1.0, width=width, statistics=statistics) for statistics in ("attached", "detached-std")
    )
    first, second = penalty_of(attached, mean, std), penalty_of(detached, mean, std)
    assert torch.equal(first, second)
    # Eq. 14 alone reaches the sums: at a fixed std, dOmega/dtotal is dOmega/dmean over the count.
    (by_mean,) = torch.autograd.grad(penalty_of(detached, mean, std.detach()), mean)
    window = 1.0 if width == "surrogate" else std.detach()
    free = mean.detach().requires_grad_()
    (expected,) = torch.autograd.grad(overlap(free, std.detach(), window).mean(), free)
    torch.testing.assert_close(by_mean, expected)
    assert torch.autograd.grad(penalty_of(detached, mean, std), std, allow_unused=True)[0] is None
    assert torch.autograd.grad(first, std)[0].abs().max() > 1e-3


def test_the_factor_scales_the_surrogates_window():
    mean, std = some_moments()
    wide = Record(a=made_record(mean, std, window=0.6))
    narrow = Record(a=made_record(mean, std, window=0.3))
    half = MPDSGR(factor=0.5).penalty(after_forward(wide, 0.9))
    torch.testing.assert_close(half, MPDSGR().penalty(after_forward(narrow, 0.9)))


def test_after_reset_watches_what_is_carried_on():
    model = new_model().train()
    defense = MPDSGR(eta=1.0, potential="after-reset")
    assert defense.needs.after_reset and not MPDSGR().needs.after_reset
    found = {}
    for chosen in (defense, MPDSGR(eta=1.0)):
        torch.manual_seed(0)
        with watch(model, chosen.needs) as record:
            model(some_images())
        found[chosen.potential] = chosen.penalty(after_forward(record, 0.9)).item()
    assert found["after-reset"] != pytest.approx(found["before-reset"], rel=1e-3)
    with pytest.raises(SpikeproofError, match="before reset"):
        compose([defense, TGO()])
    assert compose([defense, TGO(potential="after-reset")]).after_reset


def test_the_attacks_window_is_the_measured_change_and_stays_in_the_memory():
    model, images, labels = new_model(), some_images(), torch.arange(6)
    defense = MPDSGR(eta=1.0, warmup=0.0, sites="all", width="attack", factor=2.0, attack_eps="0.1", every=2)
    step = step_on(model, images, labels)
    defense.begin(step)
    with watch(model.train(), defense.needs) as step.record:
        model(images)
    found = defense.penalty(step)
    expected = []
    for name, seen in step.record.items():
        mean, std = seen.moments()
        window = 2 * step.memory[f"MPDSGR change {name}"]
        assert window.shape == mean.shape[1:] and (window > 0).any()
        expected.append(overlap(mean, std, window).mean())
    torch.testing.assert_close(found, torch.stack(expected).mean())
    less = MPDSGR(eta=1.0, warmup=0.0, sites="all").penalty(step).item()
    assert found.item() < less  # an attack moves margins by less than the window


@pytest.mark.parametrize("width", ["surrogate", "spread", "attack"])
def test_following_its_gradient_empties_the_window(width):
    model, images = new_model(), some_images(32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5 if width == "surrogate" else 2.0)
    # In surrogates', spreads' and changes' widths; the last are small.
    defense = MPDSGR(
        eta=1.0,
        warmup=0.0,
        sites="all",
        width=width,
        factor=3.0 if width == "attack" else 1.0,
        attack_eps=0.1,
        every=100,
    )
    penalties, step = [], step_on(model, images, torch.arange(32) % 10)
    for _ in range(12):
        defense.begin(step)
        with probe(model.train(), "moments") as step.record:
            model(images)
        penalty = defense.penalty(step)
        optimizer.zero_grad()
        penalty.backward()
        if not penalties:
            kinds = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        penalties.append(penalty.item())
        optimizer.step()
    # Every batch norm gain, and every weight before the last site; the readout is not regularised.
    assert {"stem.weight", "body.0.norm.weight", "body.1.weight", "body.2.norm.weight", "body.4.weight"} <= kinds
    assert "body.6.weight" not in kinds
    assert penalties[-1] < 0.9 * penalties[0]


def test_a_warm_up_rises_linearly():
    model = new_model()
    with probe(model, "moments") as record:
        model(some_images())
    full = MPDSGR(eta=0.4).penalty(after_forward(record, 0.9)).item()
    assert full > 0
    assert MPDSGR(eta=0.4, warmup=0.0).penalty(after_forward(record, 0.0)).item() == pytest.approx(full)
    rising = MPDSGR(eta=0.4, warmup=0.2)
    for progress, share in ((0.0, 0.0), (0.05, 0.25), (0.1, 0.5), (0.2, 1.0), (0.99, 1.0)):
        assert rising.penalty(after_forward(record, progress)).item() == pytest.approx(share * full)


@pytest.mark.parametrize(
    "bad",
    [
        {"eta": -0.1},
        {"eta": math.nan},
        {"eta": math.inf},
        {"warmup": 1.0},
        {"warmup": -0.1},
        {"warmup": math.nan},
        {"factor": 0.0},
        {"factor": math.nan},
        {"attack_eps": 0.0},
        {"every": 0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses(*bad):
        MPDSGR(**bad)


@pytest.mark.parametrize(
    "bad",
    [{"sites": "some"}, {"dose": "sum"}, {"statistics": "none"}, {"potential": "after"}, {"width": "std"}],
    ids=str,
)
def test_unknown_choices_are_refused(bad, refuses):
    defense = MPDSGR()
    for field, value in bad.items():  # the tests' own check of types would stop it at the door
        object.__setattr__(defense, field, value)
    with refuses(*bad, *bad.values(), "one of"):
        defense.__post_init__()


@pytest.mark.parametrize("width", ["surrogate", "spread"])
def test_by_channel_the_dose_is_that_of_64_channels_whatever_the_width(width):
    """Twice the channels, of the same moments: the mean is the same, and each channel's pull is halved or is not."""
    mean, std = some_moments()
    wide = mean.repeat(1, 2), std.repeat(1, 2)
    for dose, times, pull in (("mean", 1, 0.5), ("channel", 2, 1)):
        defense = MPDSGR(eta=1.0, dose=dose, width=width)
        narrow_value, wide_value = penalty_of(defense, mean, std), penalty_of(defense, *wide)
        torch.testing.assert_close(wide_value, times * narrow_value)
        (of_narrow,) = torch.autograd.grad(narrow_value, std, retain_graph=True)
        leaves = [part.detach().requires_grad_() for part in wide]
        (of_wide,) = torch.autograd.grad(penalty_of(defense, *leaves), leaves[1])
        torch.testing.assert_close(of_wide[:, :4], pull * of_narrow)
        assert of_narrow.abs().max() > 1e-3 or width == "spread"
    by_64, by_4 = (penalty_of(MPDSGR(eta=1.0, dose=dose, width=width), mean, std) for dose in ("channel", "mean"))
    torch.testing.assert_close(by_64, by_4 * 4 / 64)


@pytest.mark.parametrize("make", [MPDSGR, lambda **choice: TGO(sigma=0.0, **choice)])
def test_a_network_without_batch_norm_says_what_to_give(make, refuses):
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25)
    for site in model.modules():
        if isinstance(site, Site):
            site.norm = None
    with refuses("batch norm", "sites='all'"):
        make().install(model)
    make(sites="all").install(model)
