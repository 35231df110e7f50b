"""What training and audits share: the run folder, its processes, how it stops, its memory, and whose data it had."""

from spikeproof.runs.microbatch import fitting_microbatch
from spikeproof.runs.processes import Processes, SharedBatch
from spikeproof.runs.run_folder import RunFolder
from spikeproof.runs.same_data import other_data
from spikeproof.runs.stopping import stop_on_signal

__all__ = ["Processes", "RunFolder", "SharedBatch", "fitting_microbatch", "other_data", "stop_on_signal"]
