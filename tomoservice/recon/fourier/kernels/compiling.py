"""How kernels are compiled, and kept on disk for later processes."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

logger = logging.getLogger(__name__)


@functools.cache
def _stamp() -> str:
    """Return a hash of all sources that kernels are made of."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a kernel at its first call; later processes load it from disk.

    Numba takes its cache for stale when the file of a kernel has changed, but a kernel is also made of the
    intrinsics and constants of other files. So the name by which it is kept has a hash of all of them.
    """
    kept = function.__qualname__
    function.__qualname__ = f"{kept}_{_stamp()}"
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError as error:
        logger.warning("compiled kernels cannot be kept on disk, each process compiles them anew: %s", error)
        return njit(nogil=True)(function)
