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
from tomoservice.pipeline.memory import piece_bytes
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.pipeline.selection import Selection
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.rotation_axis import AxisAuto, AxisFourier, AxisPhaseCorrelation, AxisValue
from tomoservice.scan import TomoScan

SAMPLE_ROWS = 8
"""Detector rows whose sinograms are searched, at most."""
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


def resolve_axis(
    scan: TomoScan,
    recipe: Recipe,
    selection: Selection,
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
        _check_inside(stage.value, "got", recipe, selection)
        return None
    views = _Views(Preprocessor(scan, recipe, selection, piece_bytes(budget)), selection, budget, cancelled)
    match stage:
        case AxisFourier():
            result = axis.fourier(views.sinograms(), selection.angles_deg, search=stage.search)
        case AxisPhaseCorrelation():
            opposite = views.opposite()
            if opposite is None:
                raise GeometryError(
                    "no two projections are 180 degrees apart, so none can be registered with its mirror; "
                    "find the axis by rotation_axis.method 'fourier', or give it by 'value'"
                )
            result = axis.phase_correlation(*opposite)
        case AxisAuto():
            result = axis.auto(
                views.sinograms(),
                selection.angles_deg,
                projections=views.opposite(),
                search=stage.search,
            )
        case _:
            assert_never(stage)
    _check_inside(result.rotation_axis, f"found by {result.method}:", recipe, selection)
    return result


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


def _check_inside(value: float, given: str, recipe: Recipe, selection: Selection) -> None:
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

    def sinograms(self) -> NDArray[np.float32]:
        """Return sinograms (row, angle, column) of rows spread over the middle half, in full width."""
        kept, width = self.selection.rows, self.preprocessor.width
        rows = kept.stop - kept.start
        low, high = kept.start + rows // 4, kept.stop - rows // 4
        one = self.selection.angles_deg.size * width * FLOAT_BYTES
        most = min(max(self.budget // (SINOGRAMS_HELD * one), 1), SAMPLE_ROWS)
        # Evenly spaced, so that one pass over the frames reads them all.
        step = max(-(-(high - low) // most), 1)
        first = low + (high - 1 - low) % step // 2
        return self.preprocessor.line_integrals(
            slice(first, high, step), slice(0, width), binning=1, cancelled=self.cancelled
        )

    def opposite(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return two projections (row, column) that are 180 degrees apart, or None if there are none."""
        pair = axis.opposite_pair(self.selection.angles_deg)
        if pair is None:
            return None
        kept = self.selection.rows
        fitting = self.budget // (VIEWS_HELD * self.preprocessor.width * FLOAT_BYTES)
        half = max(min(fitting, OPPOSITE_ROWS) // 2, 1)
        middle = (kept.start + kept.stop) // 2
        rows = slice(max(kept.start, middle - half), min(kept.stop, middle + half))
        first, second = self.preprocessor.projections(pair, rows)
        return first, second
