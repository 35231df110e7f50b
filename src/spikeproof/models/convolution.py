"""The networks' convolutions: the numbers of PyTorch's, computed otherwise where oneDNN is slow or not safe.

On a CPU, oneDNN's bfloat16 weight gradient of a 3x3 convolution reaches a small part of the machine's matrix speed on
small images with many channels (benchmarks/weight_gradient.py: up to five times slower than three matrix products of
the same numbers). The rule below takes the products where they won by more than a tenth. oneDNN's weight gradient of a
1x1 convolution with a stride writes beyond its memory where there are few channels (oneDNN issue 6035).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


class Conv3x3(nn.Conv2d):
    """``nn.Conv2d`` of 3x3 taps and padding 1: the same numbers, and a faster weight gradient where there is one.

    Args:
        inner, outer: channels of input and output.
        stride: of both directions.
        bias: whether it has one.
    """

    def __init__(self, inner: int, outer: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__(inner, outer, 3, stride=stride, padding=1, bias=bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """The convolution of x."""
        if not self._multiplies(x):
            return super().forward(x)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        convolved: Tensor = _Convolution.apply(x, self.weight.to(x.dtype), bias)
        return convolved

    def _multiplies(self, x: Tensor) -> bool:
        if x.device.type != "cpu" or x.dtype != torch.bfloat16 or self.stride != (1, 1):
            return False
        if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return False
        positions = x.shape[2] * x.shape[3]
        return positions <= 16 or (positions <= 64 and self.in_channels >= 256)


class Conv1x1(nn.Conv2d):
    """``nn.Conv2d`` of one tap without bias. With few channels x is strided before the product, so no kernel strides.

    Args:
        inner, outer: channels of input and output.
        stride: of both directions.
    """

    def __init__(self, inner: int, outer: int, *, stride: int = 1) -> None:
        super().__init__(inner, outer, 1, stride=stride, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """The convolution of x."""
        if x.device.type != "cpu" or self.in_channels >= 16:  # the widest block of channels of oneDNN's kernels
            return super().forward(x)
        down, across = self.stride
        return conv2d(x[:, :, ::down, ::across], self.weight)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.save_for_backward(x, weight)
        return conv2d(x, weight, bias, padding=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]  # noqa: ANN001
        x, weight = ctx.saved_tensors
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            how = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False])
            by_x = torch.ops.aten.convolution_backward(grad, x, weight, None, *how)[0]
        if ctx.needs_input_grad[1]:
            by_weight = weight_gradient(x, grad)
        if ctx.needs_input_grad[2]:
            by_bias = grad.sum((0, 2, 3))
        return by_x, by_weight, by_bias


def weight_gradient(x: Float[Tensor, "n c h w"], grad: Float[Tensor, "n c2 h w"]) -> Float[Tensor, "c2 c 3 3"]:
    """The gradient by the weight of a 3x3 convolution with stride and padding 1: a matrix product for each row of taps.

    With channels last, the three taps of a row lie side by side in memory, so a row needs one copy, not three.

    Args:
        x: the convolution's input.
        grad: the gradient by its output.
    """
    samples, inner, height, width = x.shape
    outer = grad.shape[1]
    padded = pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    across = grad.permute(0, 2, 3, 1).reshape(-1, outer).t()
    rows = []
    for row in range(3):
        taps = padded.as_strided((samples, height, width, 3 * inner), padded.stride(), row * padded.stride(1))
        rows.append(across @ taps.reshape(-1, 3 * inner))
    return torch.stack(rows, 1).view(outer, 3, 3, inner).permute(0, 3, 1, 2)
