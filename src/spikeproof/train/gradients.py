"""The gradients of one optimiser step: a batch is split into parts, and the parts' gradients are added up."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from spikeproof.attacks import working_dtype
from spikeproof.defenses import Defense, Needs, Step
from spikeproof.runs.processes import Processes, SharedBatch
from spikeproof.spiking.joined import joined
from spikeproof.train.config import TrainConfig
from spikeproof.train.optimizer import learning
from spikeproof.train.seeds import derive
from spikeproof.train.step_loss import step_loss


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a batch.

    Attributes:
        step: what defenses see of this process's images.
        images: how many images the part has, over all processes.
        share: the share of the whole batch that these images of this process are, in (0, 1].
    """

    step: Step
    images: int
    share: float


@dataclasses.dataclass(frozen=True)
class BatchGradients:
    """Takes the gradients of a run's loss over a batch, in parts, and shared by the processes.

    Args:
        model: with its defenses installed.
        defenses: those of the run.
        needs: what all defenses together want to see of the forward, as ``compose`` gives it.
        config: of the run, with its precision settled.
        processes: those of the run.
    """

    model: nn.Module
    defenses: Sequence[Defense]
    needs: Needs
    config: TrainConfig
    processes: Processes

    def begin(
        self,
        images: UInt8[Tensor, " n *chw"],
        labels: Int64[Tensor, " n"],
        *,
        size: int,
        number: int,
        replay: int,
        progress: float,
        memory: dict[str, Tensor],
    ) -> list[Part]:
        """Split a batch into parts and let the defenses make their images.

        Args:
            images: the whole batch, the same in every process, with values 0 to 255.
            labels: one for each image.
            size: images in a part, over all processes.
            number: of the step. With ``replay`` it decides the step's random numbers.
            replay, progress, memory: see :class:`spikeproof.defenses.Step`.
        """
        parts: list[Part] = []
        count = -(-self.config.batch_size // size)
        for index, (pixels, answers) in enumerate(zip(images.split(size), labels.split(size), strict=True)):
            # A number of its own for each part of a step and each process.
            own = (index + count * replay) * self.processes.world + self.processes.rank
            clean = self.processes.slice(pixels).to(working_dtype(self.model)) / 255
            mine = self.processes.slice(answers)
            noise = derive(self.config.seed, "noise", number, own)
            step = Step(
                model=self.model,
                clean=clean,
                images=clean,
                labels=mine,
                progress=progress,
                replay=replay,
                part=index,
                seed=derive(self.config.seed, "attack", number, own),
                noise=noise,
                bf16=self.config.precision == "bf16",
                memory=memory,
            )
            for defense in self.defenses:
                defense.begin(step)
            for defense in self.defenses:
                if defense.perturbs:
                    step.images = defense.perturb(step)
            parts.append(Part(step, len(answers), len(mine) / len(labels)))
        return parts

    @contextlib.contextmanager
    def moved_weights(self, parts: Sequence[Part]) -> Iterator[None]:
        """A context in which the weights are where defenses want this batch's gradient to be taken (AWP).

        Args:
            parts: all of the batch, from ``begin``.
        """
        with contextlib.ExitStack() as stack:
            for defense in self.defenses:
                context = defense.moved_weights(self.model, lambda: self._whole(parts), parts[0].step.progress)
                stack.enter_context(context)
            yield

    def of_part(self, part: Part) -> tuple[Step, Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Add the gradients of a part's loss, weighted by its share, to the parameters' ``grad``.

        Args:
            part: from ``begin``.

        Returns:
            The step with its logits, the unweighted loss, and each penalty by the name of its defense.
        """
        return self._backward(part, part.step.memory)

    def _whole(self, parts: Sequence[Part]) -> None:
        """Put the whole batch's gradient at the present weights into ``grad``; buffers and memory stay as they are."""
        self.model.zero_grad(set_to_none=True)
        statistics = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        for part in parts:
            self._backward(part, dict(part.step.memory))
        for buffer, before in statistics:
            buffer.copy_(before)
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        self.processes.add_up(gradients, torch.zeros(1, device=gradients[0].device))

    def _backward(self, part: Part, memory: dict[str, Tensor]) -> tuple[Step, Tensor, dict[str, Tensor]]:
        step = copy.copy(part.step)  # a copy, so that its graph is freed with it
        step.memory = memory
        if any(defense.wants_image_gradient for defense in self.defenses):
            step.images = step.images.detach().requires_grad_()
        learning(self.model)
        torch.manual_seed(step.noise)
        with self._with_the_others(part.images):
            loss, penalties = step_loss(step, self.defenses, self.needs, self.config.loss)
            (loss * part.share).backward()
        return step, loss, penalties

    def _with_the_others(self, images: int) -> contextlib.AbstractContextManager[None]:
        """A context: what is taken over a batch of ``images`` images is taken over all processes' slices of it."""
        if self.processes.world == 1:
            return contextlib.nullcontext()
        return joined(self.model, SharedBatch(self.processes.rank, self.processes.share(images)))
