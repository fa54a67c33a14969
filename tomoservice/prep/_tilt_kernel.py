"""The compiled inner loop of `tomoservice.prep.tilt`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled


@compiled
def interpolate_rows(
    sinograms: NDArray[np.float32],
    runs: tuple[NDArray[np.int64], NDArray[np.int64]],
    weights: NDArray[np.float32],
    angles: tuple[int, int],
    out: NDArray[np.float32],
) -> None:
    """Fill one row of the result, for a range of angles.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Not modified.
    runs : ((run + 1,) int64 array, (6, run) int64 array)
        Columns where runs of columns begin (and the last ends), and which six rows of `sinograms` each takes.
    weights : (6, column) float32 array
        What each of the six counts.
    angles : (int, int)
        First angle, and one past the last.
    out : (angle, column) float32 array
        The row of the result; filled between `angles`.
    """
    edges, rows = runs
    for run in range(rows.shape[1]):
        part = slice(edges[run], edges[run + 1])
        for angle in range(angles[0], angles[1]):
            line = out[angle, part]
            line[:] = 0
            # Three at once: with more arrays, the compiler gives up proving that they do not overlap.
            for taps in ((0, 1, 5), (2, 3, 4)):
                _add(
                    line,
                    (weights[taps[0], part], weights[taps[1], part], weights[taps[2], part]),
                    (
                        sinograms[rows[taps[0], run], angle, part],
                        sinograms[rows[taps[1], run], angle, part],
                        sinograms[rows[taps[2], run], angle, part],
                    ),
                )


@compiled
def _add(
    line: NDArray[np.float32],
    weights: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    rows: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
) -> None:
    for i in range(line.size):
        line[i] += weights[0][i] * rows[0][i] + weights[1][i] * rows[1][i] + weights[2][i] * rows[2][i]
