"""A stuck image: what the loss around it looks like where an attack by gradients ends, and how a search goes on.

    python examples/stuck_image.py runs/mini-cifar10-at stuck-image.png      # a minute; an audited run, or any other

An attack by gradients (SA-PGD on ASSG, 100 steps) leaves some images of small margin. On the left is the margin of one
of them along three lines through it: along the signs of its own gradient, and along two draws of random signs. It is a
staircase: most small changes leave it exactly as it was, and what the gradient promises (dashed) holds nowhere. On the
right is what the local search makes of all that were left: the lowest margin of each after so many queries.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import spikeproof as sp
from spikeproof.attacks import crafting, local_search, margin_of, sa_pgd
from spikeproof.gradients import ASSG
from spikeproof.recipes import load_run

RADIUS, COUNT, REACH = sp.Linf("4/255"), 100, 0.25 / 255
QUERIES = (1, 10, 30, 100, 300, 1000, 3000)


def main(run: str, picture: str) -> None:
    model, data = load_run(Path(run), None)
    model.eval()
    part = data.validation.take(torch.arange(COUNT))
    images, labels, how = part.images.float() / 255, part.labels, sp.Crafting(source=ASSG())
    first = sa_pgd(model, images, labels, RADIUS, how, steps=100, objective="margin")
    left = first.correct
    images, labels, nearest = images[left], labels[left], first.nearest[left]

    def margins(at: Tensor, of: Tensor) -> Tensor:
        return -margin_of(of)(sp.judge(model, at))

    begun = margins(nearest, labels)
    found = [begun]
    for queries in QUERIES:
        now = local_search(model, images, labels, RADIUS, how, queries=queries, start=nearest)
        found.append(torch.where(now.correct, margins(now.nearest, labels), 0.0).minimum(found[-1]))
    fallen = (found[-1] == 0).nonzero().flatten()
    stuck = int(fallen[begun[fallen].argmax()])
    image, label = nearest[stuck : stuck + 1], labels[stuck : stuck + 1]
    with crafting(model, how) as craft:
        gradient, _ = craft.gradient(image, margin_of(label))

    across = torch.linspace(-REACH, REACH, 801)
    fig, (near, far) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    torch.manual_seed(0)
    signs = {"the gradient's signs": gradient.sign()}
    signs |= {f"random signs {n}": torch.where(torch.rand_like(image) < 0.5, -1.0, 1.0) for n in (1, 2)}
    for name, sign in signs.items():
        line = (image + across[:, None, None, None] * sign).clamp(0, 1)
        near.plot(255 * across, margins(line, label.expand(len(line))), label=name, linewidth=1)
    promised = begun[stuck] - across * gradient.abs().sum()
    near.plot(255 * across, promised, "--", color="grey", linewidth=1, label="what the gradient promises")
    near.set(xlabel="step, in 255ths", ylabel="margin", title="around one image where SA-PGD has ended")
    near.set_ylim(0, float(2.5 * begun[stuck]))
    near.legend(fontsize=8)
    for margin, broken in zip(torch.stack(found, 1), found[-1] == 0, strict=True):
        far.plot((0.5, *QUERIES), margin, color="tab:red" if broken else "silver", linewidth=0.8, zorder=2 + broken)
    far.set(xscale="log", xlabel="queries of the local search", ylabel="lowest margin")
    far.set_title(f"all {len(begun)} images that it left; red: broken")
    fig.savefig(picture, dpi=110)
    print(f"{len(fallen)} of {len(begun)} broken; the one shown had a margin of {begun[stuck]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
