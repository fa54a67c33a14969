"""NVIDIA's run-time compiler by itself: it compiles for devices that are not there."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class CompilationError(Exception):
    """What the compiler says about a source that it does not take."""


@cache
def load() -> ctypes.CDLL | None:
    """Return the compiler's library: from NVIDIA's wheel, or from the system; None where there is none."""
    wheels = find_spec("nvidia")
    places = [Path(place) for place in wheels.submodule_search_locations or ()] if wheels else []
    found = [str(file) for place in places for file in sorted(place.glob("*/lib/libnvrtc.so.*"))]
    system = ctypes.util.find_library("nvrtc")
    for name in [*found, *([system] if system else [])]:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "nvrtcGetCUBIN"):
            return library
    return None


def compiled(source: str, options: list[str]) -> tuple[bytes, str]:
    """Compile CUDA C++.

    Returns
    -------
    cubin : bytes
        Machine code for the architecture that the options name.
    log : str
        What the compiler says.

    Raises
    ------
    CompilationError
        With the compiler's log.
    """
    library = load()
    assert library is not None
    program = ctypes.c_void_p()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None))
    try:
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = library.nvrtcCompileProgram(program, len(options), given)
        log = (
            _text(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program).decode().strip("\0\n")
        )
        if status:
            raise CompilationError(log)
        return _text(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program), log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(size_of: ctypes._CFuncPtr, get: ctypes._CFuncPtr, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(get(program, buffer))
    return buffer.raw


def _check(status: int) -> None:
    if status:
        raise CompilationError(f"the compiler answers with status {status}")
