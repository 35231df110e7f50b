"""Networks of snnTorch, Norse, sinabs and of one's own code, adapted, are their twins among ours (float64)."""

import math

import pytest
import torch
from loops import CallsByName, CallsFunction, Fire, HoldsFunction, Loop, Merged, StepsSecond, layers
from networks import EVERY, STEPS, agree, awake, crafted
from torch import nn

import spikeproof as sp
from spikeproof.spiking import Exponential, Neuron, SuperSpike, probe, sites


def snntorch_loop(decay, reset):
    snn = pytest.importorskip("snntorch")
    from snntorch import surrogate

    neuron = Neuron(decay=decay, reset=reset, detach_reset=True, surrogate=sp.ArcTan(2.0))
    mechanism = {"hard": "zero", "soft": "subtract"}[reset]

    def make(model):
        leaky = lambda: snn.Leaky(beta=decay, reset_mechanism=mechanism, spike_grad=surrogate.atan(alpha=2.0))  # noqa: E731
        return Loop(layers(model, leaky), snn.Leaky, STEPS)

    return neuron, None, make, {}


def own_code(kind, **told):
    def make(model):
        parts = layers(model, lambda: kind(STEPS, 0.5))
        return Merged(nn.Sequential(*parts), STEPS) if issubclass(kind, CallsFunction) else StepsSecond(parts, STEPS)

    return Neuron(decay=0.5), None, make, told


def norse_loop():
    norse = pytest.importorskip("norse.torch")
    double = {"dtype": torch.float64}
    parameters = norse.LIFBoxParameters(
        tau_mem_inv=torch.tensor(400.0, **double), v_leak=torch.tensor(0.0, **double), v_th=torch.tensor(0.5, **double)
    )
    neuron = Neuron(decay=0.6, threshold=0.5, surrogate=SuperSpike(1.0))
    make = lambda model: Loop(layers(model, lambda: norse.LIFBoxCell(parameters)), norse.LIFBoxCell, STEPS)  # noqa: E731
    return neuron, 0.4, make, {}


def sinabs_squeezed():
    sl = pytest.importorskip("sinabs.layers")
    import sinabs.activation as sa

    decay = math.exp(-1 / 3.0)
    # exp(-|v| / 0.5) / 0.5, sinabs's default
    neuron = Neuron(decay=decay, reset="soft", surrogate=Exponential(scale=2.0, decay=2.0))

    def make(model):
        single = lambda: sl.LIFSqueeze(  # noqa: E731
            tau_mem=3.0, spike_fn=sa.SingleSpike, num_timesteps=STEPS, norm_input=False
        )
        return nn.Sequential(*layers(model, single))

    return neuron, None, make, {}


CASES = {
    "snnTorch zero": lambda: snntorch_loop(0.75, "hard"),
    "snnTorch subtract": lambda: snntorch_loop(1.0, "soft"),
    "a function's class": lambda: own_code(CallsFunction, spikes=Fire),
    "a function's apply by a global name": lambda: own_code(CallsByName, spikes=Fire),
    "a function held": lambda: own_code(HoldsFunction, spikes=Fire),
    "a function by name": lambda: own_code(HoldsFunction, spikes="act"),
    "Norse": norse_loop,
    "sinabs": sinabs_squeezed,
}


def twins(name):
    neuron, gain, make, told = CASES[name]()
    model, images, labels = awake("conv", neuron)
    for site in sites(model).values() if gain is not None else ():
        site.gain = nn.Parameter(torch.full((1, 1), gain, dtype=torch.float64), requires_grad=False)
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    net = make(model).double().eval()
    return model, sp.adapt(net, num_steps=STEPS, mean=mean, std=std, **told).double().eval(), images, labels


@pytest.mark.parametrize("name", CASES)
def test_logits_and_margins_are_the_twin_s(name):
    model, adapted, images, _ = twins(name)
    with probe(model, "margins") as ours:
        expected = model(images)
    with probe(adapted, "margins") as theirs:
        agree(adapted(images), expected, 1e-12)
    for one, other in zip(ours.values(), theirs.values(), strict=True):
        agree(other.margins, one.margins, 1e-12)
    agree(adapted(images[:2]), adapted(images)[:2], 1e-12)


@pytest.mark.sweep
@pytest.mark.parametrize("source", EVERY, ids=lambda source: source.name)
@pytest.mark.parametrize("name", CASES)
def test_every_source_has_the_twin_s_gradient(source, name, refuses):
    model, adapted, images, labels = twins(name)
    if isinstance(source, sp.RGA) and "function" in name:
        with refuses("one known decay", "your code"):
            crafted(adapted, images, labels, source=source)
        return
    # These libraries fire in float32 always, so their own backward is float32, whatever the weights are.
    rounds = name.startswith(("snnTorch", "sinabs")) and source.name in ("BPTT", "BPTT+HART")
    expected = crafted(model, images, labels, source=source)[0]
    agree(crafted(adapted, images, labels, source=source)[0], expected, 1e-5 if rounds else 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_behind(name):
    _, adapted, images, labels = twins(name)
    apply, state = Fire.apply, {key: part.clone() for key, part in adapted.net.state_dict().items()}
    attributes = {place: sorted(vars(module)) for place, module in adapted.net.named_modules()}
    for source in (sp.ASSG(), sp.HART()):
        crafted(adapted, images, labels, source=source)
    handle = list(adapted.net.modules())[-1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        adapted(images)
    handle.remove()
    assert Fire.apply == apply
    assert "apply" not in vars(Fire)
    after = adapted.net.state_dict()
    assert state.keys() == after.keys()
    assert all(torch.equal(part, after[key]) for key, part in state.items())
    found = {place: sorted(vars(module)) for place, module in adapted.net.named_modules()}
    grown = {place: set(found[place]) - set(attributes[place]) for place in found}
    # What sinabs and snnTorch themselves set in a forward.
    assert set().union(*grown.values()) <= {"recordings", "firing_rate", "reset", "i_syn"}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in adapted.net.modules())


@pytest.mark.parametrize("spikes", [Fire, Fire.apply, "fire"])
def test_a_function_may_be_given_by_its_apply_or_by_a_name_of_it(spikes):
    import loops

    held = loops.fire
    net = own_code(CallsByName)[2](awake("conv", Neuron())[0]).float()
    adapted = sp.adapt(net, num_steps=STEPS, spikes=spikes)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(adapted(images), net(images)) and len(sp.sites(adapted)) == 3
    assert loops.fire is held and "apply" not in vars(Fire)
