"""A `Machine` without a device: NumPy, SciPy and a C++ compiler run the code that is written for one.

It shows that the arithmetic is right, and that no copy is used before it has been waited for. It shows
neither that a device is fast, nor anything about threads that run at the same time.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from tomoservice.cuda.machine import Event, Kernels, Stream

SHIM = Path(__file__).with_name("host_cuda.h")
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(')


def compiler() -> str | None:
    """Return a C++ compiler, if there is one."""
    return next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)


class HostArray(np.ndarray):
    """An array that counts as one of the device's: like CuPy's, it does not mix with others by itself."""

    __cuda_array_interface__ = None

    def __array_ufunc__(
        self, function: np.ufunc, method: str, *inputs: Any, out: tuple[Any, ...] = (), **named: Any
    ) -> Any:
        for array in (*inputs, *out, *named.values()):
            _refuse_the_hosts(array)
        plain = [one.view(np.ndarray) if isinstance(one, HostArray) else one for one in inputs]
        options = {
            name: one.view(np.ndarray) if isinstance(one, HostArray) else one for name, one in named.items()
        }
        if out:
            options["out"] = tuple(one.view(np.ndarray) for one in out)
        result = getattr(function, method)(*plain, **options)
        return out[0] if out else _as_the_devices(result)

    def __setitem__(self, place: Any, value: Any) -> None:
        _refuse_the_hosts(value)
        super().__setitem__(place, value)


def _refuse_the_hosts(array: Any) -> None:
    if isinstance(array, np.ndarray) and not isinstance(array, HostArray):
        msg = f"an array of the host, {array.shape}, among the device's"
        raise TypeError(msg)


def _as_the_devices(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(map(_as_the_devices, result))
    return result.view(HostArray) if isinstance(result, np.ndarray) else result


class OutOfHostMemoryError(Exception):
    """More was allocated than the machine pretends to have."""


class HostNamespace:
    """A module's functions of arrays, whose results are the device's."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if not callable(value) or isinstance(value, type):
            return value
        return lambda *arguments, **named: _as_the_devices(value(*arguments, **named))


class HostMachine:
    """See `Machine`.

    Parameters
    ----------
    folder
        Where compiled kernels are kept.
    late
        Whether copies are made as late as waiting allows, or at once.
    memory
        Bytes that may be allocated.
    told
        Bytes that are said to be free; by default what is.
    """

    name = "host"
    fft = HostNamespace(fft)
    ndimage = HostNamespace(ndimage)
    out_of_memory = OutOfHostMemoryError

    def __init__(
        self, folder: Path, *, late: bool = True, memory: int = 1 << 40, told: int | None = None
    ) -> None:
        self.xp = HostNamespace(np)
        self._lock = threading.RLock()
        self._folder, self._late, self._memory, self._told = folder, late, memory, told
        self.allocated = self.most_allocated = 0
        self.copies: list[str] = []

    def active(self) -> AbstractContextManager[object]:
        return self._lock

    def owns(self, array: object) -> bool:
        return isinstance(array, HostArray)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> HostArray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self.allocated + size > self._memory:
            raise OutOfHostMemoryError(f"{self.allocated + size} of {self._memory} bytes")
        self.allocated += size
        self.most_allocated = max(self.most_allocated, self.allocated)
        # Bytes of all ones are NaN: what is read before it is written shows.
        array = np.full(max(size, 1), 255, np.uint8)
        weakref.finalize(array, self._freed, size)
        return array[:size].view(dtype).reshape(shape).view(HostArray)

    def _freed(self, size: int) -> None:
        self.allocated -= size

    def to_device(self, host: NDArray[Any]) -> HostArray:
        return np.array(host, order="C").view(HostArray)

    def wait(self) -> None:
        """Nothing of the current stream is ever under way."""

    def to_host(self, device: HostArray) -> NDArray[Any]:
        return np.array(device).view(np.ndarray)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        return Pinned(shape, dtype)

    def is_pinned(self, host: NDArray[Any]) -> bool:
        return isinstance(host, Pinned)

    def stream(self) -> Stream:
        return HostStream(self._late, self.copies)

    def kernels(self, source: str, defines: Mapping[str, str | int]) -> Kernels:
        return HostKernels(_compiled(source, defines, self._folder))

    def transform(self, array: HostArray, axes: int) -> None:
        places = tuple(range(array.ndim - axes, array.ndim))
        array[...] = self.fft.fftn(array, axes=places)

    def free_bytes(self) -> int:
        return self._memory - self.allocated if self._told is None else self._told

    def release(self) -> None:
        """Keep nothing."""


