"""Lengths, tables and factors of the Fourier method: all that is worked out before data come in."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST = 1e30
"""Line integral from which on sums might leave the range of single precision."""
KERNEL_WIDTH = 4
"""Cells of the fine grid, in each direction, that a sample is spread over."""
OVERSAMPLING = 1.25
"""Least ratio of the fine grid to the slice."""
TABLE_LENGTH = 2048
"""Places within a cell at which the spreading kernel is tabulated."""


STEEPNESS = 0.93
"""Shape of the spreading kernel: errors near the axis weigh more than those in the corners."""
MARGIN = 4
"""Cells before and behind each row of the fine grid for what samples spread over its ends."""
BAND = 32
"""Rows of the fine grid that are computed one after the other; the next such band is another's work."""
COLUMNS_TOGETHER = 4
"""Columns of the fine grid that are stored together, row after row."""
BLOCK_BYTES = 1_900_000
"""Rows of the fine grid that are filled together take about so much. An angle touches little of it at a time,
so it may exceed the second cache; fewer rows would have each angle looked up for a few samples only."""
CELL_BYTES = 64
PHASE_BLOCK = 64
"""Frequencies whose phases come from one entry of a coarse table and one of a fine table."""


class Transform(NamedTuple):
    """A fast Fourier transform of some length, in stages."""

    length: int
    """Cells."""
    run: int
    """Product of the stages taken before the first of `factors`."""
    factors: NDArray[np.int64]
    """Radix of each stage; the last is 4 or 8."""
    twiddles: NDArray[np.float32]
    """Pairs (cosine, minus sine) for all stages, one after the other."""


class FilterTables(NamedTuple):
    """What the filter needs to know but the data and their axes."""

    columns: int
    """Detector columns."""
    transform: Transform
    """Of a projection with as many zeros behind it, its first stage taken while it is read."""
    expansion: NDArray[np.float32]
    """Pairs (cosine, minus sine): twiddle factors of that first stage."""
    coarse: NDArray[np.float32]
    """(angle, block, 2): real and imaginary part of the phase at the first frequency of each block that puts
    pixels to whole places, times the angle's weight."""
    fine: NDArray[np.float32]
    """(angle, 2, PHASE_BLOCK): real and imaginary parts of the phases within a block."""


class Group(NamedTuple):
    """Sixteen slices that are computed together."""

    sinograms: NDArray[np.int64]
    """(16,): address of the sinogram of each slice; any valid one where a slice is absent."""
    present: NDArray[np.float32]
    """(16,): 1 where there is a slice, 0 where there is none."""
    response: NDArray[np.float32]
    """(2, frequency): real and imaginary part of the filter's response; 1 if `shifts` or `edges` have it."""
    weights: NDArray[np.float32]
    """(column, 16): what columns are multiplied by; empty if by nothing."""
    shifts: NDArray[np.float32]
    """(frequency, 2, 16): half sum and half difference of the shifts of the two slices that share a complex
    number, times the response if there are no `edges`; empty if all slices have the same axis and nothing
    stands beside the detector."""
    edges: NDArray[np.float32]
    """(frequency, 6): complex responses of a projection and its continuations to either side; empty if
    nothing stands beside the detector."""
    bad: NDArray[np.int64]
    """(16,): set to 1 for a slice whose sinogram holds a value that is not finite."""


class GridTables(NamedTuple):
    """What filling the fine grid, and making slices of it, needs to know."""

    length: int
    """Cells along an edge of the fine grid."""
    block: int
    """Rows of it that are filled together."""
    samples: int
    """Frequencies of each projection."""
    reach: int
    """Highest frequency that is not zero."""
    along: NDArray[np.float64]
    """(angle,): cells from one frequency to the next along a row."""
    across: NDArray[np.float64]
    """(angle,): cells from one frequency to the next from row to row."""
    table: NDArray[np.float32]
    """(place, KERNEL_WIDTH): see `FineGrid`."""
    transform: Transform
    """Of a row or column of the fine grid."""
    correction: NDArray[np.float32]
    """(pixel,): see `FineGrid`; with the sign that moves frequency 0 from the middle."""
    limits: NDArray[np.int64]
    """(column, 2): first row of a slice that is wanted, and the one after the last."""


@cache
def good_length(least: float) -> int:
    """Return the smallest number from `least` on that is 4 times a product of 2, 3 and 5."""
    number = max(math.ceil(least / 4), 1)
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return 4 * number
        number += 1


