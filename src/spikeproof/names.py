"""Names of methods, networks, recipes and tables: what a word may mean, and what is said where it means nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def plain(name: str) -> str:
    """A name in lower case without dashes, underscores and spaces, so that either spelling finds it.

    Example:
        >>> plain("MPD-SGR") == plain("mpd_sgr")
        True
    """
    return re.sub(r"[-_ ]", "", name).lower()


def unknown(what: str, word: str, known: Iterable[str], hint: str | None = None) -> str:
    """The sentence that refuses a word which names nothing: it proposes a near name, else gives all names.

    Args:
        what: of which kind the word should name one.
        known: the names that there are.
        hint: a sentence that says where to look, in place of the list of all names.

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
