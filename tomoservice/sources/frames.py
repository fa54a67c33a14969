"""Frames that are read when they are indexed, whatever they lie in.

A `FrameReader` knows one kind of storage and reads blocks of whole ranges; `LazyFrames` gives it
NumPy's indexing. Selecting frames by number and joining files are readers around readers.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError

Index = int | slice


class FrameReader(Protocol):
    """Reads blocks of a stack of frames (frame, row, column)."""

    def read(self, frames: range, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the block (frame, row, column).

        Every range is non-empty, lies within the stack and has a positive step.
        """


@dataclass(frozen=True, slots=True)
class LazyFrames:
    """`Frames` that ask a reader for every block."""

    reader: FrameReader
    """What knows the storage."""
    shape: tuple[int, int, int]
    """Number of frames, rows and columns."""
    dtype: np.dtype[Any]
    """Type of a pixel, in native byte order."""
    rows_together: int = 1
    """Rows that the storage gives at once: those of a compressed chunk, all of a file that is read whole."""

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        ranges, dropped = split_key(key, self.shape)
        counts = tuple(len(part) for part in ranges)
        if 0 in counts:
            block = np.empty(counts, self.dtype)
        else:
            frames, rows, columns = ranges
            block = np.asarray(self.reader.read(frames, as_slice(rows), as_slice(columns)), self.dtype)
        return block.squeeze(axis=dropped) if dropped else block


def split_key(key: Any, shape: tuple[int, int, int]) -> tuple[tuple[range, range, range], tuple[int, ...]]:
    """Translate a basic index into one range per axis.

    Parameters
    ----------
    key
        Integers, slices with positive steps and at most one Ellipsis, as for a NumPy array.
    shape : tuple of int
        Number of frames, rows and columns.

    Returns
    -------
    ranges : tuple of range
        What is selected along each axis.
    dropped : tuple of int
        Axes that an integer selected, and that the result therefore lacks.

    Raises
    ------
    IndexError
        As NumPy would, and for a step that is not positive.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    ellipses = [i for i, part in enumerate(parts) if isinstance(part, EllipsisType)]
    if len(ellipses) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if len(parts) - len(ellipses) > len(shape):
        raise IndexError(f"too many indices for frames (frame, row, column): {key!r}")
    position = ellipses[0] if ellipses else len(parts)
    missing = len(shape) - (len(parts) - len(ellipses))
    parts[position : position + len(ellipses)] = [slice(None)] * missing
    ranges, dropped = [], []
    for axis, (part, size) in enumerate(zip(parts, shape, strict=True)):
        if isinstance(part, slice):
            selected = range(*part.indices(size))
            if selected.step < 1:
                raise IndexError(f"axis {axis}: the step must be positive, got {selected.step}")
        else:
            number = operator.index(part)
            if not -size <= number < size:
                raise IndexError(f"index {number} is out of bounds for axis {axis} with size {size}")
            selected = range(number % size, number % size + 1)
            dropped.append(axis)
        ranges.append(selected)
    return (ranges[0], ranges[1], ranges[2]), tuple(dropped)


def as_slice(selected: range) -> slice:
    """Return a non-empty range with a positive step as the slice that selects it."""
    return slice(selected.start, selected[-1] + 1, selected.step)


def constant_runs(numbers: NDArray[np.integer[Any]]) -> list[range]:
    """Cut ascending numbers into ranges of constant step, so that each can be read in one go."""
    runs: list[range] = []
    start = 0
    while start < len(numbers):
        if start + 1 == len(numbers):
            runs.append(range(int(numbers[start]), int(numbers[start]) + 1))
            break
        step = int(numbers[start + 1] - numbers[start])
        differing = np.flatnonzero(np.diff(numbers[start:]) != step)
        stop = start + 1 + int(differing[0]) if differing.size else len(numbers)
        runs.append(range(int(numbers[start]), int(numbers[stop - 1]) + 1, step))
        start = stop
    return runs


@dataclass(frozen=True, slots=True)
class IndexReader:
    """Frames of another reader, chosen by number; consecutive numbers are read in one go."""

    reader: FrameReader
    """Where the frames are."""
    indices: NDArray[np.int64]
    """Number of each frame in `reader`, in any order."""

    def read(self, frames: range, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the block (frame, row, column)."""
        wanted = self.indices[as_slice(frames)]
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
        ranges = [range(int(run[0]), int(run[-1]) + 1) for run in runs]
        return _fill(((self.reader, run) for run in ranges), len(frames), rows, columns)


