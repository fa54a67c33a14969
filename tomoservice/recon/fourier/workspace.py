"""Working space of the Fourier method: large arrays that are lent to one call at a time and used again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tomoservice.recon.base import aligned_empty
from tomoservice.recon.fourier.geometry import COLUMNS_TOGETHER, KERNEL_WIDTH, MARGIN

LANES = 16
"""Slices that are computed together."""


@dataclass(frozen=True)
class Sizes:
    """What the working space depends on.

    Parameters
    ----------
    angles, samples
        Projections, and samples of each when padded.
    length, block
        Edge of the fine grid, and rows of it that are filled together.
    size
        Edge of a slice.
    threads
        Threads that work on one group of slices.
    """

    angles: int
    samples: int
    length: int
    block: int
    size: int
    threads: int

    @property
    def polar(self) -> int:
        """Float32 numbers of the polar samples."""
        return LANES * self.angles * self.samples

    @property
    def columns(self) -> int:
        """Float32 numbers of the fine grid, transformed along its rows."""
        return LANES * self.length * (-(-self.size // COLUMNS_TOGETHER) * COLUMNS_TOGETHER)

    @property
    def scratch(self) -> int:
        """Float32 numbers that each thread works with."""
        filtering = 2 * self.samples + 20 + self.samples // 8
        gridding = (self.block + KERNEL_WIDTH) * (self.length + 2 * MARGIN) + 2 * self.length
        slicing = LANES * (self.size + 1) + 2 * self.length
        # Whole cells, so that each thread's space begins with one.
        return LANES * (max(filtering, gridding, slicing) + 1)

    @property
    def numbers(self) -> int:
        """Float32 numbers altogether."""
        return self.polar + self.columns + self.threads * self.scratch


class Workspace:
    """Arrays for one group of slices.

    Parameters
    ----------
    sizes
        How large they are.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._all = aligned_empty((sizes.numbers,))
        self._counter = np.zeros(1, np.int64)
        self._counter_address = int(self._counter.ctypes.data)
        self.polar = int(self._all.ctypes.data)
        self.columns = self.polar + 4 * sizes.polar
        start = sizes.polar + sizes.columns
        self.scratch = [
            self._all[start + thread * sizes.scratch : start + (thread + 1) * sizes.scratch]
            for thread in range(sizes.threads)
        ]

    def counter(self) -> int:
        """Return the address of the counter by which threads share out work, set to 0."""
        self._counter[0] = 0
        return self._counter_address


class Pool:
    """Lends workspaces, each to one call at a time, and keeps them for the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Workspace] = []

    @contextmanager
    def lend(self, sizes: Sizes) -> Iterator[Workspace]:
        """Lend a workspace of these sizes."""
        with self._lock:
            fitting = [space for space in self._idle if space.sizes == sizes]
            space = fitting[0] if fitting else None
            # What does not fit is not likely to fit again.
            self._idle = [other for other in self._idle if other.sizes == sizes and other is not space]
        space = space or Workspace(sizes)
        try:
            yield space
        finally:
            with self._lock:
                self._idle.append(space)
