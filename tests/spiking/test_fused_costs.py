"""What the fused site promises beside its numbers: few kernels, little memory, no digits lost in bfloat16."""

import subprocess
import sys

import pytest
import torch
from twin import STEPS, currents, new_site, observe

from spikeproof.spiking.ops import instance as instances
from spikeproof.spiking.ops import kernels


@pytest.mark.parametrize("pool", [1, 2])
def test_one_set_of_kernels_serves_every_size(monkeypatch, pool):
    """Sizes of one, and a size that is another's or the number of steps, included."""

    def use(*shape):
        for training in (True, False):
            observe(new_site("fused", shape[1], with_norm=True, pool=pool), currents(shape), training=training)

    monkeypatch.setattr(kernels, "_kernels", {})
    use(4, 5, 6, 2)
    compiled = instances.instance.cache_info().misses
    for shape in ((1, 5, 6, 2), (7, 1, 2, 2), (STEPS, STEPS, 4, 4), (40, 2, 2, 6), (2, 37, 4, 2)):
        use(*shape)
    assert instances.instance.cache_info().misses == compiled and not kernels._kernels


def saved_bytes(site, current, *, training):
    held = {}

    def pack(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    site.train(training)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        spikes = site(current)
    return sum(held.values()), spikes


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("constant", [False, True], ids=["steps", "constant"])
@pytest.mark.parametrize("pool", [1, 2])
def test_only_the_current_and_small_vectors_are_saved_for_the_backward(pool, constant, training):
    """In eager mode the reference saves several maps for each step; here one is the whole cost, pooled or not."""
    current = currents((8, 6, 16, 16), constant=constant).contiguous(memory_format=torch.channels_last)
    current.requires_grad_()
    options = {"with_norm": True, "pool": pool, "constant": constant}
    size = current.numel() * current.element_size()
    # Unpooled the current itself is saved, which autograd holds anyway; before pooling its rows are only viewed.
    found, _ = saved_bytes(new_site("fused", 6, **options), current, training=training)
    assert size <= found <= size + 4096
    reference, _ = saved_bytes(new_site("reference", 6, **options), current, training=training)
    assert reference > 3 * size


def test_bfloat16_costs_no_more_than_in_the_reference():
    """Errors against float64 on currents that bfloat16 holds exactly; both then round the gradient once."""
    exact = currents((4, 5, 6, 8)).bfloat16()
    found = {}
    for kernels_of, dtype in (("reference", torch.float64), ("reference", torch.bfloat16), ("fused", torch.bfloat16)):
        site = new_site(kernels_of, 5, pool=2)
        found[kernels_of, dtype] = observe(site, exact.to(dtype), training=False)
    truth = found.pop(("reference", torch.float64))
    errors = {}
    for (name, _), seen in found.items():
        assert seen["spikes"].dtype == seen["gradient of input"].dtype == torch.bfloat16
        assert torch.equal(seen["spikes"].double(), truth["spikes"])
        gradient = truth["gradient of input"]
        errors[name] = ((seen["gradient of input"].double() - gradient).norm() / gradient.norm()).item()
    # The cotangents are rounded to bfloat16 (2^-9) on the way, and so is the gradient.
    assert errors["fused"] <= 1.001 * errors["reference"] and errors["fused"] < 2**-8


WHOLE_MODEL = """
import torch
from spikeproof.models import create_model
from spikeproof.spiking import Neuron

def new_model(kernels):
    torch.manual_seed(0)
    options = {"num_classes": 4, "image_size": 8, "in_channels": 1, "num_steps": 3, "neuron": Neuron(threshold=0.25)}
    return create_model("conv", kernels=kernels, **options).eval().double()

whole = torch.compile(new_model("fused"), fullgraph=True, backend="aot_eager")
images = torch.rand(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
found, expected = (torch.autograd.grad(m(images).cumsum(1).sum(), images)[0] for m in (whole, new_model("reference")))
assert expected.abs().max() > 0
torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
torch.testing.assert_close(whole(images), new_model("reference")(images), rtol=1e-12, atol=1e-13)
"""


@pytest.mark.thorough
def test_a_compiled_fused_model_has_no_break_and_gives_the_references_numbers():
    """In a process of its own: the compiler cannot see through the type checks that these tests put around a model."""
    done = subprocess.run([sys.executable, "-c", WHOLE_MODEL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
