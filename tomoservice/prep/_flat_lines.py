"""How stacks of frames are handed to the compiled loops: flat, by their steps, cut for several threads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from tomoservice.threads import available_threads, ranges

# Types of pixels that the loops read as they are; others are converted first.
READ_AS_THEY_ARE = frozenset(("u1", "u2", "u4", "i2", "i4", "f4"))
# Frames that are converted at once; keeps temporaries small.
BLOCK = 8
# Pixels below which starting threads takes longer than the work.
WORTH_A_THREAD = 1 << 17
CUTS_PER_THREAD = 4

Part = tuple[int, int, int, int]
"""Frames and rows of a stack: (first frame, end frame, first row, end row)."""


class Lines(NamedTuple):
    """Lines of pixels in memory: line (frame, row) starts at ``frame * frame_step + row * row_step``."""

    data: NDArray[Any]
    frame_step: int
    row_step: int


class Bridges(NamedTuple):
    """Pixels that take their value from others of their row, sorted by row."""

    starts: NDArray[np.intp]
    """(rows + 1,): the pixels of row r are ``starts[r]`` to ``starts[r + 1]``."""
    columns: NDArray[np.intp]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    weight: NDArray[np.float32]
    lost: NDArray[np.bool_]
    """(rows,): no pixel of the row is good."""
    touched: NDArray[np.bool_]
    """(rows,): some pixel of the row is bad."""
    bad: NDArray[np.bool_]
    """(row, column): the same pixels as a mask."""


class Beam(NamedTuple):
    """What a frame is divided by."""

    dark: NDArray[np.float32]
    """(row, column)"""
    gain: NDArray[np.float32]
    """(row, column): 1 / open beam, 0 where the pixel is bridged."""
    frames: NDArray[np.float32]
    """(k, row, column): what makes the open beam where it changes; k = 0 where it does not."""
    weights: NDArray[np.float32]
    """(frame, k)"""
    brightness: NDArray[np.float32]
    """(frame,): 1 / brightness of the beam."""
    may_be_wild: bool
    """Whether frames may hold what is not finite."""


def has_lines(stack: NDArray[np.generic]) -> bool:
    """Return whether the columns of a stack (frame, row, column) are neighbours in memory."""
    steps = stack.strides
    size = stack.dtype.itemsize
    neighbours = stack.shape[2] <= 1 or steps[2] == size
    return neighbours and all(step >= 0 and step % size == 0 for step in steps[:2])


def lines(stack: NDArray[np.generic]) -> Lines:
    """Return a stack (frame, row, column) for which `has_lines` holds as lines, without copying."""
    size = stack.dtype.itemsize
    frame_step, row_step = stack.strides[0] // size, stack.strides[1] // size
    frames, rows, columns = stack.shape
    reach = (frames - 1) * frame_step + (rows - 1) * row_step + columns if stack.size else 0
    return Lines(as_strided(stack, (reach,), (size,)), frame_step, row_step)


def is_readable(stack: NDArray[np.generic]) -> bool:
    """Return whether the compiled loops can read a stack as it is."""
    return stack.dtype.isnative and stack.dtype.str[1:] in READ_AS_THEY_ARE and has_lines(stack)


def readable(stack: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a stack that the compiled loops can read: itself, or a copy as float32."""
    if is_readable(stack):
        return stack
    # What overflows becomes infinite, and is treated as that.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(stack, np.float32)


def blocks(stack: NDArray[np.generic]) -> list[tuple[int, int]]:
    """Cut the frames of a stack: all at once where they can be read as they are, else few."""
    step = max(len(stack), 1) if is_readable(stack) else BLOCK
    return [(begin, min(begin + step, len(stack))) for begin in range(0, len(stack), step)]


def cuts(shape: tuple[int, ...]) -> list[Part]:
    """Cut a stack (frame, row, column) for the threads: (first frame, end frame, first row, end row)."""
    frames, rows, columns = shape
    if frames * rows * columns < WORTH_A_THREAD:
        return [(0, frames, 0, rows)]
    wanted = CUTS_PER_THREAD * available_threads()
    if frames >= wanted:
        return [(begin, end, 0, rows) for begin, end in ranges(frames, wanted)]
    return [(frame, frame + 1, begin, end) for frame in range(frames) for begin, end in ranges(rows, wanted)]


def find_bridges(bad: NDArray[np.bool_]) -> Bridges:
    """Return where bad pixels take their values from: the nearest good columns left and right."""
    lost: NDArray[np.bool_] = np.all(bad, axis=1)
    rows, columns = np.nonzero(bad & ~lost[:, None])
    left = _nearest_good_before(bad)[rows, columns]
    right = bad.shape[1] - 1 - _nearest_good_before(bad[:, ::-1])[:, ::-1][rows, columns]
    left, right = np.where(left < 0, right, left), np.where(right == bad.shape[1], left, right)
    weight = ((columns - left) / np.maximum(right - left, 1)).astype(np.float32)
    starts = np.searchsorted(rows, np.arange(len(bad) + 1))
    return Bridges(starts, columns, left, right, weight, lost, np.any(bad, axis=1), np.ascontiguousarray(bad))


def _nearest_good_before(dead: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each pixel the nearest good column to its left in its row, or -1."""
    position = np.where(dead, -1, np.arange(dead.shape[1]))
    return np.asarray(np.maximum.accumulate(position, axis=1), np.intp)
