"""A rotation axis that leans to one side in the plane of the detector, and its correction.

If the axis is tilted by gamma, it meets detector row i at column ``rotation_axis + (i - reference_row)
tan(gamma)``. The reference row is the middle row of the full frame, ``(rows - 1) / 2``, and a positive tilt
leans the upper end of the axis (row 0) to the left. What rotates in one plane about row i of the axis is
recorded along the line through that point perpendicular to the axis: at column j in row
``i - (j - axis in row i) tan(gamma)``.

The correction has two parts: the reconstruction takes an axis for each row (`TiltedAxis.at`), and the columns
of the sinograms are shifted along the rows (`shear_rows`). Together they are exact; the volume's voxels are
larger than a detector pixel by 1 / cos(gamma) in all directions (at one degree by 0.015 %).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.threads import available_threads, for_each, ranges

LARGEST_TILT_DEG = 10.0
"""More is no misalignment, and would need most of the frame for every row."""
REACH = 3
"""Rows on either side that the interpolation (Lanczos, three lobes) looks at."""
# Angles that one thread works on at once: few enough that the rows they come from stay in its cache.
ANGLE_BLOCK = 8


@dataclass(frozen=True)
class TiltedAxis:
    """A straight rotation axis on the detector.

    Parameters
    ----------
    rotation_axis
        Detector column at `reference_row`; an integer is a pixel centre.
    tilt_deg
        Angle to the detector's columns, degrees; positive if the column grows with the row number.
    reference_row
        Detector row that `rotation_axis` belongs to: ``(rows - 1) / 2`` of the full frame. Row, column and
        the rows that methods take count in the same frame, full or cropped and binned alike.

    Raises
    ------
    GeometryError
        If the tilt is not finite or larger than ten degrees.
    """

    rotation_axis: float
    tilt_deg: float
    reference_row: float

    def __post_init__(self) -> None:
        if not abs(self.tilt_deg) <= LARGEST_TILT_DEG:
            msg = (
                f"a rotation axis tilted by {self.tilt_deg} degrees cannot be corrected; "
                f"at most {LARGEST_TILT_DEG:g} degrees either way are possible"
            )
            raise GeometryError(msg)

    @property
    def slope(self) -> float:
        """Columns per row."""
        return math.tan(math.radians(self.tilt_deg))

    def at(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Return the column of the axis in each of `rows`, (row,) float64, as the reconstruction wants it."""
        offset = np.asarray(rows, np.float64) - self.reference_row
        return np.asarray(self.rotation_axis + offset * self.slope)

    def row_margin(self, columns: int, frame_rows: int) -> int:
        """Return how many rows above and below its own `shear_rows` needs for any row of the frame.

        Parameters
        ----------
        columns : int
            Detector columns.
        frame_rows : int
            Rows of the full frame; at its upper and lower end there is less, and less is needed.

        Returns
        -------
        int
            0 if there is no tilt.
        """
        if self.tilt_deg == 0:
            return 0
        ends = self.at([0, frame_rows - 1])
        farthest = max(float(np.abs(column - ends).max()) for column in (0, columns - 1))
        return math.ceil(farthest * abs(self.slope)) + REACH


def shear_rows(
    sinograms: NDArray[np.float32],
    axis: TiltedAxis,
    rows: tuple[int, int],
    *,
    first_row: int = 0,
    frame_rows: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Collect what rotates in one plane about a tilted axis into one sinogram.

    Each value is interpolated along its detector column (Lanczos, three lobes, scaled so that a constant
    stays one; Duchon 1979, DOI 10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2). Beyond the frame's first
    and last row those rows go on. A value that is not finite spreads to the rows within reach.

    Scope: rows + margin; the margin is `TiltedAxis.row_margin`. The result does not depend on the number of
    threads, nor on the rows above and below that come along with the margin.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Line integrals (transmission works too) of neighbouring detector rows. Not modified.
    axis : TiltedAxis
        The axis.
    rows : (int, int)
        First detector row wanted, and one past the last.
    first_row : int, default 0
        Detector row of ``sinograms[0]``.
    frame_rows : int, optional
        Rows of the full frame; by default the sinograms reach to its end.
    out : (row, angle, column) float32 array, optional
        Where to put the result; not the sinograms themselves.

    Returns
    -------
    (row, angle, column) float32 array
        To be reconstructed with ``axis.at(range(*rows))``.

    Raises
    ------
    GeometryError
        If shapes do not fit, or the margin above or below is too small.
    EngineError
        If `out` does not fit or is the input.
    """
    data = np.asarray(sinograms)
    if data.ndim != 3 or not data.size:
        msg = f"sinograms (row, angle, column) with at least one of each are needed, got shape {data.shape}"
        raise GeometryError(msg)
    end = first_row + len(data)
    frame = end if frame_rows is None else frame_rows
    if not first_row <= rows[0] < rows[1] <= end:
        msg = f"rows {rows[0]} to {rows[1]} are not among the sinograms, rows {first_row} to {end}"
        raise GeometryError(msg)
    data = data.astype(np.float32, copy=False)
    shape = (rows[1] - rows[0], *data.shape[1:])
    result = np.empty(shape, np.float32) if out is None else out
    if result.shape != shape or result.dtype != np.float32:
        msg = f"out must be float32 of shape {shape}, got {result.dtype} {result.shape}"
        raise EngineError(msg)
    if np.shares_memory(result, data):
        msg = "out must not be the sinograms themselves: rows are still needed after their result is known"
        raise EngineError(msg)
    if axis.tilt_deg == 0:
        result[:] = data[rows[0] - first_row : rows[1] - first_row]
        return result
    _shear(data, [_taps(axis, row, data.shape[2], (first_row, end), frame) for row in range(*rows)], result)
    return result


@dataclass(frozen=True)
class _Taps:
    """What a row of the result is made of; see `interpolate_rows`."""

    runs: tuple[NDArray[np.int64], NDArray[np.int64]]
    weights: NDArray[np.float32]


def _taps(axis: TiltedAxis, row: int, columns: int, given: tuple[int, int], frame_rows: int) -> _Taps:
    place = row - (np.arange(columns) - axis.at(row)) * axis.slope
    above = np.floor(place)
    steps = np.arange(1 - REACH, REACH + 1)[:, None]
    distance = (place - above) - steps
    weights = np.sinc(distance) * np.sinc(distance / REACH)
    weights /= weights.sum(axis=0)
    taken = np.clip(above.astype(np.int64) + steps, 0, frame_rows - 1)
    if taken.min() < given[0] or taken.max() >= given[1]:
        msg = (
            f"row {row} needs detector rows {taken.min()} to {taken.max()}, but only {given[0]} to "
            f"{given[1] - 1} are given; read {axis.row_margin(columns, frame_rows)} more on either side"
        )
        raise GeometryError(msg)
    begins = np.flatnonzero(np.diff(taken, axis=1, prepend=-1).any(axis=0))
    edges = np.append(begins, columns)
    return _Taps((edges, np.ascontiguousarray(taken[:, begins] - given[0])), weights.astype(np.float32))


def _shear(data: NDArray[np.float32], taps: list[_Taps], out: NDArray[np.float32]) -> None:
    from tomoservice.prep._tilt_kernel import interpolate_rows

    def work(part: tuple[int, int]) -> None:
        for start in range(part[0], part[1], ANGLE_BLOCK):
            block = (start, min(start + ANGLE_BLOCK, part[1]))
            for row, tap in enumerate(taps):
                interpolate_rows(data, tap.runs, tap.weights, block, out[row])

    for_each(work, ranges(data.shape[1], available_threads()))
