"""What is done to reconstructed slices: cropping, and conversion to whole numbers.

Scope: pointwise; `choose_range` looks at a few slices before the others are there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.threads import available_threads, for_each, ranges


class IntegerType(StrEnum):
    """Whole numbers that grey values are stored as."""

    UINT16 = "uint16"
    UINT8 = "uint8"


def crop(slices: NDArray[Any], rows: tuple[int, int | None], columns: tuple[int, int | None]) -> NDArray[Any]:
    """Return part of each slice.

    Parameters
    ----------
    slices : (z, y, x) array
        Not modified.
    rows, columns : (start, stop)
        Half-open ranges of y and x; a stop of None is the end.

    Returns
    -------
    (z, y, x) array
        A view.

    Raises
    ------
    GeometryError
        If `slices` is no volume, or a range is empty or leaves it.
    """
    if slices.ndim != 3:
        raise GeometryError(f"slices come as a volume (z, y, x), got shape {slices.shape}")
    kept = [slice(None)]
    for name, length, (start, stop) in zip(
        ("rows", "columns"), slices.shape[1:], (rows, columns), strict=True
    ):
        end = length if stop is None else stop
        if not 0 <= start < end <= length:
            raise GeometryError(f"{name} {start} to {end} are not within a slice's {length} {name}")
        kept.append(slice(start, end))
    return slices[tuple(kept)]


@dataclass(frozen=True)
class Conversion:
    """Grey values as whole numbers: ``value = slope * number + offset``.

    Parameters
    ----------
    dtype
        Type of the numbers.
    low, high
        Grey values stored as 0 and as the largest number. What lies beyond is clipped to them.

    Raises
    ------
    EngineError
        If the range is empty, not finite, or too narrow for numbers to be told apart.
    """

    dtype: IntegerType
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise EngineError(
                f"grey values from {self.low:g} to {self.high:g} make no range; low must be less than high"
            )
        if not sys.float_info.min < self.slope < sys.float_info.max:
            raise EngineError(
                f"the range of grey values from {self.low:g} to {self.high:g} is not a sensible one"
            )

    @property
    def largest(self) -> int:
        """The largest number."""
        return int(np.iinfo(self.dtype.value).max)

    @property
    def slope(self) -> float:
        """Grey value per unit of the numbers."""
        return (self.high - self.low) / self.largest

    @property
    def offset(self) -> float:
        """Grey value of the number 0."""
        return self.low

    def apply(
        self, slices: NDArray[np.float32], *, out: NDArray[Any] | None = None, threads: int | None = None
    ) -> NDArray[Any]:
        """Convert slices.

        Parameters
        ----------
        slices : (z, y, x) float32 array
            Grey values, in the unit of the range. Not modified. NaN becomes the number 0; infinite values are
            clipped like any other.
        out : (z, y, x) array of the type, optional
            Where to put the result.
        threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        (z, y, x) array of the type
            The nearest number, so off by half a slope at most.

        Raises
        ------
        GeometryError
            If `slices` is no volume, or `out` does not fit.
        """
        if slices.ndim != 3:
            raise GeometryError(f"slices come as a volume (z, y, x), got shape {slices.shape}")
        result = np.empty(slices.shape, self.dtype.value) if out is None else out
        if result.shape != slices.shape or result.dtype != np.dtype(self.dtype.value):
            raise GeometryError(
                f"out must be {self.dtype} of shape {slices.shape}, got {result.dtype} {result.shape}"
            )
        # Loaded when it is needed: Numba takes longer than all the rest.
        from tomoservice.recon._conversion_kernel import convert

        low, per_value, largest = float(self.low), 1 / self.slope, float(self.largest)
        values = slices.astype(np.float32, copy=False)
        count = threads or available_threads()
        cuts = ranges(values.shape[1], -(-4 * count // max(len(values), 1)))

        def work(part: tuple[int, tuple[int, int]]) -> None:
            z, rows = part[0], slice(*part[1])
            convert(values[z, rows], low, per_value, largest, result[z, rows])

        for_each(work, [(z, rows) for z in range(len(values)) for rows in cuts], count)
        return result

    def restore(self, numbers: NDArray[Any]) -> NDArray[np.float32]:
        """Return the grey values, float32, that numbers of any shape stand for."""
        values: NDArray[np.float32] = (numbers * self.slope + self.offset).astype(np.float32)
        return values


def choose_range(
    slices: NDArray[np.float32] | Sequence[NDArray[np.float32]],
    percentiles: tuple[float, float] = (0.01, 99.99),
    *,
    inside: NDArray[np.bool_] | None = None,
) -> tuple[float, float]:
    """Choose the range of grey values for a `Conversion` from a few slices of a volume.

    Parameters
    ----------
    slices : (z, y, x) float32 array, or list of (y, x) arrays
        Samples of the volume, in the unit of the result. Not modified. Values that are not finite are left
        out.
    percentiles : (low, high)
        Percent of the pixels that lie below either end, 0 to 100.
    inside : (y, x) bool array, optional
        Pixels to look at: those within the circle that a reconstruction fills, say. All by default.

    Returns
    -------
    low, high : float
        Always low < high: around a constant there is a range as wide as itself, so that it is stored as
        neither black nor white.

    Raises
    ------
    EngineError
        If no pixel is finite, or the percentiles do not ascend from 0 to 100.
    GeometryError
        If `inside` does not fit the slices.
    """
    below, above = percentiles
    if not 0 <= below < above <= 100:
        raise EngineError(f"percentiles ascend between 0 and 100, got {below:g} and {above:g}")
    samples = []
    for image in slices:
        if inside is not None and inside.shape != image.shape:
            raise GeometryError(f"a mask of shape {inside.shape} does not fit slices of shape {image.shape}")
        values = image.ravel() if inside is None else image[inside]
        samples.append(values[np.isfinite(values)])
    values = np.concatenate(samples) if samples else np.empty(0, np.float32)
    if not values.size:
        raise EngineError(
            f"none of {len(slices)} slices holds a finite grey value to choose a range from; give it as "
            "output.range with method 'fixed'"
        )
    low, high = (float(end) for end in np.percentile(values, (below, above)))
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        middle = (low + high) / 2
        width = abs(middle) or 1.0
        return middle - width / 2, middle + width / 2
    return low, high
