"""Every defense trains an adapted network or says why not; where there are float64 twins, it moves them alike."""

import logging

import pytest
import torch

pytest.importorskip("spikingjelly")
from jelly_twins import NEURONS, Unrolled, layers, with_gain
from networks import STEPS as TWIN_STEPS
from networks import agree, awake
from torch import nn

import spikeproof as sp
from interop_nets import STEPS, SnnTorchNet, adapted, jelly
from spikeproof import defenses
from spikeproof.data import Data, ImageSet, load_data
from spikeproof.defenses import check_foreign
from spikeproof.spiking import sites

# By name, what each does of itself: nothing more, or with a word of what stays as it is.
TRAIN = ("at", "free", "trades", "mart", "sr", "reg", "dsd", "recdis", "rmp-loss", "mpd-sgr", "tgo", "awp", "ema")
TRAIN_IN_PART = ("hire", "dlif")
NATIVE = ("stog", "ndl", "randhet", "hosnn", "learnable-width", "lsg", "dspike", "inflor")
REFUSED = (*NATIVE, "feel")


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=8, train_limit=32)


def two_steps(model, digits, *listed, **changes):
    settings = {"epochs": 1, "batch_size": 16, "augmentation": None, "device": "cpu", "learning_rate": 0.01}
    return sp.train(model, digits, listed, sp.TrainConfig(**(settings | changes)), show=False)


def test_none_is_forgotten():
    assert sorted((*TRAIN, *TRAIN_IN_PART, *REFUSED)) == sorted(defenses.DEFENSES)


@pytest.mark.parametrize("name", [*TRAIN, *TRAIN_IN_PART])
def test_it_trains(name, digits, caplog):
    net = jelly()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modules = [id(module) for module in net.modules()]
    with caplog.at_level(logging.WARNING, "spikeproof"):
        run = two_steps(sp.adapt(net, num_steps=STEPS), digits, defenses.DEFENSES[name]())
    assert net.state_dict().keys() == before.keys()
    assert [id(module) for module in net.modules()] == modules
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    assert all(not torch.equal(value, before[key]) for key, value in net.named_parameters() if "weight" in key)
    assert all(site.request is None and site.override is None for site in sites(run.model).values())
    said = [record.getMessage() for record in caplog.records if record.name.startswith("spikeproof")]
    assert len(said) == (name in TRAIN_IN_PART)
    assert all("SpikingJelly's own" in each and "stay as they are" in each for each in said)


@pytest.mark.parametrize("name", REFUSED)
def test_it_says_why_not(name, digits, refuses, tmp_path):
    defense = defenses.DEFENSES[name]()
    config = sp.TrainConfig(epochs=1, batch_size=16, augmentation=None, device="cpu")
    whose = "SpikingJelly's own here" if name in NATIVE else "the network's own here"
    way = "native=True" if name in NATIVE else "frequency=False"
    with refuses(f"{defense.label} changes ", whose, way, "create_model"):
        sp.train(adapted(), digits, [defense], config, out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("defense", "pieces"),
    [
        (sp.TGO(noise="potential"), ("TGO changes", "SpikingJelly's own")),
        (sp.TGO(sigma=0.0, potential="after-reset"), ("TGO watches", "after a reset", "before-reset")),
        (sp.MPDSGR(potential="after-reset"), ("MPD-SGR watches", "after a reset")),
        (sp.RMPLoss(threshold=0.5), ("RMP-Loss has threshold=0.5", "fires at 1.0")),
    ],
    ids=["noise carried", "MC after reset", "MPD-SGR after reset", "threshold"],
)
def test_a_setting_that_it_cannot_have(defense, pieces, digits, refuses):
    with refuses(*pieces):
        two_steps(adapted(), digits, defense)


def test_noise_that_the_reset_would_not_see(digits, refuses):
    pytest.importorskip("snntorch")
    with refuses("TGO adds firing noise", "snnTorch forms the reset apart", "lif1", "sigma=0"):
        two_steps(sp.adapt(SnnTorchNet(), num_steps=STEPS), digits, sp.TGO(sites="all"))
    with refuses("TGO acts on the sites that have a batch norm", "sites='all'"):
        two_steps(sp.adapt(SnnTorchNet(), num_steps=STEPS), digits, sp.TGO(sigma=0.0))
    two_steps(sp.adapt(SnnTorchNet(), num_steps=STEPS), digits, sp.TGO(sigma=0.0, sites="all"))


def test_rmp_loss_needs_one_threshold_that_stands(digits, refuses):
    """It reads the potential off the margin, by a number that it is given once."""
    pytest.importorskip("snntorch")
    import snntorch as snn

    for given in ({"learn_threshold": True}, {"threshold": torch.linspace(0.5, 1, 32)}):
        net = SnnTorchNet()
        net.lif1 = snn.Leaky(beta=0.9, **given)
        with refuses("RMP-Loss reads the potential", "lif1 is learned or differs by neuron", "MPD-SGR"):
            two_steps(sp.adapt(net, num_steps=STEPS), digits, sp.RMPLoss())
    ours = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)
    sp.HoSNN().install(ours)
    with refuses("RMP-Loss reads the potential", "learned"):
        sp.RMPLoss().install(ours)


