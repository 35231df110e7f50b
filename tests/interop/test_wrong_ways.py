"""Wrong ways to hand a network over: each is refused in a sentence that says how to mend it, before any number."""

import pytest
import torch
from loops import CallsFunction, Fire, HoldsFunction, Merged
from torch import nn

import spikeproof as sp
from digit_networks import STEPS, network
from spikeproof.attacks import fgsm, judge
from spikeproof.spiking import Site

pytest.importorskip("spikingjelly")
from jelly_twins import NEURONS, Unrolled, layers
from spikingjelly.activation_based import encoding, layer, neuron, surrogate

T = STEPS["tiny"]


def jelly(mode="s"):
    return layers(network("tiny"), NEURONS["IF"][2], mode).eval()


def images(count=4):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Returns(nn.Module):
    """A network whose output is made into something else."""

    def __init__(self, inner, made):
        super().__init__()
        self.inner, self.made = inner, made

    def forward(self, given):
        return self.made(self.inner(given))


def test_state_that_is_kept(refuses):
    class Keeps(HoldsFunction):
        trace = 0.0

        def forward(self, currents):
            self.trace = 0.5 * self.trace + currents.detach().mean()
            return self.act(currents.mean(1) - 0.3, 1.0) * self.trace

    class Sized(HoldsFunction):
        potential = 0.0

        def forward(self, currents):
            self.potential = 0.5 * self.potential + currents.mean(1)
            return self.act(self.potential - 0.3, 1.0)

    def around(kind):
        return nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 64)), kind(1), nn.Linear(64, 10))

    given, labels = images(), torch.zeros(4, dtype=torch.int64)
    for network_with_state in (around(Keeps), sp.adapt(around(Keeps), num_steps=1, spikes=Fire)):
        with refuses("keeps its state", "spikeproof.adapt(net, num_steps=T)"):
            fgsm(network_with_state, given, labels, sp.Linf(0.1))
    with refuses("keeps a state that adapt does not know", "Reset"):
        sp.adapt(around(Sized), num_steps=1, spikes=Fire)(given)
    with refuses("adapt(net, num_steps=T)"):
        judge(jelly(), given)


def test_a_tuple(refuses):
    net = Returns(Unrolled(jelly("m"), T), lambda logits: (logits, logits.softmax(1)))
    with refuses("a tuple of 2", "adapt(net, output=0)", "(3, 10), (3, 10)"):
        sp.adapt(net, num_steps=T)(images())
    with refuses("output=2 is no place", "tuple of 2"):
        sp.adapt(net, num_steps=T, output=2)(images())
    assert sp.adapt(net, num_steps=T, output=0)(images()).shape == (4, 10)
    with refuses("output=1 was given", "(3, 10) and no tuple", "leave output out"):
        sp.adapt(Unrolled(jelly("m"), T), num_steps=T, output=1)(images())
    with refuses("returns a dict", "runs=lambda"):
        sp.adapt(Returns(Unrolled(jelly("m"), T), lambda logits: {"logits": logits}), num_steps=T)(images())


def test_an_output_with_steps(refuses):
    net = jelly("m")
    with refuses("[T, N, K]", "runs=lambda"):
        sp.adapt(Returns(net, lambda out: out.unsqueeze(-1)), num_steps=T)(images())
    outputs = net(images().repeat(T, 1, 1, 1, 1))
    for reads, expected in {"mean": outputs.mean(0), "sum": outputs.sum(0), "last": outputs[-1]}.items():
        assert torch.equal(sp.adapt(net, num_steps=T, reads=reads)(images()), expected)
    with refuses("mean, sum, last, max", "'median'"):
        sp.adapt(net, num_steps=T, reads="median")


