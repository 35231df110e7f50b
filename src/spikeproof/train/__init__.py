"""Training: one loop, defenses as hooks, a run as a folder."""

from spikeproof.errors import Interrupted
from spikeproof.train.config import TrainConfig
from spikeproof.train.loop import Run, train

__all__ = ["Interrupted", "Run", "TrainConfig", "train"]
