"""The one error a user can mend."""


class SpikeproofError(ValueError):
    """What the caller gave cannot be used; the message says what is wrong, what was expected and how to mend it.

    The command line prints the message as one sentence and exits with code 2; nothing is left half-written.
    """
