"""What a run folder says, as plain frozen records: a Run has epochs, and perhaps an Audit and Pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from spikeproof.doubt import Doubt


@dataclasses.dataclass(frozen=True)
class Measured:
    """An accuracy in [0, 1] with its 95 % Wilson bounds."""

    accuracy: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Counted(Measured):
    """An accuracy that is a count of samples."""

    correct: int
    samples: int


@dataclasses.dataclass(frozen=True)
class Trial:
    """One attack with one gradient source on the audited samples, in the order in which they were run.

    Attributes:
        kind: clean, protocol, fixed, adaptive, black-box or noise.
        counts: whether it kept to the audit's threat; one that went any L2 distance is no part of the worst case.
        attempted, broken: samples that it attacked, and how many of these it broke.
        newly_broken: samples that no trial before it had broken; for the clean row the clean errors.
        own: its own accuracy; None where it attacked only what the trials before it left.
        left: the accuracy under it and every trial before it.
        added: whether nobody asked for it: something hides the gradient, and it goes round.
        queries: how many it may spend on a sample; a gradient counts as three. 0 where an older file does not say.
        stands_for: in an ANN, the trials of the battery whose attack it ran through the network's own gradient.
    """

    name: str
    kind: str
    attack: str
    source: str
    counts: bool
    attempted: int
    broken: int
    newly_broken: int
    own: Counted | None
    left: Counted
    seconds: float
    queries: int
    added: bool
    stands_for: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """The trials that were asked for and that it is."""
        return self.stands_for or (self.name,)


@dataclasses.dataclass(frozen=True)
class SweepPoint(Measured):
    """One trial at one radius."""

    eps: float
    trial: str
    kind: str
    samples: int


@dataclasses.dataclass(frozen=True)
class StepPoint(Measured):
    """One trial with one number of steps, at the audit's radius; ``trial`` names the number too."""

    steps: int
    trial: str
    kind: str
    samples: int


@dataclasses.dataclass(frozen=True)
class Flag:
    """One check of whether the numbers can be believed; value, threshold and advice are words."""

    name: str
    value: str
    threshold: str
    raised: bool
    advice: str


@dataclasses.dataclass(frozen=True)
class Search:
    """How a search by queries went on, and the forecast of what ``times`` as many would break, with its interval.

    Attributes:
        curve: pairs of queries and how many samples were still right after them.
        last_doubling: how many samples the second half of the queries broke.
    """

    trial: str
    queries: int
    curve: tuple[tuple[int, int], ...]
    last_doubling: int
    times: int
    low: int
    expected: float
    high: int


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The attacks' own settings by name, and how people write these.

    ``tried`` has, for each that was searched, its values with the accuracy they left.
    """

    samples: int
    chosen: Mapping[str, float]
    tried: Mapping[str, Mapping[str, float]]
    labels: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Site:
    """Where the margins of one spiking layer lie. Shares that are undefined are NaN."""

    name: str
    window: float
    omega: float
    proximal_share: float
    proximal_width: float
    firing_rate: float
    edges: tuple[float, ...]
    counts: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """What was audited.

    Attributes:
        name: its class, or the name by which it was made.
        library: whose spiking layers it has, "spikeproof" for its own; "" for none.
        num_steps: T; None where its layers were not adapted, or there are none.
        runs, reads: how an adapted network is called, and how its logits are read from those of its steps; "" else.
        readouts: its layers that fire without reaching the logits.
        functions, binary: in a network without sites, what its backward calls beyond PyTorch, and its layers of bits.
    """

    name: str
    library: str
    num_steps: int | None
    runs: str
    reads: str
    readouts: tuple[str, ...]
    functions: tuple[str, ...]
    binary: tuple[str, ...]

    @property
    def ann(self) -> bool:
        """Whether nothing in it spikes, so that its own gradient is exact."""
        return not self.library and not self.functions and not self.binary


@dataclasses.dataclass(frozen=True)
class Audit:
    """What audit.json says: every trial, the protocol accuracy, the worst case and the conditions they hold under.

    Attributes:
        no_number: why the audit says nothing of robustness; "" where it does.
        images: the fingerprint of the audited images; "" of an audit from before it was kept.
        split_images: that of the split that they are from, or "".
        network: what was audited; None of an audit from before it was kept.
        doubts: why not to believe the numbers; every raised flag has one.
    """

    samples: int
    split: str
    norm: str
    eps: float
    noise: str
    eot_iter: int
    judge_draws: int
    battery: str
    device: str
    machine: str
    crafting_precision: str
    batch_size: int
    seed: int
    seconds: float
    command: str
    images: str
    split_images: str
    trials: tuple[Trial, ...]
    protocol: Counted
    protocol_trial: str
    worst_case: Counted
    masking_gap: float
    no_number: str
    search: Search | None
    zero_gradient_share: float
    flags: tuple[Flag, ...]
    doubts: tuple[Doubt, ...]
    tuning: Tuning
    sweep: tuple[SweepPoint, ...]
    step_sweep: tuple[StepPoint, ...]
    sites: tuple[Site, ...]
    network: Network | None = None

    @property
    def has_adaptive(self) -> bool:
        """Without an adaptive attack the worst case is over protocol attacks only, and a small gap proves nothing.

        In an ANN none is needed.
        """
        exact = self.network is not None and self.network.ann
        return exact or any(trial.kind == "adaptive" for trial in self.trials)

    @property
    def raised(self) -> tuple[Flag, ...]:
        """The red flags; none of no checks is no good sign."""
        return tuple(flag for flag in self.flags if flag.raised)


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One line of metrics.jsonl.

    Attributes:
        beyond: what sites have learned beyond the bounds of a neuron's own setting.
    """

    epoch: int
    loss: float
    penalties: Mapping[str, float]
    train_accuracy: float
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    firing_rates: Mapping[str, float]
    beyond: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A few samples before and after one attack."""

    clean: UInt8[np.ndarray, "K C H W"]
    adversarial: Float[np.ndarray, "K C H W"]
    labels: Int[np.ndarray, " K"]
    clean_predictions: Int[np.ndarray, " K"]
    adversarial_predictions: Int[np.ndarray, " K"]
    class_names: tuple[str, ...]
    trial: str


@dataclasses.dataclass(frozen=True)
class Run:
    """One run folder, read and checked, with one of its audits.

    Attributes:
        audited: the folder of that audit, or None where there is none.
    """

    folder: Path
    audited: Path | None
    name: str
    command: str
    config: Mapping[str, object]
    epochs: tuple[Epoch, ...]
    audit: Audit | None
    pictures: Pictures | None

    @property
    def precision(self) -> str | None:
        """What training ran in; of a run from before that was kept, what its recipe says, if it does."""
        recipe = self.config["recipe"]
        train = recipe.get("train") if isinstance(recipe, Mapping) else None
        told = self.config.get("precision", train.get("precision") if isinstance(train, Mapping) else None)
        return None if told is None else str(told)
