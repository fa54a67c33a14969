"""Which columns of a sinogram are stripes: statistics of one number per column.

Scope: rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Relative spread of columns below which data count as free of noise; a stripe then is what exceeds this.
LEAST_SPREAD = 1e-5
# Columns below which there is no background to tell a stripe from.
FEWEST_COLUMNS = 8


def find_stripes(profile: NDArray[np.floating], snr: float) -> NDArray[np.bool_]:
    """Find the columns that stand out of the others: algorithm 4 of Vo 2018 (DOI 10.1364/OE.26.028396).

    The sorted values follow a straight line in their middle half. The line's rise over all columns is the
    spread of good columns; stripes lie beyond its ends by more than half of `snr` times that spread, if the
    farthest lies beyond by more than `snr` times.

    Parameters
    ----------
    profile : (column,) float array
        One number per column, about 1 for good ones. Not modified.
    snr : float
        Above 1; greater is less sensitive.

    Returns
    -------
    (column,) bool array
        True at stripes. Fewer than 8 columns hold none.

    Notes
    -----
    algotom refuses data whose spread is below 1e-5, being free of noise; here the spread then counts as 1e-5.
    """
    columns = len(profile)
    if columns < FEWEST_COLUMNS:
        return np.zeros(columns, np.bool_)
    ordered = np.sort(np.asarray(profile, np.float64))
    quarter = columns // 4
    x, middle = np.arange(quarter, columns - quarter - 1, dtype=np.float64), ordered[quarter : -quarter - 1]
    x_mean, mean = x.mean(), middle.mean()
    slope = np.dot(x - x_mean, middle - mean) / np.sum((x - x_mean) ** 2)
    low = mean - slope * x_mean
    high = low + slope * (columns - 1)
    spread = max(abs(high - low), LEAST_SPREAD)
    stripes = np.zeros(columns, np.bool_)
    if abs(ordered[-1] - high) >= snr * spread:
        stripes |= profile > high + 0.5 * snr * spread
    if abs(low - ordered[0]) >= snr * spread:
        stripes |= profile <= low - 0.5 * snr * spread
    return stripes


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask (column,) grown by one column to either side."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    return grown
