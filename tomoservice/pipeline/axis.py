"""The rotation axis of a scan, by the method that its recipe names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from tomoservice import axis
from tomoservice.axis import AxisResult
from tomoservice.errors import GeometryError, RecipeError
from tomoservice.geometry import axis_from_selection
from tomoservice.pipeline.beam import Beam
from tomoservice.pipeline.chain import plain_chain
from tomoservice.pipeline.memory import piece_bytes
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.pipeline.selection import Selection
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.rotation_axis import (
    AxisAuto,
    AxisEntropy,
    AxisFourier,
    AxisOverlap,
    AxisPhaseCorrelation,
    AxisValue,
)
from tomoservice.recon import Padding, ReconstructionOptions, get_reconstructor
from tomoservice.scan import TomoScan

SAMPLE_ROWS = 8
"""Detector rows whose sinograms are searched, at most."""
TILT_ROWS = 15
"""Detector rows at which a tilted axis is searched, at most."""
AROUND, AROUND_PER_ROW = 8.0, 0.05
"""Columns on either side of the axis, and of these for each row, among which a tilted one is searched."""
SINOGRAMS_HELD = 6
"""How many times the search holds the sinograms that it looks at, in all its forms."""
OPPOSITE_ROWS = 512
"""Detector rows of the two opposite projections that are registered, at most."""
VIEWS_HELD = 20
"""How many times the registration holds a projection: transforms are complex and padded."""
FLOAT_BYTES = 4
DOUBTFUL = 0.5
"""An axis found with less confidence than this should be looked at by a person."""
DISAGREEMENT = 1.0
"""Columns by which the axis found may differ from the recorded one without a word."""

Cancelled = Callable[[], bool]
Search = AxisFourier | AxisPhaseCorrelation | AxisEntropy | AxisOverlap | AxisAuto


def resolve_axis(
    scan: TomoScan,
    recipe: Recipe,
    selection: Selection,
    beam: Beam,
    *,
    budget: int,
    cancelled: Cancelled | None = None,
) -> AxisResult | None:
    """Return how the rotation axis was found, or None if the recipe gives it.

    The result's columns are those of the full, unbinned frame.

    Raises
    ------
    RecipeError
        If the given axis does not lie on the detector columns that are kept.
    GeometryError
        If the scan's angles do not allow the method.
    CancelledError
        If `cancelled` said so.
    """
    stage = recipe.rotation_axis
    if isinstance(stage, AxisValue):
        check_inside(stage.value, "got", recipe, selection)
        return None
    preprocessor = Preprocessor(scan, selection, beam, plain_chain(recipe), piece_bytes(budget))
    views = _Views(preprocessor, selection, budget, cancelled)
    result = _search(stage, views)
    if stage.tilt:
        result = _with_tilt(stage, views, result, scan.shape[1])
    check_inside(result.rotation_axis, f"found by {result.method}:", recipe, selection)
    return result


def _search(stage: Search, views: _Views) -> AxisResult:
    if isinstance(stage, AxisPhaseCorrelation):
        opposite = views.opposite(OPPOSITE_ROWS)
        if opposite is None:
            raise GeometryError(
                "no two projections are 180 degrees apart, so none can be registered with its mirror; "
                "find the axis by rotation_axis.method 'entropy', or give it by 'value'"
            )
        return axis.phase_correlation(opposite.first, opposite.second, search=stage.search)
    sinograms, _ = views.sinograms(SAMPLE_ROWS, whole_height=False)
    opposite = views.opposite(OPPOSITE_ROWS) if isinstance(stage, AxisAuto) else None
    return _find(stage, sinograms, views.selection.angles_deg, opposite)


def _find(
    stage: Search,
    sinograms: NDArray[np.float32],
    angles_deg: NDArray[np.float64],
    opposite: axis.OppositeViews | None = None,
) -> AxisResult:
    """Find the axis in sinograms (row, angle, column)."""
    match stage:
        case AxisFourier():
            return axis.fourier(sinograms, angles_deg, search=stage.search)
        case AxisOverlap():
            return axis.overlap(sinograms, angles_deg, search=stage.search)
        case AxisEntropy():
            return axis.image_metric(sinograms, angles_deg, _reconstruct, search=stage.search)
        case AxisPhaseCorrelation():
            pair = axis.opposite_pair(angles_deg)
            if pair is None:
                raise GeometryError("no two projections are 180 degrees apart")
            return axis.phase_correlation(sinograms[:, pair[0]], sinograms[:, pair[1]], search=stage.search)
        case AxisAuto():
            projections = None if opposite is None else (opposite.first, opposite.second)
            return axis.auto(
                sinograms, angles_deg, projections=projections, search=stage.search, reconstruct=_reconstruct
            )
        case _:
            assert_never(stage)


def _with_tilt(stage: Search, views: _Views, found: AxisResult, frame_rows: int) -> AxisResult:
    """Search the axis at several heights near the one that was found."""
    sinograms, heights = views.sinograms(TILT_ROWS, whole_height=True)
    reach = AROUND + AROUND_PER_ROW * float(np.ptp(heights))
    low, high = found.rotation_axis - reach, found.rotation_axis + reach
    near = stage.model_copy(update={"search": (max(low, 1.0), min(high, views.preprocessor.width - 2.0))})
    return axis.with_tilt(
        found,
        lambda row: _find(near, row, views.selection.angles_deg),
        sinograms,
        heights,
        reference_row=(frame_rows - 1) / 2,
        opposite=views.opposite(frame_rows),
    )


def _reconstruct(
    sinograms: NDArray[np.float32], angles_deg: NDArray[np.float64], axes: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Make slices for a search: by the default method, whatever the recipe takes for the volume."""
    # A sample that reaches beyond the detector makes a bright rim otherwise, which says nothing of the axis.
    options = ReconstructionOptions(padding=Padding.EDGE)
    plan = get_reconstructor("fourier").plan(angles_deg, sinograms.shape[2], options)
    return plan.execute(sinograms, axes)