def factorise(length: int) -> list[int]:
    """Return the radices of a transform's stages, a 4 or 8 at the end; `length` comes from `good_length`."""
    odd, twos, rest = [], 0, length
    for prime in (5, 3):
        while rest % prime == 0:
            odd.append(prime)
            rest //= prime
    while rest % 2 == 0:
        twos, rest = twos + 1, rest // 2
    # As many eights as leave an even number of twos, for fours.
    eights = next(count for count in range(twos // 3, -1, -1) if (twos - 3 * count) % 2 == 0)
    return odd + [8] * eights + [4] * ((twos - 3 * eights) // 2)


def make_transform(length: int, *, run: int = 1) -> Transform:
    """Prepare a transform of `length` cells, of which stages with the product `run` are taken elsewhere."""
    factors = factorise(length // run)
    tables, rest = [], length // run
    for radix in factors:
        rest //= radix
        angle = -2 * np.pi / (radix * rest) * np.outer(np.arange(rest), np.arange(1, radix))
        tables.append(np.stack([np.cos(angle), np.sin(angle)], axis=-1).ravel())
    twiddles = np.concatenate(tables).astype(np.float32)
    return Transform(length, run, np.array(factors, np.int64), twiddles)


class FineGrid(NamedTuple):
    """The oversampled Cartesian grid of frequencies that polar samples are spread over."""

    length: int
    """Cells along an edge."""
    table: NDArray[np.float32]
    """(place, KERNEL_WIDTH): what a sample gives to each cell around it, by its place within a cell."""
    correction: NDArray[np.float32]
    """(pixel,): by what a slice is multiplied, along each direction, to undo the spreading."""


def rows_at_once(length: int) -> int:
    """Return how many rows of a fine grid of that edge are filled together."""
    return max(min(BLOCK_BYTES // (CELL_BYTES * length) - KERNEL_WIDTH + 1, BAND), 2)


def make_filter_tables(
    columns: int, length: int, turns: NDArray[np.float64], weights: NDArray[np.float64]
) -> FilterTables:
    """Prepare the filter for projections padded to `length`.

    Parameters
    ----------
    columns : int
        Detector columns.
    length : int
        Samples of a padded projection; twice a `good_length`.
    turns : (angle,) float64 array
        Distance along each projection by which pixels are off whole places.
    weights : (angle,) float64 array
        Part of the half circle that each projection stands for.
    """
    half = length // 2
    wave = np.exp(-2j * np.pi * np.arange(half) / length)
    phase = 2j * np.pi * turns[:, None] / length
    coarse = weights[:, None] * np.exp(phase * (np.arange(0, length, PHASE_BLOCK) - half))
    fine = np.exp(phase * np.arange(PHASE_BLOCK))
    return FilterTables(
        columns=columns,
        transform=make_transform(length, run=2),
        expansion=np.stack([wave.real, wave.imag], axis=-1).astype(np.float32),
        coarse=np.stack([coarse.real, coarse.imag], axis=-1).astype(np.float32),
        fine=np.stack([fine.real, fine.imag], axis=1).astype(np.float32),
    )


def make_grid_tables(
    grid: FineGrid, length: int, reach: int, angles: NDArray[np.float64], limits: NDArray[np.int64]
) -> GridTables:
    """Prepare the fine grid for samples of projections padded to `length`.

    Parameters
    ----------
    grid : FineGrid
        From `make_grid`.
    length : int
        Samples of a padded projection.
    reach : int
        Highest frequency that is not zero.
    angles : (angle,) float64 array
        In radians.
    limits : (column, 2) int64 array
        First row of a slice that is wanted in each column, and the one after the last.
    """
    step = grid.length / length
    size = len(grid.correction)
    # The transform is a forward one: frequencies along x are mirrored, along y twice, because rows go down.
    sign = 1 - 2 * (np.abs(np.arange(size) - size // 2) % 2)
    return GridTables(
        length=grid.length,
        block=rows_at_once(grid.length),
        samples=length,
        reach=reach,
        along=-step * np.cos(angles),
        across=step * np.sin(angles),
        table=grid.table,
        transform=make_transform(grid.length),
        correction=(grid.correction * sign).astype(np.float32),
        limits=limits,
    )


def make_grid(size: int) -> FineGrid:
    """Prepare the fine grid for slices of edge `size`.

    The kernel is an exponential of a semicircle (Barnett, Magland, af Klinteberg 2019,
    DOI 10.1137/18M120885X), which hardly jumps at its ends. Its transform, which the slice is divided by, is
    computed from the table, so both belong together.
    """
    length = good_length(max(OVERSAMPLING * size, 4 * KERNEL_WIDTH))
    shape = STEEPNESS * math.pi * KERNEL_WIDTH * (1 - size / (2 * length))
    place = np.arange(TABLE_LENGTH + 1) / TABLE_LENGTH
    distance = place[:, None] + np.arange(KERNEL_WIDTH) - KERNEL_WIDTH / 2
    table = np.exp(shape * (np.sqrt(1 - (2 * distance / KERNEL_WIDTH) ** 2) - 1))
    # A sample that lies on a cell spreads as far up as down, or real slices would not stay real.
    table[0, 0] = table[-1, -1] = 0
    pixel = np.arange(size) - size // 2
    # Even and smooth: a sparser table integrates it just as well.
    sparse = slice(0, -1, 16)
    waves = np.cos(2 * np.pi / length * np.multiply.outer(pixel, distance[sparse]))
    transformed = (waves * table[sparse]).sum(axis=(1, 2)) / len(table[sparse])
    return FineGrid(length, table.astype(np.float32), (1 / transformed).astype(np.float32))
