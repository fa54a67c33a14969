"""Where the rotation axis is between columns, from views and their mirror images half a turn later.

The slopes of both, along the columns, differ least if the mirror stands at the axis. Slopes know no slow
drift of the beam, and as in any least squares fit, what remains of the difference tells how far the answer
can be trusted. Nothing is assumed about the sample: it may be wider than the detector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

# Columns: standard deviation of the Gaussian whose slope is taken.
SLOPE_WIDTH = 2.0
# Fade in and out, as a fraction of half of what both views see.
TAPER = 0.5
# Standard deviations, in columns: up to the first an axis is as good as known, beyond the second unknown.
GOOD_ERROR, BAD_ERROR = 0.08, 0.2

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Views (view or row, column), and the opposite ones as recorded."""


@dataclass(frozen=True)
class MirroredAxis:
    """An axis, and its standard deviation: columns."""

    axis: float
    error: float

    @property
    def certainty(self) -> float:
        """Return how certain it is that the axis is right to a quarter of a column, 0 to 1."""
        return float(np.clip((BAD_ERROR - self.error) / (BAD_ERROR - GOOD_ERROR), 0, 1))


def mirrored_axis(pairs: list[Pair], start: float, reach: float) -> MirroredAxis:
    """Find the axis near a known place.

    Twice the axis is a whole number for each candidate, so that nothing needs interpolating but the curve.

    Parameters
    ----------
    pairs : list of pairs of (view, column) float32 arrays
        Views and what they are compared with, all equally wide; their evidence adds up. Not modified.
    start : float
        Column near the axis.
    reach : float
        How far from it to look, columns.

    Returns
    -------
    MirroredAxis
        With an infinite error if the difference has no minimum.
    """
    last = pairs[0][0].shape[1] - 1
    middle = round(2 * start)
    wanted = middle + np.arange(-math.ceil(2 * reach), math.ceil(2 * reach) + 1)
    totals = wanted[(wanted >= 1) & (wanted <= 2 * last - 1)]
    # The same columns and weights for all candidates, so that they can be compared to the last digit.
    half = max(min(middle / 2, last - middle / 2) - reach / 2, 2.0)
    column = np.arange(math.ceil(middle / 2 - half), math.floor(middle / 2 + half) + 1)
    rise = np.clip((half - np.abs(column - middle / 2)) / max(TAPER * half, 2), 0, 1)
    weight = np.sin(0.5 * np.pi * rise) ** 2
    from scipy.interpolate import CubicSpline

    curve = CubicSpline(totals / 2, _differences(pairs, totals, column, weight))
    places = np.linspace(totals[0] / 2, totals[-1] / 2, 200 * (len(totals) - 1) + 1)
    best = float(places[np.argmin(curve(places))])
    curvature = float(curve(best, 2))
    if curvature <= 0:
        return MirroredAxis(best, math.inf)
    # Of a least squares fit; neighbouring samples share their noise over the width of the Gaussian.
    samples = sum(len(view) for view, _ in pairs) * float(weight.sum())
    independent = max(samples / (2 * math.sqrt(math.pi) * SLOPE_WIDTH), 1)
    return MirroredAxis(best, math.sqrt(2 * max(float(curve(best)), 0) / curvature / independent))


def _differences(
    pairs: list[Pair], totals: NDArray[np.intp], column: NDArray[np.intp], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the squared difference for twice each axis, relative to views with nothing in common."""
    last = pairs[0][0].shape[1] - 1
    difference, level = np.zeros(len(totals)), np.zeros(len(totals))
    # Squares of what is very large or very small would not be numbers any more.
    largest = max(float(np.abs(view).max()) for pair in pairs for view in pair)
    scale = np.float32(max(largest, float(np.finfo(np.float32).tiny)))
    for pair in pairs:
        first, second = (_slopes(view / scale) for view in pair)
        seen = first[:, column]
        for i, total in enumerate(totals):
            mirrored = -second[:, np.clip(total - column, 0, last)]
            difference[i] += ((seen - mirrored) ** 2).sum(axis=0, dtype=np.float64) @ weight
            level[i] += (seen**2 + mirrored**2).sum(axis=0, dtype=np.float64) @ weight
    relative: NDArray[np.float64] = difference / np.maximum(level, np.finfo(np.float32).tiny)
    return relative


def _slopes(view: NDArray[np.float32]) -> NDArray[np.float32]:
    slopes: NDArray[np.float32] = gaussian_filter1d(view, SLOPE_WIDTH, axis=1, order=1, mode="nearest")
    return slopes
