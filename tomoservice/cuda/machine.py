"""What code for a device asks of it.

Arrays on a device are written with the functions of an array namespace (`Machine.xp`), and with kernels in
CUDA C++ where an array namespace would move memory to and fro. Whoever has both of them, and Fourier
transforms, can run the code: CuPy on a device; NumPy, SciPy and a C++ compiler where the tests prove its
arithmetic without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

DeviceArray = Any
"""An array in a device's memory: it has what NumPy's have."""


class Event(Protocol):
    """A place in what a stream has to do."""

    def wait(self) -> None:
        """Return when the stream has come so far."""


class Stream(Protocol):
    """Work of a device that is done in order, beside that of other streams."""

    def current(self) -> AbstractContextManager[object]:
        """Make it the stream that array functions, kernels and transforms go to."""

    def upload(self, host: NDArray[Any], device: DeviceArray) -> None:
        """Copy a contiguous array to one of the same shape; `host` is read later if it is pinned."""

    def download(self, device: DeviceArray, host: NDArray[Any]) -> None:
        """Copy a contiguous array to one of the same shape; `host` is filled later if it is pinned."""

    def mark(self) -> Event:
        """Return the place behind all that it has been given so far."""

    def after(self, event: Event) -> None:
        """Begin what comes from now on only when another stream has come as far as `event`."""


class Kernels(Protocol):
    """Kernels compiled from one source."""

    def launch(
        self, name: str, blocks: tuple[int, int, int], threads: tuple[int, int, int], arguments: list[Any]
    ) -> None:
        """Run a kernel on the current stream.

        Parameters
        ----------
        name
            Of an ``extern "C" __global__`` function.
        blocks, threads
            Blocks of the grid, and threads of a block, along x, y and z.
        arguments
            Arrays, NumPy numbers of the types that the kernel has, or None for a missing array.
        """


class Machine(Protocol):
    """A device; its other methods are called within `active`."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    @property
    def xp(self) -> Any:
        """Array functions as NumPy has them."""

    @property
    def fft(self) -> Any:
        """Transforms as ``scipy.fft`` has them."""

    @property
    def ndimage(self) -> Any:
        """Filters as ``scipy.ndimage`` has them."""

    @property
    def out_of_memory(self) -> type[Exception]:
        """What is raised where its memory does not suffice."""

    def active(self) -> AbstractContextManager[object]:
        """Make it the device of this thread, and no other's; a thread may do so again within."""

    def owns(self, array: object) -> bool:
        """Tell whether an array is in its memory."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Return a new contiguous array with anything in it."""

    def to_device(self, host: NDArray[Any]) -> DeviceArray:
        """Return a copy of an array in its memory; also outside `active`, as others compute."""

    def wait(self) -> None:
        """Return when all that the current stream was given has been done."""

    def to_host(self, device: DeviceArray) -> NDArray[Any]:
        """Return a copy of an array in the host's memory, when all before has been done."""

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return a new array in the host's memory that the device can read and write by itself."""

    def is_pinned(self, host: NDArray[Any]) -> bool:
        """Tell whether the device can read and write an array in the host's memory by itself."""

    def stream(self) -> Stream:
        """Return a new stream."""

    def kernels(self, source: str, defines: Mapping[str, str | int]) -> Kernels:
        """Compile kernels, or return them if that was done before.

        Parameters
        ----------
        source
            CUDA C++ that includes nothing.
        defines
            Names that the preprocessor replaces, and by what.
        """

    def transform(self, array: DeviceArray, axes: int) -> None:
        """Take the Fourier transform, ``exp(-2 pi i ...)``, of complex64 numbers over last axes, in place."""

    def free_bytes(self) -> int:
        """Return how much of its memory is free."""

    def release(self) -> None:
        """Give back memory that is kept for later."""


def blocks_of(
    shape: tuple[int, ...], threads: tuple[int, int, int], largest: int = 65535
) -> tuple[int, int, int]:
    """Return how many blocks cover a range of (x, y, z); along y and z no more than a device takes."""
    x, y, z = (-(-length // step) for length, step in zip(shape, threads, strict=True))
    return x, min(y, largest), min(z, largest)


def number(value: float, kind: type[np.generic] = np.int32) -> np.generic:
    """Return a number as kernels take it: a 32-bit integer, or what is asked for."""
    converted: np.generic = kind(value)
    return converted
