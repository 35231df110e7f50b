"""Docstrings as Markdown: what of reStructuredText they have is replaced before they are read."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|mod|meth|attr):`~?([^`]+)`")
_QUOTED = re.compile(r"^( +[\w, ]+: )>", flags=re.MULTILINE)  # "weight: > 0", which Markdown takes for a quotation
_TITLE = re.compile(r"^( *)Example:$", flags=re.MULTILINE)


def as_markdown(docstring: str) -> str:
    """A docstring without roles and literal blocks' double colons, and with the titles that griffe knows.

    Example:
        >>> as_markdown("See :class:`spikeproof.spiking.Site`::")
        'See `spikeproof.spiking.Site`:'
    """
    plain = re.sub(r"::$", ":", _ROLE.sub(r"`\1`", docstring), flags=re.MULTILINE)
    return _QUOTED.sub(r"\1\\>", _TITLE.sub(r"\1Examples:", plain)).replace("``", "`")


class Docstrings(griffe.Extension):
    """Called by griffe for each object that it reads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
