"""What fits into a budget of minutes: the best defense of which enough steps fit, by a short timing of its step.

docs/comparison.md has AT with SR and Free ahead of AT. SR makes the dearest steps, AT cheaper ones, and Free's replays
the most optimiser steps in a second: hence the order. How many passes over the training images each should have is
ours, and was not tuned.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from torch import Tensor, nn

from spikeproof.data import Augmentation, Data, ImageSet
from spikeproof.defenses import EMA, SR, AdversarialTraining, Defense, FreeAdversarialTraining
from spikeproof.errors import SpikeproofError
from spikeproof.interop import Adapted
from spikeproof.models import draws_at_random
from spikeproof.spiking import sites
from spikeproof.train import TrainConfig, train
from spikeproof.train.config import MOST_EPOCHS

# Passes over the training images below which the next, cheaper defense is taken.
_ENOUGH = {"AT + SR": 4.0, "AT": 2.0}
_LEAST_PASSES = 0.1
_REPLAYS = 3
_TIMED_STEPS = 3
# What a longer, steadier timing may take of the budget, and of how many steps it is.
_TIMED_SHARE, _MOST_TIMED = 0.02, 50
_FEW_IMAGES = 16  # that the timing's own validation looks at


@dataclasses.dataclass(frozen=True)
class Plan:
    """A fine-tuning that fits into a budget.

    Attributes:
        method: the defenses in words.
        defenses, config, data: what ``train`` is given; of less than one pass a part of the training images.
        seconds: what its steps should take.
        steps: batches, each of which Free trains on several times.
    """

    method: str
    defenses: tuple[Defense, ...]
    config: TrainConfig
    data: Data
    seconds: float
    steps: int


def plan(
    model: nn.Module,
    data: Data,
    *,
    eps: float,
    seconds: float,
    learning_rate: float,
    batch_size: int,
    augmentation: Augmentation | None,
    seed: int,
    device: Literal["auto", "cpu", "cuda"],
) -> Plan:
    """The best defense for so many seconds of training, and how long it is trained with.

    Every defense comes with EMA. A step is timed by training with it for a few steps, which the model does not keep.

    Raises:
        SpikeproofError: less than a tenth of a pass over the training images fits.
    """
    size = min(batch_size, len(data.train))
    steps_an_epoch = len(data.train) // size
    base = TrainConfig(
        epochs=1,
        batch_size=size,
        optimizer="adamw",
        learning_rate=learning_rate,
        augmentation=augmentation,
        seed=seed,
        device=device,
    )
    for method, defenses in _candidates(model, eps):
        a_step = _seconds_a_step(model, data, defenses, base, _TIMED_STEPS)
        more = min(int(_TIMED_SHARE * seconds / a_step), _MOST_TIMED)
        if more > 2 * _TIMED_STEPS:
            a_step = _seconds_a_step(model, data, defenses, base, more)
        fitting = seconds / a_step
        passes = fitting / steps_an_epoch
        if passes >= _ENOUGH.get(method, _LEAST_PASSES):
            break
    if passes < _LEAST_PASSES:
        needed = _LEAST_PASSES * steps_an_epoch * a_step / 60
        raise SpikeproofError(
            f"In {seconds / 60:.2g} minutes not a tenth of the {len(data.train)} training images is seen once: a batch "
            f"of {size} takes {a_step:.2g} s here. Give minutes={_upward(needed):g} or more, or fewer images."
        )
    if passes >= 1:
        epochs = min(int(passes), MOST_EPOCHS)
        steps, part = epochs * steps_an_epoch, data
    else:
        epochs, steps = 1, max(1, int(fitting))
        part = dataclasses.replace(data, train=_part(data, steps * size))
    config = dataclasses.replace(base, epochs=epochs, validate_every=epochs)
    return Plan(method, defenses, config, part, steps * a_step, steps)


@contextlib.contextmanager
def restored(model: nn.Module, *, always: bool) -> Iterator[Callable[[], None]]:
    """The weights, buffers and modes that a model has now are its own again after an error; or ``always``.

    Gives a function that puts them back at once.
    """
    if isinstance(model, Adapted):
        model.reset()  # some libraries keep the neurons' state, of any batch size, among the buffers
    # What is no tensor is the user's own (extra state).
    state = model.state_dict()
    values = {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}
    modes = {module: module.training for module in model.modules()}

    def put_back() -> None:
        if isinstance(model, Adapted):
            model.reset()
        model.load_state_dict(values)
        for module, training in modes.items():
            module.training = training

    done = False
    try:
        yield put_back
        done = True
    finally:
        if always or not done:
            put_back()


def _candidates(model: nn.Module, eps: float) -> list[tuple[str, tuple[Defense, ...]]]:
    attacked, average = AdversarialTraining(eps=eps, attack="pgd"), EMA()
    by_sr: list[tuple[str, tuple[Defense, ...]]] = [("AT + SR", (attacked, SR(), average))]
    noisy = draws_at_random(model) or any(site.noise_std > 0 for site in sites(model).values())
    return [
        *([] if noisy else by_sr),  # SR takes no network whose sites draw random numbers in training
        ("AT", (attacked, average)),
        ("Free AT", (FreeAdversarialTraining(eps=eps, replays=_REPLAYS), average)),
    ]


def _seconds_a_step(
    model: nn.Module, data: Data, defenses: Sequence[Defense], config: TrainConfig, steps: int
) -> float:
    """Seconds of a batch, of the second of two epochs of so many: the first is slow by what is done once."""
    count = min(steps * config.batch_size, len(data.train))
    look = data.validation.take(slice(0, min(_FEW_IMAGES, len(data.validation))))
    few = dataclasses.replace(data, train=_part(data, count), validation=look)
    with restored(model, always=True):
        run = train(model, few, defenses, dataclasses.replace(config, epochs=2, validate_every=2), show=False)
    return max(float(run.metrics[-1]["seconds"]) / (count // config.batch_size), 1e-4)


def _part(data: Data, count: int) -> ImageSet:
    rows = data.train.part(count)
    return data.train.take(rows.to(data.train.labels.device))


def _upward(minutes: float) -> float:
    """Two digits, rounded up.

    Example:
        >>> _upward(0.1234), _upward(12.01)
        (0.13, 13.0)
    """
    scale = 10 ** (1 - math.floor(math.log10(minutes)))
    return math.ceil(minutes * scale) / scale
