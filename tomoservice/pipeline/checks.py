"""What a scan must have for a recipe, looked at before any computing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError, InputError, MissingDataError
from tomoservice.geometry import angular_range_deg
from tomoservice.pipeline.selection import Selection
from tomoservice.prep.flat_field import reduce_frames
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.flat_field import StandardFlatField
from tomoservice.scan import TomoScan
from tomoservice.sources import check_frames

FEW_DEGREES = 150.0
"""Angles that cover less than this leave a wedge of the volume undetermined."""
LIKELY_RADIANS = 20
"""More projections than this within 2 pi degrees are more likely angles in radians."""


def check_scan(scan: TomoScan, recipe: Recipe, selection: Selection) -> list[str]:
    """Return what the user should know of the scan, or refuse it.

    Raises
    ------
    InputError
        If flats or darks are missing against the recipe's wish, show no beam, or frames that the recipe uses
        are lost.
    GeometryError
        If the angles look like radians.
    """
    corrected = isinstance(recipe.flat_field, StandardFlatField)
    if corrected:
        _check_beam(scan, selection)
    return [
        *scan.notes,
        *_check_references(scan, recipe),
        *check_frames(scan, projections=selection.angles, references=corrected),
        *_check_coverage(selection.angles_deg),
    ]


def _check_references(scan: TomoScan, recipe: Recipe) -> list[str]:
    stage = recipe.flat_field
    if not isinstance(stage, StandardFlatField):
        return []
    notes = []
    for name, frames, wish in (
        ("flats", scan.flats, stage.missing_flats),
        ("darks", scan.darks, stage.missing_darks),
    ):
        if frames is not None and frames.shape[0] > 0:
            continue
        if wish == "error":
            raise MissingDataError(
                scan.origin.location,
                f"the scan has no {name}",
                dataset=scan.origin.datasets.get(name),
                hint=f"To go without, set flat_field.missing_{name} to 'ignore' in the recipe",
            )
        notes.append(f"the scan has no {name}; reconstructed without")
    return notes


def _check_beam(scan: TomoScan, selection: Selection) -> None:
    """Refuse flats that are nowhere brighter than the darks, looking at the middle row that is kept."""
    if scan.flats is None or scan.darks is None or 0 in (scan.flats.shape[0], scan.darks.shape[0]):
        return
    row = (selection.rows.start + selection.rows.stop) // 2
    flat, dark = (reduce_frames(frames[:, row : row + 1]) for frames in (scan.flats, scan.darks))
    if not (flat > dark).any():
        raise InputError(
            scan.origin.location,
            f"the flats are nowhere brighter than the darks (detector row {row})",
            dataset=scan.origin.datasets.get("flats"),
            hint="Were they taken with the shutter closed, or the two swapped?",
        )


def _check_coverage(angles_deg: NDArray[np.float64]) -> list[str]:
    covered = angular_range_deg(angles_deg)
    if covered >= FEW_DEGREES:
        return []
    if angles_deg.size > LIKELY_RADIANS and covered <= 2 * np.pi + 0.1:
        raise GeometryError(
            f"{angles_deg.size} projections cover only {covered:.4g} degrees: are their angles in radians? "
            "They are wanted in degrees"
        )
    return [f"the angles cover only {covered:.4g} degrees; expect streaks where the views are missing"]
