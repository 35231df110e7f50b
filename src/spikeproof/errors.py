"""The one error a user can mend, and the end that a user asked for."""

import errno

_LONGEST = 600  # letters


class SpikeproofError(ValueError):
    """What the caller gave cannot be used; the message says what is wrong, what was expected and how to mend it.

    The command line prints the message as one sentence and exits with code 2; nothing is left half-written. Whatever
    it quotes, a message is one line of a length that can be read.

    Example:
        >>> str(SpikeproofError("There is no data set a\\nb; give another."))
        'There is no data set a b; give another.'
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)


# What a network of the user's own raises where something does not fit it.
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AssertionError, AttributeError)


def first_line(error: BaseException) -> str:
    """What an error says, on one line that a sentence can quote.

    Example:
        >>> first_line(RuntimeError("shapes differ\\nat line 3")), first_line(AssertionError())
        ('shapes differ', 'AssertionError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop (Ctrl-C or SIGTERM); the state on disk, if there is a folder, goes on from there."""


def said_by_the_system(error: OSError) -> str:
    """What the system says of a failed read or write, of which files, and what mends it, without a full stop.

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