@dataclass(frozen=True, slots=True)
class JoinedReader:
    """Several readers one after the other, as when a stack is spread over files."""

    readers: tuple[FrameReader, ...]
    """The parts."""
    counts: tuple[int, ...]
    """Number of frames in each part."""

    def read(self, frames: range, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the block (frame, row, column)."""
        return _fill(self._parts(frames), len(frames), rows, columns)

    def _parts(self, frames: range) -> Iterator[tuple[FrameReader, range]]:
        first = 0
        for reader, count in zip(self.readers, self.counts, strict=True):
            if part := clip(frames, first, count):
                yield reader, part
            first += count


def clip(frames: range, first: int, count: int) -> range:
    """Return which of `frames` lie in the `count` ones from `first`, numbered from there."""
    below = max(0, -(-(first - frames.start) // frames.step))
    above = max(0, -(-(first + count - frames.start) // frames.step))
    part = frames[below:above]
    return range(part.start - first, part.stop - first, part.step)


def _fill(
    parts: Iterator[tuple[FrameReader, range]], count: int, rows: slice, columns: slice
) -> NDArray[Any]:
    """Read parts one after the other into one array of `count` frames."""
    result: NDArray[Any] | None = None
    done = 0
    for reader, frames in parts:
        block = reader.read(frames, rows, columns)
        if result is None:
            if len(block) == count:
                return block
            result = np.empty((count, *block.shape[1:]), block.dtype)
        result[done : done + len(block)] = block
        done += len(block)
    if result is None:
        raise IndexError("no frame selected")
    return result


def take(frames: LazyFrames, indices: NDArray[np.int64]) -> LazyFrames:
    """Return the frames with these numbers, in this order, still unread."""
    shape = (int(indices.size), *frames.shape[1:])
    return replace(frames, reader=IndexReader(frames.reader, indices), shape=shape)


def join(parts: list[LazyFrames], where: str) -> LazyFrames:
    """Return stacks one after the other as one.

    Raises
    ------
    InputError
        If frames differ in size or type.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        if part.shape[1:] != first.shape[1:] or part.dtype != first.dtype:
            raise InputError(
                where,
                f"its parts differ: {part.shape[1:]} {part.dtype} after {first.shape[1:]} {first.dtype}",
            )
    counts = tuple(part.shape[0] for part in parts)
    reader = JoinedReader(tuple(part.reader for part in parts), counts)
    return replace(first, reader=reader, shape=(sum(counts), *first.shape[1:]))


def shorten(frames: LazyFrames, count: int) -> LazyFrames:
    """Return the first `count` frames."""
    return replace(frames, shape=(count, *frames.shape[1:]))


def leading_selections(lead: tuple[int, ...], frames: range) -> Iterator[tuple[tuple[Index, ...], int]]:
    """Translate numbers of flattened frames into indices of the axes before row and column.

    Parameters
    ----------
    lead : tuple of int
        Sizes of those axes, at most two of them other than 1: (events, frames per event), say.
    frames : range
        Numbers of frames, counted in C order over `lead`.

    Yields
    ------
    index : tuple of int or slice
        One entry per leading axis, with at most one slice.
    count : int
        How many frames it selects.
    """
    counted = [axis for axis, size in enumerate(lead) if size != 1]
    index: list[Index] = [0] * len(lead)
    if len(counted) < 2:
        axis = counted[0] if counted else len(lead) - 1
        if axis >= 0:
            index[axis] = as_slice(frames)
        yield tuple(index), len(frames)
        return
    outer, inner = counted
    for event in range(frames[0] // lead[inner], frames[-1] // lead[inner] + 1):
        if part := clip(frames, event * lead[inner], lead[inner]):
            index[outer], index[inner] = event, as_slice(part)
            yield tuple(index), len(part)


def flattened_shape(shape: tuple[int, ...], where: str, dataset: str) -> tuple[int, int, int]:
    """Return frames, rows and columns of an array whose last two axes are row and column.

    Raises
    ------
    InputError
        If it has fewer than two axes, or more than two that count frames.
    """
    lead = shape[:-2]
    if len(shape) < 2 or sum(size != 1 for size in lead) > 2:
        raise InputError(where, f"shape {shape} is no stack of frames (frame, row, column)", dataset=dataset)
    return int(np.prod(lead, dtype=np.int64)), shape[-2], shape[-1]


def pixel_type(dtype: np.dtype[Any], where: str, dataset: str) -> np.dtype[Any]:
    """Return the type in native byte order.

    Raises
    ------
    InputError
        If it is not a real number.
    """
    if dtype.kind not in "uif":
        raise InputError(where, f"pixels are of type {dtype}, not real numbers", dataset=dataset)
    return dtype.newbyteorder("=")
