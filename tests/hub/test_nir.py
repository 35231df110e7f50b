"""A network as an NIR graph: a simulation of it by Euler's rule gives the network's own logits."""

import numpy as np
import pytest
import torch
from torch import nn

import spikeproof as sp
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, sites

nir = pytest.importorskip("nir")
DT = 1e-4


def made(name="conv", *, size=8, coding=None, **neuron):
    """A network whose batch norms have learned something."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        shape = {"num_classes": 10, "num_steps": 4, "image_size": size, "in_channels": 2, "width": 0.25}
        model = create_model(name, neuron=Neuron(**neuron), coding=coding, mean=0.3, std=0.4, **shape).double()
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.5)
        model.train()
        for _ in range(3):
            model(torch.rand(8, *model.description.sample_shape, dtype=torch.float64))
        for site in sites(model).values():
            if site.norm is not None:
                nn.init.uniform_(site.norm.weight, 0.5, 1.5)
                nn.init.uniform_(site.norm.bias, 0.0, 0.5)
    return model.eval()


def simulated(path, currents, dt=DT):
    """The outputs of a graph, step by step: [T, N, ...] to [T, N, K]."""
    graph, potentials, outputs = nir.read(str(path)), {}, []
    follows = dict(graph.edges)
    assert len(follows) == len(graph.edges)  # a chain
    for x in currents:
        name = follows["input"]
        while name != "output":
            node = graph.nodes[name]
            x = stepped(node, name, x, potentials, dt)
            name = follows[name]
        outputs.append(x)
    return torch.stack(outputs)


def stepped(node, name, x, potentials, dt):
    kind = type(node).__name__
    if kind == "Conv2d":
        weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
        return nn.functional.conv2d(x, weight, bias, tuple(node.stride), tuple(node.padding), tuple(node.dilation))
    if kind == "Affine":
        return x @ torch.from_numpy(node.weight).T + torch.from_numpy(node.bias)
    if kind == "AvgPool2d":
        return nn.functional.avg_pool2d(x, tuple(int(size) for size in node.kernel_size))
    if kind == "Flatten":
        return x.flatten(1)
    v = potentials.get(name, torch.zeros_like(x))
    r, threshold = torch.from_numpy(node.r), torch.from_numpy(node.v_threshold)
    assert tuple(r.shape) == x.shape[1:]
    if kind == "IF":
        v = v + dt * r * x
    else:
        v = v + dt / torch.from_numpy(node.tau) * (torch.from_numpy(node.v_leak) - v + r * x)
    spikes = v > threshold
    potentials[name] = torch.where(spikes, torch.from_numpy(node.v_reset), v)
    return spikes.to(x.dtype)


def agrees(model, path, dt=DT):
    images = torch.rand(5, *model.description.sample_shape, generator=torch.Generator().manual_seed(1)).double()
    normalised = (images - model.mean) / model.std
    steps = normalised.transpose(0, 1) if normalised.ndim == 5 else normalised.expand(4, *normalised.shape)
    with torch.no_grad():
        expected = model(images)
        found = simulated(path, steps, dt).mean(0)
    assert np.ptp(expected.numpy()) > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.9, 0.0])
def test_a_simulation_gives_the_networks_logits(tmp_path, decay):
    model = made(decay=decay, threshold=0.8)
    path = sp.export_nir(model, tmp_path / "new" / "net.nir")
    assert path == tmp_path / "new" / "net.nir"
    agrees(model, path)


def test_frames_other_steps_and_a_vgg(tmp_path):
    model = made(coding=sp.Frames(), decay=0.5)
    agrees(model, sp.export_nir(model, tmp_path / "frames.nir"))
    model = made("vgg5", size=16, decay=0.5)
    agrees(model, sp.export_nir(model, tmp_path / "vgg.nir", dt=1e-3), dt=1e-3)


def test_what_the_graph_cannot_have_is_refused(tmp_path, refuses):
    path = tmp_path / "net.nir"
    with refuses("networks of create_model", "Flatten"):
        sp.export_nir(nn.Flatten(), path)
    with refuses("coding Poisson"):
        sp.export_nir(made(coding=sp.Poisson()), path)
    with refuses("body.0", "resets by subtraction"):
        sp.export_nir(made(reset="soft"), path)
    with refuses("export_nir", "dt"):
        sp.export_nir(made(), path, dt=0)
    model = made()
    site = sites(model)["body.2"]
    site.decay = nn.Parameter(torch.ones(4, 4, 4, 8))
    with refuses("body.2 of this network has decay"):
        sp.export_nir(model, path)
    shape = {"num_classes": 10, "num_steps": 2, "image_size": 16, "in_channels": 2, "width": 0.25}
    with refuses("for which export_nir has no node", "conv and the vggs"):
        sp.export_nir(create_model("resnet18", **shape), path)
    with refuses("PerStepNorm", "batch_norm='merged'"):
        sp.export_nir(create_model("conv", batch_norm="per-step", **shape), path)
    assert not path.exists()
