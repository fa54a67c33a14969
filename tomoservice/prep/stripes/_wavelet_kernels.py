"""Compiled loops of the wavelet transform: the few of its parts that stripe removal needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.compiling import compiled

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]


@compiled(fastmath={"contract"})
def analyse_angles(signal: Floats, path: Indices, low: Floats, out: Floats) -> None:
    """Filter along the angle and keep every second value.

    `signal` (angle, column), `out` (about half as many angles, column). `path` lists the angles from
    ``2 - len(low)`` on, those mirrored beyond the ends included.
    """
    half, columns = low.size // 2, signal.shape[1]
    for row in range(out.shape[0]):
        for tap in range(half):
            first, second = low[2 * tap], low[2 * tap + 1]
            upper, lower = path[2 * (row + half - tap) - 1], path[2 * (row + half - tap) - 2]
            for column in range(columns):
                before = out[row, column] if tap else np.float32(0)
                out[row, column] = before + (first * signal[upper, column] + second * signal[lower, column])


@compiled(fastmath={"contract"})
def analyse_columns(
    signal: Floats, path: Indices, low: Floats, high: Floats, out_low: Floats, out_high: Floats
) -> None:
    """Filter across columns, once for the smooth and once for the detailed half; see `analyse_angles`."""
    half, count = low.size // 2, out_low.shape[1]
    even, odd = np.empty(path.size // 2, np.float32), np.empty(path.size // 2, np.float32)
    for row in range(signal.shape[0]):
        for place in range(path.size // 2):
            even[place] = signal[row, path[2 * place]]
            odd[place] = signal[row, path[2 * place + 1]]
        for k in range(count):
            out_low[row, k] = 0
            out_high[row, k] = 0
        for tap in range(half):
            first = half - 1 - tap
            low_even, low_odd = low[2 * tap + 1], low[2 * tap]
            high_even, high_odd = high[2 * tap + 1], high[2 * tap]
            for k in range(count):
                out_low[row, k] += low_even * even[first + k] + low_odd * odd[first + k]
                out_high[row, k] += high_even * even[first + k] + high_odd * odd[first + k]


@compiled(fastmath={"contract"})
def synthesise_columns(smooth: Floats, detail: Floats, low: Floats, high: Floats, out: Floats) -> None:
    """Undo `analyse_columns`: both halves (angle, about half the columns) -> `out` (angle, column)."""
    half, columns = low.size // 2, out.shape[1]
    count = (columns + 1) // 2
    even, odd = np.empty(count, np.float32), np.empty(count, np.float32)
    for row in range(out.shape[0]):
        even[:] = 0
        odd[:] = 0
        for tap in range(half):
            low_even, low_odd = low[2 * (half - 1 - tap)], low[2 * (half - 1 - tap) + 1]
            high_even, high_odd = high[2 * (half - 1 - tap)], high[2 * (half - 1 - tap) + 1]
            for k in range(count):
                a, d = smooth[row, tap + k], detail[row, tap + k]
                even[k] += low_even * a + high_even * d
                odd[k] += low_odd * a + high_odd * d
        for column in range(columns):
            out[row, column] = odd[column // 2] if column % 2 else even[column // 2]


@compiled(fastmath={"contract"})
def synthesise_angles(smooth: Floats, low: Floats, out: Floats) -> None:
    """Undo `analyse_angles` of a signal without detail: (about half the angles, column) -> `out`."""
    half, columns = low.size // 2, out.shape[1]
    for angle in range(out.shape[0]):
        for tap in range(half):
            weight = low[2 * (half - 1 - tap) + angle % 2]
            source = angle // 2 + tap
            for column in range(columns):
                before = out[angle, column] if tap else np.float32(0)
                out[angle, column] = before + weight * smooth[source, column]
