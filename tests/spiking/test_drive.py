"""The whole site in plain PyTorch against autograd through batch norm, the readable op and pooling."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, batch_norm

from spikeproof.spiking import Hinge, Neuron
from spikeproof.spiking.ops import drive as plain
from spikeproof.spiking.ops.drive import Cotangents, Drive, Setting
from spikeproof.spiking.ops.noise import draw_tapes, standard_normals
from spikeproof.spiking.ops.reference import fire

STEPS, HINGE, EPS = 3, Hinge(0.4), 1e-5
NEURON = Neuron(decay=0.9, threshold=0.6)


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Case:
    """One site's inputs in natural shapes [K, N, H, W, C], and everything about them by plain autograd."""

    def __init__(self, *, constant, size, pooled, training, noisy=False, neuronwise=False):
        channels, self.pooled, self.training = 5, pooled, training
        self.setting = Setting(NEURON, NEURON.surrogate, STEPS, pooled, False, True, HINGE)
        self.values = (rand(1 if constant else STEPS, 4, *size, channels) * 3 - 1).requires_grad_()
        self.weight, self.bias = (rand(channels, seed=seed).add(0.5).requires_grad_() for seed in (1, 2))
        self.mean, self.var = rand(channels, seed=3), rand(channels, seed=4) + 0.5
        less = (STEPS, *size, channels)
        self.decay = rand(*less, seed=5).requires_grad_() if neuronwise else None
        self.gain = (rand(STEPS, 1, 1, channels, seed=6) + 0.5).requires_grad_() if neuronwise else None
        torch.manual_seed(17)
        self.tapes = draw_tapes(STEPS, self.values) if noisy else None
        self.std = torch.tensor(0.2, dtype=torch.float64) if noisy else None

    def by_autograd(self):
        """Outputs, and the gradients of a random loss by every leaf."""
        maps = self.values.flatten(0, 1).movedim(-1, 1)
        running = (None, None) if self.training else (self.mean, self.var)
        currents = batch_norm(maps, *running, self.weight, self.bias, self.training, 0.0, EPS)
        currents = currents.movedim(1, -1).reshape(self.values.shape).expand(STEPS, *self.values.shape[1:])
        noise = None
        if self.tapes is not None:
            noise = [self.std * standard_normals(tape, currents[0]).to(currents[0].dtype) for tape in self.tapes]
        asked = {"surrogate": NEURON.surrogate, "noise": noise, "want_moments": True, "cost": HINGE}
        fired = fire(currents, NEURON, decay=self.decay, gain=self.gain, **asked)
        spikes = fired.spikes
        if self.pooled:
            spikes = avg_pool2d(spikes.flatten(0, 1).movedim(-1, 1), 2).movedim(1, -1).unflatten(0, (STEPS, -1))
        outputs = (spikes, *fired[2:])
        cotangents = Cotangents(*(rand(*out.shape, seed=20 + n) - 0.5 for n, out in enumerate(outputs)))
        leaves = {
            "values": self.values,
            "weight": self.weight,
            "bias": self.bias,
            "decay": self.decay,
            "gain": self.gain,
        }
        leaves = {name: leaf for name, leaf in leaves.items() if leaf is not None}
        loss = sum((out * given).sum() for out, given in zip(outputs, cotangents, strict=True))
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        return outputs, cotangents, dict(zip(leaves, gradients, strict=True))

    def rows(self):
        """The positions as (H/2, 2, W/2, 2) where pooled."""
        steps, samples, height, width, channels = self.values.shape
        space = (height // 2, 2, width // 2, 2) if self.pooled else (height, width)
        return self.values.detach().reshape(steps, samples, *space, channels)

    def statistics(self):
        if not self.training:
            return self.mean, self.var
        flat = self.values.detach().flatten(0, -2)
        return flat.mean(0), flat.var(0, correction=0)

    def drive(self):
        mean, var = self.statistics()
        scale = self.weight.detach() * (var + EPS).rsqrt()
        decay = None if self.decay is None else self.decay.detach().reshape(STEPS, *self.rows().shape[2:])
        gain = self.gain
        if gain is not None and self.pooled:
            gain = gain[:, :, None, :, None]
        return Drive(
            self.rows(), scale, self.bias.detach() - mean * scale, decay, gain, noise_std=self.std, noise=self.tapes
        )


def close(found, expected):
    torch.testing.assert_close(found.detach().reshape(expected.shape), expected.detach(), rtol=1e-10, atol=1e-11)


KINDS = {
    "odd maps": {"constant": False, "size": (5, 3), "pooled": False},
    "odd constant maps": {"constant": True, "size": (5, 3), "pooled": False},
    "pooled": {"constant": False, "size": (6, 2), "pooled": True},
    "pooled constant": {"constant": True, "size": (2, 6), "pooled": True},
    "noisy, decay and gain": {"constant": False, "size": (3, 5), "pooled": False, "noisy": True, "neuronwise": True},
    "all at once": {"constant": True, "size": (4, 6), "pooled": True, "noisy": True, "neuronwise": True},
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


def test_forward_is_batch_norm_firing_and_pooling(kind):
    case = Case(**kind, training=True)
    (spikes, *sums), _, _ = case.by_autograd()
    fired = plain.forward(case.setting, case.drive())
    assert torch.equal(fired.spikes.reshape(spikes.shape), spikes) and 0.1 < spikes.mean() < 0.9
    for found, expected in zip(fired[2:], sums, strict=True):
        close(found, expected)


def test_eval_gradients_are_those_of_autograd(kind):
    case = Case(**kind, training=False)
    _, cotangents, expected = case.by_autograd()
    drive = case.drive()
    close(plain.input_gradient(case.setting, drive, cotangents), expected["values"])
    found = plain.all_gradients(case.setting, drive, cotangents, case.mean)
    close(found.current * drive.scale, expected["values"])
    close(found.sum, expected["bias"])
    close(found.sum_with_values * (case.var + EPS).rsqrt(), expected["weight"])
    for name in ("decay", "gain"):
        if name in expected:
            close(getattr(found, name), expected[name])


def test_training_gradients_are_those_of_autograd(kind):
    """By add_affine from the two sums, with the textbook's backward of batch norm."""
    case = Case(**kind, training=True)
    _, cotangents, expected = case.by_autograd()
    mean, var = case.statistics()
    rstd, drive = (var + EPS).rsqrt(), case.drive()
    found = plain.all_gradients(case.setting, drive, cotangents, mean)
    close(found.sum_with_values * rstd, expected["weight"])
    close(found.sum, expected["bias"])
    count = case.values.numel() // case.values.shape[-1]
    slope = -drive.scale * rstd**2 * found.sum_with_values / count
    constant = -drive.scale * found.sum / count - slope * mean
    close(plain.add_affine(None, found.current, drive.values, drive.scale, constant, slope), expected["values"])
    for name in ("decay", "gain"):
        if name in expected:
            close(getattr(found, name), expected[name])


@pytest.mark.parametrize("shape", [(3, 4, 5, 7, 2), (1, 9, 1), (2, 1, 3, 4)], ids=str)
def test_batch_sums_give_the_mean_and_the_variance(shape):
    values = rand(*shape) * 2 - 0.3
    origin, first, second = plain.batch_sums(None, values)
    flat = values.flatten(0, -2)
    offset = first / len(flat)
    close(origin + offset, flat.mean(0))
    close(second / len(flat) - offset**2, flat.var(0, correction=0))


def test_batch_sums_keep_their_digits_where_the_mean_is_a_thousand_standard_deviations_from_zero():
    values = (rand(2, 1000, 3) - 0.5).float() + 300
    origin, first, second = plain.batch_sums(None, values)
    variance = second / 2000 - (first / 2000) ** 2
    expected = values.double().flatten(0, 1).var(0, correction=0)
    # The differences are exact in float32 here; what is left is the rounding of a sum of 2000 and of a difference.
    torch.testing.assert_close(variance.double(), expected, rtol=1e-4, atol=0)


def test_noisy_margins_are_where_the_decision_is_made():
    case = Case(constant=False, size=(3, 5), pooled=False, training=False, noisy=True)
    (spikes, *_), _, _ = case.by_autograd()
    margins = plain.noisy_margins(case.setting, case.drive())
    assert torch.equal((margins >= 0).double().reshape(spikes.shape), spikes) and not margins.requires_grad
    silent = plain.noisy_margins(case.setting, case.drive()._replace(noise=None, noise_std=None))
    assert 0.15 < (margins - silent).std() < 0.35  # of 0.2, and of other resets
