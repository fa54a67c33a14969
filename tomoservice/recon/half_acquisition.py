"""Half-acquisition: the axis near one side of the detector, a whole turn, and a field of view twice as wide.

Each projection shows one half of the sample and a strip beyond the axis. The opposite view shows the other
half and the same strip, mirrored. Weighted so that the two views of every line add up to two, the projections
of a whole turn are reconstructed as they are: nothing is stitched, and no copy of the data is made. A weight
that falls to zero at the detector's edge with no jump and no kink leaves nothing for the ramp filter to turn
into a seam (the redundancy weighting of Wang 2002, DOI 10.1118/1.1489043, in parallel beam).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError
from tomoservice.geometry import typical_gap

# A few lost frames leave a whole turn whole.
LARGEST_HOLE_DEG = 30.0


def overlap_weights(columns: int, rotation_axis: float) -> NDArray[np.float32]:
    """Return how much each column counts, so that a line and the same line seen from behind count two.

    Scope: pointwise along the detector.

    Parameters
    ----------
    columns : int
        Detector columns.
    rotation_axis : float
        Detector column of the axis, anywhere on the detector.

    Returns
    -------
    (column,) float32 array
        ``w(s) + w(-s) = 2`` for distances s from the axis that both sides of the detector reach: a squared
        sine that rises from 0 at the nearer edge of the detector; 2 beyond.
    """
    distance = np.arange(columns) - rotation_axis
    overlap = min(rotation_axis, columns - 1 - rotation_axis)
    if rotation_axis > (columns - 1) / 2:
        distance = -distance
    if overlap <= 0:
        return np.where(distance == 0, 1, 2).astype(np.float32)
    rising = np.clip((distance + overlap) / (2 * overlap), 0, 1)
    weights: NDArray[np.float32] = (2 * np.sin(0.5 * np.pi * rising) ** 2).astype(np.float32)
    return weights


def default_size(columns: int, rotation_axis: float) -> int:
    """Return the edge of a slice that holds all that a whole turn sees.

    Parameters
    ----------
    columns : int
        Detector columns.
    rotation_axis : float
        Detector column of the axis.

    Returns
    -------
    int
        In pixels: twice the distance from the axis to the farther edge of the detector.
    """
    return int(2 * max(rotation_axis, columns - 1 - rotation_axis)) + 1


def check_whole_turn(angles: NDArray[np.float64]) -> None:
    """Raise `GeometryError` unless the angles cover a whole turn.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians, in any order.
    """
    position = np.sort(np.mod(angles, 2 * np.pi))
    gaps = np.diff(position, append=position[0] + 2 * np.pi)
    hole = np.rad2deg(gaps.max() - typical_gap(gaps))
    if hole > LARGEST_HOLE_DEG or len(angles) == 1:
        msg = (
            f"half_acquisition needs views all around, 360 degrees; {np.rad2deg(gaps.max()):.1f} degrees "
            "have none. Set half_acquisition to 'off' for a scan of half a turn"
        )
        raise GeometryError(msg)
