"""Quadrature over the angle: how much of the half circle each projection stands for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A gap wider than this many typical steps is a missing wedge, not a spacing: the projections at its borders
# would shout if they stood for all of it.
WIDEST_GAP = 8.0
# Angles closer than this fraction of the mean spacing are repetitions of one view.
SAME_ANGLE = 1e-3


def angular_weights(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of the half circle that each projection stands for.

    In parallel beam a view and its opposite carry the same information, so angles count modulo pi. Each
    distinct angle gets half of the gap to either neighbour (its Voronoi cell); views repeated within a
    thousandth of the mean spacing share theirs. Equally spaced angles get pi / n, whether or not the scan
    includes both 0 and 180 degrees, and 360 degree scans are right without further ado. A gap counts for at
    most eight median gaps, so that a missing wedge is left out rather than charged to its borders.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians, in any order.

    Returns
    -------
    (angle,) float64 array
        In radians; the sum is pi unless a wedge is missing.
    """
    folded = np.mod(angles, np.pi)
    order = np.argsort(folded, kind="stable")
    ordered = folded[order]
    tolerance = SAME_ANGLE * np.pi / len(angles)
    starts_group = np.diff(ordered, prepend=-np.inf) > tolerance
    group = np.cumsum(starts_group) - 1
    # 179.99999 degrees and 0 are one view on either side of the fold.
    wraps = group[-1] > 0 and ordered[0] + np.pi - ordered[-1] <= tolerance
    if wraps:
        last = group == group[-1]
        group[last] = 0
        ordered = np.where(last, ordered - np.pi, ordered)
    size = np.bincount(group)
    centre = np.bincount(group, ordered) / size
    gap = np.diff(centre, append=centre[0] + np.pi)
    gap = np.minimum(gap, WIDEST_GAP * np.median(gap))
    cell = (gap + np.roll(gap, 1)) / 2
    weights = np.empty(len(angles))
    weights[order] = (cell / size)[group]
    return weights
