"""``train``: one loop for every network and every list of defenses.

Every random number of a step follows from (seed, step) alone. So a run that is stopped and resumed gives the same
weights as one that was not: bit for bit on the CPU, with the same number of threads. Under `torchrun` the processes
share every batch (``runs/processes.py``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeproof.data import Data
from spikeproof.defenses import Defense, Needs, check_foreign, compose
from spikeproof.errors import Interrupted, SpikeproofError
from spikeproof.interop import Adapted
from spikeproof.kinds import check_kinds
from spikeproof.machine.compiling import compiling_seconds, working_time
from spikeproof.machine.device import pick_device
from spikeproof.machine.precision import Precision, Resolved, resolved
from spikeproof.models import SpikingModel, check_finite
from spikeproof.private_rng import private_rng
from spikeproof.progress import Progress
from spikeproof.runs import Processes, RunFolder, stop_on_signal
from spikeproof.sending import sent
from spikeproof.train.beyond import beyond
from spikeproof.train.checks import check_division, check_fit, check_learns, trainable
from spikeproof.train.config import TrainConfig
from spikeproof.train.epoch import sentence, validated
from spikeproof.train.gradients import BatchGradients, Part
from spikeproof.train.identity import identity, identity_of_network
from spikeproof.train.kept import check_keepable, keep, kept, take
from spikeproof.train.optimizer import cosine, make_optimizer
from spikeproof.train.outcome import as_it_comes_out, settle_outcome
from spikeproof.train.parts import part_size
from spikeproof.train.seeds import derive, generator
from spikeproof.train.silence import check_speaks, listen
from spikeproof.train.tally import Finite, Tally

# Seconds between two saves of the state within an epoch: so much a power cut can cost.
_SAVE_EVERY = 60.0
# No training comes back from such a mean loss of an epoch; at chance, a cross-entropy is log(classes).
_EXPLODED = 1e4


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished training run, as ``train`` returns it.

    Attributes:
        model: the trained network, in eval mode.
        metrics: one dict an epoch, as in metrics.jsonl: loss, penalties, accuracies in [0, 1], firing rates, seconds.
        folder: the run folder; None where the run was kept in memory.

    Example: see :func:`train`.
    """

    model: SpikingModel | Adapted
    metrics: list[dict[str, Any]]
    folder: Path | None


