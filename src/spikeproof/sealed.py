"""JSON objects and bytes that say whether they are as they were written."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from spikeproof.errors import SpikeproofError

_SEAL = "sha256"
_DIGEST = hashlib.sha256().digest_size


def sealed(plain: dict[str, Any]) -> dict[str, Any]:
    """The same object with a hash of all else in it.

    Example:
        >>> unsealed(sealed({"seed": 1}), "here", "mend it")
        {'seed': 1}
    """
    plain = {name: value for name, value in plain.items() if name != _SEAL}
    return {**plain, _SEAL: _hash(plain)}


def unsealed(held: dict[str, Any], where: str, mend: str) -> dict[str, Any]:
    """What was sealed. One without a seal is from before there were any, or written by hand, and passes.

    Raises:
        SpikeproofError: it is not what was written.
    """
    plain = {name: value for name, value in held.items() if name != _SEAL}
    if _SEAL in held and held[_SEAL] != _hash(plain):
        raise SpikeproofError(f"{where} is damaged: it is not what was written (its checksum differs); {mend}.")
    return plain


def sealed_bytes(content: bytes) -> bytes:
    """A hash, and behind it the content."""
    return hashlib.sha256(content).digest() + content


def unsealed_bytes(whole: bytes) -> bytes | None:
    """The content, or None where it is not what was written."""
    digest, content = whole[:_DIGEST], whole[_DIGEST:]
    return content if digest == hashlib.sha256(content).digest() else None


def sealed_behind(content: bytes) -> bytes:
    """The content, and behind it a hash: for files whose beginning is the system's to read."""
    return content + hashlib.sha256(content).digest()


def is_sealed_behind(whole: bytes) -> bool:
    """Whether this is what :func:`sealed_behind` made."""
    return whole[-_DIGEST:] == hashlib.sha256(whole[:-_DIGEST]).digest()


def _hash(plain: dict[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
