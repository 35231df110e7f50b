"""Training: one loop, defenses as hooks, a run as a folder."""

from spikeproof.errors import Interrupted
from spikeproof.train.config import TrainConfig, pick_device
from spikeproof.train.loop import Run, train
from spikeproof.train.microbatch import fitting_microbatch
from spikeproof.train.run_folder import RunFolder

__all__ = ["Interrupted", "Run", "RunFolder", "TrainConfig", "fitting_microbatch", "pick_device", "train"]
