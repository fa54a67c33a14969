"""Where pixels, columns and angles are: the one place that converts between frames of reference.

`rotation_axis` is a 0-based detector column of the unbinned, uncropped frame, and an integer is a
pixel's centre. Cropping shifts it; binning by b maps column c to (c + 0.5) / b - 0.5, because the
centre of the first binned pixel lies b/2 - 0.5 unbinned pixels to the right of the first one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tomoservice.errors import GeometryError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def axis_to_selection(rotation_axis: float, first_column: int = 0, binning: int = 1) -> float:
    """Return the rotation axis as a column of the cropped and then binned frame.

    Parameters
    ----------
    rotation_axis : float
        Column of the full frame, in unbinned pixels.
    first_column : int
        First column that the selection keeps.
    binning : int
        Number of pixels averaged into one.
    """
    return (rotation_axis - first_column + 0.5) / binning - 0.5


def axis_from_selection(rotation_axis: float, first_column: int = 0, binning: int = 1) -> float:
    """Return the rotation axis as a column of the full frame; inverse of `axis_to_selection`."""
    return (rotation_axis + 0.5) * binning - 0.5 + first_column


def angular_range_deg(angles_deg: NDArray[np.float64]) -> float:
    """Return the angle that the projections cover, in degrees, with one typical step added.

    A scan of 180 projections at 0, 1, ..., 179 degrees covers 180 degrees.
    """
    if angles_deg.size < 2:
        return 0.0
    ordered = np.sort(angles_deg)
    return float(ordered[-1] - ordered[0] + np.median(np.diff(ordered)))


def typical_gap(gaps: NDArray[np.float64]) -> float:
    """Return the gap between neighbouring views that a scan is made of.

    Three quarters of the angle lie in gaps that are no wider. Any number of repeated views leaves it as it
    is, because the gaps between them hardly take up any angle (a median over the gaps would be theirs), and
    so does a missing wedge, because the widest gap is left out.

    Parameters
    ----------
    gaps : (gap,) float64 array
        Distances of neighbouring views, at least one, in any order and unit.

    Returns
    -------
    float
        In the unit of `gaps`.
    """
    ascending = np.sort(gaps)
    ascending = ascending[:-1] if len(ascending) > 1 else ascending
    covered = np.cumsum(ascending)
    return float(ascending[np.searchsorted(covered, 0.75 * covered[-1])])


def group_views(positions: NDArray[np.float64], tolerance: float) -> NDArray[np.intp]:
    """Number the distinct views of a scan.

    Parameters
    ----------
    positions : (view,) float64 array
        Ascending angles.
    tolerance : float
        Views that are no farther than this from the first of a group belong to it. Groups never get wider,
        however densely views follow each other.

    Returns
    -------
    (view,) intp array
        Number of the group of each view, from 0, ascending.
    """
    starts = [0]
    while (following := int(np.searchsorted(positions, positions[starts[-1]] + tolerance, "right"))) < len(
        positions
    ):
        starts.append(following)
    group = np.zeros(len(positions), np.intp)
    group[starts[1:]] = 1
    return np.cumsum(group)


def check_angles(angles_deg: NDArray[np.float64]) -> None:
    """Raise `GeometryError` if the angles cannot describe a tomogram."""
    if angles_deg.ndim != 1:
        raise GeometryError(f"angles must be one-dimensional, got shape {angles_deg.shape}")
    if not np.isfinite(angles_deg).all():
        bad = int(np.flatnonzero(~np.isfinite(angles_deg))[0])
        raise GeometryError(f"angle {bad} is {angles_deg[bad]}; every projection needs a finite angle")
    if angles_deg.size > 1 and np.ptp(angles_deg) == 0:
        raise GeometryError(
            f"all {angles_deg.size} projections have the same angle, {angles_deg[0]:g} degrees; "
            "a tomogram needs views from different sides"
        )
