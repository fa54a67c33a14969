"""The rotation axis by whichever methods the scan allows, and what their agreement is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.axis.double_wedge import fourier
from tomoservice.axis.half_turn import WholeTurn
from tomoservice.axis.image_metric import FEWEST_COLUMNS as FEWEST_SLICE_COLUMNS
from tomoservice.axis.image_metric import Reconstruct, image_metric
from tomoservice.axis.opposite_views import phase_correlation
from tomoservice.axis.overlap import FEWEST_COLUMNS as FEWEST_OVERLAP_COLUMNS
from tomoservice.axis.overlap import overlap
from tomoservice.axis.result import AxisResult, search_window
from tomoservice.errors import GeometryError

# Columns by which two methods may differ and still tell of the same axis.
AGREEMENT = 1.0
# With less confidence, or against a contradiction of more, further methods are asked.
DOUBTFUL = 0.5
# With less confidence, a method has found nothing.
NOTHING_FOUND = 0.1
# Standard deviation (columns) of a method that cannot tell its own.
USUAL_ERROR = 0.05
# Part of the detector on either side that a wide search leaves out.
WIDE = 0.05
NAMES = {
    "fourier": "the Fourier method",
    "phase_correlation": "the registration of two opposite views",
    "overlap": "the overlap of opposite views",
    "entropy": "the entropy of slices",
}
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
    reconstruct: Reconstruct | None = None,
) -> AxisResult:
    """Find the rotation axis by the methods that the angles allow, and weigh what they say.

    The Fourier method, two opposite views, and the overlap of opposite views if there is a whole turn, are
    quick and always asked. If they leave doubts, the Fourier method and the opposite views look at nearly the
    whole detector; if doubts remain, the entropy of slices decides.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Line integrals of a few detector rows. Not modified.
    angles_deg : (angle,) array
        In degrees, in any order.
    projections : pair of (row, column) float32 arrays, optional
        Two views half a turn apart; by default the rows of `sinograms` at the best opposite angles.
    search : (float, float), optional
        First and last column to look at; by default the middle half of the detector, for the overlap (an
        axis near the side) all of it.
    reconstruct : Reconstruct, optional
        Makes slices for the entropy; without it that is never asked.

    Returns
    -------
    AxisResult
        Of the methods that agree within a column and together are most confident, the most precise one's:
        more certain than each alone, and less if another method contradicts. The note says who said what.

    Raises
    ------
    GeometryError
        If no method applies to these angles, or shapes do not fit.
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
    views = _Views(data, np.asarray(angles_deg, np.float64), projections)
    found, reasons = views.quick(search)
    result = _weighed(found)
    if result.confidence < DOUBTFUL and search is None:
        last = data.shape[2] - 1
        wide, _ = views.quick((WIDE * last, (1 - WIDE) * last))
        wider = _weighed(wide)
        if wider.confidence > max(result.confidence, DOUBTFUL):
            result = replace(wider, note=f"{wider.note} Searched nearly the whole detector.")
    if result.confidence < DOUBTFUL and reconstruct is not None and _arguable(result, search, data.shape[2]):
        found.append(image_metric(data, angles_deg, reconstruct, search=search))
        result = _weighed(found)
    at_edge = result.at_window_edge
    if result.confidence < DOUBTFUL and not at_edge and any(each.at_window_edge for each in found):
        at_edge = True
        reasons.append("A method finds its best column at the border of the search window: search wider.")
    return replace(result, method="auto", at_window_edge=at_edge, note=" ".join([result.note, *reasons]))


def _arguable(result: AxisResult, search: tuple[float, float] | None, columns: int) -> bool:
    """Return whether slices can tell.

    About an axis near the side they cannot: most of what they show was seen from one side only.
    """
    low, high = search_window(search, columns)
    return columns >= FEWEST_SLICE_COLUMNS and low <= result.rotation_axis <= high


@dataclass(frozen=True)
class _Views:
    """What the methods look at."""

    sinograms: NDArray[np.float32]
    angles_deg: NDArray[np.float64]
    projections: tuple[NDArray[np.float32], NDArray[np.float32]] | None

    def quick(self, search: tuple[float, float] | None) -> tuple[list[AxisResult], list[str]]:
        """Return what the quick methods find, and why some do not apply."""
        found, reasons = [], []
        if self._whole_turn:
            found.append(overlap(self.sinograms, self.angles_deg, search=search))
        try:
            found.append(fourier(self.sinograms, self.angles_deg, search=search))
        except GeometryError as error:
            if self.projections is None:
                raise
            reasons.append(f"From two opposite views alone: {error}.")
        if self.projections is None:
            reasons.append("Without a second opinion: no two views are opposite.")
        else:
            found.append(phase_correlation(*self.projections, search=search))
        return found, reasons

    @property
    def _whole_turn(self) -> bool:
        if self.sinograms.shape[2] < FEWEST_OVERLAP_COLUMNS:
            return False
        try:
            WholeTurn.of(self.angles_deg)
        except GeometryError:
            return False
        return True


def _weighed(found: list[AxisResult]) -> AxisResult:
    """Return the result of the methods that agree with each other and are most confident together."""
    # Of equally confident groups the first.
    middle = max(found, key=lambda each: _joint_confidence(each, found))
    confidence = _joint_confidence(middle, found)
    group = [each for each in found if _agreement(each, middle) > 0]
    others = [each for each in found if _agreement(each, middle) == 0]
    # The most precise of those that found something; of equally precise ones the first.
    chosen = min(group, key=lambda each: (each.confidence < NOTHING_FOUND, _error(each)))
    against = max((each.confidence for each in others), default=0.0)
    # A method that found nothing contradicts nothing.
    confidence *= 1 - 0.5 * min(against / max(confidence, 1e-9), 1)
    said = [f"Found by {NAMES[chosen.method]}"]
    said += [f"{NAMES[each.method]} agrees: {each.rotation_axis:.2f}" for each in group if each is not chosen]
    said += [
        f"{NAMES[each.method]} says {each.rotation_axis:.2f} with confidence {each.confidence:.2f} "
        f"against {chosen.confidence:.2f}"
        for each in others
    ]
    return replace(chosen, confidence=confidence, note=f"{chosen.note} {'; '.join(said)}.")


def _agreement(first: AxisResult, second: AxisResult) -> float:
    """Return how far two methods tell of the same axis: 1 up to half of what they may differ by."""
    return float(np.clip(2 - 2 * abs(first.rotation_axis - second.rotation_axis) / AGREEMENT, 0, 1))


def _joint_confidence(middle: AxisResult, found: list[AxisResult]) -> float:
    """Return how certain it is that not all err that agree with one of them."""
    if middle.at_window_edge:
        return middle.confidence
    doubts = [1 - each.confidence * _agreement(each, middle) for each in found if not each.at_window_edge]
    return 1 - math.prod(doubts)


def _error(result: AxisResult) -> float:
    return USUAL_ERROR if result.error is None else max(result.error, USUAL_ERROR)