def test_wrong_steps(refuses):
    with refuses("asked to run 5 steps", f"every layer runs {T} steps", "num_steps"):
        sp.adapt(Unrolled(jelly("m"), T), num_steps=5)(images())
    with refuses("num_steps", "0"):
        sp.adapt(jelly(), num_steps=0)
    with refuses("takes images [N,C,H,W]", "unrolls"):
        sp.adapt(jelly(), num_steps=T)(images().repeat(T, 1, 1, 1, 1))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript(refuses):
    """Alone and as a part: what forms its spikes cannot be reached."""
    scripted = torch.jit.trace(nn.Linear(64, 10), torch.rand(1, 64))
    for net in (scripted, nn.Sequential(nn.Flatten(), scripted)):
        with refuses("TorchScript network cannot be adapted", "scripted or traced from"):
            sp.adapt(net, num_steps=T)
        with refuses("network of TorchScript cannot be audited", "scripted or traced from"):
            sp.audit(net, sp.load_data("digits", validation=50).test, show=False)


def test_an_encoder_inside(refuses):
    with refuses("No gradient of the image reaches", "encoder"):
        sp.adapt(nn.Sequential(encoding.PoissonEncoder(), *jelly()), num_steps=T)(images())


def test_spikes_without_a_surrogate(refuses):
    class Hard(torch.autograd.Function):
        @staticmethod
        def forward(ctx, margin):
            ctx.mark_non_differentiable(spikes := (margin >= 0).to(margin.dtype))
            return spikes

    class Step(nn.Module):
        def forward(self, current):
            return Hard.apply(current - 0.2)

    net = nn.Sequential(nn.Flatten(), Step(), nn.Linear(64, 10))
    with refuses("The spikes of 1 have no backward", "surrogate"):
        sp.adapt(net, num_steps=1, spikes=Hard)(images())


@pytest.mark.parametrize("kind", ["PSN", "MaskedPSN", "SlidingPSN"])
def test_parallel_neurons(kind, refuses):
    options = {"PSN": {"T": T}, "MaskedPSN": {"T": T, "k": 1, "step_mode": "m"}, "SlidingPSN": {"k": 1}}[kind]
    made = getattr(neuron, kind)(surrogate_function=surrogate.ATan(), **options)
    with refuses(f"1 is a {kind}", "all steps at once", "LIFNode"):
        sp.adapt(nn.Sequential(layer.Flatten(), made), num_steps=T)


def test_several_spikes_in_a_step(refuses):
    with refuses("1 is a ILIFNode", "several spikes"):
        sp.adapt(nn.Sequential(layer.Flatten(), neuron.ILIFNode()), num_steps=T)

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, margin):
            return (margin + 1).clamp_min(0).floor()

        @staticmethod
        def backward(ctx, grad):
            return grad

    class Step(nn.Module):
        def forward(self, current):
            return Twice.apply(5 * current - 1.0)

    net = nn.Sequential(nn.Flatten(), Step(), nn.Linear(64, 10))
    with refuses("At 1", "no margin", "spikes=..."):
        sp.adapt(net, num_steps=1, spikes=Twice)(images())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network(refuses):
    with refuses("compiled network", "_orig_mod"):
        sp.adapt(torch.compile(jelly(), backend="eager"), num_steps=T)


def test_data_parallel(refuses):
    with refuses("DataParallel", "net.module"):
        sp.adapt(nn.DataParallel(jelly()), num_steps=T)


def test_half_precision(refuses):
    for dtype in (torch.bfloat16, torch.float16):
        with refuses("half precision", "net.float()"):
            sp.adapt(jelly().to(dtype), num_steps=T)


@pytest.mark.filterwarnings("ignore:bf16 is emulated")
def test_half_precision_of_the_attack(refuses):
    adapted, labels = sp.adapt(jelly(), num_steps=T), torch.zeros(4, dtype=torch.int64)
    with refuses("runs in float32", "fp32"):
        fgsm(adapted, images(), labels, sp.Linf(0.1), how=sp.Crafting(precision="bf16"))


