"""The spiking op once more, as slowly and plainly as it can be written: one neuron at a time, derivative by hand."""

import itertools
import math

import torch

from spikeproof.spiking import ArcTan, Gaussian, Hinge, Rectangular, RectifiedTriangle, Sigmoid, SuperSpike, Triangle


def _sigmoid_slope(alpha, v):
    e = math.exp(-abs(alpha * v))
    return alpha * e / (1 + e) ** 2


def _rectified_slope(gamma, threshold, v):
    """The triangle at the rectified margin, times the rectifier's derivative, in potentials of threshold 1/2."""
    u = abs(v) / (2 * threshold) + 0.5
    if u > 1:
        rectified, derivative = u ** (1 / 3), u ** (-2 / 3) / 3
    else:
        rectified = math.tanh(3 * (u - 0.5)) / (2 * math.tanh(1.5)) + 0.5
        derivative = 3 / (2 * math.tanh(1.5) * math.cosh(3 * (u - 0.5)) ** 2)
    return max(0.0, gamma - 2 * threshold * (rectified - 0.5)) / gamma**2 * derivative


FORMULAS = {
    Triangle: lambda s, v: max(0.0, s.gamma - abs(v)) / s.gamma**2,
    Rectangular: lambda s, v: 1 / s.gamma if abs(v) < s.gamma / 2 else 0.0,
    Sigmoid: lambda s, v: _sigmoid_slope(s.alpha, v),
    SuperSpike: lambda s, v: (1 + s.beta * abs(v)) ** -2,
    ArcTan: lambda s, v: s.alpha / (2 * (1 + (math.pi * s.alpha * v / 2) ** 2)),
    RectifiedTriangle: lambda s, v: _rectified_slope(s.gamma, s.threshold, v),
    Gaussian: lambda s, v: math.exp(-(((v - s.centre) / s.sigma) ** 2) / 2) / math.sqrt(2 * math.pi * s.sigma**2),
}


def slope_of(surrogate, v):
    """h(v) in plain floats."""
    return FORMULAS[type(surrogate)](surrogate, v)


def slow_fire(
    current, neuron, cotangents, *, surrogate=None, decay=None, gain=None, noise=None, sharpness=None, hinge_width=0.0
):
    """Values of the op and d(loss)/d(current, decay, gain) for loss = sum of cotangents times outputs, all float64.

    cotangents: of the spikes [T,M,C], and of the sums of v, v^2 and the hinge [T,C]. decay and gain: [T,M,C], one for
    each neuron and step, as their gradients are.
    """
    steps, many, channels = current.shape
    surrogate = neuron.surrogate if surrogate is None else surrogate
    x, (on_spikes, on_total, on_squares, on_hinge) = current.double(), (part.double() for part in cotangents)
    spikes, margins, gradient, on_decay, on_gain = (torch.zeros_like(x) for _ in range(5))
    total, squares, hinge = (torch.zeros(steps, channels, dtype=torch.float64) for _ in range(3))
    for m, c in itertools.product(range(many), range(channels)):
        carried, u, v, s, h, before = 0.0, [], [], [], [], []
        decays = [neuron.decay if decay is None else decay[t, m, c].item() for t in range(steps)]
        gains = [1.0 if gain is None else gain[t, m, c].item() for t in range(steps)]
        for t in range(steps):
            before.append(carried)
            u.append(decays[t] * carried + gains[t] * x[t, m, c].item())
            v.append(u[t] - neuron.threshold)
            decision = v[t] + (0.0 if noise is None else noise[t, m, c].item())
            s.append(1.0 if decision >= 0 else 0.0)
            a = 1.0 if sharpness is None else sharpness[t, m, c].item()
            h.append(a * slope_of(surrogate, a * decision))
            carried = u[t] - neuron.threshold * s[t] if neuron.reset == "soft" else (1 - s[t]) * u[t]
            spikes[t, m, c], margins[t, m, c] = s[t], v[t]
            total[t, c] += v[t]
            squares[t, c] += v[t] ** 2
            hinge[t, c] += max(0.0, hinge_width - abs(v[t]))
        on_carried = 0.0  # d(loss)/d(potential after the reset)
        for t in reversed(range(steps)):
            through_spike = -neuron.threshold * h[t] if neuron.reset == "soft" else -u[t] * h[t]
            kept = 1.0 if neuron.reset == "soft" else 1 - s[t]
            on_u = on_carried * (kept + (0.0 if neuron.detach_reset else through_spike))
            on_u += on_spikes[t, m, c].item() * h[t]
            on_u += on_total[t, c].item() + 2 * v[t] * on_squares[t, c].item()
            if abs(v[t]) < hinge_width:
                on_u -= ((v[t] > 0) - (v[t] < 0)) * on_hinge[t, c].item()  # 0 at the hinge's tip
            gradient[t, m, c] = gains[t] * on_u
            on_gain[t, m, c] = x[t, m, c].item() * on_u
            on_decay[t, m, c] = before[t] * on_u
            on_carried = decays[t] * on_u
    return {
        "spikes": spikes,
        "margins": margins,
        "total": total,
        "squares": squares,
        "hinge": hinge,
        "gradient": gradient,
        "on_decay": on_decay,
        "on_gain": on_gain,
    }


def draw_case(shape=(3, 7, 5), *, seed=0, dtype=torch.float32, noisy=False):
    """Currents (and noise) that make some neurons fire and some not, and cotangents that bfloat16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    steps, _, channels = shape
    current = (torch.rand(shape, generator=generator) * 1.6 - 0.2).to(dtype)
    noise = (0.3 * torch.randn(shape, generator=generator)).to(dtype) if noisy else None
    shapes = (shape, *[(steps, channels)] * 3)
    cotangents = [torch.randn(part, generator=generator).bfloat16().float() for part in shapes]
    return current, noise, cotangents


def run_op(op, current, neuron, cotangents, **options):
    """The op under test with every statistic asked for, and its gradients by current, decay and gain, as float64."""
    surrogate = options.pop("surrogate", neuron.surrogate)
    options["cost"] = Hinge(options.pop("hinge_width"))
    current = current.clone().requires_grad_()
    leaves = {"gradient": current}
    for name in ("decay", "gain"):
        if options.get(name) is not None:
            options[name] = leaves[f"on_{name}"] = options[name].clone().requires_grad_()
    fired = op(current, neuron, surrogate=surrogate, want_margins=True, want_moments=True, **options)
    outputs = (fired.spikes, fired.total, fired.total_of_squares, fired.cost_total)
    loss = sum((out * cotangent.to(out.dtype)).sum() for out, cotangent in zip(outputs, cotangents, strict=True))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    found = {
        "spikes": fired.spikes,
        "margins": fired.margins,
        "total": fired.total,
        "squares": fired.total_of_squares,
        "hinge": fired.cost_total,
        **dict(zip(leaves, gradients, strict=True)),
    }
    return {name: part.detach().double() for name, part in found.items()}
