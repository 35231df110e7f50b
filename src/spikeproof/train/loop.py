"""``train``: one loop for every network and every list of defenses.

Every random number of a step follows from (seed, step) alone: a run that is stopped and resumed goes on as if nothing
had happened, bit for bit on the CPU with the same number of threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from spikeproof.attacks import judge
from spikeproof.data import Data
from spikeproof.defenses import Defense, Needs, Step, compose, watch
from spikeproof.errors import SpikeproofError
from spikeproof.models import SpikingModel, load_model, make_room, save_model
from spikeproof.private_rng import private_rng
from spikeproof.progress import Progress
from spikeproof.spiking import probe
from spikeproof.train.config import TrainConfig, pick_device
from spikeproof.train.microbatch import fitting_microbatch
from spikeproof.train.run_folder import RunFolder

# How often, in seconds, the state is written within an epoch: what a power cut can cost.
_SAVE_EVERY = 60.0
# Of SNN-RAT and all that follow it, but where its weight retraction is on.
_WEIGHT_DECAY = 5e-4


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop (Ctrl-C or SIGTERM); the state on disk, if there is a folder, goes on from there."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished training run: the model in eval mode, a line of metrics per epoch, and its folder if it has one."""

    model: SpikingModel
    metrics: list[dict[str, Any]]
    folder: Path | None


def train(
    model: SpikingModel,
    data: Data,
    defenses: Sequence[Defense] = (),
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    name: str = "run",
    settings: dict[str, Any] | None = None,
    command: str = "spikeproof.train(...)",
    show: bool = True,
) -> Run:
    """Train ``model`` in place on ``data.train``, with the defenses' hooks; the last epoch's weights are the result.

    Nothing is chosen on the way: there is no best checkpoint, and the test split is not touched.

    Args:
        out: the run folder; None keeps the run in memory.
        resume: go on with the run in ``out``; start it where there is none.
        name, settings, command: what config.json says of the run; settings default to config and defenses.
        show: print a line an epoch and a bar on a terminal.

    Raises:
        SpikeproofError: defenses that do not go together, fewer images than one batch, a folder in use, or a loss that
            is no longer finite.
        Interrupted: Ctrl-C or SIGTERM; the step in progress was finished and the state written.

    Example:
        >>> from spikeproof.data import load_data
        >>> from spikeproof.models import create_model
        >>> data = load_data("digits", validation=100, train_limit=128)
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> run = train(model, data, config=TrainConfig(epochs=1, augmentation=None), show=False)
        >>> len(run.metrics)
        1
    """
    config = config or TrainConfig()
    needs = compose(defenses)
    if model.description.num_classes != data.num_classes:
        raise SpikeproofError(
            f"The model has {model.description.num_classes} outputs and the data {data.num_classes} classes; "
            f"create the model with num_classes={data.num_classes}."
        )
    held, size = model.description, (data.channels, *data.image_size)
    if (held.in_channels, held.image_size, held.image_size) != size:
        raise SpikeproofError(
            f"The model takes images of {held.in_channels}x{held.image_size}x{held.image_size} and {data.name} has "
            f"{'x'.join(map(str, size))}; create the model with in_channels={size[0]}, image_size={size[1]}."
        )
    if config.augmentation is not None and config.augmentation.cutout >= min(data.image_size):
        raise SpikeproofError(
            f"A Cutout of {config.augmentation.cutout} pixels can blank the whole of {data.name}'s "
            f"{size[1]}x{size[2]} images; give augmentation=None or a smaller Augmentation(cutout=...)."
        )
    if len(data.train) < config.batch_size:
        raise SpikeproofError(
            f"The training split has {len(data.train)} images, fewer than one batch of {config.batch_size}; "
            "lower batch_size or raise train_limit."
        )
    device = pick_device(config.device)
    folder = None if out is None else RunFolder(out)
    # A coding that does not fit the images says so now, before there is a folder.
    with private_rng():
        model.coding.encode(data.train.images[:1].float() / 255, model.num_steps)
    fresh = folder is not None and not folder.begun
    if folder is not None:
        said = settings
        if said is None:
            said = {"train": dataclasses.asdict(config), "defenses": [repr(defense) for defense in defenses]}
        folder.open(name, said, device=device.type, command=command, resume=resume)
        if folder.finished:
            for defense in defenses:
                defense.install(model)  # what it changes is part of the network too
            learned = load_model(folder.weights, expected=model.description).state_dict()
            make_room(model, learned)
            model.load_state_dict(learned)
            return Run(model.to(device).eval(), folder.metrics(), folder.path)
    try:
        trainer = _Trainer(model.to(device), data.to(device), defenses, needs, config, folder)
    except SpikeproofError:  # a defense that this network cannot have
        if folder is not None and fresh:
            folder.abandon()
        raise
    with private_rng(), _stop_on_signal() as stop:
        trainer.run(stop, show=show, label=name)
    model.eval()
    if folder is not None:
        save_model(model, folder.weights)
        folder.forget_state()
    return Run(model, trainer.metrics, None if folder is None else folder.path)


