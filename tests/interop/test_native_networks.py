"""``adapt(net, native=True)``: spikeproof's neurons in a user's network, equal to the library's own or refused."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

pytest.importorskip("spikingjelly")
pytest.importorskip("snntorch")
import snntorch as snn
from jelly_twins import NEURONS, Unrolled
from safetensors.torch import load_file
from snntorch import surrogate as snn_surrogate
from spikingjelly.activation_based import functional, layer, neuron, surrogate

import spikeproof as sp
from interop_nets import STEPS, jelly
from spikeproof import defenses
from spikeproof.attacks import Crafting, crafting
from spikeproof.attacks.objective import cross_entropy_of
from spikeproof.data import load_data
from spikeproof.gradients import SOURCES, TUNABLES
from spikeproof.interop.same import LateReset, like_ours
from spikeproof.interop.surrogate import TheirSurrogate
from spikeproof.spiking import probe, sites
from spikeproof.spiking.ops.reference import fire

T = 3


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=8, train_limit=32)


def images(count=4):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def seeded(make):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make()


def small(make, mode="s"):
    """Two spiking layers of SpikingJelly, in either of its modes, and a readout."""

    def built():
        given = {"step_mode": mode}
        parts = [layer.Flatten(**given), layer.Linear(64, 12, **given), make(step_mode=mode)]
        parts += [layer.Linear(12, 9, **given), make(step_mode=mode), layer.Linear(9, 5, **given)]
        nn.init.normal_(parts[1].weight, std=0.4)
        nn.init.normal_(parts[3].weight, mean=0.2, std=0.6)
        return nn.Sequential(*parts)

    return seeded(built)


class Leaky(nn.Module):
    """As snnTorch's tutorials have it; the last layer is read by its potential and is no site."""

    def __init__(self, **given):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(64, 12), snn.Leaky(**({"beta": 0.8, "reset_mechanism": "zero"} | given))
        self.fc2, self.lif2 = nn.Linear(12, 5), snn.Leaky(beta=0.9)
        nn.init.normal_(self.fc1.weight, std=0.5)

    def forward(self, given):
        mem1, mem2, potentials = self.lif1.reset_mem(), self.lif2.reset_mem(), []
        for _ in range(T):
            spk1, mem1 = self.lif1(self.fc1(given.flatten(1)), mem1)
            _, mem2 = self.lif2(self.fc2(spk1), mem2)
            potentials.append(mem2)
        return torch.stack(potentials)


def answers(call, net, given):
    """Logits, and the gradients of a sum of them by the images and every weight."""
    leaf = given.clone().requires_grad_()
    logits = call(leaf)
    weights = torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view_as(logits)
    return [logits, *torch.autograd.grad((logits * weights).sum(), [leaf, *net.parameters()], materialize_grads=True)]


def agree(found, expected, share):
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= share * other.abs().max().clamp_min(1e-12)
    assert expected[1].abs().max() > 0  # the image's gradient says something


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("name", [name for name in NEURONS if name != "learned tau"])
def test_it_is_spikingjellys_own_network(name, mode):
    net = small(NEURONS[name][2], mode).double().eval()

    def theirs(given):
        functional.reset_net(net)
        if mode == "m":
            return net(given.repeat(T, 1, 1, 1, 1)).mean(0)
        return torch.stack([net(given) for _ in range(T)]).mean(0)

    expected = answers(theirs, net, images().double())
    functional.reset_net(net)
    native = sp.adapt(net, num_steps=T, native=True)
    agree(answers(native, net, images().double()), expected, 1e-10)
    with probe(native, "rate") as record:
        native(images().double())
    assert all(0 < seen.rate < 1 for seen in record.values()), "a network that shows nothing"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"reset_delay": False},
        {"beta": 1.0, "reset_mechanism": "subtract"},
        {"reset_mechanism": "subtract"},
        {"spike_grad": snn_surrogate.fast_sigmoid(slope=5)},
        {"threshold": 0.7},
    ],
    ids=lambda given: " and ".join(given) or "as it is",
)
def test_it_is_snntorchs_own_network(given):
    """Its backward works in float32, so it is held to those digits here; the check at the call goes further."""
    net = seeded(lambda: Leaky(**given)).eval()
    agree(
        answers(sp.adapt(net, num_steps=T, native=True), net, images()),
        answers(lambda x: net(x).mean(0), net, images()),
        1e-5,
    )


