"""How kernels are compiled, kept on disk for later processes, and called by several threads.

Importing this module does not import Numba.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
FOLDERS = ("axis", "prep", "recon")
"""Where kernels, their constants and the classes of their arguments are."""


def _sources() -> list[Path]:
    """Return all files that kernels may be made of."""
    nested = [source for folder in FOLDERS for source in (PACKAGE / folder).rglob("*.py")]
    return sorted([*PACKAGE.glob("*.py"), *nested])


def _state(sources: list[Path]) -> list[tuple[int, int]] | None:
    """Return size and time of change of each file; None where one is missing."""
    try:
        return [(status.st_size, status.st_mtime_ns) for status in map(Path.stat, sources)]
    except OSError:
        return None


# Taken when the package is imported, before any of its constants: `_unchanged` sees whatever changes on disk
# from now on. The contents make the name, because installers may give a file of any version the same time.
_SOURCES = _sources()
_STATE = _state(_SOURCES)
STAMP = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()[:12]
"""What the code of this process is called in the names of kept kernels."""


def _unchanged() -> bool:
    """Return whether the files are those that this process has imported."""
    return _STATE is not None and _state(_SOURCES) == _STATE


@functools.cache
def _say_once(reason: str) -> None:
    logger.warning("this process compiles its kernels anew and does not keep them on disk: %s", reason)


def compiled(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Compile a kernel at its first call; later processes load it from disk.

    Numba takes its cache for stale when the file of a kernel has changed, but a kernel is also made of the
    kernels, intrinsics, constants and classes of other files. So the name by which it is kept has a hash of
    all of them. Nothing is kept when a file is not any more as the process has imported it, since old code
    and new would go together under one name; nor where no folder can be written.

    Kernels release the interpreter's lock. Threads may make the first call at the same time.

    Parameters
    ----------
    function : callable, optional
        The kernel; without it, a decorator is returned.
    **options
        Of `numba.njit`: fastmath, inline, error_model.
    """
    if function is None:
        return functools.partial(compiled, **options)
    from numba import njit
    from numba.core.compiler_lock import global_compiler_lock

    with global_compiler_lock:
        return _one_at_a_time(_decorated(njit, function, options))


def _decorated(njit: Any, function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Return Numba's dispatcher for a kernel, which keeps what it compiles where that is safe."""
    if not _unchanged():
        _say_once("its source has changed since it was imported; start it anew")
        return njit(nogil=True, **options)(function)
    function.__qualname__ = f"{function.__qualname__}_{STAMP}"
    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError as error:
        # The reason names the function; it is said for the first one only.
        _say_once("Numba finds no folder that it can write; NUMBA_CACHE_DIR may name one")
        logger.debug("%s", error)
        return njit(nogil=True, **options)(function)


def _one_at_a_time(dispatcher: Any) -> Any:
    """Have one thread at a time work out what a kernel is called with, and compile or load it.

    Numba locks the compiler only, not the tables of types that it consults before. Calls of what is there
    already come past neither.
    """
    from numba.core.compiler_lock import global_compiler_lock

    def locked(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def alone(*args: Any, **named: Any) -> Any:
            with global_compiler_lock:
                return method(*args, **named)

        return alone

    # Numba's compiled part looks both up by name when it meets unknown arguments.
    for name in ("typeof_pyval", "_compile_for_args"):
        setattr(dispatcher, name, locked(getattr(dispatcher, name)))
    return dispatcher
