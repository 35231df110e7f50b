"""A network as an ONNX file: another program computes the same logits, for batches of any size."""

import numpy as np
import pytest
import torch
from torch import nn

import spikeproof as sp
from digit_networks import network
from interop_nets import adapted
from spikeproof.spiking import sites

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def images(count):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))


def assert_same(path, model):
    session = onnxruntime.InferenceSession(str(path))
    assert [each.name for each in session.get_inputs()] == ["images"]
    for count in (1, 2, 5):
        (found,) = session.run(["logits"], {"images": images(count).numpy()})
        with torch.no_grad():
            expected = model.eval()(images(count)).numpy()
        assert np.ptp(expected) > 0.01
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_logits_and_nothing_of_the_model_changed(tmp_path):
    model = network("tiny").train()
    path = sp.export_onnx(model, images(1), tmp_path / "new" / "net.onnx")
    assert path == tmp_path / "new" / "net.onnx"
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert_same(path, model)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "changes",
    [{}, {"batch_norm": "per-step"}, {"batch_norm": "td"}, {"coding": sp.Frequency()}],
    ids=str,
)
@pytest.mark.parametrize("kernels", ["fused", "reference"])
def test_other_codings_and_norms(tmp_path, changes, kernels):
    torch.manual_seed(0)
    shape = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 2, "width": 0.5, "kernels": kernels}
    model = sp.create_model("conv", neuron=sp.Neuron(threshold=0.25), **shape, **changes)
    with torch.no_grad():
        for _ in range(20):  # until the running statistics are the batch's, so that sites fire
            model.train()(images(32))
        for module in model.modules():
            if isinstance(module, nn.Linear):  # no norm drives the sites behind these
                module.weight *= 4
    assert_same(sp.export_onnx(model, images(1), tmp_path / "net.onnx"), model)


@pytest.mark.thorough
@pytest.mark.parametrize("library", ["spikingjelly", "snntorch"])
def test_adapted_networks(tmp_path, library):
    pytest.importorskip(library)
    model = adapted(library)
    assert_same(sp.export_onnx(model, images(3), tmp_path / "net.onnx"), model)


def test_a_random_network_is_refused_and_the_file_stays(tmp_path, refuses):
    path, model = tmp_path / "net.onnx", network("tiny")
    path.write_text("before")
    for site in sites(model).values():
        site.noise_std, site.noise_at_inference = 0.5, True
    with refuses("draws random numbers", "without noise"):
        sp.export_onnx(model, images(1), path)
    assert path.read_text() == "before"


def test_code_that_is_no_graph_is_refused(tmp_path, refuses):
    class Branches(nn.Module):
        def forward(self, given):
            return given.flatten(1) * (2 if given.sum().item() > 0 else 1)

    with refuses("cannot be written as an ONNX graph"):
        sp.export_onnx(Branches(), images(2), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_no_images(tmp_path, refuses):
    with refuses("at least one image"):
        sp.export_onnx(network("tiny"), images(0), tmp_path / "net.onnx")
