"""Memory that a process keeps for its next step, in processes that are the command line's own.

By default the C library gives large tensors back to the system when they are freed. The next step gets its pages one by
one, each filled with zeros: a sixth of a training step on a CPU, and more with many steps.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import MutableMapping

# Of mallopt(3), and as variables that a child's C library reads when it starts.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1  # so many bytes, free at the end of the heap, before any go back
_CHILDREN = {"MALLOC_TRIM_THRESHOLD_": str(_NEVER), "MALLOC_MMAP_MAX_": "0"}


def keep_memory(environment: MutableMapping[str, str]) -> None:
    """Have this process and its children keep freed memory for what they allocate next, if the C library can (glibc).

    Nothing is changed that the user named, nor once PyTorch is loaded: it may be another program's process then.

    Args:
        environment: of this process, ``os.environ``.
    """
    if "torch" in sys.modules or any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environment):
        return
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is None:
        return
    option(_M_MMAP_MAX, 0)
    option(_M_TRIM_THRESHOLD, _NEVER)
    environment.update(_CHILDREN)
