"""Names of methods, networks, recipes and tables: how they are compared, and the message for an unknown one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def plain(name: str) -> str:
    """A name in lower case without dashes, underscores and spaces, so that all spellings are equal.

    Args:
        name: in any spelling.

    Example:
        >>> plain("MPD-SGR") == plain("mpd_sgr")
        True
    """
    return re.sub(r"[-_ ]", "", name).lower()


def unknown(what: str, word: str, known: Iterable[str], hint: str | None = None) -> str:
    """The message that refuses an unknown name: it proposes a similar name, and lists all names.

    Args:
        what: what the word should name, in the singular, such as "defense".
        word: the unknown name.
        known: the names that there are.
        hint: a sentence in place of the list of all names; None for the list.

    Example:
        >>> unknown("defense", "tgoo", ("at", "tgo"))
        "There is no defense 'tgoo'; did you mean tgo? The defenses are at, tgo."
    """
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    every = f"the {what}s are {', '.join(names)}." if hint is None else hint
    if near:
        every = f"did you mean {near[0]}? {every[0].upper()}{every[1:]}"
    return f"There is no {what} {word!r}; {every}"