def test_train_mode_is_not_what_is_attacked():
    """No sentence: whoever attacks, audits or judges sets eval mode, and sets it back."""
    adapted = sp.adapt(jelly(), num_steps=T)
    expected = judge(adapted, images())
    statistics = [module.running_mean.clone() for module in adapted.modules() if isinstance(module, nn.BatchNorm2d)]
    adapted.train()
    assert torch.equal(judge(adapted, images()), expected)
    assert adapted.net.training
    after = [module.running_mean for module in adapted.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(torch.equal(*pair) for pair in zip(statistics, after, strict=True))


def test_a_network_in_train_mode_settles_without_a_trace():
    net = jelly().train()
    before = {key: part.clone() for key, part in net.state_dict().items()}
    sp.adapt(net, num_steps=T)._settle(images())
    assert all(torch.equal(part, before[key]) for key, part in net.state_dict().items())
    assert all(module.training for module in net.modules())


def test_another_range_of_pixels(refuses):
    with refuses("outside [0, 1]", "scale"):
        fgsm(sp.adapt(jelly(), num_steps=T), 255 * images(), torch.zeros(4, dtype=torch.int64), sp.Linf(0.1))


def test_another_normalisation(refuses):
    for mean, std, told in ((123.7, 58.4, "divide"), (0.5, 0.0, "positive"), ("a", 1.0, "a number")):
        with refuses("adapt", told):
            sp.adapt(jelly(), num_steps=T, mean=mean, std=std)
    with refuses("a mean and a std", "both"):
        sp.adapt(jelly(), num_steps=T, mean=0.5)
    with refuses("mean has 3", "std 1"):
        sp.adapt(jelly(), num_steps=T, mean=(0.5, 0.5, 0.5), std=(0.25,))
    with refuses("3 channels", "the images have 1"):
        sp.adapt(jelly(), num_steps=T, mean=(0.5,) * 3, std=(0.25,) * 3)(images())


def test_no_spikes(refuses):
    silent = nn.Sequential(layer.Flatten(), layer.Linear(64, 10), neuron.IFNode(v_threshold=1e3), layer.Linear(10, 10))
    with refuses("No neuron fires", "mean=", "weights"):
        sp.adapt(silent, num_steps=T)(images())
    with refuses("No spiking layer", "SpikingJelly", "spikes=..."):
        sp.adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU()), num_steps=T)
    with refuses("has an attribute 'act'"):
        sp.adapt(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), num_steps=T, spikes="act")
    with refuses("spikes of adapt", "a text or a type"):
        sp.adapt(jelly(), num_steps=T, spikes=3)


def test_weights_of_another_network(refuses):
    from spikeproof.data import load_data

    net = jelly()
    net[-1] = layer.Linear(net[-1].in_features, 5)
    with refuses("5 outputs", "10 classes"):
        sp.audit(sp.adapt(net, num_steps=T), load_data("digits").test, config=sp.AuditConfig(eps=0.1, samples=10))


def test_what_needs_no_adapting(refuses):
    with refuses("adapted already"):
        sp.adapt(sp.adapt(jelly(), num_steps=T), num_steps=T)
    with refuses("spikeproof's own sites"):
        sp.adapt(network("tiny"), num_steps=T)
    with refuses("net of adapt", "Module"):
        sp.adapt(jelly, num_steps=T)


def test_steps_that_forget(refuses):
    """A layer whose state is handed along, called as if it kept it."""

    class Forgets(nn.Module):
        def forward(self, current, potential=None):
            potential = current if potential is None else potential + current
            return Fire.apply(potential - 1.0, 1.0)

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Forgets())
    with refuses("begins anew each time"):
        sp.adapt(net, num_steps=3, spikes=Fire)(images())


def test_a_function_says_how_to_run():
    parts = [nn.Flatten(), nn.Linear(64, 20), CallsFunction(3), nn.Linear(20, 10)]
    net = Merged(nn.Sequential(*parts), 3)

    def runs(inner, given):
        return inner(given.repeat(3, 1, 1, 1)).unflatten(0, (3, -1))

    told = sp.adapt(net.inner, num_steps=3, spikes=Fire, runs=runs)
    assert torch.equal(told(images()), sp.adapt(net, num_steps=3, spikes=Fire)(images()))
    assert not any(isinstance(module, Site) for module in net.modules())
