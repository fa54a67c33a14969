"""Joseph's projector, compiled. Loops run along a row of pixels or columns, where both are contiguous.

Positions are counted in double precision and handed over every `RUN` samples, so that single precision, which
is fast, never has to hold more than a run and a fraction.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled

RUN = 64
# Rows of pixels that one projection is spread over before the next: both stay in the cache.
ROWS_TOGETHER = 16
# Zeros beside a row: a line that passes between its end and the next pixel is interpolated with nothing.
MARGIN = 2
ZERO, ONE = np.float32(0), np.float32(1)


@compiled(fastmath=True)
def project(
    images: NDArray[np.float32],
    turned: NDArray[np.bool_],
    lines: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Add up pixels along lines.

    Parameters
    ----------
    images : (2, M, M + 2 MARGIN) float32 array
        The slice and its transpose, with margins.
    turned : (angle,) bool array
        Which of them the lines of a projection cross row by row.
    lines : (angle, 3) float64 array
        Line j crosses row q at column ``lines[:, 0] * j + lines[:, 1] + lines[:, 2] * q``; ``lines[:, 0]`` is
        at least 1.
    out : (angle, N) float32 array
        Sums, not yet multiplied with the length of a line within a row.
    """
    size, columns = images.shape[1], out.shape[1]
    for angle in range(len(out)):
        image, sums = images[1 if turned[angle] else 0], out[angle]
        slope, start, shift = lines[angle]
        slope32 = np.float32(slope)
        sums[:] = ZERO
        for q in range(size):
            offset, row = start + shift * q, image[q]
            first = max(0, math.ceil((-1 - offset) / slope))
            last = min(columns, math.ceil((size - offset) / slope))
            for low in range(first, last, RUN):
                position = slope * low + offset + MARGIN
                whole = int(position)
                part = np.float32(position - whole)
                for k in range(np.int32(min(RUN, last - low))):
                    place = part + slope32 * np.float32(k)
                    index = np.int32(place)
                    left, right = row[whole + index], row[whole + index + 1]
                    sums[low + k] += left + (place - np.float32(index)) * (right - left)


@compiled(fastmath=True)
def spread(
    sinogram: NDArray[np.float32],
    lines: NDArray[np.float64],
    first_row: int,
    out: NDArray[np.float32],
) -> None:
    """Spread values over the pixels along their lines: the transpose of `project`.

    A pixel lies between two lines at most, for they are never closer than a pixel along a row.

    Parameters
    ----------
    sinogram : (angle, N + 2 MARGIN) float32 array
        Projections that cross the slice in the same direction, multiplied with the length of a line within a
        row, with margins.
    lines : (angle, 3) float64 array
        As in `project`.
    first_row : int
        Row of the slice, or of its transpose, that `out` begins with.
    out : (row, M) float32 array
        Is overwritten.
    """
    columns, size = sinogram.shape[1] - 2 * MARGIN, out.shape[1]
    out[:] = ZERO
    for top in range(0, len(out), ROWS_TOGETHER):
        bottom = min(top + ROWS_TOGETHER, len(out))
        for angle in range(len(sinogram)):
            values = sinogram[angle]
            slope, start, shift = lines[angle]
            slope32, inverse32 = np.float32(slope), np.float32(1 / slope)
            for q in range(top, bottom):
                offset, row = start + shift * (first_row + q), out[q]
                first = max(0, math.ceil(offset - slope))
                last = min(size, math.ceil(offset + slope * columns))
                for low in range(first, last, RUN):
                    position = (low - offset) / slope + MARGIN
                    whole = int(position)
                    part = np.float32(position - whole)
                    for k in range(np.int32(min(RUN, last - low))):
                        place = part + inverse32 * np.float32(k)
                        index = np.int32(place)
                        beyond = place - np.float32(index)
                        left = max(ZERO, ONE - slope32 * beyond)
                        right = max(ZERO, ONE - slope32 * (ONE - beyond))
                        row[low + k] += left * values[whole + index] + right * values[whole + index + 1]