def test_a_late_reset_takes_the_threshold_off_after_the_decay():
    """u[t] = decay u[t-1] - threshold s[t-1] + x[t], spike by spike."""
    torch.manual_seed(0)
    currents, neurons = torch.rand(40, 7, dtype=torch.float64), LateReset(decay=0.8, threshold=0.7, reset="soft")
    fired = fire(currents, neurons, surrogate=neurons.surrogate, want_margins=True)
    potential, spikes = torch.zeros(7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)
    for step, current in enumerate(currents):
        potential = 0.8 * potential - 0.7 * spikes + current
        spikes = (potential >= 0.7).double()
        assert torch.equal(fired.spikes[step], spikes)
        torch.testing.assert_close(fired.margins[step], potential - 0.7, rtol=0, atol=1e-12)
    assert 0 < fired.spikes.mean() < 1


@pytest.mark.parametrize("mode", ["s", "m"])
def test_blocks_with_a_skip_that_is_added_in_place(mode):
    """As residual networks have it; each of the sums changes a tensor that a site or the user's layer gave."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.fires = layer.Linear(64, 64, step_mode=mode), NEURONS["LIF"][2](step_mode=mode)
            nn.init.normal_(self.linear.weight, std=0.4)

        def forward(self, x):
            out = self.fires(self.linear(x))
            out += x
            return out.mul_(0.5)

    def built():
        parts = [layer.Flatten(step_mode=mode), Block(), Block(), layer.Linear(64, 5, step_mode=mode)]
        inner = nn.Sequential(*parts)
        return inner if mode == "s" else Unrolled(inner, T)

    net = seeded(built).double().eval()
    models = [sp.adapt(net, num_steps=T, native=native) for native in (True, False)]
    agree(*(answers(model, net, images().double()) for model in models), 1e-10)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (surrogate.ATan(2.0), "ArcTan(alpha=2.0)"),
        (surrogate.Sigmoid(4.0), "Sigmoid(alpha=4.0)"),
        (surrogate.PiecewiseQuadratic(2.0), "Triangle(gamma=0.5)"),
        (surrogate.Erf(2.0), "Gaussian(sigma=0.35"),
        (surrogate.SoftSign(2.0), "SuperSpike(beta=2.0)"),
        (snn_surrogate.fast_sigmoid(slope=25), "SuperSpike(beta=25.0)"),
        (surrogate.PiecewiseLeakyReLU(), "TheirSurrogate("),
        (surrogate.PiecewiseExp(2.0), "TheirSurrogate("),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_surrogate_that_kernels_know(make, found):
    assert repr(like_ours(TheirSurrogate(make))).startswith(found)


def test_a_surrogate_that_they_do_not_know_is_kept():
    net = small(lambda **given: neuron.IFNode(surrogate_function=surrogate.PiecewiseExp(2.0), **given)).eval()
    native = sp.adapt(net, num_steps=T, native=True)
    agree(answers(native, net, images()), answers(sp.adapt(net, num_steps=T), net, images()), 1e-5)
    assert {site.kernels for site in sites(native).values()} == {"reference"}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_see_what_they_saw(name):
    """One attack step by each source, beside that of the adapted network."""
    net = small(NEURONS["LIF"][2]).double().eval()
    labels, found = torch.arange(4), []
    for native in (False, True):
        model = sp.adapt(net, num_steps=T, native=native)
        model(images().double())
        source = SOURCES[name].make({tunable.name: tunable.default for tunable in TUNABLES.values()})
        with crafting(model, Crafting(source=source, precision="fp32")) as craft:
            found.append(craft.gradient(images().double(), cross_entropy_of(labels, known=True))[0])
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


class Reads(nn.Module):
    """What a user may write round two layers; ``how`` is one thing that cannot be converted."""

    def __init__(self, how):
        super().__init__()
        self.how, self.one, self.fires, self.two = how, nn.Linear(64, 8), neuron.IFNode(), nn.Linear(8, 5)
        nn.init.normal_(self.one.weight, std=0.5)

    def forward(self, given):
        outputs, last = [], 0
        for _ in range(T):
            current = self.one(given.flatten(1))
            if self.how == "values" and current.sum() > 1e9:
                current = current * 0
            if self.how == "random":
                current = current + 0 * torch.rand(8)
            spikes = self.fires(current + (0.1 * last if self.how == "recurrent" else 0))
            last = spikes
            outputs.append(self.two(spikes) + (torch.as_tensor(self.fires.v).mean() if self.how == "potential" else 0))
        return torch.stack(outputs)


@pytest.mark.parametrize(
    ("how", "pieces"),
    [
        ("values", ("cannot be followed", "leave native=True out")),
        ("random", ("draws random numbers outside of layers",)),
        ("recurrent", ("What enters fires depends on its own spikes",)),
        ("potential", ("with our neuron at fires alone", "float64")),
    ],
)
def test_code_that_cannot_be_converted(how, pieces, refuses):
    net = Reads(how).eval()
    state = {key: part.clone() for key, part in net.state_dict().items()}
    native = sp.adapt(net, num_steps=T, native=True)
    for _ in range(2):  # it stays refused
        with refuses(*pieces):
            native(images())
    assert sp.adapt(net, num_steps=T)(images()).shape == (4, 5)
    assert all(torch.equal(part, state[key]) for key, part in net.state_dict().items())


class Slow(neuron.LIFNode):
    """A user's own neuron, which says nothing of how it differs."""


