"""Training steps as defenses see them, for the tests."""

import torch
from torch import nn

from spikeproof.defenses import Step


def step_on(model, images, labels, *, seed=0, **rest):
    return Step(model=model, clean=images, images=images, labels=labels, seed=seed, **rest)


def after_forward(record, progress):
    """A step after the forward, for a defense that looks at nothing but the record."""
    nothing = torch.empty(0, 0, 0, 0)
    return Step(model=nn.Identity(), clean=nothing, labels=torch.empty(0).long(), record=record, progress=progress)
