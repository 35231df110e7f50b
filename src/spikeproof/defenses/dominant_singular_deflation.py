"""DSD, Dominant Singular Deflation (ICLR 2026): subtract the leading singular component from every weight's gradient.

As its code has it, of the weights of convolutions and linear layers; what other defenses learn at the sites (decays
[T, H, W, C], gates) has two dimensions or more too, but is no weight. Ours: the component is found by
Golub-Kahan-Lanczos bidiagonalisation (Golub and Kahan 1965) instead of a whole SVD, to 1e-5 of its size.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.defenses.defense import Defense

# A gradient of a smaller Frobenius norm is left as it is.
_LEAST_NORM = 1e-8
_TOLERANCE = 1e-5
# Lanczos steps between looks at the error, and at most: where these do not suffice, the two largest singular values
# agree to a thousandth, and which component leads is a matter of rounding in a whole SVD, too.
_STEPS_A_LOOK = 12
_MOST_STEPS = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class DSD(Defense):
    """With every gradient G = sum_i s_i u_i v_i^T of a weight [out, rest], s_1 the largest::

        G <- G - s_1 u_1 v_1^T

    before the optimiser sees it, found by some dozens of products of G with vectors: cheap beside the step. It has no
    setting. Gradients with a norm below 1e-8, or that overflowed, stay.

    Example:
        >>> DSD().label
        'DSD'

    Source: DSD (ICLR 2026), as its code has it. Deviation: s_1 u_1 v_1^T by Lanczos bidiagonalisation (Golub and Kahan
    1965), to 1e-5 of its size, instead of a whole SVD.
    """

    @property
    def step_cost(self) -> float:
        return 1.3

    @torch.no_grad()
    def after_backward(self, model: nn.Module, progress: float) -> None:
        """Deflate the gradients of all convolutions and linear layers."""
        layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        gradients = [layer.weight.grad for layer in layers if layer.weight.grad is not None]
        if not gradients:
            return
        norms = torch.stack([gradient.norm() for gradient in gradients]).tolist()  # in one transfer, to wait once
        for gradient, norm in zip(gradients, norms, strict=True):
            if _LEAST_NORM <= norm < math.inf:
                gradient.sub_(leading_component(gradient.flatten(1)).view_as(gradient))


def leading_component(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """s_1 u_1 v_1^T of a finite matrix that is not zero; the same whatever the device and the caller's generator.

    From a random v, alternately multiplied by the matrix and its transpose, Lanczos builds orthonormal bases in which
    the matrix is bidiagonal. After few steps its leading component is that of the matrix.

    Args:
        matrix: finite and not zero.

    Example:
        >>> leading_component(torch.tensor([[2.0, 1.0], [1.0, 2.0]])).round(decimals=5)
        tensor([[1.5000, 1.5000],
                [1.5000, 1.5000]])
    """
    rows, columns = matrix.shape
    if rows < columns:  # v goes to the shorter side, whose dimensions Lanczos can exhaust
        return leading_component(matrix.T).T
    scale = matrix.norm()
    most = min(columns, _MOST_STEPS)
    left, right = matrix.new_zeros(most, rows), matrix.new_zeros(most + 1, columns)
    diagonal, above = matrix.new_zeros(most), matrix.new_zeros(most)
    start = torch.randn(columns, generator=torch.Generator().manual_seed(0)).to(matrix)
    right[0] = start / start.norm()
    for step in range(most):
        u = matrix @ right[step] - (above[step - 1] * left[step - 1] if step else 0)
        left[step], diagonal[step] = _unit(u, left[:step], scale)
        v = matrix.T @ left[step] - diagonal[step] * right[step]
        right[step + 1], above[step] = _unit(v, right[: step + 1], scale)
        done = step + 1
        if done % _STEPS_A_LOOK == 0 or done == most:
            # On the CPU in double precision: so small a matrix is no work, and the bases are found in the matrix's own.
            bidiagonal = torch.diag(diagonal[:done].double().cpu())
            coupling = above[:done].double().cpu()
            bidiagonal += torch.diag(coupling[:-1], 1)
            u_small, values, v_small = torch.linalg.svd(bidiagonal)
            residual = (coupling[-1] * u_small[-1, 0]).abs()
            gap = values[0] - values[1] if done > 1 else values[0]
            if residual <= _TOLERANCE * max(gap, values[0] * 1e-3):
                break
    u = left[:done].T @ u_small[:, 0].to(matrix)
    v = right[:done].T @ v_small[0].to(matrix)
    return torch.outer(values[0].to(matrix) * u, v)


def _unit(vector: Tensor, basis: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The vector made orthogonal to a basis and of length 1, and its length; zero where only rounding is left."""
    for _ in range(2):  # once leaves rounding errors of the vector's length, twice does not
        vector = vector - (basis @ vector) @ basis
    length = vector.norm()
    length = torch.where(length > 4 * torch.finfo(vector.dtype).eps * scale, length, 0)
    return torch.where(length > 0, vector / length, 0), length
