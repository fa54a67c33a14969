"""Projections of sixteen slices -> filtered polar samples of their Fourier transforms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled
from tomoservice.recon.fourier.geometry import PHASE_BLOCK, FilterTables, Group
from tomoservice.recon.fourier.kernels.butterflies import filter_4, filter_8
from tomoservice.recon.fourier.kernels.fft import transform
from tomoservice.recon.fourier.kernels.vectors import (
    CELL_BYTES,
    LANES,
    add_edges,
    address,
    claim,
    clear,
    copy_cells,
    expand_tile,
    expand_weighted_tile,
    gather_columns,
    gather_tile,
    shift_apart,
)

AT_ONCE = 4
"""Projections that a thread takes at once."""


@compiled
def load_projection(tables: FilterTables, group: Group, angle: int, target: int, tile: int) -> None:
    """Read one projection of each slice, and take the first stage of its transform."""
    columns = tables.columns
    rows, offset = address(group.sinograms), 4 * angle * columns
    present, bad = address(group.present), tile + LANES * CELL_BYTES
    for first in range(0, columns, LANES):
        count = min(LANES, columns - first)
        if count == LANES:
            gather_tile(tile, rows, offset + 4 * first)
        else:
            gather_columns(tile, rows, offset + 4 * first, count)
        place = target + 2 * CELL_BYTES * first
        twiddles = address(tables.expansion) + 8 * first
        if len(group.weights) > 0:
            weights = address(group.weights) + CELL_BYTES * first
            expand_weighted_tile(tile, place, count, twiddles, (present, bad, weights))
        else:
            expand_tile(tile, place, count, twiddles, (present, bad, 0))
    clear(target + 2 * CELL_BYTES * columns, tables.transform.length - 2 * columns)


@compiled
def combine_factors(
    tables: FilterTables, group: Group, angle: int, real: NDArray[np.float32], imaginary: NDArray[np.float32]
) -> None:
    """Multiply the response by the projection's weight, and by what puts pixels to whole places."""
    for block in range(tables.coarse.shape[1]):
        turn_real, turn_imaginary = tables.coarse[angle, block, 0], tables.coarse[angle, block, 1]
        first = block * PHASE_BLOCK
        for i in range(min(PHASE_BLOCK, len(real) - first)):
            fine_real, fine_imaginary = tables.fine[angle, 0, i], tables.fine[angle, 1, i]
            a = turn_real * fine_real - turn_imaginary * fine_imaginary
            b = turn_real * fine_imaginary + turn_imaginary * fine_real
            c, d = group.response[0, first + i], group.response[1, first + i]
            real[first + i] = a * c - b * d
            imaginary[first + i] = a * d + b * c


@compiled
def filter_one(
    tables: FilterTables, group: Group, scratch: NDArray[np.float32], angle: int, target: int
) -> None:
    """Filter one projection: all slices have the same axis, and nothing stands beside the detector."""
    length = tables.transform.length
    first = address(scratch)
    second = first + CELL_BYTES * length
    load_projection(tables, group, angle, first, second + CELL_BYTES * length)
    stages = len(tables.transform.factors) - 1
    result = transform(tables.transform, stages, first, CELL_BYTES, (second, first))
    factors = scratch[LANES * (2 * length + 20) :]
    real, imaginary = factors[:length], factors[length : 2 * length]
    combine_factors(tables, group, angle, real, imaginary)
    radix = tables.transform.factors[stages]
    if radix == 8:
        filter_8(result, target, length // 8, address(real), address(imaginary))
    else:
        filter_4(result, target, length // 4, address(real), address(imaginary))


@compiled
def filter_apart(
    tables: FilterTables, group: Group, scratch: NDArray[np.float32], angle: int, target: int
) -> None:
    """Filter one projection: each slice has its own axis, or values go on beyond the detector."""
    length = tables.transform.length
    first = address(scratch)
    second = first + CELL_BYTES * length
    tile = second + CELL_BYTES * length
    load_projection(tables, group, angle, first, tile)
    copy_cells(tile, CELL_BYTES, first, 1)
    copy_cells(tile + CELL_BYTES, CELL_BYTES, first + 2 * CELL_BYTES * (tables.columns - 1), 1)
    factors = scratch[LANES * (2 * length + 20) :]
    real, imaginary = factors[:length], factors[length : 2 * length]
    combine_factors(tables, group, angle, real, imaginary)
    stages = len(tables.transform.factors)
    spectrum = transform(tables.transform, stages, first, CELL_BYTES, (second, first))
    half = length // 2
    # Frequency 0 comes first in a spectrum, and stands in the middle of what is filtered.
    shift = half
    if len(group.edges) > 0:
        filtered = second if spectrum == first else first
        numbers = address(group.edges)
        for place in range(length):
            source = spectrum + CELL_BYTES * ((place + half) % length)
            add_edges(filtered + CELL_BYTES * place, source, tile, numbers + 24 * place)
        spectrum, shift = filtered, 0
    shifts = address(group.shifts)
    for place in range(length):
        pair = (
            spectrum + CELL_BYTES * ((place + shift) % length),
            spectrum + CELL_BYTES * ((length + shift - place) % length),
        )
        phase = (real[place], imaginary[place])
        shift_apart(target + CELL_BYTES * place, pair, shifts + 2 * CELL_BYTES * place, phase)


@compiled
def filter_angles(
    tables: FilterTables, group: Group, scratch: NDArray[np.float32], polar: int, counter: int
) -> None:
    """Filter projections, as many as `counter` hands out.

    Parameters
    ----------
    tables
        What does not depend on the data.
    group
        Where the sinograms of the sixteen slices are, and their axes.
    scratch
        Working space of this thread.
    polar
        Address of the polar samples (angle, frequency), cells.
    counter
        Address of a counter that all threads share.
    """
    length = tables.transform.length
    bad = scratch[LANES * (2 * length + LANES) : LANES * (2 * length + LANES + 1)]
    bad[:] = 0
    angles = len(tables.coarse)
    while True:
        start = AT_ONCE * claim(counter)
        if start >= angles:
            break
        for angle in range(start, min(start + AT_ONCE, angles)):
            target = polar + CELL_BYTES * length * angle
            if len(group.shifts) > 0:
                filter_apart(tables, group, scratch, angle, target)
            else:
                filter_one(tables, group, scratch, angle, target)
    for lane in range(LANES):
        if np.isnan(bad[lane]):
            group.bad[lane] = 1
