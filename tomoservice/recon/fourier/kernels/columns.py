"""Rows of the fine grid, transformed along the row -> slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled
from tomoservice.recon.fourier.geometry import COLUMNS_TOGETHER, GridTables
from tomoservice.recon.fourier.kernels.fft import transform
from tomoservice.recon.fourier.kernels.vectors import (
    CELL_BYTES,
    LANES,
    address,
    claim,
    clear,
    scale_cells,
    scatter_columns,
    scatter_tile,
    stream_tile,
)


@compiled
def transform_column(
    grid: GridTables, columns: int, column: int, target: int, buffers: tuple[int, int]
) -> None:
    """Compute one column of sixteen slices."""
    length, size = grid.length, len(grid.correction)
    block, within = column // COLUMNS_TOGETHER, column % COLUMNS_TOGETHER
    source = columns + CELL_BYTES * (block * COLUMNS_TOGETHER * length + within)
    stages = len(grid.transform.factors)
    result = transform(grid.transform, stages, source, CELL_BYTES * COLUMNS_TOGETHER, buffers)
    first, last = grid.limits[column]
    factor, factors = grid.correction[column], address(grid.correction)
    middle = size // 2
    clear(target, first)
    negative = max(min(middle, last) - first, 0)
    place = result + CELL_BYTES * (length + first - middle)
    scale_cells(target + CELL_BYTES * first, place, negative, factors + 4 * first, factor)
    first += negative
    place = result + CELL_BYTES * (first - middle)
    scale_cells(target + CELL_BYTES * first, place, max(last - first, 0), factors + 4 * first, factor)
    last = max(first, last)
    clear(target + CELL_BYTES * last, size - last)


@compiled
def put_slices(source: int, pitch: int, rows: int, place: tuple[int, int, int], aligned: bool) -> None:
    """Turn up to sixteen columns of cells into rows of slices.

    `source` and `pitch` say where the columns are, `rows` is a table of addresses of slices, `place` is the
    first column, how many there are, and the edge of a slice.
    """
    column, count, size = place
    for row in range(size):
        offset = 4 * (row * size + column)
        cell = source + CELL_BYTES * row
        if count < LANES:
            scatter_columns(cell, pitch, rows, (offset, count))
        elif aligned:
            stream_tile(cell, pitch, rows, offset)
        else:
            scatter_tile(cell, pitch, rows, offset)


@compiled
def leading_columns(slices: NDArray[np.int64], size: int) -> tuple[int, bool]:
    """Return how many columns stand before the first cache line of each row, and whether that is so.

    It is where the edge is a multiple of sixteen, and all slices begin at the same place of a line.
    """
    place = -1
    for start in slices:
        if start != 0:
            if place not in (-1, start % CELL_BYTES):
                return 0, False
            place = start % CELL_BYTES
    if size % LANES != 0 or place < 0 or place % 4 != 0:
        return 0, False
    return (CELL_BYTES - place) % CELL_BYTES // 4, True


@compiled
def make_slices(
    grid: GridTables, columns: int, scratch: NDArray[np.float32], slices: NDArray[np.int64], counter: int
) -> None:
    """Compute columns of slices, as many as `counter` hands out.

    Parameters
    ----------
    grid
        Lengths, correction for the kernel, what is wanted of each column.
    columns
        Address of the fine grid; see `gridding.grid_rows`.
    scratch
        Working space of this thread.
    slices
        (16,) addresses of the slices; 0 for one that is absent.
    counter
        Address of a counter that all threads share.
    """
    length, size = grid.length, len(grid.correction)
    # An odd number of cells keeps sixteen columns from meeting in the same places of a cache.
    pitch = CELL_BYTES * (size | 1)
    target = address(scratch)
    buffer = target + LANES * pitch
    buffers = (buffer, buffer + CELL_BYTES * length)
    lead, aligned = leading_columns(slices, size)
    blocks = 1 + -(-(size - lead) // LANES)
    while True:
        block = claim(counter)
        if block >= blocks:
            break
        first = 0 if block == 0 else lead + LANES * (block - 1)
        count = lead if block == 0 else min(LANES, size - first)
        for k in range(count):
            transform_column(grid, columns, first + k, target + k * pitch, buffers)
        if count > 0:
            put_slices(target, pitch, address(slices), (first, count, size), aligned)
