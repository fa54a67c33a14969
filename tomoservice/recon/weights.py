"""Quadrature over the angle: how much of the half circle each projection stands for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.geometry import group_views, typical_gap

# A gap wider than this many typical steps is a missing wedge, not a spacing: the projections at its borders
# would shout if they stood for all of it.
WIDEST_GAP = 8.0
# Angles within this fraction of the typical step are repetitions of one view.
SAME_VIEW = 0.2


def angular_weights(angles: NDArray[np.float64], *, whole_turn: bool = False) -> NDArray[np.float64]:
    """Return the part of the half circle that each projection stands for.

    In parallel beam a view and its opposite carry the same information, so angles count modulo pi. Each
    distinct view gets half of the gap to either neighbour (its Voronoi cell); views repeated within a fifth
    of the typical step, as several turns or several frames at each angle make them, share theirs. Equally
    spaced angles get pi / n, whether or not the scan includes both 0 and 180 degrees. A gap counts for at
    most eight typical ones, so that a missing wedge is left out rather than charged to its borders.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians, in any order.
    whole_turn : bool, default False
        Whether a view and its opposite are different, as in half-acquisition: angles then count modulo two
        pi, and each view gets half of its part of the turn.

    Returns
    -------
    (angle,) float64 array
        In radians; the sum is pi unless a wedge is missing.
    """
    period = 2 * np.pi if whole_turn else np.pi
    folded = np.mod(angles, period)
    order = np.argsort(folded, kind="stable")
    gap = np.diff(folded[order], append=folded[order[0]] + period)
    # Counted from behind the widest gap, no view is repeated across the end: 179.999 degrees and 0 are one.
    order = np.roll(order, -int(np.argmax(gap)) - 1)
    position = folded[order] - folded[order[0]]
    position[position < 0] += period
    group = group_views(position, SAME_VIEW * typical_gap(gap))
    size = np.bincount(group)
    centre = np.bincount(group, position) / size
    gap = np.diff(centre, append=centre[0] + period)
    gap = np.minimum(gap, WIDEST_GAP * typical_gap(gap))
    cell = (gap + np.roll(gap, 1)) / 2
    weights = np.empty(len(angles))
    weights[order] = (cell / size)[group] * (np.pi / period)
    return weights
