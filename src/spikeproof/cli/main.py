"""The command line: parse, call, print. A mistake of the user's is one sentence and exit code 2.

Commands are imported when they are called: PyTorch takes seconds, and a version or a line of help needs none of it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

from spikeproof.errors import Interrupted, SpikeproofError, said_by_the_system
from spikeproof.machine.allocation import keep_memory
from spikeproof.machine.threads import prepare, use_most
from spikeproof.version import __version__

USAGE = """spikeproof: train, attack, audit and report robust spiking neural networks

  spikeproof demo                 train and audit six small networks on real digits, offline, in minutes
  spikeproof recipes [WORD ...]   the named experiments, or those that have all these words
  spikeproof train RECIPE         train one, into runs/RECIPE; override any field, e.g. --train.epochs 5,
                                  or add a defense: --with mpd-sgr --mpd-sgr.eta 2
  spikeproof audit RUN            attack a trained run: protocol accuracy, worst case, gap
  spikeproof audit FILE.py:MAKE   the same for the network that your own function MAKE returns, of any library
  spikeproof certify RUN          prove what no attack can break: smoothing, rate coding, interval bounds
  spikeproof harden RUN           fine-tune a trained run for some minutes; what it gained, and what it cost
  spikeproof harden FILE.py:MAKE  the same for your own network, with the new weights by its own keys
  spikeproof compare FAMILY       train and audit a whole family of recipes, resumably, into one table
  spikeproof watch RUN            each epoch of a run that another process trains; for TensorBoard, too
  spikeproof report RUN...        one HTML file that compares runs
  spikeproof reproduce TABLE      rebuild a published table beside the paper's numbers, resumably
  spikeproof leaderboard RESULTS  one page of all result files, one's own and others'
  spikeproof submit RUN FOLDER    pack a run for the leaderboard: its weights and what its audit found
  spikeproof check FOLDER         audit a submission's weights again, and compare with what it claims
  spikeproof push RUN TARGET      share a run's weights with a model card

`spikeproof COMMAND --help` tells a command's options and choices.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (a mistake or a lack that the user can mend) or 130 (stopped by Ctrl-C)."""
    keep_memory(os.environ)
    prepare(os.environ)  # before PyTorch is imported, which a command does
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of a file may hold what no terminal can show
            stream.reconfigure(errors="backslashreplace")
    try:
        with _told_of_the_work(quiet="--quiet" in words):
            code = _dispatch(words)
        sys.stdout.flush()
    except SpikeproofError as error:
        _end(str(error))
    except Interrupted:
        if words[0] == "harden":
            _end("stopped; what was to be hardened is as it was.", 130)
        again = "the same command" if words[0] in ("demo", "compare", "reproduce") else "the same command with --resume"
        _end(f"stopped; {again} goes on from this step.", 130)
    except KeyboardInterrupt:
        again = (
            "; the same command goes on with the attack it was at"
            if words[:1] in (["audit"], ["demo"], ["compare"], ["reproduce"])
            else ""
        )
        _end(f"stopped{again}.", 130)
    except BrokenPipeError:  # `spikeproof recipes | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, MemoryError, RuntimeError) as error:
        lack = _lack(error)
        if lack is None:
            raise
        _end(str(SpikeproofError(lack)))
    else:
        if code:
            sys.exit(code)


def _end(said: str, code: int = 2) -> None:
    print(f"spikeproof: {said}", file=sys.stderr)
    sys.exit(code)


def _lack(error: Exception) -> str | None:
    """What the machine lacks, in a sentence; None for an error of another kind."""
    import torch

    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if out_of_memory or re.search(r"can't allocate memory|out of memory", str(error)):
        return (
            "The memory is not enough; give --train.microbatch auto (an audit: a smaller --batch-size), a narrower "
            "network or fewer images. What was finished is kept, and the same command goes on with it."
        )
    if not isinstance(error, OSError):
        return None
    return f"{said_by_the_system(error)}. What was finished is kept."


@contextlib.contextmanager
def _told_of_the_work(*, quiet: bool) -> Iterator[None]:
    """What the library has to say on its way (that it compiles, for one) is a line on stderr."""
    log, handler = logging.getLogger("spikeproof"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("spikeproof: %(message)s"))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


# Of each command the file and the function.
_COMMANDS = {
    "demo": ("tables", "demo_command"),
    "recipes": ("listing", "recipes_command"),
    "train": ("runs", "train"),
    "audit": ("runs", "audit"),
    "certify": ("certify", "certify_command"),
    "harden": ("harden", "harden_command"),
    "compare": ("tables", "compare_command"),
    "watch": ("watch", "watch_command"),
    "report": ("runs", "report"),
    "reproduce": ("tables", "reproduce_command"),
    "leaderboard": ("tables", "leaderboard_command"),
    "submit": ("submissions", "submit_command"),
    "check": ("submissions", "check_command"),
    "push": ("tables", "push_command"),
}


def _dispatch(words: list[str]) -> int:
    """Call what the words name; the exit code."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
    elif words[0] == "--version":
        print(f"spikeproof {__version__}")
    elif words[0] in _COMMANDS:
        file, function = _COMMANDS[words[0]]
        call = getattr(import_module(f"spikeproof.cli.{file}"), function)
        use_most()
        return call(words[1:], shlex.join(["spikeproof", *words])) or 0
    else:
        raise SpikeproofError(f"There is no command {words[0]!r}; the commands are {', '.join(_COMMANDS)}.")
    return 0


if __name__ == "__main__":
    main()