@check_kinds
def train(
    model: nn.Module,
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

    Nothing is chosen on the way: there is no best checkpoint, and the test split is not touched. Parameters that are
    frozen (``requires_grad`` off) stay as they are. A batch norm whose scale and shift are frozen normalises by its
    running statistics, which stay as they are too.

    Under `torchrun` every process must call this with the same arguments, or the others wait for it. All return the
    same model; the first process alone writes and prints.

    Of a network compiled by ``torch.compile``, the network inside is trained, by its own kernels. Of a network from
    ``spikeproof.adapt``, the user's own module is trained, in float32. Its run folder keeps the weights by the user's
    own keys (safetensors), and no code: to resume, hand over the same network again.

    Args:
        model: from ``create_model`` or ``adapt``. Training begins from its present weights.
        data: the training split is learned from, the validation split is looked at after epochs.
        defenses: any number, in the order in which their hooks are called; none is plain training.
        config: how to train; None for ``TrainConfig()``.
        out: the run folder; None keeps the run in memory.
        resume: go on with the run in ``out``, or start it where there is none.
        name, settings, command: what config.json says of the run; settings default to config and defenses.
        show: print a line an epoch, and a bar on a terminal.

    Returns:
        The model in eval mode, its metrics and its folder. A run that is finished already is read from its folder.

    Raises:
        SpikeproofError: defenses that do not go together; fewer images than one batch; a folder in use, or of a run
            with another network, defenses, training, settings or images; with a folder, a network whose weights no
            file can hold (see :func:`spikeproof.models.check_writable`); a loss that is no longer finite; a defense or
            batch that several processes cannot share; for an adapted network, a defense that changes what is the
            library's own.
        Interrupted: Ctrl-C or SIGTERM. The step in progress was finished and the state written; after the last step,
            the weights.

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
    model = trainable(model)
    processes = Processes.of_this_process()
    check_fit(model, data, config, processes.world)
    check_foreign(defenses, model)
    check_division(processes, defenses, config.batch_size)
    device = processes.device(pick_device(config.device))
    processes.meet(device)
    folder = None if out is None else RunFolder(out)
    precision: Precision = "fp32" if isinstance(model, Adapted) else config.precision
    run_identity: dict[str, Any] | None = None
    if folder is not None:
        check_keepable(model)
        run_identity = identity(defenses, config)
    if settings is None:
        settings = {"train": dataclasses.asdict(config), "defenses": [repr(defense) for defense in defenses]}
    with contextlib.ExitStack() as stack:
        fresh, ran = False, processes.lead(lambda: resolved(precision, device))
        if folder is not None:
            opened = folder  # for the type checker

            def open_folder() -> tuple[bool, Resolved]:
                stack.enter_context(opened.lock())
                begun = opened.open(
                    name,
                    settings,
                    device=device.type,
                    command=command,
                    resume=resume,
                    images=data.fingerprints(),
                    precision=precision,
                    identity=run_identity,
                    perturbed=any(defense.perturbs for defense in defenses),
                    labels={word: each.label for each in defenses for word in (each.field, type(each).__name__)},
                )
                return begun, opened.precision or ran

            fresh, ran = processes.lead(open_folder)
            if processes.lead(lambda: opened.finished):
                for defense in defenses:
                    defense.install(model)  # its changes are a part of the network
                processes.lead(lambda: opened.settle(identity_of_network(model)))
                learned, metrics = processes.lead(lambda: _finished(opened, model))
                take(model, learned)
                return Run(model.to(device).eval(), metrics, opened.path)
        config = dataclasses.replace(
            config, precision=resolved(ran, device)
        )  # a resumed run keeps the precision that it began in
        try:
            trainer = _Trainer(model.to(device), data.to(device), defenses, needs, config, folder, processes)
        except SpikeproofError:  # a defense refuses this network
            if folder is not None and fresh and processes.first:
                folder.abandon()
            raise
        with private_rng(), stop_on_signal() as stop:
            trainer.run(stop, show=show and processes.first, label=name)
            model.eval()
            if folder is not None:
                whole = folder
                # By `lead`, so that no process returns before the weights are there.
                processes.lead(lambda: whole.write_weights(lambda path: keep(model, path)))
    if any(processes.gather(stop.is_set())):  # asked to stop after the last step: the caller must not go on
        raise Interrupted
    return Run(model, trainer.metrics, None if folder is None else folder.path)


def _finished(folder: RunFolder, model: SpikingModel | Adapted) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    return kept(model, folder.weights), folder.metrics()


def _look_every(device: torch.device) -> int:
    """Steps between two looks at what only the device knows: every step on a CPU, where nothing is waited for."""
    return 1 if device.type == "cpu" else 50


class _Trainer:
    """The state of one training run, and the steps that move it on."""

    def __init__(
        self,
        model: SpikingModel | Adapted,
        data: Data,
        defenses: Sequence[Defense],
        needs: Needs,
        config: TrainConfig,
        folder: RunFolder | None,
        processes: Processes,
    ) -> None:
        self.model, self.data, self.defenses = model, data, defenses
        self.config, self.folder, self.processes = config, folder, processes
        self.gradients = BatchGradients(model, defenses, needs, config, processes)
        for defense in defenses:
            defense.install(model)
        check_learns(model)
        check_finite(model)
        if folder is not None:
            check_keepable(model)  # as the defenses have left it
            processes.lead(lambda: folder.settle(identity_of_network(model)))
        processes.agree(model)
        self.optimizer = make_optimizer(model, defenses, config)
        self.replays = max([defense.replays for defense in defenses], default=1)
        self.memory: dict[str, Tensor] = {}
        self.steps_an_epoch = len(data.train) // config.batch_size
        self.total_steps = self.steps_an_epoch * config.epochs
        self.step = 0
        self.seconds = 0.0
        self.device = data.train.images.device
        self.look_every = _look_every(self.device)
        self.sums, self.finite = Tally(self.device), Finite(self.device)
        # How many processes have asked to stop, and to save, since the last look.
        self.wishes = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.metrics: list[dict[str, Any]] = []
        # Whether any process was asked to stop, and whether the first one wants a save: the same in all processes.
        self.stopping = self.saving = False
        state = None if folder is None else processes.lead(folder.read_state)
        if state is None:
            self.microbatch = part_size(model, data.train.images[0], defenses, config, processes)
        else:
            self._restore(state)

    def run(self, stop: threading.Event, *, show: bool, label: str) -> None:
        self.saved_at, compiled = time.monotonic(), compiling_seconds()
        with Progress(self.total_steps, label, start=self.step, show=show) as progress:
            while self.step < self.total_steps:
                epoch = self.step // self.steps_an_epoch
                order = torch.randperm(len(self.data.train), generator=generator(self.config.seed, "order", epoch))
                while self.step < (epoch + 1) * self.steps_an_epoch:
                    if self.stopping or (stop.is_set() and self.processes.world == 1):
                        self._save()
                        raise Interrupted
                    began = working_time()
                    at = self.step - epoch * self.steps_an_epoch
                    batch = order[at * self.config.batch_size : (at + 1) * self.config.batch_size]
                    self._train_on(batch, stop)
                    self.step += 1
                    self.seconds += working_time() - began
                    progress.advance()
                    # Not after an epoch's last step: a run resumed from there would lack the epoch's line of metrics.
                    if self.step % self.steps_an_epoch and self.saving:
                        self._save()
                self._close_epoch(epoch)
                before, compiled = compiled, compiling_seconds()
                progress.line(sentence(label, self.metrics[-1], self.config.epochs, compiled - before))
                self._save()
        settle_outcome(self.model, self.defenses, self.memory)

    def _train_on(self, batch: Tensor, stop: threading.Event) -> None:
        chosen = sent(batch, self.device)
        images, labels = self.data.train.images[chosen], self.data.train.labels[chosen]
        if self.config.augmentation is not None:
            images = self.config.augmentation(images, generator(self.config.seed, "augmentation", self.step))
        for replay in range(self.replays):
            parts = self.gradients.begin(
                images,
                labels,
                size=self.microbatch,
                number=self.step,
                replay=replay,
                progress=self.step / self.total_steps,
                memory=self.memory,
            )
            with self.gradients.moved_weights(parts):
                self.optimizer.zero_grad(set_to_none=True)
                loss = torch.zeros((), dtype=torch.float64, device=self.device)
                for part in parts:
                    loss = loss + self._learn(part)
            self._exchange(loss, stop)
            for defense in self.defenses:
                defense.after_backward(self.model, self.step / self.total_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = cosine(self.config.learning_rate, self.step, self.total_steps)
            self.optimizer.step()
            for defense in self.defenses:
                defense.after_step(self.model, derive(self.config.seed, "weights", self.step, replay))

    def _exchange(self, loss: Tensor, stop: threading.Event) -> None:
        """Add up the processes' gradients, and with them the loss and the requests to stop and to save.

        These are read in every step on a CPU, else only now and then and at an epoch's end: reading waits for a GPU.
        """
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        due = self.processes.first and time.monotonic() - self.saved_at > _SAVE_EVERY
        wishes = sent(torch.tensor([stop.is_set(), due], dtype=torch.float64), self.device)
        totals = self.processes.add_up(gradients, torch.cat([loss[None], wishes]))
        self.finite.note(totals[0], self.step)
        self.wishes = self.wishes + totals[1:]
        done = self.step + 1
        if done % self.look_every == 0 or done % self.steps_an_epoch == 0:
            self.finite.check()
            stopping, saving = self.wishes.tolist()
            self.wishes = torch.zeros_like(self.wishes)
            self.stopping, self.saving = stopping > 0 and self.processes.world > 1, saving > 0

    def _learn(self, part: Part) -> Tensor:
        """Add the gradients of one part of the batch, weighted by its share; return its weighted loss."""
        step, loss, penalties = self.gradients.of_part(part)
        for defense in self.defenses:
            defense.learned(step)
        for label, penalty in penalties.items():
            self.sums.add(f"penalty {label}", penalty, part.share / self.replays)
        self.sums.add("loss", loss, part.share, self.replays)
        self.sums.add("correct", (step.logits.argmax(1) == step.labels).sum(), parts=self.replays)
        listen(self.sums, step.logits, self.step, self.steps_an_epoch)
        return loss.detach().double() * part.share

    def _close_epoch(self, epoch: int) -> None:
        sums = self.processes.total(self.sums.read())
        loss = sums["loss"] / self.steps_an_epoch
        if loss > _EXPLODED:
            raise SpikeproofError(
                f"The loss rose to {loss:.2g} in epoch {epoch}, too high to go on; lower the learning rate or the "
                "weight of a defense."
            )
        check_finite(self.model, mend=f"it was trained in epoch {epoch}: lower the learning rate")
        heard = check_speaks(sums, epoch, self.config.epochs, self.model.parameters())
        look = (epoch + 1) % self.config.validate_every == 0 or epoch + 1 == self.config.epochs
        images_seen = self.steps_an_epoch * self.config.batch_size
        with as_it_comes_out(self.model, self.defenses, self.memory):
            accuracy, rates = validated(self.model, self.data.validation, epoch, self.processes) if look else (None, {})
            out = beyond(self.model)
        self.metrics.append(
            {
                "epoch": epoch,
                "step": self.step,
                "loss": loss,
                "penalties": {
                    key.removeprefix("penalty "): value / self.steps_an_epoch
                    for key, value in sums.items()
                    if key.startswith("penalty ")
                },
                "train_accuracy": sums["correct"] / images_seen,
                "validation_accuracy": accuracy,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds": round(self.seconds, 3),
                "precision": self.config.precision,
                "firing_rates": rates,
                **({"beyond": out} if out else {}),
            }
        )
        self.sums, self.seconds = Tally(self.device, heard), 0.0
        if self.folder is not None and self.processes.first:
            self.folder.write_metrics(self.metrics)

    def _save(self) -> None:
        self.saved_at, self.saving = time.monotonic(), False
        self.finite.check()
        if self.folder is None:
            return
        first, *others = self.processes.gather(
            {"sums": self.sums.read(), "memory": {name: tensor.cpu() for name, tensor in self.memory.items()}}
        )
        if not self.processes.first:
            return
        self.folder.write_state(
            {
                "step": self.step,
                "seconds": self.seconds,
                **first,
                "others": others,
                "microbatch": self.microbatch,
                "metrics": self.metrics,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        assert self.folder is not None
        together = [state, *state.get("others", [])]
        if len(together) != self.processes.world:
            raise SpikeproofError(
                f"The run in {self.folder.path} was stopped with {len(together)} processes; resume it with as many, "
                f"not {self.processes.world}."
            )
        own = together[self.processes.rank]
        try:
            take(self.model, state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.sums = state["step"], state["seconds"], Tally(self.device, own["sums"])
            self.metrics, self.microbatch = state["metrics"], state["microbatch"]
            self.memory = {name: tensor.to(self.device) for name, tensor in own["memory"].items()}
        except (KeyError, RuntimeError, TypeError, ValueError):
            raise SpikeproofError(
                f"The state in {self.folder.path} belongs to another model; give another --out."
            ) from None
        if self.processes.first:
            self.folder.write_metrics(self.metrics)
