"""Freed memory is kept for the next arrays, and not given back to the system to be asked for again."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

__all__ = ["keep_freed_memory"]

#: Numbers of mallopt's parameters.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Bytes that a process keeps at most, and those from which on a block is mapped by itself, the most that is possible.
KEPT, MAPPED = 256 << 20, 32 << 20


@cache
def keep_freed_memory() -> None:
    """Let this process keep up to 256 MB that it has freed.

    The C library of most Linux systems gives large blocks back to the system as soon as they are freed. The next ones
    are mapped anew, and each of their pages costs a fault: 28 000 of them, 0.09 of 1.8 s, in a greedy run with 7081
    unknowns and 30 vectors, whose factorisations take and free some MB each; 40 000 of 164 000, 0.4 of 9.5 s, with
    100 801 unknowns and twelve vectors. Whoever sets MALLOC_TRIM_THRESHOLD_ or another of its variables in the
    environment has decided otherwise, and other libraries have no such function: then nothing changes.
    Source: mallopt(3).
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_THRESHOLD, MAPPED)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)
