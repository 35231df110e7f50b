"""Commands over many networks: how many are done at once, and not by `torchrun`, whose processes share one."""

from __future__ import annotations

from spikeproof.audit import Shard
from spikeproof.errors import SpikeproofError


def refuse_torchrun(command: str, instead: str) -> None:
    """Refuse to be one of several processes: each would do all of the command's work, into the same folders.

    Args:
        command: what was asked for, "compare".
        instead: how it is spread over processes, as the end of a sentence.

    Raises:
        SpikeproofError: WORLD_SIZE is more than 1.

    Example:
        >>> refuse_torchrun("demo", "start it without torchrun")
    """
    if Shard.of_this_process().world > 1:
        raise SpikeproofError(
            f"`spikeproof {command}` is about many networks and torchrun about one, as in `torchrun -m "
            f"spikeproof.cli.main train RECIPE`; {instead}."
        )


def check_jobs(jobs: int) -> None:
    """Refuse a number of networks to be done at once that is none.

    Raises:
        SpikeproofError: it is below 1.

    Example:
        >>> check_jobs(2)
    """
    if jobs < 1:
        raise SpikeproofError(f"--jobs is how many networks are done at once, 1 or more, not {jobs}.")
