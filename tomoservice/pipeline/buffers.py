"""Memory that is used again: the system takes longer to hand out new memory than to fill old."""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray

from tomoservice.threads import for_each


class Buffers:
    """Large arrays that are lent and come back.

    Parameters
    ----------
    least
        Numbers that a new one holds at least, so that it will do for the next array, too.
    """

    def __init__(self, least: int = 0) -> None:
        self._least = least
        self._free: list[NDArray[np.float32]] = []
        self._lent: dict[int, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return an array of this shape, float32, contiguous, with anything in it."""
        size = math.prod(shape)
        with self._lock:
            fitting = [flat for flat in self._free if flat.size >= size]
            # What is too small for this is too small for what follows.
            self._free = fitting[1:]
            flat = fitting[0] if fitting else np.empty(max(size, self._least), np.float32)
            self._lent[flat.ctypes.data] = flat
        return flat[:size].reshape(shape)

    def give_back(self, array: NDArray[np.float32]) -> None:
        """Take back an array, or any part of one; what was not lent here is left alone."""
        with self._lock:
            place = array.ctypes.data
            for start, flat in self._lent.items():
                if start <= place < start + flat.nbytes:
                    self._free.append(self._lent.pop(start))
                    return


def copy(source: NDArray[np.float32], target: NDArray[np.float32]) -> None:
    """Copy sinograms (row, angle, column) by several threads: one alone does not fill the way to memory."""

    def work(row: int) -> None:
        target[row] = source[row]

    for_each(work, range(len(source)))
