"""Short training that is watched, and stopped and resumed."""

import dataclasses

import torch

from spikeproof.defenses import Defense, Step
from spikeproof.runs import RunFolder
from spikeproof.train import TrainConfig, train
from stops import stopped_at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watcher(Defense):
    """Notes every step after its backward, what the memory held before it, and after which steps the weights moved."""

    seen: list[Step] = dataclasses.field(default_factory=list)
    held: list[set[str]] = dataclasses.field(default_factory=list)
    moves: list[int] = dataclasses.field(default_factory=list)

    def begin(self, step: Step) -> None:
        self.held.append(set(step.memory))

    def learned(self, step: Step) -> None:
        self.seen.append(step)

    def after_step(self, model: torch.nn.Module, seed: int) -> None:
        self.moves.append(len(self.seen))


def whole_and_resumed(new_model, data, defenses, config, folder, *, share):
    """The weights of a run in one go, and of one stopped and resumed from another start; and the state between."""
    shared = {"data": data, "config": config, "settings": {"mine": 1}, "show": False}
    whole = train(new_model(0), defenses=defenses, out=folder / "whole", **shared)
    with stopped_at(share):
        train(new_model(0), defenses=defenses, out=folder / "cut", **shared)
    state = RunFolder(folder / "cut").read_state()
    resumed = train(new_model(8), defenses=defenses, out=folder / "cut", resume=True, **shared)
    return whole.model.state_dict(), resumed.model.state_dict(), state


def config(**changes):
    """Of two short epochs."""
    usual = {"epochs": 2, "batch_size": 32, "augmentation": None, "learning_rate": 0.02}
    return TrainConfig(**(usual | {"device": "cpu", "precision": "fp32"} | changes))
