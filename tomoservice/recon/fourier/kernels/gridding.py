"""Polar samples -> rows of the fine grid of frequencies, transformed along the row."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled
from tomoservice.recon.fourier.geometry import (
    BAND,
    COLUMNS_TOGETHER,
    KERNEL_WIDTH,
    MARGIN,
    TABLE_LENGTH,
    GridTables,
)
from tomoservice.recon.fourier.kernels.fft import transform
from tomoservice.recon.fourier.kernels.vectors import (
    CELL_BYTES,
    accumulate,
    address,
    claim,
    clear,
    copy_cells,
    prefetch,
    spread,
    stream_cells,
)

HALF_WIDTH = KERNEL_WIDTH / 2
SPILL = KERNEL_WIDTH - 1
"""Rows below its first one that a sample reaches."""


@compiled
def spread_angle(grid: GridTables, angle: int, samples: int, target: int, rows: tuple[int, int, int]) -> None:
    """Spread the samples of one angle whose first row lies in a range.

    Parameters
    ----------
    grid
        Geometry and kernel.
    angle
        Which angle.
    samples
        Address of its samples, frequency 0 in the middle.
    target
        Address of the first of the rows, margin included.
    rows
        The row that stands at `target`, and the range: first, behind the last. Row 0 has frequency 0.
    """
    origin, low, high = rows
    along, across = grid.along[angle], grid.across[angle]
    first, last = -grid.reach, grid.reach
    if abs(across) * grid.reach > 1e-6:
        one, other = (low + 1) / across, (high + 1) / across
        first = max(first, math.floor(max(min(one, other), first)))
        last = min(last, math.ceil(min(max(one, other), last)))
    elif low > -HALF_WIDTH or high <= -HALF_WIDTH:
        return
    pitch = CELL_BYTES * (grid.length + 2 * MARGIN)
    table = address(grid.table)
    centre = grid.length // 2 + MARGIN
    following = CELL_BYTES * grid.samples
    for k in range(first, last + 1):
        edge = k * across - HALF_WIDTH
        row = math.ceil(edge)
        if low <= row < high:
            side = k * along - HALF_WIDTH
            column = math.ceil(side)
            at_row = int((row - edge) * TABLE_LENGTH + 0.5)
            at_column = int((column - side) * TABLE_LENGTH + 0.5)
            sample = samples + CELL_BYTES * k
            place = target + pitch * (row - origin) + CELL_BYTES * (column + centre)
            prefetch(sample + following)
            spread(place, pitch, sample, table + 16 * at_column, table + 16 * at_row)


@compiled
def spread_block(grid: GridTables, polar: int, target: int, rows: tuple[int, int, int]) -> None:
    """Spread all samples whose first row lies in a range; `rows` as for `spread_angle`."""
    length = grid.length
    origin, low, high = rows
    middle = CELL_BYTES * (grid.samples // 2)
    for turn in (-length, 0, length):
        if low + turn > length // 2 or high + turn <= -length // 2 - KERNEL_WIDTH:
            continue
        for angle in range(len(grid.along)):
            samples = polar + CELL_BYTES * grid.samples * angle + middle
            spread_angle(grid, angle, samples, target, (origin + turn, low + turn, high + turn))


@compiled
def transform_row(grid: GridTables, row: int, number: int, buffers: tuple[int, int], columns: int) -> None:
    """Transform a row of the fine grid, and keep the columns of the slice.

    `row` is its address, margin included; `number` counts rows from 0.
    """
    length, size = grid.length, len(grid.correction)
    body = row + CELL_BYTES * MARGIN
    accumulate(row + CELL_BYTES * length, row, MARGIN)
    accumulate(body, body + CELL_BYTES * length, MARGIN)
    result = transform(grid.transform, len(grid.transform.factors), body, CELL_BYTES, buffers)
    middle = size // 2
    for start in range(0, size, COLUMNS_TOGETHER):
        stop = min(start + COLUMNS_TOGETHER, size)
        target = columns + CELL_BYTES * (start * length + number * COLUMNS_TOGETHER)
        negative = max(min(middle, stop) - start, 0)
        if negative > 0:
            source = result + CELL_BYTES * (length + start - middle)
            stream_cells(target, CELL_BYTES, source, negative)
        if negative < stop - start:
            source = result + CELL_BYTES * (start + negative - middle)
            stream_cells(target + CELL_BYTES * negative, CELL_BYTES, source, stop - start - negative)


@compiled
def grid_band(grid: GridTables, polar: int, band: int, scratch: int, columns: int) -> None:
    """Compute a band of rows, block by block; what a block spills below itself goes on to the next."""
    length = grid.length
    block = grid.block
    cells = length + 2 * MARGIN
    buffer = scratch + CELL_BYTES * (block + SPILL) * cells
    buffers = (buffer, buffer + CELL_BYTES * length)
    top = band * BAND - length // 2
    bottom = min(top + BAND, length - length // 2)
    clear(scratch, (block + SPILL) * cells)
    # What the band above spills into this one is computed here once more.
    origin = top - block
    spread_block(grid, polar, scratch, (origin, top - SPILL, top))
    while origin + block < bottom:
        origin += block
        copy_cells(scratch, CELL_BYTES, scratch + CELL_BYTES * block * cells, SPILL * cells)
        clear(scratch + CELL_BYTES * SPILL * cells, block * cells)
        end = min(origin + block, bottom)
        spread_block(grid, polar, scratch, (origin, origin, end))
        for row in range(origin, end):
            place = scratch + CELL_BYTES * cells * (row - origin)
            transform_row(grid, place, row + length // 2, buffers, columns)


@compiled
def grid_rows(grid: GridTables, polar: int, scratch: NDArray[np.float32], columns: int, counter: int) -> None:
    """Compute bands of rows of the fine grid, as many as `counter` hands out.

    Parameters
    ----------
    grid
        Geometry and kernel.
    polar
        Address of the polar samples (angle, frequency), cells.
    scratch
        Working space of this thread.
    columns
        Address of the result (column // COLUMNS_TOGETHER, row, column % COLUMNS_TOGETHER), cells.
    counter
        Address of a counter that all threads share.
    """
    bands = -(-grid.length // BAND)
    while True:
        band = claim(counter)
        if band >= bands:
            break
        grid_band(grid, polar, band, address(scratch), columns)
