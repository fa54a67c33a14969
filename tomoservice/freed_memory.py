"""What becomes of memory that was freed: kept for the next who asks, or given back to the system.

Both are settings of glibc's malloc; elsewhere nothing is changed.
"""

from __future__ import annotations

import ctypes
from typing import Any

MMAP_THRESHOLD, TRIM_THRESHOLD, ARENA_MAX = -3, -1, -8
"""Names of parameters in glibc's malloc.h."""
HEAPS = 2
"""Heaps that all threads of a process share which waits more than it computes."""
KEPT_BYTES = 32 * 2**20
"""Blocks up to this size are used again by whoever asks next. glibc comes to the same by itself, unless
somebody has given it a threshold."""


def keep_freed_memory() -> None:
    """Let freed arrays be used again, instead of being given back to the system one by one.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_=65536``, with which every array of more than 128 kB is
    mapped anew and its pages are cleared: a search for the rotation axis takes four times as long.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(TRIM_THRESHOLD, 2 * KEPT_BYTES)


def share_heaps() -> None:
    """Have all threads take their memory from two heaps; to be called before there are threads.

    Left alone, glibc gives threads up to eight heaps for each core, and what was freed in one is of no use to
    the others: the forty threads of a server hold half as much again as they need.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(ARENA_MAX, HEAPS)


def give_back_freed_memory() -> None:
    """Give back what is free now, in all threads' heaps; takes some milliseconds.

    Left alone, glibc gives back only what is free at the end of a heap: over hours of threads that come and
    go, a process holds ever more between blocks that are in use.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """Return a function of the C library; None if it has none of that name."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