class _Trainer:
    """The state of one training run, and the steps that move it on."""

    def __init__(
        self,
        model: SpikingModel,
        data: Data,
        defenses: Sequence[Defense],
        needs: Needs,
        config: TrainConfig,
        folder: RunFolder | None,
    ) -> None:
        self.model, self.data, self.defenses, self.needs, self.config, self.folder = (
            model,
            data,
            defenses,
            needs,
            config,
            folder,
        )
        for defense in defenses:
            defense.install(model)
        self.optimizer = self._make_optimizer()
        self.replays = max([defense.replays for defense in defenses], default=1)
        self.memory: dict[str, Tensor] = {}
        self.steps_an_epoch = len(data.train) // config.batch_size
        self.total_steps = self.steps_an_epoch * config.epochs
        self.step = 0
        self.seconds = 0.0
        self.sums: dict[str, float] = {}
        self.metrics: list[dict[str, Any]] = []
        state = None if folder is None else folder.read_state()
        if state is None:
            self.microbatch = self._pick_microbatch()
        else:
            self._restore(state)

    def run(self, stop: threading.Event, *, show: bool, label: str) -> None:
        saved_at = time.monotonic()
        with Progress(self.total_steps, label, start=self.step, show=show) as progress:
            while self.step < self.total_steps:
                epoch = self.step // self.steps_an_epoch
                order = torch.randperm(len(self.data.train), generator=self._generator("order", epoch))
                while self.step < (epoch + 1) * self.steps_an_epoch:
                    if stop.is_set():
                        self._save()
                        raise Interrupted
                    began = time.monotonic()
                    at = self.step - epoch * self.steps_an_epoch
                    batch = order[at * self.config.batch_size : (at + 1) * self.config.batch_size]
                    self._train_on(batch)
                    self.step += 1
                    self.seconds += time.monotonic() - began
                    progress.advance()
                    # Not after an epoch's last step: its line of metrics would be lost with what follows.
                    if self.step % self.steps_an_epoch and time.monotonic() - saved_at > _SAVE_EVERY:
                        self._save()
                        saved_at = time.monotonic()
                self._close_epoch(epoch)
                progress.line(_sentence(label, self.metrics[-1], self.config.epochs))
                self._save()
                saved_at = time.monotonic()

    def _train_on(self, batch: Tensor) -> None:
        chosen = batch.to(self.data.train.images.device)
        images, labels = self.data.train.images[chosen], self.data.train.labels[chosen]
        if self.config.augmentation is not None:
            images = self.config.augmentation(images, self._generator("augmentation", self.step))
        for replay in range(self.replays):
            self.optimizer.zero_grad(set_to_none=True)
            for part, (pixels, answers) in enumerate(
                zip(images.split(self.microbatch), labels.split(self.microbatch), strict=True)
            ):
                self._learn(self._new_step(pixels.float() / 255, answers, replay, part), len(answers) / len(labels))
            for defense in self.defenses:
                defense.after_backward(self.model, self.step / self.total_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate()
            self.optimizer.step()
            for defense in self.defenses:
                defense.after_step(self.model, self._derive("weights", self.step, replay))

    def _new_step(self, pixels: Tensor, labels: Tensor, replay: int, part: int) -> Step:
        return Step(
            model=self.model,
            clean=pixels,
            images=pixels,
            labels=labels,
            progress=self.step / self.total_steps,
            replay=replay,
            part=part,
            seed=self._derive("attack", self.step, part + self.microbatches * replay),
            bf16=self.config.precision == "bf16",
            memory=self.memory,
        )

    def _learn(self, step: Step, share: float) -> None:
        """Add the gradients of one part of the batch, weighted by its ``share``."""
        for defense in self.defenses:
            defense.begin(step)
        for defense in self.defenses:
            if defense.perturbs:
                step.images = defense.perturb(step)
        if any(defense.wants_image_gradient for defense in self.defenses):
            step.images = step.images.detach().requires_grad_()
        self.model.train()
        torch.manual_seed(self._derive("noise", self.step, step.part + self.microbatches * step.replay))
        loss = self._loss(step, share / self.replays)
        if not math.isfinite(loss.item()):
            raise SpikeproofError(
                f"The loss is {loss.item()} at step {self.step}; lower the learning rate or the weight of a defense."
            )
        (loss * share).backward()
        for defense in self.defenses:
            defense.learned(step)
        self._add("loss", loss.item() * share / self.replays)
        self._add("correct", int((step.logits.argmax(1) == step.labels).sum()) / self.replays)

    def _loss(self, step: Step, weight: float) -> Tensor:
        with contextlib.ExitStack() as stack:
            if self.needs != Needs():
                step.record = stack.enter_context(watch(self.model, self.needs))
            step.logits = step.forward(step.images)
        replacing = [defense for defense in self.defenses if defense.replaces_loss]
        loss = replacing[0].loss(step) if replacing else cross_entropy(step.logits, step.labels)
        for defense in self.defenses:
            penalty = defense.penalty(step)
            if penalty is not None:
                self._add(f"penalty {defense.label}", penalty.item() * weight)
                loss = loss + penalty
        return loss

    def _close_epoch(self, epoch: int) -> None:
        look = (epoch + 1) % self.config.validate_every == 0 or epoch + 1 == self.config.epochs
        accuracy, rates = self._validate() if look else (None, {})
        images_seen = self.steps_an_epoch * self.config.batch_size
        self.metrics.append(
            {
                "epoch": epoch,
                "step": self.step,
                "loss": self.sums["loss"] / self.steps_an_epoch,
                "penalties": {
                    key.removeprefix("penalty "): value / self.steps_an_epoch
                    for key, value in self.sums.items()
                    if key.startswith("penalty ")
                },
                "train_accuracy": self.sums["correct"] / images_seen,
                "validation_accuracy": accuracy,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds": round(self.seconds, 3),
                "firing_rates": rates,
            }
        )
        self.sums, self.seconds = {}, 0.0
        if self.folder is not None:
            self.folder.write_metrics(self.metrics)

    def _validate(self) -> tuple[float, dict[str, float]]:
        correct = 0
        rates: dict[str, float] = {}
        with probe(self.model, "rate") as record:
            for images, labels in self.data.validation.batches(250):
                correct += int((judge(self.model, images).argmax(1) == labels).sum())
                for site, seen in record.items():
                    assert seen.rate is not None
                    rates[site] = rates.get(site, 0.0) + seen.rate.item() * len(images) / len(self.data.validation)
        return correct / len(self.data.validation), rates

    @property
    def microbatches(self) -> int:
        return -(-self.config.batch_size // self.microbatch)

    def _make_optimizer(self) -> torch.optim.SGD:
        """SGD on all parameters; what defenses installed with options of its own has groups of its own."""
        groups = [group for defense in self.defenses for group in defense.groups(self.model)]
        own = {parameter for group in groups for parameter in group["params"]}
        rest = [parameter for parameter in self.model.parameters() if parameter not in own]
        wishes = [defense.weight_decay for defense in self.defenses if defense.weight_decay is not None]
        decay = min(wishes, default=_WEIGHT_DECAY) if self.config.weight_decay is None else self.config.weight_decay
        return torch.optim.SGD(
            [{"params": rest}, *groups], self.config.learning_rate, momentum=self.config.momentum, weight_decay=decay
        )

    def _pick_microbatch(self) -> int:
        if self.config.microbatch != "auto":
            return self.config.microbatch or self.config.batch_size
        image = self.data.train.images[0].float() / 255
        forwards = 1 + sum(defense.forwards - 1 for defense in self.defenses)
        bf16 = self.config.precision == "bf16"
        return fitting_microbatch(self.model, image, self.config.batch_size, bf16=bf16, forwards=forwards)

    def _learning_rate(self) -> float:
        return self.config.learning_rate * (1 + math.cos(math.pi * self.step / self.total_steps)) / 2

    def _add(self, key: str, value: float) -> None:
        self.sums[key] = self.sums.get(key, 0.0) + value

    def _derive(self, purpose: str, index: int, part: int = 0) -> int:
        named = f"{self.config.seed}/{purpose}/{index}" + (f"/{part}" if part else "")
        digest = hashlib.blake2b(named.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def _generator(self, purpose: str, index: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._derive(purpose, index))

    def _save(self) -> None:
        if self.folder is None:
            return
        self.folder.write_state(
            {
                "step": self.step,
                "seconds": self.seconds,
                "sums": self.sums,
                "microbatch": self.microbatch,
                "metrics": self.metrics,
                "memory": self.memory,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        assert self.folder is not None
        try:
            make_room(self.model, state["model"])
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.sums = state["step"], state["seconds"], state["sums"]
            self.metrics, self.microbatch = state["metrics"], state["microbatch"]
            self.memory = {name: held.to(self.data.train.images.device) for name, held in state["memory"].items()}
        except (KeyError, RuntimeError, TypeError, ValueError):
            raise SpikeproofError(
                f"The state in {self.folder.path} belongs to another model; give another --out."
            ) from None
        self.folder.write_metrics(self.metrics)


def _sentence(label: str, line: dict[str, Any], epochs: int) -> str:
    penalties = "".join(f", {key} {value:.3f}" for key, value in line["penalties"].items())
    validated = ""
    if line["validation_accuracy"] is not None:
        mean_rate = sum(line["firing_rates"].values()) / len(line["firing_rates"])
        validated = f"validation {100 * line['validation_accuracy']:.1f} %, mean rate {mean_rate:.3f}, "
    return (
        f"{label}: epoch {line['epoch'] + 1}/{epochs}, loss {line['loss']:.3f}{penalties}, "
        f"train {100 * line['train_accuracy']:.1f} %, {validated}{line['seconds']:.0f} s"
    )


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that a step is finished first; a second Ctrl-C stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
