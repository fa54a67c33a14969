"""At which counts a detector saturates.

Scope: local.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CONVERTERS = (10, 12, 14)
"""Bits of converters whose numbers are kept in wider ones, at their lower or at their upper end."""


def detector_limit(counts: NDArray[Any]) -> float | None:
    """Return the largest number that a detector gives.

    That of its type; or the greatest that was seen, if it is the greatest of a converter of 10, 12 or 14
    bits. Whether pixels saturate is told by how many have that number.

    Parameters
    ----------
    counts : real array
        Pixels as recorded. Not modified.

    Returns
    -------
    float or None
        Counts; None for pixels that are no unsigned integers, of which nobody knows.
    """
    return limit_of(int(counts.max()), counts.dtype) if counts.size and counts.dtype.kind == "u" else None


def limit_of(greatest: int, dtype: np.dtype[Any]) -> float | None:
    """Return the largest number that a detector gives whose `greatest` is known; see `detector_limit`."""
    if dtype.kind != "u":
        return None
    bits = 8 * dtype.itemsize
    for converter in CONVERTERS:
        largest = 2**converter - 1
        if converter < bits and greatest in (largest, largest << (bits - converter)):
            return float(greatest)
    return float(2**bits - 1)


def saturated_part(counts: NDArray[Any]) -> float:
    """Return the part of pixels that are at the detector's limit; 0 where it is not known."""
    limit = detector_limit(counts)
    return 0.0 if limit is None else float((counts >= limit).mean())
