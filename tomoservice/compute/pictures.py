"""Images made small enough for a screen and a slow line."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def binning_for(width: int, most: int | None) -> int:
    """Return how many pixels have to become one, in each direction, for an image of some width."""
    return 1 if most is None else max(math.ceil(width / most), 1)


def binned(image: NDArray[np.float32], binning: int) -> NDArray[np.float32]:
    """Return an image (row, column) with squares of pixels averaged; those at the border may be smaller.

    Pixels that are not finite do not count, unless there are no others.
    """
    if binning == 1:
        return image
    finite = np.isfinite(image)
    values = _summed(np.where(finite, image, np.float32(0)), binning)
    counts = _summed(finite.astype(np.float32), binning)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (values / np.where(counts > 0, counts, np.nan)).astype(np.float32)


def _summed(image: NDArray[np.float32], binning: int) -> NDArray[np.float32]:
    rows, columns = (np.arange(0, size, binning) for size in image.shape)
    summed: NDArray[np.float32] = np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1)
    return summed