def test_rmp_loss_believes_the_threshold_of_own_code(digits, caplog):
    class Fire(torch.autograd.Function):
        @staticmethod
        def forward(ctx, margin):
            return (margin >= 0).to(margin.dtype)

        @staticmethod
        def backward(ctx, grad):
            return grad

    class Step(nn.Module):
        def forward(self, current):
            return Fire.apply(current - 0.2)

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Step(), nn.Linear(16, 10))
    with caplog.at_level(logging.WARNING, "spikeproof"):
        two_steps(sp.adapt(net, num_steps=1, spikes=Fire), digits, sp.RMPLoss(threshold=0.2))
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("spikeproof")]
    assert "your own code at 2 to fire at 0.2" in said


def test_layers_that_fire_several_spikes_have_no_single_margin(digits, refuses):
    model = adapted()
    model(digits.train.images[:2].float() / 255)
    next(iter(sites(model).values())).fires_many = True
    for defense in (sp.MPDSGR(), sp.TGO(sigma=0.0), sp.RecDis(), sp.RMPLoss()):
        with refuses(f"{defense.label} watches", "several spikes", "SingleSpike"):
            check_foreign([defense], model)
    check_foreign([sp.AdversarialTraining()], model)


def test_currents_that_are_not_seen(digits, refuses):
    model = adapted()
    model(digits.train.images[:2].float() / 255)
    list(sites(model).values())[-1].layout = None
    with refuses("DLIF needs the currents"):
        check_foreign([sp.DLIF()], model)
    check_foreign([sp.DLIF(alpha=0.0)], model)


def test_noise_makes_another_network_and_is_drawn_in_training_alone(digits):
    plain, noisy = (two_steps(adapted(), digits, *given) for given in ([], [sp.TGO(lambda_max=0.0, sigma=0.5)]))
    assert not torch.equal(plain.model.net[0].weight, noisy.model.net[0].weight)
    images = digits.test.images[:4].float() / 255
    assert torch.equal(noisy.model(images), noisy.model(images))


def test_sr_drops_the_same_in_both_forwards(digits):
    """Dropout moves half of the neurons; what SR measures is the step between two images, which is far smaller."""
    from spikingjelly.activation_based import layer

    def dropping(p):
        net = jelly()
        net.insert(8, layer.Dropout(p))
        return sp.adapt(net, num_steps=STEPS)

    runs = [two_steps(dropping(p), digits, sp.SR(strength=1.0, step=1e-6)) for p in (0.0, 0.5)]
    still, dropped = (run.metrics[0]["penalties"]["SR"] for run in runs)
    assert dropped < 10 * still + 1e-3


def twins(images, labels, name="LIF"):
    """One of ours and its twin of SpikingJelly, in float64, and data of random images."""
    neuron, gain, make = NEURONS[name]
    model, _, _ = awake("conv", neuron)
    with_gain(model, gain)
    net = Unrolled(layers(model, make, "m").double(), TWIN_STEPS)
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    theirs = sp.adapt(net, num_steps=TWIN_STEPS, mean=mean, std=std).double()
    torch.manual_seed(1)
    drawn = [torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8) for count in (images, 4, 4)]
    splits = [ImageSet(each, torch.arange(len(each)) % 4, tuple("abcd")) for each in drawn]
    return model, theirs, Data("random", *splits, mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize("name", ["IF", "LIF"])
@pytest.mark.parametrize(
    ("defense", "steps"),
    [
        (None, 2),
        (sp.AdversarialTraining(eps=0.05), 1),
        (sp.AdversarialTraining(eps=0.05, attack="pgd"), 1),
        (sp.FreeAdversarialTraining(eps=0.05), 1),
        (sp.TRADES(eps=0.05, start_std=0.1), 1),
        (sp.MPDSGR(eta=1.0, warmup=0.0), 2),
        (sp.TGO(lambda_max=1.0, sigma=0.0), 2),
        (sp.SR(strength=0.01), 1),
        (sp.RecDis(), 2),
        (sp.RMPLoss(), 2),
        (sp.AWP(gamma=0.05), 1),
        (sp.REG(), 1),
        (sp.DSD(), 1),
    ],
    ids=lambda value: getattr(value, "label", None) or ("plain" if value is None else f"{value}"),
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_step_moves_the_twins_weights_equally(defense, steps, name, optimizer):
    ours, theirs, data = twins(8 * steps, 4, name)
    listed = [] if defense is None else [defense]
    config = {"epochs": 1, "batch_size": 8, "augmentation": None, "device": "cpu", "precision": "fp32"}
    rate = {"sgd": 0.1, "adam": 1e-3}[optimizer]
    start = [each.weight.detach().clone() for each in weighted(ours)]
    for model in (ours, theirs):
        sp.train(model, data, listed, sp.TrainConfig(**config, optimizer=optimizer, learning_rate=rate), show=False)
    moved = [(a.weight - at, b.weight - at) for a, b, at in zip(weighted(ours), weighted(theirs), start, strict=True)]
    assert len(moved) > 2
    for expected, found in moved:
        agree(found.detach(), expected.detach(), 1e-10)


def weighted(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
