"""What a search for the rotation axis returns, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError

# How certain an answer at the border of the search window can be at most.
AT_EDGE = 0.1


@dataclass(frozen=True)
class AxisResult:
    """A rotation axis, and the evidence for it.

    Parameters
    ----------
    rotation_axis
        Detector column, 0-based, an integer is a pixel centre; counted in the array that was searched.
    confidence
        0 (a guess) to 1 (beyond doubt). Below about 0.5 somebody should look at the curve.
    method
        ``"fourier"``, ``"phase_correlation"``, ``"entropy"`` (or another image metric), ``"overlap"`` or
        ``"auto"``.
    candidates
        (candidate,) float64: the columns tried, ascending.
    metric
        (candidate,) float64: how badly each fits, from 0; the smaller, the better.
    at_window_edge
        Whether the best candidate lies at the border of the search window, so that the axis may be outside.
    note
        A sentence for the user.
    error
        Standard deviation in columns, as far as noise goes; None if the method cannot tell.
    side
        ``"left"`` or ``"right"``: the half of the detector that holds the axis, where the method looks at a
        whole turn; otherwise None.
    overlap
        Columns that opposite views of a whole turn both see; None where `side` is.
    tilt_deg
        Angle between the axis and the detector's columns, if it was searched; positive if the axis' column
        grows with the row number. `rotation_axis` then belongs to the reference row, the frame's middle one.
    tilt_error_deg
        Standard deviation of the tilt.
    heights, values, residuals
        (height,) float64: the detector rows at which the axis was searched, the columns where it was found
        there, and their distances from the straight line; None without a tilt.
    """

    rotation_axis: float
    confidence: float
    method: str
    candidates: NDArray[np.float64]
    metric: NDArray[np.float64]
    at_window_edge: bool
    note: str
    error: float | None = None
    side: str | None = None
    overlap: float | None = None
    tilt_deg: float | None = None
    tilt_error_deg: float | None = None
    heights: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None
    residuals: NDArray[np.float64] | None = None


def search_window(search: tuple[float, float] | None, columns: int) -> tuple[float, float]:
    """Return the columns between which to look; by default the middle half of the detector.

    Parameters
    ----------
    search : (float, float) or None
        First and last column.
    columns : int
        Detector columns.

    Returns
    -------
    (float, float)
        First and last column.

    Raises
    ------
    GeometryError
        If the window is empty or not on the detector.
    """
    if search is None:
        return 0.25 * (columns - 1), 0.75 * (columns - 1)
    low, high = float(search[0]), float(search[1])
    if not 0 < low < high < columns - 1:
        msg = (
            f"the axis cannot be searched between columns {low:g} and {high:g}; "
            f"wanted 0 < first < last < {columns - 1}"
        )
        raise GeometryError(msg)
    return low, high


def judge(
    method: str,
    best: float,
    curve: tuple[NDArray[np.float64], NDArray[np.float64]],
    certainty: float,
    step: float,
) -> AxisResult:
    """Weigh the evidence for the best candidate.

    Parameters
    ----------
    method : str
        Name of the method.
    best : float
        The axis found.
    curve : ((candidate,) float64 array, (candidate,) float64 array)
        Candidates and metric.
    certainty : float
        0 to 1: how far the minimum is from what noise alone would make.
    step : float
        Distance of candidates; an answer this close to the border counts as lying on it.

    Returns
    -------
    AxisResult
        With confidence and note.
    """
    candidates, metric = curve
    at_edge = bool(best <= candidates[0] + step or best >= candidates[-1] - step)
    rival = _rival(metric)
    # A rival half as deep does no harm; one as deep as the best makes the choice arbitrary.
    uniqueness = float(np.clip(2 * (1 - rival), 0, 1))
    confidence = certainty * uniqueness
    if at_edge:
        confidence = min(confidence, AT_EDGE)
        note = (
            f"The best column, {best:.2f}, is at the border of the search window "
            f"{candidates[0]:.1f} to {candidates[-1]:.1f}: search wider."
        )
    elif certainty < 0.5:
        note = f"The minimum at column {best:.2f} is hardly deeper than noise would make it: check by eye."
    elif uniqueness < 0.5:
        note = f"Another column fits nearly as well as {best:.2f}: check by eye, or narrow the search window."
    else:
        note = f"One clear minimum at column {best:.2f}."
    return AxisResult(best, confidence, method, candidates, metric, at_edge, note)


def _rival(metric: NDArray[np.float64]) -> float:
    """Return the depth of the deepest other minimum, as a fraction of the best one's."""
    depth = np.median(metric) - metric
    best = int(np.argmax(depth))
    if depth[best] <= 0:
        return 1.0
    shallow = depth < depth[best] / 2
    left = np.nonzero(shallow[:best])[0]
    right = np.nonzero(shallow[best:])[0]
    others = np.concatenate(
        [depth[: left[-1] + 1] if len(left) else [], depth[best + right[0] :] if len(right) else []]
    )
    return float(max(others.max(initial=0), 0) / depth[best])
