"""Projections on their way into a live reconstruction: filtered once for all that they are added to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.errors import GeometryError
from tomoservice.recon.filtering import window_samples
from tomoservice.recon.filters import FilterName, transfer_function
from tomoservice.recon.half_acquisition import overlap_weights
from tomoservice.recon.live.geometry import LiveGeometry
from tomoservice.threads import for_each, ranges


@dataclass(frozen=True)
class FilteredLines:
    """Filtered projections, sampled around the rotation axis.

    Parameters
    ----------
    values
        (view, row, sample) float32. Sample m lies ``m / oversampling - half`` columns from the axis.
    half
        Columns from the first sample to the axis.
    oversampling
        Samples per column.
    """

    values: NDArray[np.float32]
    half: int
    oversampling: int


class LineFilter:
    """Filters lines of projections and samples them around the axis.

    The ramp of `tomoservice.recon.filters`, so grey values are those of every other method. What linear
    interpolation between samples damps is made good where samples lie twice as densely as columns.

    Parameters
    ----------
    columns : int
        Detector columns.
    rotation_axis : float
        Detector column of the axis.
    size : int
        Edge of the slices in pixels.
    half_acquisition : bool
        Whether what opposite views both see is faded into one another.
    oversampling : int
        Samples per column, 1 or 2.
    """

    def __init__(
        self, columns: int, rotation_axis: float, size: int, *, half_acquisition: bool, oversampling: int
    ) -> None:
        samples = window_samples(size, mask_circle=True)
        # The axis of binned projections may lie beyond their outermost pixel's centre.
        reach = max(rotation_axis, columns - 1 - rotation_axis)
        length = 2 * fft.next_fast_len(int(np.ceil(samples / 2 + reach)) + 1, real=True)
        self._length, self._samples, self._oversampling = length, samples, oversampling
        self._weights = overlap_weights(columns, rotation_axis) if half_acquisition else None
        frequency = np.arange(length // 2 + 1) / length
        transfer = transfer_function(FilterName.RAMP, 1.0, 2, length) * oversampling
        if oversampling > 1:
            transfer = transfer / np.sinc(frequency / oversampling) ** 2
        shift = np.exp(2j * np.pi * frequency * (rotation_axis - samples // 2))
        shift[-1] = shift[-1].real
        self._multiplier = (transfer * shift).astype(np.complex64)

    def apply(self, lines: NDArray[np.float32], threads: int) -> FilteredLines:
        """Return lines (view, row, column) filtered."""
        views, rows, columns = lines.shape
        oversampling, kept = self._oversampling, self._samples * self._oversampling
        flat = np.ascontiguousarray(lines).reshape(views * rows, columns)
        values = np.empty((views * rows, kept), np.float32)

        def work(part: tuple[int, int]) -> None:
            block = flat[part[0] : part[1]]
            if self._weights is not None:
                block = block * self._weights
            spectrum = fft.rfft(block, self._length, axis=-1)
            spectrum *= self._multiplier
            length = self._length * oversampling
            values[part[0] : part[1]] = fft.irfft(spectrum, length, axis=-1, overwrite_x=True)[:, :kept]

        # Pieces that stay in the cache.
        for_each(work, ranges(len(flat), max(len(flat) // 64, 1)), threads)
        return FilteredLines(values.reshape(views, rows, kept), self._samples // 2, oversampling)


class FilteredViews:
    """Some projections, with what the parts of a live reconstruction need of them.

    Each kind of filtering is done when the first part asks for it.

    Parameters
    ----------
    geometry : LiveGeometry
        Detector and axis.
    lines : (view, row, column) float32 array
        Line integrals; all rows, or those from `first_row`. Not modified.
    angles_deg : (view,) array
        In degrees.
    first_row : int
        Detector row of ``lines[:, 0]``.
    threads : int
        Threads to use.

    Raises
    ------
    GeometryError
        If shapes do not fit.
    """

    def __init__(
        self,
        geometry: LiveGeometry,
        lines: NDArray[np.float32],
        angles_deg: NDArray[np.float64],
        *,
        first_row: int = 0,
        threads: int = 1,
    ) -> None:
        fits = lines.ndim == 3 and lines.shape[0] == len(angles_deg) and lines.shape[2] == geometry.columns
        if not fits or first_row < 0 or first_row + lines.shape[1] > geometry.rows:
            msg = (
                f"lines of shape {lines.shape} from row {first_row} on do not fit {len(angles_deg)} angles "
                f"and {geometry.rows} x {geometry.columns} pixels; wanted (view, row, column)"
            )
            raise GeometryError(msg)
        self.geometry = geometry
        self.threads = threads
        self.angles = np.deg2rad(np.asarray(angles_deg, np.float64))
        """(view,) float64, in radians."""
        self._lines = lines
        self._first_row = first_row

    def __len__(self) -> int:
        return len(self.angles)

    def row(self, number: int) -> FilteredLines:
        """Return one detector row, filtered for a slice."""
        place = number - self._first_row
        if not 0 <= place < self._lines.shape[1]:
            msg = f"row {number} is not among the {self._lines.shape[1]} rows from {self._first_row} on"
            raise GeometryError(msg)
        filtering = self._filter(self.geometry.columns, self.geometry.rotation_axis, self.geometry.size, 2)
        return filtering.apply(self._lines[:, place : place + 1], self.threads)

    @cached_property
    def all_rows(self) -> FilteredLines:
        """All rows, filtered for cross-sections."""
        self._check_whole()
        filtering = self._filter(self.geometry.columns, self.geometry.rotation_axis, self.geometry.size, 1)
        return filtering.apply(self._lines, self.threads)

    def binned(self, binning: int) -> FilteredLines:
        """Return all rows after averaging squares of pixels, filtered; per unbinned pixel."""
        from tomoservice.recon.live._kernels import bin_lines

        self._check_whole()
        rows, columns = (-(-size // binning) for size in self._lines.shape[1:])
        small = np.empty((len(self), rows, columns), np.float32)
        bin_lines(self._lines, binning, small)
        axis = (self.geometry.rotation_axis + 0.5) / binning - 0.5
        size = -(-self.geometry.size // binning)
        found = self._filter(columns, axis, size, 1).apply(small, self.threads)
        # Lengths are counted in larger pixels.
        return FilteredLines(found.values / np.float32(binning), found.half, found.oversampling)

    def _filter(self, columns: int, axis: float, size: int, oversampling: int) -> LineFilter:
        half = self.geometry.half_acquisition
        return LineFilter(columns, axis, size, half_acquisition=half, oversampling=oversampling)

    def _check_whole(self) -> None:
        if self._lines.shape[1] != self.geometry.rows:
            msg = f"all {self.geometry.rows} rows are needed, got {self._lines.shape[1]}"
            raise GeometryError(msg)
