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


def flat_step():
    """A step of a linear float64 model after its adversarial forward, and that model."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5)).double()
    with torch.no_grad():
        model[1].weight.mul_(3)
    images, labels = torch.rand(24, 1, 2, 2).double(), torch.randint(0, 5, (24,))
    moved = (images + 0.2 * torch.rand_like(images)).clamp(0, 1)
    step = step_on(model, images, labels)
    step.images, step.logits = moved, model(moved)
    return step, model


def gradients_of(value, model):
    """A value's gradient by all parameters, one behind the other."""
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(model.parameters()))])
