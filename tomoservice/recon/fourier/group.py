"""Sixteen slices that are computed together: where their sinograms are, and what depends on their axes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomoservice.recon.base import Padding, ReconstructionOptions, Slab
from tomoservice.recon.fourier.geometry import Group
from tomoservice.recon.fourier.response import Kernels, Response, Span, make_factors, make_response
from tomoservice.recon.fourier.workspace import LANES
from tomoservice.recon.half_acquisition import overlap_weights

SPREAD = 8
"""Columns that axes may be apart for which values beside the detector are filtered alike."""


def rows_of_group(slab: Slab, first: int) -> range:
    """Return the places in the slab of the group whose first detector row is `first`."""
    start = max(first - slab.first_row, 0)
    return range(start, min(first + LANES - slab.first_row, len(slab.sinograms)))


class GroupNumbers(NamedTuple):
    """What the filter multiplies the sixteen slices of a group by; see the fields of `Group`."""

    response: Response
    weights: NDArray[np.float32]
    factor: NDArray[np.float32]
    shifts: NDArray[np.float32]
    edges: NDArray[np.float32]


class GroupMaker:
    """Prepares groups, and keeps what the next group is likely to need again.

    Parameters
    ----------
    columns
        Detector columns.
    reach
        Largest distance from the axis at which a filtered projection is wanted.
    options
        Filter, padding, half-acquisition.
    """

    def __init__(self, columns: int, reach: float, options: ReconstructionOptions) -> None:
        self._columns = columns
        self._reach = reach
        self._options = options
        self._kernels = Kernels(options)
        # Two threads may replace these at the same time; either's is right.
        self._last: tuple[Span, Response] | None = None
        self._last_numbers: tuple[NDArray[np.float64], GroupNumbers] | None = None

    def parts(self, slab: Slab, first: int) -> list[NDArray[np.int64]]:
        """Return the places in the slab of those rows of a group that are computed together.

        All of them, as a rule. What stands beside the detector is filtered with one kernel for all, whose
        ends depend on the axes a little. Those of a slice had better not depend on its neighbours, so where
        the axis passes a multiple of `SPREAD` columns, a group is computed in two parts. Axes farther apart
        are candidates for one slice: they share a longer kernel.
        """
        rows = np.array(rows_of_group(slab, first), np.int64)
        axes = slab.axes[rows]
        if self._options.padding is not Padding.EDGE or np.ptp(axes) > SPREAD:
            return [rows]
        multiples = axes // SPREAD
        return [rows[multiples == multiple] for multiple in np.unique(multiples)]

    def response(self, axes: NDArray[np.float64]) -> Response:
        """Return the filter's response for slices with these axes, shifted for the lowest, or still lower."""
        lowest = highest = float(axes.min())
        edges = self._options.padding is Padding.EDGE
        if edges:
            lowest = lowest // SPREAD * SPREAD
            highest = max(float(axes.max()), lowest + SPREAD)
        span = Span(self._columns, self._reach, lowest, highest)
        last = self._last
        if last is not None and last[0] == span:
            return last[1]
        response = make_response(span, self._options, edges=edges, kernels=self._kernels)
        self._last = span, response
        return response

    def make(self, slab: Slab, first: int, rows: NDArray[np.int64]) -> tuple[Group, Response]:
        """Prepare one of the `parts` of the group whose first detector row is `first`."""
        lanes = rows - (first - slab.first_row)
        numbers = self.numbers(slab.axes[rows], lanes)
        present = np.zeros(LANES, np.float32)
        present[lanes] = 1
        base, stride = slab.sinograms.ctypes.data, slab.sinograms.strides[0]
        sinograms = np.full(LANES, base + stride * rows[0], np.int64)
        sinograms[lanes] = base + stride * rows
        group = Group(
            sinograms=sinograms,
            present=present,
            response=numbers.factor,
            weights=numbers.weights,
            shifts=numbers.shifts,
            edges=numbers.edges,
            bad=np.zeros(LANES, np.int64),
        )
        return group, numbers.response

    def numbers(self, axes: NDArray[np.float64], lanes: NDArray[np.int64]) -> GroupNumbers:
        """Return what the axes of some lanes make of the filter; absent lanes have the first one's axis."""
        every = np.full(LANES, axes[0])
        every[lanes] = axes
        last = self._last_numbers
        if last is not None and np.array_equal(last[0], every):
            return last[1]
        response = self.response(every)
        numbers = GroupNumbers(response, self._weights(every), *self._factors(response, every))
        self._last_numbers = every, numbers
        return numbers

    def _weights(self, axes: NDArray[np.float64]) -> NDArray[np.float32]:
        if not self._options.half_acquisition:
            return np.empty((0, LANES), np.float32)
        distinct, which = np.unique(axes, return_inverse=True)
        weights = np.stack([overlap_weights(self._columns, axis) for axis in distinct])
        return np.ascontiguousarray(weights[which].T)

    def _factors(
        self, response: Response, axes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return the factor, the shifts and the edges of `GroupNumbers`."""
        length = response.length
        edges = np.empty((0, 6), np.float32)
        if response.edges is not None:
            terms = np.stack([response.factor, *response.edges], axis=1)
            edges = terms.view(np.float64).astype(np.float32)
            factors = response.shifts(axes)
        elif np.ptp(axes):
            distinct, which = np.unique(axes, return_inverse=True)
            spans = [Span(self._columns, self._reach, axis, axis) for axis in map(float, distinct)]
            factors = make_factors(spans, self._kernels).T[:, which]
        else:
            return _parts(response.factor), np.empty((0, 2, LANES), np.float32), edges
        first, second = factors[:, : LANES // 2], factors[:, LANES // 2 :]
        shifts = np.empty((length, 2, LANES), np.float32)
        for number, term in enumerate(((first + second) / 2, (first - second) / 2)):
            shifts[:, number, : LANES // 2], shifts[:, number, LANES // 2 :] = term.real, term.imag
        return _parts(np.ones(length, np.complex128)), shifts, edges


def _parts(factor: NDArray[np.complex128]) -> NDArray[np.float32]:
    return np.stack([factor.real, factor.imag]).astype(np.float32)
