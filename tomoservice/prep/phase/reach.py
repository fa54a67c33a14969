"""How far a phase retrieval reaches: the rows that a slab needs from its neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.prep.phase.transfer import Retrieval, transfer

Filter = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

TOLERANCE = 1e-5
EDGES = 2
"""Edges of the full range of transmissions, on either side, that the margin allows for."""
NOISE = 0.02
"""Standard deviation of a pixel's noise that the margin allows for, relative to the open beam."""
SHORTEST, LONGEST = 1024, 65536
"""Lengths at which the filter is sampled."""
COLUMN_FREQUENCIES = np.linspace(0, 0.5, 17)


def row_margin(retrieval: Retrieval, tolerance: float = TOLERANCE) -> int:
    """Return how many rows beyond a row decide about its value.

    With so many rows above and below, a slab differs from the whole frame by at most `tolerance`, relative
    to the range of the transmissions, wherever the rows on either side that the slab lacks hold two edges of
    the full range, or noise of 2 % (to four standard deviations). Computed from the filter itself; for
    Paganin's it is ``blur_pixels * log(2 / tolerance)`` unless that is very short. The filter is symmetric:
    so many columns decide as well.

    Parameters
    ----------
    retrieval : Retrieval
        What is done.
    tolerance : float
        Above 0.

    Returns
    -------
    int
        At most 16384, more rows than detectors have.
    """
    return margin_of(lambda rows, columns: transfer(retrieval, rows, columns), tolerance)


def margin_of(filter_: Filter, tolerance: float = TOLERANCE) -> int:
    """Return the same for any filter, given as a function of the frequencies along columns and along rows."""
    length = SHORTEST
    while length < LONGEST:
        margin = _margin(filter_, tolerance, length)
        if margin < length // 4:
            return margin
        length *= 2
    return min(_margin(filter_, tolerance, length), LONGEST // 4)


def _margin(filter_: Filter, tolerance: float, length: int) -> int:
    filters = filter_(fft.rfftfreq(length), COLUMN_FREQUENCIES)
    # Weight of a row so many pixels away, for each frequency along the row; (distance, frequency).
    kernel = fft.irfft(filters, length, axis=0)[: length // 2]
    edge = 2 * EDGES * np.abs(np.cumsum(kernel[::-1], axis=0)[::-1]).max(axis=1)
    edge = np.maximum.accumulate(edge[::-1])[::-1]
    noise = 4 * NOISE * np.sqrt(2 * np.cumsum((kernel**2).mean(axis=1)[::-1])[::-1])
    decides = np.flatnonzero(np.maximum(edge, noise) > tolerance)
    return int(decides[-1]) if decides.size else 0
