"""What a defense's training step costs beside vanilla's, and beside the forward and backward passes that it needs.

Every recipe of the family trains the same network on the same few images, in turn, in one process; the seconds are
those that training itself reports for its last epoch (compilation is in the first). Passes are counted at the stem:
images that went through it forward, and images whose gradient came back to it; a training step of vanilla's is 1 + 1.

    python benchmarks/training_cost.py mini-cifar10 --rows vanilla at mpd-sgr
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics

import torch
from torch import Tensor, nn

from spikeproof.recipes import COMPARISONS
from spikeproof.recipes.recipe import Recipe
from spikeproof.train import train

_BATCHES = 4


class Passes:
    """Images that went through a module, forward and back."""

    def __init__(self, module: nn.Module) -> None:
        self.forward = self.backward = 0
        module.register_forward_hook(self._count)

    def _count(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self._count_back)

    def _count_back(self, gradient: Tensor) -> None:
        self.backward += len(gradient)


def epoch_of(recipe: Recipe, epochs: int) -> tuple[float, float, float]:
    """Seconds of the last epoch's steps, and the passes of a whole training by the images it was shown."""
    data = recipe.data.load(None)
    model = recipe.model.create(data, 0)
    passes = Passes(model.stem)
    config = dataclasses.replace(recipe.train, epochs=epochs, validate_every=10_000)
    few = dataclasses.replace(data, validation=data.validation.take(slice(0, 1)))
    run = train(model, few, recipe.defenses, config, show=False)
    shown = epochs * (len(data.train) // config.batch_size) * config.batch_size
    return run.metrics[-1]["seconds"], passes.forward / shown, passes.backward / shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=COMPARISONS)
    parser.add_argument("--rows", nargs="*", default=[], help="without the family's name; all by default")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    wanted = {f"{arguments.family}-{row}" for row in arguments.rows}
    recipes = [recipe for recipe in COMPARISONS[arguments.family] if not wanted or recipe.name in wanted]
    small = [
        dataclasses.replace(
            recipe,
            data=dataclasses.replace(recipe.data, train_limit=_BATCHES * recipe.train.batch_size),
            model=dataclasses.replace(recipe.model, width=arguments.width),
        )
        for recipe in recipes
    ]
    seconds: dict[str, list[float]] = {recipe.name: [] for recipe in small}
    passes: dict[str, tuple[float, float]] = {}
    for _ in range(arguments.repeats):
        for recipe in small:
            took, forward, backward = epoch_of(recipe, epochs=3)
            seconds[recipe.name].append(took)
            passes[recipe.name] = forward, backward
    first = statistics.median(seconds[small[0].name])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), width {arguments.width}, medians")
    print("| Row | Step | Forward | Backward | Step / passes |\n| --- | --: | --: | --: | --: |")
    for name, taken in seconds.items():
        forward, backward = passes[name]
        ratio = statistics.median(taken) / first
        # A backward is about two forwards of work, where weights want a gradient.
        work = (forward + 2 * backward) / 3
        print(f"| {name} | {ratio:.2f}x | {forward:.2f} | {backward:.2f} | {ratio / work:.2f} |")


if __name__ == "__main__":
    main()
