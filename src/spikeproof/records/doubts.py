"""The warnings of audit.json as doubts. Newer audits hold doubts; from the sentences of older ones doubts are made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from spikeproof.doubt import Doubt
from spikeproof.records.values import contradiction

# Sentences of older audits, and the codes of their doubts.
_CODES = {
    "No adaptive attack was run: the worst case is over fixed backwards only.": "no adaptive attack",
    "The adaptive attack was weaker than the nominal one; run it for more steps.": "weak adaptive attack",
    "The adaptive attack was weaker than the protocol one; run it for more steps.": "weak adaptive attack",
}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def from_sentence(sentence: str, flags: Iterable[str]) -> Doubt:
    """Make a doubt of a warning that an older audit holds as a sentence.

    Args:
        sentence: the warning. Every number in it becomes one of the doubt's numbers.
        flags: the names of the audit's flags. A warning that begins with one has it as its code.

    Example:
        >>> from_sentence("Zero gradients: 7.5 % (raised above 1 %); run RGA.", ["zero gradients"])
        Doubt(code='zero gradients', text='Zero gradients: {} % (raised above {} %); run RGA.', numbers=('7.5', '1'))
    """
    named = (flag for flag in flags if sentence.lower().startswith(f"{flag.lower()}:"))
    code = _CODES.get(sentence) or next(named, "")
    if "{}" in sentence:
        return Doubt(code, sentence)
    return Doubt(code, _NUMBER.sub("{}", sentence), tuple(_NUMBER.findall(sentence)))


def _has_its_numbers(doubt: Doubt) -> Doubt:
    if doubt.numbers and len(doubt.numbers) != doubt.text.count("{}"):
        expected = f"one for each of the {doubt.text.count('{}')} {{}} of 'text', got {len(doubt.numbers)}"
        raise contradiction("numbers", expected)
    return doubt


Said = Annotated[Doubt, AfterValidator(_has_its_numbers)]
