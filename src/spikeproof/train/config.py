"""The settings of training, apart from its defenses."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Literal, get_args

from spikeproof.checked import MOST, check_seed, check_sizes, told, whole
from spikeproof.data import Augmentation
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_fields
from spikeproof.machine.precision import Precision, check_precision

Optimizer = Literal["sgd", "adam", "adamw"]
MOST_EPOCHS = 1_000_000
_MOMENTUM = 0.9


@check_fields
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a network is trained: optimiser, batches, loss, precision and seed. Defenses are not a part of it.

    The learning rate falls to 0 as a cosine, step by step. The weight decay is that of SNN-RAT (Ding et al., NeurIPS
    2022), which the papers after it took over.

    Args:
        epochs: passes over the training set, 1 or more.
        batch_size: images in a step; an epoch's last, incomplete batch is left out.
        optimizer: "sgd", "adam" or "adamw", PyTorch's own. Adam and AdamW want a learning rate of 1e-3 or so; networks
            of snnTorch and Norse stay at chance with SGD at 0.1.
        learning_rate: at the first step, > 0.
        momentum: of SGD, in [0, 1); the others have none.
        weight_decay: None for what a defense asks for (REG: 0), else 5e-4. AdamW's is decoupled from the gradient.
        loss: the cross-entropy of the "mean" logits, or "tet", that of every step's (see
            :func:`spikeproof.train.temporal_loss.temporal_loss`). A defense that replaces the loss replaces either.
        precision: of the network and of the defenses' inner attacks. "bf16" runs them under bfloat16 autocast (weights,
            loss and the arithmetic of potentials stay float32), "fp32" without; "auto" takes bf16 where the device has
            bf16 in hardware, else fp32, and the run's config.json says which.
        augmentation: of each training batch; None trains on the images as they are.
        validate_every: epochs between two looks at the validation split; the last epoch always has one. They run in
            float32 and cost time.
        microbatch: at most so many images at once. The gradients of a batch's parts are added up: less memory, the
            same gradients. Batch norm's statistics, and MPD-SGR's, are then taken over each part. "auto" takes the
            largest part that fits into the device's free memory; None the whole batch.
        seed: decides the order, the augmentation and all noise; in a recipe also the first weights. >= 0.
        device: "auto" takes CUDA where there is one.

    Raises:
        SpikeproofError: a number out of its range, a momentum for Adam, or an unknown optimizer, loss, precision or
            device.

    Example:
        >>> TrainConfig(epochs=5, optimizer="adamw", learning_rate=1e-3).batch_size
        64
    """

    epochs: int = 20
    batch_size: int = 64
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.1
    momentum: float = _MOMENTUM
    weight_decay: float | None = None
    loss: Literal["mean", "tet"] = "mean"
    precision: Precision = "auto"
    augmentation: Augmentation | None = dataclasses.field(default_factory=Augmentation)
    validate_every: int = 1
    microbatch: int | Literal["auto"] | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        whole(self.epochs, "Training", "epochs", 1, MOST_EPOCHS)
        for name in ("batch_size", "validate_every"):
            whole(getattr(self, name), "Training", name, 1, MOST)
        check_seed(self.seed, "Training")
        check_sizes("Training", vars(self))
        if isinstance(self.microbatch, str) and self.microbatch != "auto":
            raise SpikeproofError(f"A microbatch is a number >= 1, 'auto' or None, got {self.microbatch!r:.80}.")
        if not (self.microbatch is None or self.microbatch == "auto"):
            whole(self.microbatch, "Training", "microbatch", 1, MOST)
        for name in ("epochs", "batch_size", "validate_every", "microbatch", "seed"):
            if isinstance(getattr(self, name), numbers.Integral):  # NumPy's too, which JSON cannot write
                object.__setattr__(self, name, int(getattr(self, name)))
        if self.optimizer not in get_args(Optimizer):
            raise SpikeproofError(
                f"The optimizer of training is {', '.join(get_args(Optimizer))}, not {told(self.optimizer)}."
            )
        if self.optimizer != "sgd" and self.momentum != _MOMENTUM:
            raise SpikeproofError(
                f"Only sgd takes a momentum, and the optimizer here is {self.optimizer}; leave momentum out."
            )
        if self.loss not in ("mean", "tet"):
            raise SpikeproofError(f"The loss of training is 'mean' or 'tet', not {self.loss!r}.")
        check_precision(self.precision, "Training runs")
        if self.device not in ("auto", "cpu", "cuda"):
            raise SpikeproofError(f"The device of training is auto, cpu or cuda, not {self.device}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise SpikeproofError(f"Training needs a learning_rate > 0, got {self.learning_rate}.")
        if not (0 <= self.momentum < 1 and (self.weight_decay is None or 0 <= self.weight_decay < math.inf)):
            raise SpikeproofError(
                f"Training needs a momentum in [0, 1) and a finite weight_decay >= 0, got {self.momentum} and "
                f"{self.weight_decay}."
            )
