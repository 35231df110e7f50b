"""One audit in a process of its own: `python audit_in_process.py JOB RESULT`, a job being what torch.save keeps.

With "kill" in the job the process kills itself while it writes the file of that number.
"""

import os
import signal
import sys

import torch

from spikeproof import disk
from spikeproof.audit import audit


def main(job_file: str, result_file: str) -> None:
    job = torch.load(job_file, weights_only=False)
    fsync, written = os.fsync, []

    def deadly(file: int) -> None:
        written.append(file)
        if len(written) == job["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    if job["kill"]:
        disk.os.fsync = deadly
    found = audit(job["model"], job["images"], job["config"], parts=job["parts"], show=False)
    result = {"rows": found.outcomes.to_pylist(), "json": found.to_json("command"), "pictures": found.pictures}
    torch.save(result, result_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
