"""The error that a user can mend, and the one that a user asked for by Ctrl-C."""

import errno

_LONGEST = 600  # letters


class SpikeproofError(ValueError):
    """What the caller gave cannot be used. The message says what is wrong, what was expected and how to mend it.

    The command line prints the message and exits with code 2; nothing is left half-written.

    Args:
        message: one sentence. Line breaks in it become spaces, and beyond 600 letters its middle is left out.

    Example:
        >>> str(SpikeproofError("There is no data set a\\nb; give another."))
        'There is no data set a b; give another.'
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)


# The errors that a user's own network may raise where something does not fit it.
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AssertionError, AttributeError)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 120 letters, for a sentence to quote.

    Args:
        error: where it has no message, the name of its class is given.

    Example:
        >>> first_line(RuntimeError("shapes differ\\nat line 3")), first_line(AssertionError())
        ('shapes differ', 'AssertionError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop (Ctrl-C or SIGTERM). With a run folder it can go on from the state on disk."""


def said_by_the_system(error: OSError) -> str:
    """The system's reason for a failed read or write, the files, and what to do, without a full stop.

    Args:
        error: from a read or a write.

    Example:
        >>> said_by_the_system(OSError(errno.ENOSPC, "No space left on device", "runs/a"))
        'No space left on device (runs/a); make room there or give another place'
    """
    names = " and ".join(str(name) for name in (error.filename, error.filename2) if name)
    return f"{error.strerror or error}{f' ({names})' if names else ''}; {_MENDS.get(error.errno or 0, _ELSEWHERE)}"


_ELSEWHERE = "give another place"
_MENDS = {
    errno.ENOSPC: f"make room there or {_ELSEWHERE}",
    errno.EDQUOT: f"make room there or {_ELSEWHERE}",
    errno.EACCES: f"mend its permissions or {_ELSEWHERE}",
    errno.EPERM: f"mend its permissions or {_ELSEWHERE}",
    errno.EROFS: f"make it writable or {_ELSEWHERE}",
}
