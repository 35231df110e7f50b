"""A network of one module, whose output is logits and not spikes: a source works on margins alone, or is refused."""

import pytest
import torch
from loops import Fire
from torch import nn

import spikeproof as sp
from spikeproof.attacks import Crafting, fgsm
from spikeproof.audit import make_trial
from spikeproof.errors import SpikeproofError
from spikeproof.gradients import SOURCES

ON_MARGINS = {"BPTT", "STE", "PDSG", "ASSG", "AROUND"}


class Loop(nn.Module):
    """Layers, loop and neuron in one forward, as research code has it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(64, 32), nn.Linear(32, 10)
        nn.init.normal_(self.first.weight, std=0.5)

    def forward(self, images):
        potential, logits = torch.zeros(len(images), 32), 0
        for _ in range(3):
            potential = 0.5 * potential + self.first(images.flatten(1))
            spikes = Fire.apply(potential - 1, 1.0)
            potential, logits = potential * (1 - spikes), logits + self.last(spikes)
        return logits


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_works_or_is_refused_in_a_sentence(name):
    net = sp.adapt(Loop(), num_steps=3, spikes=Fire).eval()
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    how = Crafting(source=make_trial(f"FGSM@{name}").source)
    if name in ON_MARGINS:
        moved = fgsm(net, images, labels, sp.Linf(0.1), how=how).images - images
        assert moved.abs().max() > 0.05
    else:
        with pytest.raises(SpikeproofError, match=r"BPTT|one known decay"):
            fgsm(net, images, labels, sp.Linf(0.1), how=how)