class Pinned(np.ndarray):
    """An array that counts as pinned, its views as well."""


class HostEvent:
    """See `Event`."""

    def __init__(self, stream: HostStream, number: int) -> None:
        self._stream, self._number = stream, number

    def wait(self) -> None:
        self._stream.run_until(self._number)


class HostStream:
    """See `Stream`: copies wait in a queue until somebody waits for them; all else is done at once."""

    def __init__(self, late: bool, copies: list[str]) -> None:
        self._late, self._copies = late, copies
        self._queue: deque[Callable[[], object]] = deque()
        self._done = 0

    @contextmanager
    def current(self) -> Iterator[None]:
        # What follows is computed at once, so all before must have been done.
        self.run_until(self._done + len(self._queue))
        yield

    def upload(self, host: NDArray[Any], device: HostArray) -> None:
        assert isinstance(host, Pinned), "the device reads pinned memory only"
        self._copy("up", host, device)

    def download(self, device: HostArray, host: NDArray[Any]) -> None:
        assert isinstance(host, Pinned), "the device writes pinned memory only"
        self._copy("down", device, host)

    def _copy(self, way: str, source: NDArray[Any], target: NDArray[Any]) -> None:
        assert source.shape == target.shape
        assert source.dtype == target.dtype
        assert source.flags.c_contiguous
        assert target.flags.c_contiguous
        self._copies.append(way)
        self._queue.append(lambda: np.copyto(target, source))
        if not self._late:
            self.run_until(self._done + len(self._queue))

    def mark(self) -> Event:
        return HostEvent(self, self._done + len(self._queue))

    def after(self, event: Event) -> None:
        self._queue.append(event.wait)

    def run_until(self, number: int) -> None:
        while self._done < number:
            self._done += 1
            self._queue.popleft()()


class HostKernels:
    """See `Kernels`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def launch(
        self, name: str, blocks: tuple[int, int, int], threads: tuple[int, int, int], arguments: list[Any]
    ) -> None:
        held = [_held(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(one) for one in held))
        triple = ctypes.c_int * 3
        getattr(self._library, f"run_{name}")(triple(*blocks), triple(*threads), pointers)


def _held(argument: Any) -> Any:
    """Return an argument as a C variable of its type."""
    if argument is None:
        return ctypes.c_void_p(0)
    if isinstance(argument, np.ndarray):
        assert isinstance(argument, HostArray), "kernels read the device's memory only"
        assert argument.flags.c_contiguous
        return ctypes.c_void_p(argument.ctypes.data)
    assert isinstance(argument, np.generic), "kernels take numbers whose type is told"
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())


def _compiled(source: str, defines: Mapping[str, str | int], folder: Path) -> ctypes.CDLL:
    names = KERNEL.findall(source)
    text = "\n".join([source, *(f"RUN_ON_HOST({name})" for name in names)])
    options = [f"-D{name}={value}" for name, value in defines.items()]
    key = hashlib.sha256("\0".join([text, SHIM.read_text("utf-8"), *options]).encode()).hexdigest()[:16]
    library = folder / f"{key}.so"
    if not library.exists():
        program = compiler()
        assert program is not None
        command = [
            program,
            "-x",
            "c++",
            "-std=c++17",
            "-O2",
            "-shared",
            "-fPIC",
            "-Wall",
            "-Wextra",
            "-Werror",
        ]
        command += ["-Wno-unknown-pragmas", *options, "-include", str(SHIM), "-o", str(library), "-"]
        subprocess.run(command, input=text, text=True, check=True)
    return ctypes.CDLL(str(library))
