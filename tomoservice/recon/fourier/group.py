"""Sixteen slices that are computed together: where their sinograms are, and what depends on their axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.recon.base import Padding, ReconstructionOptions, Slab
from tomoservice.recon.fourier.geometry import Group
from tomoservice.recon.fourier.response import Response, Span, make_response
from tomoservice.recon.fourier.workspace import LANES
from tomoservice.recon.half_acquisition import overlap_weights


def rows_of_group(slab: Slab, first: int) -> range:
    """Return the places in the slab of the group whose first detector row is `first`."""
    start = max(first - slab.first_row, 0)
    return range(start, min(first + LANES - slab.first_row, len(slab.sinograms)))


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
        self._last: tuple[Span, Response] | None = None

    def response(self, axes: NDArray[np.float64]) -> Response:
        """Return the filter's response for slices with these axes, shifted for the lowest of them."""
        span = Span(self._columns, self._reach, float(axes.min()), float(axes.max()))
        last = self._last
        if last is not None and last[0] == span:
            return last[1]
        response = make_response(span, self._options, edges=self._options.padding is Padding.EDGE)
        # Another thread may do the same at the same time; either's is right.
        self._last = span, response
        return response

    def make(self, slab: Slab, first: int) -> tuple[Group, Response]:
        """Prepare the group whose first detector row is `first`."""
        rows = rows_of_group(slab, first)
        lanes = np.array(rows) - (first - slab.first_row)
        axes = np.full(LANES, slab.axes[rows.start])
        axes[lanes] = slab.axes[rows.start : rows.stop]
        present = np.zeros(LANES, np.float32)
        present[lanes] = 1
        base, stride = slab.sinograms.ctypes.data, slab.sinograms.strides[0]
        sinograms = np.full(LANES, base + stride * rows.start, np.int64)
        sinograms[lanes] = base + stride * np.array(rows)
        response = self.response(axes)
        numbers, shifts, edges = _factors(response, axes)
        group = Group(
            sinograms=sinograms,
            present=present,
            response=numbers,
            weights=self._weights(axes),
            shifts=shifts,
            edges=edges,
            bad=np.zeros(LANES, np.int64),
        )
        return group, response

    def _weights(self, axes: NDArray[np.float64]) -> NDArray[np.float32]:
        if not self._options.half_acquisition:
            return np.empty((0, LANES), np.float32)
        distinct, which = np.unique(axes, return_inverse=True)
        weights = np.stack([overlap_weights(self._columns, axis) for axis in distinct])
        return np.ascontiguousarray(weights[which].T)


def _factors(
    response: Response, axes: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the fields `response`, `shifts` and `edges` of a group."""
    if response.edges is None and not np.ptp(axes):
        together = np.stack([response.factor.real, response.factor.imag]).astype(np.float32)
        return together, np.empty((0, 2, LANES), np.float32), np.empty((0, 6), np.float32)
    length = response.length
    edges = np.zeros((0 if response.edges is None else length, 6), np.float32)
    if response.edges is not None:
        for number, term in enumerate([response.factor, *response.edges]):
            edges[:, 2 * number], edges[:, 2 * number + 1] = term.real, term.imag
    frequency = (np.arange(length) - length // 2) / length
    shift = np.exp(2j * np.pi * frequency[:, None] * (axes - axes.min()))
    if response.edges is None:
        shift *= response.factor[:, None]
    first, second = shift[:, : LANES // 2], shift[:, LANES // 2 :]
    shifts = np.empty((length, 2, LANES), np.float32)
    for number, term in enumerate(((first + second) / 2, (first - second) / 2)):
        shifts[:, number, : LANES // 2], shifts[:, number, LANES // 2 :] = term.real, term.imag
    one = np.zeros((2, length), np.float32)
    one[0] = 1
    return one, shifts, edges
