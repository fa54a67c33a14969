"""Frames of one scan on the pixels of another: moved, enlarged or reduced.

Scope: rows + margin; each axis on its own. The rows that a range of pixels needs are told by `Axis.needed`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError
from tomoservice.threads import available_threads, for_each, ranges

LOBES = 4
"""Of the windowed sinc on either side."""
WHOLE = 1e-9
"""A weight that is smaller is none."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Where pixels lie along one axis of other frames: pixel i at ``start + step * i``, in their pixels."""

    start: float
    step: float
    length: int
    """Pixels that the other frames have."""

    @property
    def reach(self) -> int:
        """Pixels of the other frames on either side that a value is made of."""
        return math.ceil(LOBES * max(self.step, 1.0))

    def needed(self, first: int, stop: int) -> tuple[int, int]:
        """Return which pixels of the other frames the pixels `first` to `stop` are made of: start, stop."""
        places = self.start + self.step * np.array([first, stop - 1])
        low, high = math.floor(places[0]) - self.reach + 1, math.floor(places[1]) + self.reach + 1
        low, high = (int(np.clip(edge, 0, self.length)) for edge in (low, high))
        # Beyond the last pixel that one goes on.
        low = min(low, self.length - 1)
        return low, max(high, low + 1)

    def covers(self, count: int) -> float:
        """Return which part of the first `count` pixels the other frames have."""
        places = self.start + self.step * np.arange(count)
        return float(((places > -1) & (places < self.length)).mean())

    def taps(self, first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return for each pixel where its taps begin, and what they weigh (pixel, tap).

        Lanczos' windowed sinc, wider where pixels are reduced, scaled so that a constant stays one. Beyond
        the first and last pixel those go on.
        """
        places = self.start + self.step * np.arange(first, stop)
        steps = np.arange(1 - self.reach, self.reach + 1)
        taken = np.floor(places).astype(np.int64)[:, None] + steps
        distance = (places[:, None] - taken) / max(self.step, 1.0)
        weights = np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0.0)
        weights[np.abs(weights) < WHOLE] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        count = min(steps.size, self.length)
        begins = np.clip(taken[:, 0], 0, self.length - count)
        inside = np.clip(taken, 0, self.length - 1) - begins[:, None]
        gathered = np.zeros((places.size, count))
        np.add.at(gathered, (np.arange(places.size)[:, None], inside), weights)
        return begins, gathered.astype(np.float32)


def resample(
    sinograms: NDArray[np.float32], first_row: int, rows: Axis, columns: Axis, wanted: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Bring frames onto other pixels.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Frames in their own pixels, all columns of them, contiguous. Not modified.
    first_row : int
        Row of ``sinograms[0]`` in their frames.
    rows, columns : Axis
        Where the wanted pixels lie.
    wanted : (int, int, int)
        First row, the one after the last, and number of columns of the result.

    Returns
    -------
    (row, angle, column) float32 array

    Raises
    ------
    GeometryError
        If the rows that are needed are not given.
    """
    from tomoservice.prep._resampling_kernel import resample_row

    first, stop, width = wanted
    low, high = rows.needed(first, stop)
    if first_row > low or first_row + len(sinograms) < high or sinograms.shape[2] != columns.length:
        raise GeometryError(
            f"rows {first} to {stop} need rows {low} to {high} and {columns.length} columns of the other "
            f"frames, but rows {first_row} to {first_row + len(sinograms)} and {sinograms.shape[2]} columns "
            "are given"
        )
    begins, weights = rows.taps(first, stop)
    across = columns.taps(0, width)
    angles = sinograms.shape[1]
    result = np.empty((stop - first, angles, width), np.float32)

    def work(part: tuple[int, int]) -> None:
        for row, target in enumerate(result):
            resample_row(sinograms, (int(begins[row]) - first_row, weights[row]), across, part, target)

    for_each(work, ranges(angles, 4 * available_threads()))
    return result
