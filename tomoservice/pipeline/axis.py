"""The rotation axis of a scan, by the method that its recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import numpy as np
from numpy.typing import NDArray

from tomoservice import axis
from tomoservice.axis import AxisResult
from tomoservice.errors import GeometryError, RecipeError
from tomoservice.recipe.stages import AxisAuto, AxisFourier, AxisPhaseCorrelation, AxisValue

if TYPE_CHECKING:
    from tomoservice.pipeline.preprocess import Preprocessor
    from tomoservice.pipeline.selection import Selection
    from tomoservice.recipe import Recipe
    from tomoservice.scan import TomoScan

SAMPLE_ROWS = 8
"""Detector rows whose sinograms are searched."""
OPPOSITE_ROWS = 512
"""Detector rows of the two opposite projections that are registered, at most."""


def resolve_axis(
    preprocessor: Preprocessor, scan: TomoScan, recipe: Recipe, selection: Selection
) -> AxisResult | None:
    """Return how the rotation axis was found, or None if the recipe gives it.

    The result's columns are those of the full, unbinned frame.

    Raises
    ------
    RecipeError
        If the given axis does not lie on the detector columns that are kept.
    GeometryError
        If the scan's angles do not allow the method.
    """
    stage = recipe.rotation_axis
    match stage:
        case AxisValue():
            result = None
            value = stage.value
        case AxisFourier():
            sinograms = _sample_sinograms(preprocessor, selection)
            result = axis.fourier(sinograms, selection.angles_deg, search=stage.search)
            value = result.rotation_axis
        case AxisPhaseCorrelation():
            result = axis.phase_correlation(*_opposite_views(preprocessor, selection))
            value = result.rotation_axis
        case AxisAuto():
            result = _auto(preprocessor, selection, stage.search)
            value = result.rotation_axis
        case _:
            assert_never(stage)
    first, last = selection.columns.start, selection.columns.stop - 1
    if not first <= value <= last:
        given = "got" if result is None else f"found by {result.method}:"
        raise RecipeError(
            f"rotation_axis: {given} {value:g}, which is not on the columns that are kept, {first} to {last} "
            f"of {scan.shape[2]}",
            name=recipe.name or "recipe",
        )
    return result


def _auto(preprocessor: Preprocessor, selection: Selection, search: tuple[float, float] | None) -> AxisResult:
    pair = axis.opposite_pair(selection.angles_deg)
    return axis.auto(
        _sample_sinograms(preprocessor, selection),
        selection.angles_deg,
        projections=None if pair is None else _opposite_views(preprocessor, selection),
        search=search,
    )


def _sample_sinograms(preprocessor: Preprocessor, selection: Selection) -> NDArray[np.float32]:
    """Return sinograms (row, angle, column) of rows spread over the middle half, in full width."""
    rows = selection.rows.stop - selection.rows.start
    low, high = selection.rows.start + rows // 4, selection.rows.stop - 1 - rows // 4
    sample = sorted({round(row) for row in np.linspace(low, high, SAMPLE_ROWS)})
    whole_width = slice(0, preprocessor.width)
    return np.concatenate(
        [preprocessor.sinograms(slice(row, row + 1), columns=whole_width, binning=1) for row in sample]
    )


def _opposite_views(
    preprocessor: Preprocessor, selection: Selection
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two projections (row, column) that are 180 degrees apart, or say that there are none."""
    pair = axis.opposite_pair(selection.angles_deg)
    if pair is None:
        raise GeometryError(
            "no two projections are 180 degrees apart, so none can be registered with its mirror; find the "
            "axis by rotation_axis.method 'fourier', or give it by 'value'"
        )
    middle = (selection.rows.start + selection.rows.stop) // 2
    rows = slice(
        max(selection.rows.start, middle - OPPOSITE_ROWS // 2),
        min(selection.rows.stop, middle + OPPOSITE_ROWS // 2),
    )
    views = preprocessor.projections(pair, rows)
    return views[0], views[1]
