"""The trained network behind masks of its gradient: what each answers is what BPDA attacks without the mask."""

import numpy as np
import torch
from torch import nn


class Masked(nn.Module):
    """A network with something before it, something after it."""

    def __init__(self, inner, before=None, after=None):
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, images):
        logits = self.inner(images if self.before is None else self.before(images))
        return logits if self.after is None else self.after(logits)


def levels(images):
    return torch.round(images * 15) / 15


def straight(function):
    """The identity backward of a function, by hand."""
    return lambda images: images + (function(images) - images).detach()


def _cosines(size):
    at = torch.arange(size, dtype=torch.float32)
    basis = torch.cos(torch.pi * (2 * at + 1) * at[:, None] / (2 * size)) * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    return basis


def jpeg(images):
    """Blocks of 4 x 4, their cosine transform rounded to multiples of 0.15, and back."""
    basis = _cosines(4).to(images)
    blocks = images.unfold(2, 4, 4).unfold(3, 4, 4)
    rounded = torch.round(basis @ blocks @ basis.T / 0.15) * 0.15
    back = basis.T @ rounded @ basis
    return back.permute(0, 1, 2, 4, 3, 5).reshape(images.shape).clamp(0, 1)


def sine(height, frequency):
    """A small change of the image whose slope is height times frequency, up and down."""
    return lambda images: images + height * torch.sin(frequency * images)


@torch.no_grad()
def without_graph(images):
    return images.clamp(0.02, 0.98)


def in_numpy(images):
    return torch.from_numpy(np.round(images.detach().cpu().numpy() * 15) / np.float32(15)).to(images)


EDGES = torch.linspace(0, 1, 17)[1:-1]

BEFORE = {
    "round": levels,
    "jpeg": jpeg,
    "sine": sine(0.01, 1000),
    "sine, slope 2.5": sine(0.005, 500),
    "sine, slope 3": sine(0.003, 1000),
    "sine, slope 4": sine(0.002, 2000),
    "sine, slope 6": sine(0.02, 300),
    "floor": lambda images: torch.floor(images * 15.999) / 15,
    "ceil": lambda images: torch.ceil(images * 15) / 15,
    "trunc": lambda images: torch.trunc(images * 15.999) / 15,
    "sign": lambda images: (torch.sign(images - 0.5) + 1) / 2,
    "uint8": lambda images: (images * 255).to(torch.uint8).float() / 255,
    "comparisons": lambda images: (images[..., None] > EDGES.to(images)).sum(-1) / 15,
    "no_grad": without_graph,
    "detach": lambda images: images.detach(),
    "bucketize": lambda images: torch.bucketize(images, EDGES.to(images)) / 15,
    "numpy": in_numpy,
}
AFTER = {
    "softmax x20": lambda logits: torch.softmax(20 * logits, 1),
    "x1000": lambda logits: 1000 * logits,
    "probabilities": lambda logits: logits.softmax(1),
}


def planted(network):
    """Every mask by its name, with the same network without it (the mask's backward the identity)."""
    pairs = {name: (Masked(network, mask), Masked(network, straight(mask))) for name, mask in BEFORE.items()}
    return pairs | {name: (Masked(network, after=mask), network) for name, mask in AFTER.items()}
