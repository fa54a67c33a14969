"""Kernels for one slice alone: neighbouring numbers of a grid row take the place of slices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled
from tomoservice.recon.fourier.geometry import (
    KERNEL_WIDTH,
    MARGIN,
    PHASE_BLOCK,
    TABLE_LENGTH,
    FilterTables,
    GridTables,
)
from tomoservice.recon.fourier.kernels.emit import intrinsic, ir, types
from tomoservice.recon.fourier.kernels.vectors import FLAGS, FLOAT, INT32, address

HALF_WIDTH = KERNEL_WIDTH / 2


@intrinsic
def spread_row(typingctx: Any, target: Any, sample: Any, along: Any, weight: Any) -> Any:  # noqa: ARG001
    """Add a complex number, times `weight` and each of the four weights at `along`, to four neighbours."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        row, four = ir.VectorType(FLOAT, 8), ir.VectorType(FLOAT, 4)

        def load(address: Any, kind: Any) -> Any:
            value = builder.load(builder.inttoptr(address, kind.as_pointer()))
            value.align = 4
            return value

        def spread_out(value: Any, places: list[int]) -> Any:
            return builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(INT32, 8), places))

        number = spread_out(load(args[1], ir.VectorType(FLOAT, 2)), [0, 1] * 4)
        weights = spread_out(load(args[2], four), [0, 0, 1, 1, 2, 2, 3, 3])
        undefined = ir.Constant(row, ir.Undefined)
        splat = spread_out(builder.insert_element(undefined, args[3], ir.Constant(INT32, 0)), [0] * 8)
        product = builder.fmul(builder.fmul(number, splat, flags=FLAGS), weights, flags=FLAGS)
        place = builder.inttoptr(args[0], row.as_pointer())
        result = builder.store(builder.fadd(load(args[0], row), product, flags=FLAGS), place)
        result.align = 4
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.float32), generate


@compiled
def respond(
    tables: FilterTables,
    grid: GridTables,
    response: NDArray[np.float32],
    spectrum: NDArray[np.float32],
    angles: tuple[int, int],
) -> None:
    """Filter the spectra of some projections in place.

    Parameters
    ----------
    tables
        Phases and weights of the angles.
    grid
        Only asked in which half of the plane an angle lies: in the left one, numbers become conjugate.
    response
        (2, frequency) real and imaginary parts, from the lowest negative frequency.
    spectrum
        (angle, frequency, 2), frequencies 0 and up. Modified.
    angles
        First angle, and the one behind the last.
    """
    half = tables.transform.length // 2
    for angle in range(angles[0], angles[1]):
        sign = np.float32(1.0 if grid.along[angle] <= 0 else -1.0)
        for first in range(0, half, PHASE_BLOCK):
            start = first + half
            block, within = start // PHASE_BLOCK, start % PHASE_BLOCK
            for part in range(2):
                # The blocks of the table need not begin where these do.
                low = 0 if part == 0 else PHASE_BLOCK - within
                high = PHASE_BLOCK - within if part == 0 else PHASE_BLOCK
                high = min(high, half - first)
                if low >= high:
                    continue
                turn_real, turn_imaginary = (
                    tables.coarse[angle, block + part, 0],
                    tables.coarse[angle, block + part, 1],
                )
                shift = within - PHASE_BLOCK * part
                for i in range(low, high):
                    p, q = tables.fine[angle, 0, i + shift], tables.fine[angle, 1, i + shift]
                    a, b = turn_real * p - turn_imaginary * q, turn_real * q + turn_imaginary * p
                    c, d = response[0, start + i], response[1, start + i]
                    e, f = a * c - b * d, a * d + b * c
                    x, y = spectrum[angle, first + i, 0], spectrum[angle, first + i, 1]
                    spectrum[angle, first + i, 0] = x * e - y * f
                    spectrum[angle, first + i, 1] = sign * (x * f + y * e)
        # Frequency 0 is its own partner.
        spectrum[angle, 0, 0] *= np.float32(0.5)
        spectrum[angle, 0, 1] *= np.float32(0.5)


@compiled
def spread_rows(
    grid: GridTables, spectrum: NDArray[np.float32], half_plane: NDArray[np.float32], rows: tuple[int, int]
) -> None:
    """Spread the samples of one slice over some rows of the right half of the fine grid.

    Parameters
    ----------
    grid
        Geometry and kernel.
    spectrum
        (angle, frequency, 2) of `respond`.
    half_plane
        (row, column, 2): row r has frequency r or r - length; column MARGIN has frequency 0. Modified.
    rows
        First row, counted from the lowest frequency, and the one behind the last.
    """
    length = grid.length
    low, high = rows[0] - length // 2, rows[1] - length // 2
    if low == high:
        return
    pitch = 8 * half_plane.shape[1]
    target, table = address(half_plane), address(grid.table)
    for angle in range(len(grid.along)):
        # Samples of the left half stand for their partners of the right one.
        along, across = abs(grid.along[angle]), -grid.across[angle]
        if grid.along[angle] > 0:
            across = -across
        samples = address(spectrum) + 8 * spectrum.shape[1] * angle
        for turn in (-length, 0, length):
            top, bottom = low + turn, high + turn
            first, last = 0, grid.reach
            if abs(across) * grid.reach > 1e-6:
                one, other = (top - HALF_WIDTH) / across, (bottom - 1 + HALF_WIDTH) / across
                first = max(first, math.floor(max(min(one, other), -1.0)))
                last = min(last, math.ceil(min(max(one, other), grid.reach + 1.0)))
            elif top > HALF_WIDTH or bottom <= -HALF_WIDTH:
                continue
            for k in range(first, last + 1):
                edge, side = k * across - HALF_WIDTH, k * along - HALF_WIDTH
                row, column = math.ceil(edge), math.ceil(side)
                at_row = int((row - edge) * TABLE_LENGTH + 0.5)
                at_column = table + 16 * int((column - side) * TABLE_LENGTH + 0.5)
                for j in range(max(row, top), min(row + KERNEL_WIDTH, bottom)):
                    number = j - turn if j - turn >= 0 else j - turn + length
                    place = target + pitch * number + 8 * (column + MARGIN)
                    spread_row(place, samples + 8 * k, at_column, grid.table[at_row, j - row])
