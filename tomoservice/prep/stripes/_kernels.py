"""Compiled loops of stripe removal, each over a range of columns; all release the interpreter's lock.

Sorted sinograms are stored (column, rank), so that a column is contiguous when it is sorted, and neighbouring
ranks are neighbouring lanes of a vector register when medians run across columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]

# Columns that are transposed together: a cache line.
TILE = 16
SIGN = np.uint32(0x80000000)
ALL = np.uint32(0xFFFFFFFF)


@compiled
def _radix_sort(
    keys: NDArray[np.uint32],
    order: Indices,
    other_keys: NDArray[np.uint32],
    other_order: Indices,
    counts: NDArray[np.int32],
) -> None:
    """Sort `keys` in place, stably, a byte at a time; `order` follows. The others are working space."""
    size = keys.size
    counts[:] = 0
    for i in range(size):
        key = keys[i]
        counts[0, key & 255] += 1
        counts[1, (key >> 8) & 255] += 1
        counts[2, (key >> 16) & 255] += 1
        counts[3, key >> 24] += 1
    for digit in range(4):
        total = 0
        for value in range(256):
            count = counts[digit, value]
            counts[digit, value] = total
            total += count
    # An even number of passes ends where it began.
    for digit in range(0, 4, 2):
        low, high = np.uint32(8 * digit), np.uint32(8 * digit + 8)
        for i in range(size):
            key = keys[i]
            value = (key >> low) & 255
            place = counts[digit, value]
            counts[digit, value] = place + 1
            other_keys[place] = key
            other_order[place] = order[i]
        for i in range(size):
            key = other_keys[i]
            value = (key >> high) & 255
            place = counts[digit + 1, value]
            counts[digit + 1, value] = place + 1
            keys[place] = key
            order[place] = other_order[i]


@compiled
def sort_columns(bits: NDArray[np.uint32], ranked: NDArray[np.uint32], order: Indices) -> None:
    """Sort each column along the angle, equal values by angle.

    `bits` (angle, column) and `ranked` (column, rank) hold the bits of float32 numbers, none of them NaN.
    `order` (column, rank) becomes the angle at which each value was measured.
    """
    angles, columns = bits.shape
    other_keys, other_order = np.empty(angles, np.uint32), np.empty(angles, np.int32)
    counts = np.empty((4, 256), np.int32)
    for start in range(0, columns, TILE):
        stop = min(start + TILE, columns)
        for angle in range(angles):
            for column in range(start, stop):
                value = bits[angle, column]
                # Minus zero equals zero. Negative numbers order backwards.
                if value == SIGN:
                    value = np.uint32(0)
                ranked[column, angle] = value ^ (ALL if value & SIGN else SIGN)
                order[column, angle] = angle
        for column in range(start, stop):
            keys = ranked[column]
            _radix_sort(keys, order[column], other_keys, other_order, counts)
            for rank in range(angles):
                value = keys[rank]
                keys[rank] = value ^ (SIGN if value & SIGN else ALL)


@compiled
def unsort_columns(ranked: Floats, order: Indices, out: Floats) -> None:
    """Put each value of `ranked` (column, rank) back at its angle in `out` (angle, column)."""
    columns, angles = ranked.shape
    tile = np.empty((angles, TILE), np.float32)
    for start in range(0, columns, TILE):
        stop = min(start + TILE, columns)
        for column in range(start, stop):
            for rank in range(angles):
                tile[order[column, rank], column - start] = ranked[column, rank]
        for angle in range(angles):
            for column in range(start, stop):
                out[angle, column] = tile[angle, column - start]


@compiled
def fluctuations(sinogram: Floats, path: Indices, size: int) -> NDArray[np.float64]:
    """Sum for each column how far its values lie from their mean over `size` neighbouring angles.

    `path` lists the angles that the window meets, those mirrored at the ends included.
    """
    angles, columns = sinogram.shape
    total, summed = np.zeros(columns, np.float64), np.zeros(columns, np.float64)
    for angle in path[:size]:
        for column in range(columns):
            total[column] += sinogram[angle, column]
    for angle in range(angles):
        for column in range(columns):
            smooth = np.float32(total[column] / size)
            summed[column] += abs(sinogram[angle, column] - smooth)
        if angle + 1 < angles:
            newest, oldest = path[angle + size], path[angle]
            for column in range(columns):
                total[column] += np.float64(sinogram[newest, column]) - np.float64(sinogram[oldest, column])
    return summed
