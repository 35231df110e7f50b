"""Our convolutions against torch's: values exactly, gradients to the rounding of the dtype; and memory stays whole."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from spikeproof.models import convolution
from spikeproof.models.convolution import Conv1x1, Conv3x3, weight_gradient


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (3, 5, 7, 3, 6), (2, 16, 8, 4, 4), (2, 3, 4, 9, 2)], ids=str)
def test_the_weight_gradient_is_the_convolution_s(shape):
    samples, inner, outer, height, width = shape
    torch.manual_seed(0)
    x = torch.randn(samples, inner, height, width, dtype=torch.float64)
    weight = torch.randn(outer, inner, 3, 3, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(samples, outer, height, width, dtype=torch.float64)
    (expected,) = torch.autograd.grad(torch.conv2d(x, weight, padding=1), weight, grad)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = weight_gradient(x.contiguous(memory_format=layout), grad.contiguous(memory_format=layout))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_by_products_equals_the_library_s(bias):
    torch.manual_seed(1)
    ours, theirs = Conv3x3(64, 32, bias=bias), nn.Conv2d(64, 32, 3, padding=1, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    x = (torch.rand(8, 64, 4, 4) > 0.7).bfloat16()
    seen = []
    for layer in (ours, theirs):
        images = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(images)
        (out.float() ** 2).sum().backward()
        seen.append([out, images.grad, *(parameter.grad for parameter in layer.parameters())])
    for found, expected in zip(*seen, strict=True):
        assert found.dtype == expected.dtype
        # Both sum in float32 and round once to bfloat16, in different orders.
        torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-7 * expected.abs().max().item())


@pytest.mark.parametrize(
    ("dtype", "size", "stride", "trains", "by_products"),
    [
        (torch.bfloat16, 4, 1, True, True),
        (torch.bfloat16, 16, 1, True, False),  # large images: the library is faster
        (torch.bfloat16, 4, 2, True, False),
        (torch.bfloat16, 4, 1, False, False),  # an attack wants no weight gradient
        (torch.float32, 4, 1, True, False),
    ],
)
def test_products_run_only_where_they_win(monkeypatch, dtype, size, stride, trains, by_products):
    called = []
    real = weight_gradient
    monkeypatch.setattr(convolution, "weight_gradient", lambda *given: called.append(1) or real(*given))
    layer = Conv3x3(16, 8, stride=stride).to(dtype).requires_grad_(trains)
    x = torch.rand(2, 16, size, size, dtype=dtype, requires_grad=True)
    layer(x).sum().backward()
    assert bool(called) == by_products


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("inner", "outer", "size"), [(1, 3, 5), (2, 4, 8), (15, 2, 7), (16, 3, 7), (20, 20, 1)])
def test_one_tap_equals_the_library_s(inner, outer, size, stride):
    torch.manual_seed(2)
    ours = Conv1x1(inner, outer, stride=stride).double()
    theirs = nn.Conv2d(inner, outer, 1, stride=stride, bias=False).double()  # oneDNN has no kernels of float64
    theirs.load_state_dict(ours.state_dict())
    seen = []
    for layer in (ours, theirs):
        torch.manual_seed(3)
        x = torch.randn(3, inner, size, size, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
        out = layer(x.requires_grad_())
        out.square().sum().backward()
        seen.append([out, x.grad, layer.weight.grad])
    for found, expected in zip(*seen, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="the memory allocator that looks for damage is glibc's")
def test_few_channels_and_a_stride_damage_no_memory():
    """The library's own weight gradient writes beyond its buffer here (oneDNN issue 6035): abort or wrong numbers."""
    program = """
import torch
from spikeproof.models.convolution import Conv1x1
for channels in (2, 4, 8, 15):
    layer = Conv1x1(channels, channels, stride=2)
    for _ in range(20):
        x = torch.rand(4, channels, 48, 48).contiguous(memory_format=torch.channels_last).requires_grad_()
        layer(x).square().sum().backward()
        around = [torch.rand(37) for _ in range(50)]
"""
    environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.check=3"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
