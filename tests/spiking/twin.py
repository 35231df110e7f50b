"""A fused site beside a reference site: the same input, the same loss, everything compared.

A kernel takes seconds to compile, so all tests of fused sites share this neuron and this number of steps.
"""

import torch
from torch import nn

from spikeproof.spiking import Neuron, Site, probe

NEURON = Neuron(decay=0.9, threshold=0.6)
STEPS = 3


def normed(channels, dtype=torch.float64):
    """A batch norm with parameters and running statistics that are not their defaults."""
    norm = nn.BatchNorm2d(channels).to(dtype)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(8)
        for part, low in ((norm.weight, 0.5), (norm.bias, 0.1), (norm.running_mean, 0.0), (norm.running_var, 0.5)):
            part.copy_(torch.rand(channels, dtype=dtype) + low)
    return norm


def new_site(kernels, channels, *, with_norm=False, dtype=torch.float64, neuron=NEURON, **options):
    return Site(neuron, STEPS, kernels, norm=normed(channels, dtype) if with_norm else None, **options)


def currents(shape, *, constant=False, seed=0, dtype=torch.float64):
    """Merged currents [K*N, C, ...], of which a part fires at every step."""
    samples, *rest = shape
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(samples * (1 if constant else STEPS), *rest, generator=generator, dtype=torch.float64)
    return (drawn * 1.8 - 0.4).to(dtype)


def observe(site, current, *, training, asked=(), cost=None, seed=0):
    """Spikes, statistics, all gradients of a random loss over both, and the batch norm's state after."""
    site.train(training)
    leaf = current.clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(seed)
    with probe(site, *asked, cost=cost) as record:
        spikes = site(leaf)
    seen = record[""]
    outputs = {"spikes": spikes, "total": seen.total, "squares": seen.total_of_squares, "hinge": seen.cost_total}
    outputs = {name: part for name, part in outputs.items() if part is not None}
    generator = torch.Generator().manual_seed(99)
    loss = sum(
        (part * (torch.rand(part.shape, generator=generator, dtype=torch.float64) - 0.4).to(part.dtype)).sum()
        for part in outputs.values()
    )
    leaves = {"input": leaf, **{name: p for name, p in site.named_parameters() if p.requires_grad}}
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    found = {name: part.detach() for name, part in outputs.items()}
    found |= {f"gradient of {name}": part for name, part in zip(leaves, gradients, strict=True)}
    found |= {name: part.clone() for name, part in site.named_buffers()}
    return found if seen.margins is None else found | {"margins": seen.margins}


def assert_same(found, expected, tolerance=1e-10):
    """Spikes bit for bit, all else to rounding relative to each tensor's largest entry.

    With a floor for what is zero but for rounding, such as the gradient of a bias that a batch norm takes off again.
    """
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        assert found[name].shape == part.shape and found[name].dtype == part.dtype, name
        if name == "spikes":
            assert torch.equal(found[name], part), name
        elif part.numel():
            scale = max(part.abs().max().item(), 1e-6)
            torch.testing.assert_close(
                found[name], part, rtol=0, atol=tolerance * scale, msg=lambda m, n=name: f"{n}: {m}"
            )


def assert_twins(shape, *, training, with_norm=False, prepare=None, seed=0, current=None, **options):
    """Both kernels on one input; ``prepare`` is done to both sites. Returns what the reference gave."""
    asks = {name: options.pop(name) for name in ("asked", "cost") if name in options}
    if current is None:
        current = currents(shape, constant=options.get("constant", False), seed=seed)
    seen = {}
    for kernels in ("reference", "fused"):
        site = new_site(kernels, shape[1], with_norm=with_norm, **options)
        if prepare is not None:
            prepare(site)
        seen[kernels] = observe(site, current, training=training, **asks)
    assert_same(seen["fused"], seen["reference"])
    return seen["reference"]


def freeze(module):
    """As an attack has it: no parameter wants a gradient."""
    return module.requires_grad_(False)


def spiked(seen):
    return 0.1 < seen["spikes"].mean() < 0.9
