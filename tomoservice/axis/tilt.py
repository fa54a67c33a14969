"""A tilted rotation axis: found at several heights, and a straight line through what was found.

The axis meets detector row i at column ``rotation_axis + (i - reference_row) tan(tilt)``: a positive tilt
leans its upper end (row 0) to the left. The reference row is the middle row of the full frame,
``(rows - 1) / 2``.
`tomoservice.prep.tilt` corrects it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import affine_transform

from tomoservice.axis.opposite_views import phase_correlation
from tomoservice.axis.result import AxisResult
from tomoservice.errors import GeometryError

FEWEST_HEIGHTS = 3
# Strips of two opposite views: as many as there may be, of at least so many rows.
MOST_STRIPS, FEWEST_STRIP_ROWS = 12, 8
# Shearing with one estimate makes the next one better.
ROUNDS = 2
# Columns: no method finds an axis better than this, however well the values lie on a line.
SMALLEST_ERROR = 0.02
# Columns: values this far from the line, on average, leave no doubt, or nothing but.
GOOD_SCATTER, BAD_SCATTER = 0.15, 0.5
# Standard deviations from the line beyond which a value does not count (Tukey's biweight).
OUTLYING = 4.685
# A tilt of less than so many standard deviations, or of so many columns between all heights, is none.
SIGNIFICANT, NOTICEABLE = 2.0, 0.1

# Columns on either side of a known axis, and of these for each row, among which a tilted one is searched.
AROUND, AROUND_PER_ROW = 8.0, 0.05
# With less confidence in strips, single rows are asked.
DOUBTFUL = 0.5

Find = Callable[[NDArray[np.float32]], AxisResult]
"""Finds the axis in sinograms (row, angle, column)."""


@dataclass(frozen=True)
class OppositeViews:
    """Two projections half a turn apart.

    Parameters
    ----------
    first, second
        (row, column) float32.
    first_row
        Detector row of their first.
    """

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    first_row: int = 0


def with_tilt(
    found: AxisResult,
    find: Find,
    sinograms: NDArray[np.float32],
    heights: ArrayLike,
    *,
    reference_row: float,
    opposite: OppositeViews | None = None,
) -> AxisResult:
    """Add the tilt to an axis found as if there were none.

    Strips of two opposite views are registered near the axis; without such views, or if they leave doubts,
    the axis is searched row by row with `find`.

    Parameters
    ----------
    found : AxisResult
        The axis.
    find : callable
        Finds the axis in the sinograms (1, angle, column) of one row.
    sinograms : (row, angle, column) float32 array
        Line integrals of at least three rows, spread over the height of the frame. Not modified.
    heights : (row,) array
        The detector row of each.
    reference_row : float
        Detector row that the resulting `rotation_axis` belongs to: the middle of the full frame.
    opposite : OppositeViews, optional
        As high as possible.

    Returns
    -------
    AxisResult
        What was found, with the straight line's axis, tilt, heights and confidence.

    Raises
    ------
    GeometryError
        If neither the views nor the sinograms are high enough.
    """
    lines = []
    if opposite is not None and len(opposite.first) >= FEWEST_HEIGHTS * FEWEST_STRIP_ROWS:
        last = opposite.first.shape[1] - 1
        around = AROUND + AROUND_PER_ROW * len(opposite.first)
        search = (
            float(np.clip(found.rotation_axis - around, 0.5, last - 1.5)),
            float(np.clip(found.rotation_axis + around, 1.5, last - 0.5)),
        )
        views = (opposite.first, opposite.second)
        lines.append(
            by_strips(*views, first_row=opposite.first_row, reference_row=reference_row, search=search)
        )
    if not lines or lines[0].confidence < DOUBTFUL:
        try:
            lines.append(by_height(find, sinograms, heights, reference_row=reference_row))
        except GeometryError:
            if not lines:
                raise
    line = max(lines, key=lambda each: each.confidence)
    return replace(
        line,
        method=found.method,
        candidates=found.candidates,
        metric=found.metric,
        side=found.side,
        overlap=found.overlap,
        confidence=min(line.confidence, max(found.confidence, line.confidence / 2)),
        note=f"{found.note} {line.note}",
    )


def by_height(
    find: Find, sinograms: NDArray[np.float32], heights: ArrayLike, *, reference_row: float
) -> AxisResult:
    """Find a tilted axis by any method, row by row.

    A detector row sees a little of the heights above and below on either side of a tilted axis, by which
    the tilt comes out up to 5 % too small; `by_strips` does without that.

    Parameters
    ----------
    find : callable
        Finds the axis in the sinograms (1, angle, column) of one row.
    sinograms : (row, angle, column) float32 array
        Line integrals of at least three rows, spread over the height of the frame. Not modified.
    heights : (row,) array
        The detector row of each.
    reference_row : float
        Detector row that the resulting `rotation_axis` belongs to: the middle of the full frame.

    Returns
    -------
    AxisResult
        With `tilt_deg`, its error, and the values at all heights; the curve is that of the height next to
        the reference row. A tilt within two standard deviations of none, or of less than a tenth of
        a column between all heights, is given as 0.

    Raises
    ------
    GeometryError
        If there are fewer than three different rows, or shapes do not fit.
    """
    rows = np.asarray(heights, np.float64)
    if np.ndim(sinograms) != 3 or rows.shape != np.shape(sinograms)[:1]:
        msg = f"sinograms of shape {np.shape(sinograms)} do not fit the heights of {rows.size} rows"
        raise GeometryError(msg)
    if len(np.unique(rows)) < FEWEST_HEIGHTS:
        msg = (
            f"a tilt of the rotation axis wants sinograms of at least {FEWEST_HEIGHTS} rows, "
            f"got {len(np.unique(rows))}; search the axis without a tilt"
        )
        raise GeometryError(msg)
    found = [find(sinograms[index : index + 1]) for index in range(len(rows))]
    return _result(found, rows, reference_row)


def by_strips(
    projection_0: NDArray[np.float32],
    projection_180: NDArray[np.float32],
    *,
    first_row: int = 0,
    reference_row: float | None = None,
    search: tuple[float, float] | None = None,
) -> AxisResult:
    """Find a tilted axis by registering strips of two opposite views.

    Opposite views of a tilted sample are shifted along the columns, too, to either side of the axis in
    opposite directions; that is undone with the tilt found so far, and the strips are registered again.

    Parameters
    ----------
    projection_0, projection_180 : (row, column) float32 array
        Line integrals (transmission works too) at two angles 180 degrees apart, at least 24 rows high. Not
        modified.
    first_row : int, default 0
        Detector row of the projections' first.
    reference_row : float, optional
        Detector row that the resulting `rotation_axis` belongs to; by default the projections' middle row.
    search : (float, float), optional
        First and last column to look at; by default the middle half of the detector.

    Returns
    -------
    AxisResult
        As `by_height`; heights are the strips' middle rows.

    Raises
    ------
    GeometryError
        If the shapes differ or there are too few rows.
    EngineError
        If a projection holds a value that is not finite.
    """
    views = [np.asarray(projection_0), np.asarray(projection_180)]
    rows = len(views[0])
    if rows < FEWEST_HEIGHTS * FEWEST_STRIP_ROWS:
        msg = (
            f"a tilt of the rotation axis wants two opposite views of at least "
            f"{FEWEST_HEIGHTS * FEWEST_STRIP_ROWS} rows, got {rows}; search the axis without a tilt"
        )
        raise GeometryError(msg)
    middle = (rows - 1) / 2 + first_row if reference_row is None else reference_row
    count = min(MOST_STRIPS, rows // FEWEST_STRIP_ROWS)
    edges = [rows * strip // count for strip in range(count + 1)]
    strips = [slice(low, high) for low, high in pairwise(edges)]
    heights = np.array([first_row + (strip.start + strip.stop - 1) / 2 for strip in strips])
    whole = phase_correlation(*views, search=search)
    line = replace(whole, tilt_deg=0.0)
    for _ in range(ROUNDS):
        pair = [_sheared(view, line, middle - first_row) for view in views]
        found = [phase_correlation(pair[0][strip], pair[1][strip], search=search) for strip in strips]
        line = _result(found, heights, middle)
    return replace(line, candidates=whole.candidates, metric=whole.metric)


def _sheared(view: NDArray[np.float32], line: AxisResult, reference_row: float) -> NDArray[np.float32]:
    """Return what a view would show if each column were shifted along the rows as the tilt did."""
    slope = math.tan(math.radians(line.tilt_deg or 0.0))
    if slope == 0:
        return view
    # Row i of the result is row i - (j - axis in row i) slope of the view.
    matrix = np.array([[1 + slope**2, -slope], [0, 1]])
    offset = [slope * (line.rotation_axis - slope * reference_row), 0]
    sheared: NDArray[np.float32] = affine_transform(view, matrix, offset, order=3, mode="nearest")
    return sheared


@dataclass(frozen=True)
class _Line:
    """A straight line through values at heights; `error` is the standard deviation of the slope."""

    slope: float
    value: float
    error: float
    weights: NDArray[np.float64]
    residuals: NDArray[np.float64]


def _fit(
    heights: NDArray[np.float64], values: NDArray[np.float64], trust: NDArray[np.float64], reference: float
) -> _Line:
    """Fit a line that outliers and untrusted values do not bend; its value is that at the reference."""
    x = heights - reference
    # The median of the slopes of all pairs does not mind up to a quarter of outliers.
    # Takes longer to import than all the rest of what the engine needs.
    from scipy.stats import theilslopes

    slope, value = (float(part) for part in theilslopes(values, x)[:2])
    weights = trust
    for _ in range(10):
        residuals = values - (value + slope * x)
        scale = max(1.4826 * float(np.median(np.abs(residuals))), SMALLEST_ERROR)
        weights = trust * np.clip(1 - (residuals / (OUTLYING * scale)) ** 2, 0, None) ** 2
        if np.count_nonzero(weights) < FEWEST_HEIGHTS:
            weights = trust
        slope, value = (float(part) for part in np.polyfit(x, values, 1, w=np.sqrt(weights)))
    residuals = values - (value + slope * x)
    centre = np.average(x, weights=weights)
    freedom = max(float(weights.sum() ** 2 / (weights**2).sum()) - 2, 1)
    scatter = max(float(np.average(residuals**2, weights=weights)), SMALLEST_ERROR**2)
    spread = float(np.average((x - centre) ** 2, weights=weights))
    return _Line(slope, value, math.sqrt(scatter / spread / freedom), weights, residuals)


def _result(found: Sequence[AxisResult], heights: NDArray[np.float64], reference: float) -> AxisResult:
    values = np.array([each.rotation_axis for each in found])
    confidence = np.array([each.confidence for each in found])
    # Nothing is worth nothing: where all fail, a line is still drawn.
    trust = np.maximum(confidence, 0.01)
    line = _fit(heights, values, trust, reference)
    scatter = math.sqrt(float(np.average(line.residuals**2, weights=line.weights)))
    # What was trusted, but is not near the line, is evidence against a straight axis.
    on_line = float(line.weights.sum() / trust.sum())
    agreement = float(np.clip((BAD_SCATTER - scatter) / (BAD_SCATTER - GOOD_SCATTER), 0, 1))
    tilt, error = math.degrees(math.atan(line.slope)), math.degrees(line.error)
    axis = line.value
    if abs(tilt) <= SIGNIFICANT * error or abs(line.slope) * np.ptp(heights) < NOTICEABLE:
        note = f"The axis is not noticeably tilted ({tilt:.3f} ± {error:.3f} degrees)."
        tilt, axis = 0.0, float(np.average(values, weights=line.weights))
    else:
        note = f"The axis is tilted by {tilt:.3f} ± {error:.3f} degrees."
    nearest = found[int(np.argmin(np.abs(heights - reference)))]
    counted = int(np.count_nonzero(line.weights > 0.1 * trust))
    note = f"{note} Column {axis:.2f} at row {reference:g}, from {counted} of {len(found)} heights"
    note += f", which scatter by {scatter:.2f} columns."
    if agreement < 0.5:
        note += " They do not lie on a straight line: check by eye."
    return replace(
        nearest,
        rotation_axis=axis,
        confidence=float(np.average(confidence, weights=line.weights)) * agreement * min(2 * on_line, 1),
        at_window_edge=bool(np.median([each.at_window_edge for each in found]) > 0.5),
        note=note,
        tilt_deg=tilt,
        tilt_error_deg=error,
        heights=heights,
        values=values,
        residuals=line.residuals,
    )
