"""How a volume is computed in blocks: what is read together, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.pipeline.layout import Slab
from tomoservice.recon.base import aligned_empty

Sinograms = NDArray[np.float32]
SlabSink = Callable[[Slab, NDArray[Any]], None]
"""Takes a finished slab (z, y, x); the array is used again as soon as it returns."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Slices that are computed together: detector rows between multiples of the group's size."""

    size: int
    """Detector rows of a group."""
    first_row: int
    """Detector row of the first slice."""
    slices: int
    """Slices of the volume."""

    def around(self, start: int, stop: int) -> tuple[int, int]:
        """Widen a range of slices to whole groups, as far as the volume goes."""
        low = (self.first_row + start) // self.size * self.size - self.first_row
        high = -(-(self.first_row + stop) // self.size) * self.size - self.first_row
        return max(low, 0), min(high, self.slices)


def cut_into_blocks(
    slabs: Sequence[Slab], rows: int, groups: Groups, first_rows: int | None = None
) -> list[tuple[int, int]]:
    """Cut neighbouring slabs into ranges of at most `rows` slices that end where groups end.

    Parameters
    ----------
    slabs
        What is wanted, ascending; where slabs are missing a new block begins.
    rows
        Slices of a block, at most.
    groups
        No group is cut, save at the edges of what is wanted.
    first_rows
        Slices of the very first block, at most; by default `rows`.

    Returns
    -------
    list of (start, stop)
        Ascending slices of the volume.
    """
    runs: list[list[int]] = []
    for slab in slabs:
        if runs and runs[-1][1] == slab.start:
            runs[-1][1] = slab.stop
        else:
            runs.append([slab.start, slab.stop])
    blocks: list[tuple[int, int]] = []
    step, first_step = (
        max(count // groups.size, 1) * groups.size
        for count in (rows, rows if first_rows is None else first_rows)
    )
    for first, stop in runs:
        # A group that begins before the run, or before the volume does, is short of rows.
        aligned = (groups.first_row + first) // groups.size * groups.size - groups.first_row
        edges = [first, *range(aligned + (step if blocks else first_step), stop, step), stop]
        blocks += pairwise(edges)
    return blocks


@contextmanager
def read_ahead(
    blocks: Iterable[tuple[int, int]],
    load: Callable[[tuple[int, int], Callable[[], bool]], Sinograms],
    *,
    ahead: bool,
) -> Iterator[Iterator[tuple[tuple[int, int], Sinograms]]]:
    """Load each block while the one before it is worked on, in a thread that ends with the context.

    Parameters
    ----------
    blocks
        What is to be loaded, in this order.
    load
        Called with a block and with a function that tells whether nobody wants it any longer.
    ahead
        Whether to load one block ahead, or each when it is asked for.
    """
    abandoned = threading.Event()

    def loaded(pool: ThreadPoolExecutor) -> Iterator[tuple[tuple[int, int], Sinograms]]:
        pending: tuple[tuple[int, int], Future[Sinograms]] | None = None
        for block in blocks:
            following = (block, pool.submit(load, block, abandoned.is_set))
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following
        if pending is not None:
            yield pending[0], pending[1].result()

    if not ahead:
        yield ((block, load(block, abandoned.is_set)) for block in blocks)
        return
    with ThreadPoolExecutor(1, "tomoservice-read") as pool:
        try:
            yield loaded(pool)
        finally:
            abandoned.set()


class SlabWriter:
    """Hands slabs to whoever stores them, in a thread of its own, from buffers that are used again.

    Parameters
    ----------
    on_slab
        Stores a slab.
    shape
        Of a buffer: slices of a slab, rows, columns.
    background
        Whether one slab is stored while the next is computed; takes a second buffer.
    empty
        Makes a float32 buffer of a shape.
    """

    def __init__(
        self,
        on_slab: SlabSink,
        shape: tuple[int, int, int],
        *,
        background: bool,
        empty: Callable[[tuple[int, ...]], NDArray[np.float32]] = aligned_empty,
    ) -> None:
        self._on_slab = on_slab
        self._empty = empty
        self._shape = shape
        self._free = 2 if background else 1
        self._idle: list[NDArray[np.float32]] = []
        self._writing: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, "tomoservice-write") if background else None

    def buffer(self) -> NDArray[np.float32]:
        """Return a buffer to fill, as soon as one is free; raises what storing the slab before raised."""
        if self._idle:
            return self._idle.pop()
        if self._free:
            self._free -= 1
            return self._empty(self._shape)
        self._wait()
        return self._idle.pop()

    def put(self, slab: Slab, buffer: NDArray[np.float32]) -> None:
        """Store what was filled into `buffer`, which belongs to the writer from now on."""
        self._wait()
        if self._pool is None:
            self._store(slab, buffer)
        else:
            self._writing = self._pool.submit(self._store, slab, buffer)

    def __enter__(self) -> SlabWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()

    def _store(self, slab: Slab, buffer: NDArray[np.float32]) -> None:
        self._on_slab(slab, buffer[: slab.stop - slab.start])
        self._idle.append(buffer)

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()