@pytest.mark.parametrize(
    ("make", "pieces"),
    [
        (lambda: small(NEURONS["learned tau"][2]), ("layer 2", "ParametricLIFNode learns its time constant")),
        (lambda: small(lambda **given: Slow(**given)), ("layer 2", "Slow may differ from the LIFNode")),
        (lambda: small(lambda **given: neuron.QIFNode(**given)), ("QIFNode is no neuron of one potential",)),
        (lambda: Leaky(reset_mechanism="subtract", reset_delay=False), ("layer lif1", "reset_mechanism='zero'")),
        (lambda: Leaky(reset_mechanism="none"), ("it has no reset",)),
        (lambda: Leaky(learn_beta=True), ("learns its beta",)),
        (lambda: Leaky(beta=torch.linspace(0.5, 0.9, 12)), ("differ in beta",)),
    ],
    ids=["learned tau", "subclass", "quadratic", "subtract", "none", "beta", "betas"],
)
def test_a_layer_without_a_counterpart_is_named(make, pieces, refuses):
    with refuses("native=True", *pieces, "Leave native=True out"):
        sp.adapt(make().eval(), num_steps=T, native=True)(images())


def test_norse_sinabs_and_own_code_have_none(refuses):
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

    net = nn.Sequential(nn.Flatten(), Step(), nn.Linear(64, 10))
    with refuses("SpikingJelly and snnTorch", "layer 1"):
        sp.adapt(net, num_steps=1, spikes=Fire, native=True)(images())


def test_copies_and_the_users_network():
    net = small(NEURONS["LIF"][2]).eval()
    modules = [id(module) for module in net.modules()]
    native = sp.adapt(net, num_steps=T, native=True)
    expected = native(images())
    assert native.net is net and [id(module) for module in net.modules()] == modules
    next(iter(sites(native).values())).gain = nn.Parameter(torch.full((1, 1), 3.0))
    other = native(images())
    assert not torch.equal(other, expected)
    for copied in (copy.deepcopy(native), pickle.loads(pickle.dumps(native))):
        assert torch.equal(copied(images()), other)
        assert copied.net is not net and not any(a is b for a in copied.parameters() for b in native.parameters())
    assert torch.equal(sp.adapt(net, num_steps=T)(images()), expected)


def test_what_a_container_does_in_training_is_done_in_training():
    class Drops(nn.Sequential):
        def forward(self, given):
            return dropout(super().forward(given), 0.5, self.training)

    net = Drops(*small(NEURONS["LIF"][2])).eval()
    native = sp.adapt(net, num_steps=T, native=True)
    assert torch.equal(native(images()), native(images()))
    native.train()
    assert not torch.equal(native(images()), native(images()))
    assert torch.equal(native.eval()(images()), native(images()))