def describe_search(found: AxisResult, scan: TomoScan) -> list[str]:
    """Return what the user should know of a search for the axis."""
    notes = [f"rotation axis {found.rotation_axis:.2f} by {found.method}: {found.note}"]
    if found.confidence < DOUBTFUL:
        notes.append(
            f"the rotation axis is doubtful (confidence {found.confidence:.2f}): compare slices for several "
            "values"
        )
    recorded = scan.rotation_axis
    if recorded is not None and abs(recorded - found.rotation_axis) > DISAGREEMENT:
        notes.append(
            f"the scan records its rotation axis at {recorded:.2f}; to use that, set rotation_axis.method to "
            "'value'"
        )
    return notes


def check_axis_stage(recipe: Recipe, selection: Selection, columns: int) -> None:
    """Refuse an axis, or a window to search it in, that the detector does not have.

    Parameters
    ----------
    recipe, selection
        What is to be reconstructed.
    columns
        Of the whole detector, which searches look at.

    Raises
    ------
    RecipeError
        Names the field, what is asked for and what there is.
    """
    stage = recipe.rotation_axis
    if isinstance(stage, AxisValue):
        check_inside(stage.value, "got", recipe, selection)
    elif stage.search is not None and not (stage.search[0] < columns - 1 and stage.search[1] > 0):
        low, high = stage.search
        raise RecipeError(
            f"rotation_axis.search: got {low:g} to {high:g}, but the detector has columns 0 to {columns - 1}",
            name=recipe.name or "recipe",
        )


def check_inside(value: float, given: str, recipe: Recipe, selection: Selection) -> None:
    """Raise `RecipeError` unless a rotation axis lies on the columns that are kept."""
    if 0 <= selection.axis(value) <= selection.width - 1:
        return
    first, binning = selection.columns.start, selection.binning
    low, high = (axis_from_selection(edge, first, binning) for edge in (0, selection.width - 1))
    raise RecipeError(
        f"rotation_axis: {given} {value:g}, which is not on the columns that are kept, {low:g} to {high:g}",
        name=recipe.name or "recipe",
    )


@dataclass(frozen=True)
class _Views:
    """What the methods look at, as much of it as the memory budget allows."""

    preprocessor: Preprocessor
    selection: Selection
    budget: int
    cancelled: Cancelled | None

    def sinograms(self, most: int, *, whole_height: bool) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return sinograms (row, angle, column) of evenly spread rows in full width, and which rows they are.

        Parameters
        ----------
        most
            Rows, at most.
        whole_height
            Whether to spread them over all rows that are kept, or over the middle half.
        """
        kept, width = self.selection.rows, self.preprocessor.width
        rows = kept.stop - kept.start
        edge = 0 if whole_height else rows // 4
        low, high = kept.start + edge, kept.stop - edge
        one = self.selection.angles_deg.size * width * FLOAT_BYTES
        most = min(max(self.budget // (SINOGRAMS_HELD * one), 1), most)
        # Evenly spaced, so that one pass over the frames reads them all.
        step = max(-(-(high - low) // most), 1)
        chosen = slice(low + (high - 1 - low) % step // 2, high, step)
        sinograms = self.preprocessor.recorded(chosen, slice(0, width), binning=1, cancelled=self.cancelled)
        return sinograms, np.arange(chosen.start, chosen.stop, chosen.step)

    def opposite(self, most_rows: int) -> axis.OppositeViews | None:
        """Return two projections that are 180 degrees apart, at most so many rows high, or None."""
        pair = axis.opposite_pair(self.selection.angles_deg)
        if pair is None:
            return None
        kept = self.selection.rows
        fitting = self.budget // (VIEWS_HELD * self.preprocessor.width * FLOAT_BYTES)
        half = max(min(fitting, most_rows) // 2, 1)
        middle = (kept.start + kept.stop) // 2
        rows = slice(max(kept.start, middle - half), min(kept.stop, middle + half))
        first, second = self.preprocessor.projections(pair, rows)
        return axis.OppositeViews(first, second, rows.start)
