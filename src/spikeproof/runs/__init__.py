"""What training and audits share: the run folder, its processes, how it stops, and the memory that is free for it."""

from spikeproof.runs.microbatch import fitting_microbatch
from spikeproof.runs.processes import Processes, SharedBatch
from spikeproof.runs.run_folder import RunFolder
from spikeproof.runs.stopping import stop_on_signal

__all__ = ["Processes", "RunFolder", "SharedBatch", "fitting_microbatch", "stop_on_signal"]
