"""Sinograms whose columns are sorted along the angle: what Vo's methods work on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.windows import running_medians

Sinogram = NDArray[np.float32]


@dataclass(frozen=True)
class Ranked:
    """A sinogram whose columns are sorted along the angle, equal values in the order of their angles.

    Parameters
    ----------
    values : (column, rank) float32 array
        Ascending along the rank.
    order : (column, rank) int32 array
        Angle at which each value was measured.
    """

    values: Sinogram
    order: NDArray[np.int32]

    @classmethod
    def of(cls, sinogram: Sinogram) -> Ranked:
        """Sort a contiguous sinogram (angle, column) without NaN; it is not modified."""
        from tomoservice.prep.stripes._kernels import sort_columns

        values = np.empty(sinogram.shape[::-1], np.float32)
        order = np.empty(values.shape, np.int32)
        sort_columns(sinogram.view(np.uint32), values.view(np.uint32), order)
        return cls(values, order)

    def medians(self, size: int) -> Sinogram:
        """Return the medians (column, rank) over `size` neighbouring columns at each rank."""
        return running_medians(self.values, size)

    def unsorted(self, values: Sinogram) -> Sinogram:
        """Return `values` (column, rank) as a sinogram (angle, column)."""
        from tomoservice.prep.stripes._kernels import unsort_columns

        sinogram = np.empty(values.shape[::-1], np.float32)
        unsort_columns(values, self.order, sinogram)
        return sinogram
