"""Small networks as users of other libraries write them, for the digits, and digits to train them on."""

import torch
from torch import nn

import spikeproof as sp

STEPS = 2


def jelly(seed=0, tau=2.0):
    """SpikingJelly's layers, called step by step, with batch norms before the neurons."""
    from spikingjelly.activation_based import layer, neuron, surrogate

    def lif():
        return neuron.LIFNode(tau=tau, surrogate_function=surrogate.ATan())

    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            layer.Conv2d(1, 8, 3, padding=1),
            layer.BatchNorm2d(8),
            lif(),
            layer.AvgPool2d(2),
            layer.Flatten(),
            layer.Linear(128, 32),
            layer.BatchNorm1d(32),
            lif(),
            layer.Linear(32, 10),
        )
        for norm in (net[1], net[6]):
            nn.init.constant_(norm.bias, 0.5)
    return net


class SnnTorchNet(nn.Module):
    """As snnTorch's tutorials have it: it unrolls itself, and gives spikes and potentials of every step."""

    def __init__(self, seed=0, beta=0.9):
        super().__init__()
        import snntorch as snn

        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.fc1, self.lif1 = nn.Linear(64, 32), snn.Leaky(beta=beta)
            self.fc2, self.lif2 = nn.Linear(32, 10), snn.Leaky(beta=beta)
            nn.init.normal_(self.fc1.weight, std=0.5)

    def forward(self, images):
        mem1, mem2, potentials = self.lif1.reset_mem(), self.lif2.reset_mem(), []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(images.flatten(1)), mem1)
            _, mem2 = self.lif2(self.fc2(spk1), mem2)
            potentials.append(mem2)
        return torch.stack(potentials)


MAKE = {"spikingjelly": jelly, "snntorch": SnnTorchNet}


def adapted(name="spikingjelly", *, native=False, **changes):
    return sp.adapt(MAKE[name](**changes), num_steps=STEPS, native=native)