def two_steps(model, digits, *listed, **changes):
    settings = {"epochs": 1, "batch_size": 16, "augmentation": None, "device": "cpu", "learning_rate": 0.01}
    out, resume = changes.pop("out", None), changes.pop("resume", False)
    config = sp.TrainConfig(**(settings | changes))
    return sp.train(model, digits, listed, config, out=out, resume=resume, show=False)


# Beside those that train every adapted network: what changes neurons. FEEL's frequencies are a coding, and that is the
# network's own.
CHANGE = {
    **{name: defenses.DEFENSES[name] for name in ("stog", "ndl", "randhet", "hosnn", "learnable-width", "lsg")},
    **{name: defenses.DEFENSES[name] for name in ("dspike", "inflor", "hire", "dlif")},
    "feel": lambda: sp.FEEL(frequency=False),
}


def triangles():
    net = jelly()
    for module in net.modules():
        if isinstance(module, neuron.LIFNode):
            module.surrogate_function = surrogate.PiecewiseQuadratic(1.0)
    return net


@pytest.mark.sweep
@pytest.mark.parametrize("name", CHANGE)
def test_a_defense_that_changes_neurons_trains_it(name, digits, tmp_path, refuses):
    """And its run folder gives back both, the user's weights and what is at the sites."""
    net = triangles()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    run = two_steps(sp.adapt(net, num_steps=STEPS, native=True), digits, CHANGE[name](), out=tmp_path / "run")
    assert net.state_dict().keys() == before.keys()
    assert all(not torch.equal(value, before[key]) for key, value in net.named_parameters() if "weight" in key)
    held = load_file(tmp_path / "run" / "model.safetensors")
    assert {key: held[key] for key in before}.keys() == before.keys()
    ours = held.keys() - before.keys()
    assert ours and all(key.startswith("spikeproof.sites.") for key in ours)
    with pytest.raises(RuntimeError, match="spikeproof.sites"):
        triangles().load_state_dict(held)
    with refuses("native=True", "at its sites", "resume=True"):
        sp.load_model(tmp_path / "run" / "model.safetensors")
    again = sp.adapt(triangles(), num_steps=STEPS, native=True)
    two_steps(again, digits, CHANGE[name](), out=tmp_path / "run", resume=True)
    one, other = run.model.state_dict(), again.state_dict()
    assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_defense_that_changes_none_leaves_the_users_keys_alone(digits, tmp_path):
    net = jelly()
    run = two_steps(sp.adapt(net, num_steps=STEPS, native=True), digits, sp.TGO(sigma=0.2), out=tmp_path / "run")
    held = load_file(tmp_path / "run" / "model.safetensors")
    fresh = jelly(seed=5)
    fresh.load_state_dict(held)
    assert torch.equal(sp.adapt(fresh, num_steps=STEPS, native=True).eval()(images()), run.model.eval()(images()))


def test_the_coding_stays_the_networks_own(digits, refuses):
    for native in (False, True):
        with refuses("FEEL changes the coding", "create_model", "frequency=False"):
            two_steps(sp.adapt(jelly(), num_steps=STEPS, native=native), digits, sp.FEEL())


def test_a_run_of_one_kind_does_not_go_on_as_the_other(digits, tmp_path, refuses):
    two_steps(sp.adapt(jelly(), num_steps=STEPS), digits, out=tmp_path / "run")
    with refuses("other settings", "native"):
        two_steps(sp.adapt(jelly(), num_steps=STEPS, native=True), digits, out=tmp_path / "run", resume=True)


def test_it_is_audited(digits):
    native = sp.adapt(jelly(), num_steps=STEPS, native=True)
    config = sp.AuditConfig(battery=None, trials=("PGD-2", "SA-PGD-2@ASSG"), samples=6, eps=0.1, diagnostics=False)
    found = sp.audit(native, digits.test, config, show=False)
    assert found.network.library == "SpikingJelly" and found.network.num_steps == STEPS
