"""The compiled inner loop of `tomoservice.prep.resampling`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled


@compiled
def resample_row(
    sinograms: NDArray[np.float32],
    down: tuple[int, NDArray[np.float32]],
    across: tuple[NDArray[np.int64], NDArray[np.float32]],
    angles: tuple[int, int],
    out: NDArray[np.float32],
) -> None:
    """Fill one row of the result, for a range of angles.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Not modified. Rows that count nothing need not be there.
    down : (int, (tap,) float32 array)
        Row of the first tap, and what the taps along rows weigh.
    across : ((column,) int64 array, (column, tap) float32 array)
        The same along columns, for each column of the result.
    angles : (int, int)
        First angle, and one past the last.
    out : (angle, column) float32 array
        The row of the result; filled between `angles`.
    """
    first, weights = down
    begins, taps = across
    line = np.empty(sinograms.shape[2], np.float32)
    for angle in range(angles[0], angles[1]):
        line[:] = 0
        for tap in range(weights.size):
            weight = weights[tap]
            if weight != 0:
                source = sinograms[first + tap, angle]
                for i in range(line.size):
                    line[i] += weight * source[i]
        for column in range(out.shape[1]):
            total = np.float32(0)
            begin = begins[column]
            for tap in range(taps.shape[1]):
                total += taps[column, tap] * line[begin + tap]
            out[angle, column] = total
