"""The rotation axis by whichever method the scan allows, and what their agreement is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.axis.double_wedge import fourier
from tomoservice.axis.opposite_views import phase_correlation
from tomoservice.axis.result import AxisResult
from tomoservice.errors import GeometryError

# Columns by which two methods may differ and still tell of the same axis.
AGREEMENT = 1.0
# Degrees by which two views may miss being opposite, if the scan's own steps are not coarser.
OPPOSITE_DEG = 1.0


def opposite_pair(angles_deg: ArrayLike) -> tuple[int, int] | None:
    """Return the indices of the two projections that are closest to half a turn apart.

    Parameters
    ----------
    angles_deg : (angle,) array
        In degrees, in any order.

    Returns
    -------
    (int, int) or None
        The first projection and its opposite; None if no two views are opposite to within one degree. Of
        equally good pairs the first.
    """
    angles = np.asarray(angles_deg, np.float64)
    turn = np.mod(angles, 360)
    order = np.argsort(turn, kind="stable")
    ordered = turn[order]
    target = np.mod(turn + 180, 360)
    place = np.searchsorted(ordered, target)
    best: tuple[float, int, int] | None = None
    for neighbour in (place - 1, place):
        other = order[neighbour % len(order)]
        miss = np.abs(np.mod(turn[other] - target + 180, 360) - 180)
        first = int(np.argmin(np.round(miss, 6)))
        if best is None or miss[first] < best[0] - 1e-6:
            best = (float(miss[first]), first, int(other[first]))
    return None if best is None or best[0] > OPPOSITE_DEG else (best[1], best[2])


def auto(
    sinograms: NDArray[np.float32],
    angles_deg: ArrayLike,
    *,
    projections: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    search: tuple[float, float] | None = None,
) -> AxisResult:
    """Find the rotation axis by the Fourier method, and check it with two opposite views.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Line integrals of a few detector rows. Not modified.
    angles_deg : (angle,) array
        In degrees, in any order.
    projections : pair of (row, column) float32 arrays, optional
        Two views half a turn apart; by default the rows of `sinograms` at the best opposite angles.
    search : (float, float), optional
        First and last column to look at; by default the middle half of the detector.

    Returns
    -------
    AxisResult
        The Fourier method's if the two agree within a column (then more certain than either) or only it
        applies; otherwise the more confident one, at up to half its confidence. The note says which.

    Raises
    ------
    GeometryError
        If neither method applies to these angles, or shapes do not fit.
    """
    data = np.asarray(sinograms)
    if data.ndim != 3 or data.shape[1] != np.size(angles_deg):
        msg = (
            f"sinograms of shape {data.shape} do not fit {np.size(angles_deg)} angles; "
            "wanted (row, angle, column)"
        )
        raise GeometryError(msg)
    if projections is None and (pair := opposite_pair(angles_deg)) is not None:
        projections = data[:, pair[0]], data[:, pair[1]]
    check = None if projections is None else phase_correlation(*projections, search=search)
    try:
        main = fourier(data, angles_deg, search=search)
    except GeometryError as error:
        if check is None:
            raise
        return replace(check, method="auto", note=f"{check.note} From two opposite views alone: {error}.")
    if check is None:
        note = f"{main.note} Fourier method alone: no two views are opposite."
        return replace(main, method="auto", note=note)
    return _weighed(main, check)


def _weighed(main: AxisResult, check: AxisResult) -> AxisResult:
    difference = abs(main.rotation_axis - check.rotation_axis)
    if difference <= AGREEMENT:
        doubt = (1 - main.confidence) * (1 - check.confidence)
        confidence = main.confidence if main.at_window_edge else 1 - doubt
        note = f"{main.note} Two opposite views agree: {check.rotation_axis:.2f}."
        return replace(main, confidence=confidence, method="auto", note=note)
    chosen, other = (main, check) if main.confidence >= check.confidence else (check, main)
    # A method that found nothing contradicts nothing.
    confidence = chosen.confidence * (1 - 0.5 * min(other.confidence / max(chosen.confidence, 1e-9), 1))
    note = (
        f"{chosen.note} From the {chosen.method.replace('_', ' ')} method; "
        f"{other.method.replace('_', ' ')} says {other.rotation_axis:.2f} "
        f"with confidence {other.confidence:.2f} against {chosen.confidence:.2f}."
    )
    return replace(chosen, confidence=confidence, method="auto", note=note)
