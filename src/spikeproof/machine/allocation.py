"""Has a process keep freed memory for its next step, in processes that the command line started.

By default the C library gives the memory of large tensors back to the system when they are freed. The next step gets it
page by page, filled with zeros, which costs a sixth of a training step on a CPU, and more with many time steps.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import MutableMapping

# Of mallopt(3), and as variables that a child's C library reads when it starts.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1  # free bytes at the end of the heap before any are given back
_CHILDREN = {"MALLOC_TRIM_THRESHOLD_": str(_NEVER), "MALLOC_MMAP_MAX_": "0"}


def keep_memory(environment: MutableMapping[str, str]) -> None:
    """Have this process and its children keep freed memory for later tensors, if the C library can (glibc).

    Nothing is done where the user has set any such option, or where PyTorch is loaded already: the process may then be
    another program's.

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
