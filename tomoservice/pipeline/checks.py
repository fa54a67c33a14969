"""What a scan must have for a recipe, looked at before any computing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError, InputError, MissingDataError, RecipeError
from tomoservice.geometry import angular_range_deg, typical_gap
from tomoservice.pipeline.references import References, choose_references
from tomoservice.pipeline.selection import Selection
from tomoservice.prep.flat_field import reduce_frames
from tomoservice.prep.stripes.vo_smooth import fewest_angles
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.flat_field import (
    BorderNormalisation,
    FlatField,
    NoFlatField,
    StandardFlatField,
)
from tomoservice.recipe.stages.outliers import Zingers
from tomoservice.recipe.stages.stripes import FittingStripes
from tomoservice.scan import TomoScan
from tomoservice.sources import check_projections, check_references

FEW_DEGREES = 150.0
"""Angles that cover less than this leave a wedge of the volume undetermined."""
MOST_LOST = 0.2
"""A scan that has lost a greater part of its projections is not reconstructed without a word."""
GAP_DEG, GAP = 5.0, 3.0
"""Angles without a view that are worth a word: more than so many degrees, and so many times the usual."""
LIKELY_RADIANS = 20
"""More projections than this within 2 pi degrees are more likely angles in radians."""


@dataclass(frozen=True, slots=True)
class CheckedScan:
    """What a look at a scan's frames has shown."""

    selection: Selection
    """What is left to reconstruct from."""
    lost: NDArray[np.integer[Any]]
    """Projections that are left out because they hold nothing, in the order of acquisition."""
    references: References
    """Flats and darks that are used."""
    notes: list[str]
    """What the user should know."""


def check_scan(scan: TomoScan, recipe: Recipe, selection: Selection, *, again: bool = False) -> CheckedScan:
    """Look at the scan's frames and angles before any computing.

    Parameters
    ----------
    scan, recipe, selection
        What is to be reconstructed.
    again
        Whether all this has been looked at before: only what the recipe leaves open is looked at.

    Raises
    ------
    InputError
        If flats or darks are missing against the recipe's wish or show no beam, or projections are lost: any,
        or too many to go without, as the recipe says.
    GeometryError
        If the angles look like radians.
    """
    references = choose_references(scan, recipe.flat_field)
    notes = [*scan.notes, *_check_references(scan, recipe), *references.notes]
    lost = np.empty(0, np.intp)
    if not again:
        if not isinstance(recipe.flat_field, NoFlatField):
            _check_beam(scan, selection, references)
        if references.unjudged:
            notes += check_references(scan, references.flats, references.darks)
        most_lost = MOST_LOST if recipe.frames.lost == "leave_out" else 0.0
        found = check_projections(scan, selection.projections, most_lost=most_lost)
        lost, notes = found.numbers, notes + found.notes
    if lost.size:
        selection = selection.without(lost)
    return CheckedScan(selection, lost, references, notes + _check_coverage(selection.angles_deg))


def check_sizes(recipe: Recipe, selection: Selection) -> None:
    """Refuse stages that want more columns or projections than are kept.

    Raises
    ------
    RecipeError
        Names the field, what is wanted and what there is.
    """
    width, angles = selection.width, selection.angles_deg.size
    name = recipe.name or "recipe"
    stage = recipe.flat_field
    if not isinstance(stage, NoFlatField) and isinstance(stage.normalisation, BorderNormalisation):
        # As many as are left of them when pixels are binned.
        columns, binning = stage.normalisation.columns, recipe.frames.binning
        if 2 * max(columns // binning, 1) > width:
            raise RecipeError(
                f"flat_field.normalisation.columns: got {columns} on either side, but only {binning * width} "
                "columns are kept",
                name=name,
            )
    outliers = recipe.outliers
    if isinstance(outliers, Zingers) and outliers.dimension != "frame" and angles < outliers.size:
        raise RecipeError(
            f"outliers.size: got {outliers.size} along the angle, but only {angles} projections are kept; "
            "set outliers.dimension to 'frame'",
            name=name,
        )
    stripes = recipe.stripes
    if isinstance(stripes, FittingStripes) and angles < fewest_angles(stripes.order):
        raise RecipeError(
            f"stripes.order: a polynomial of order {stripes.order} needs at least "
            f"{fewest_angles(stripes.order)} projections, but only {angles} are kept; lower it, or choose "
            "another method",
            name=name,
        )


def _check_references(scan: TomoScan, recipe: Recipe) -> list[str]:
    stage = recipe.flat_field
    if isinstance(stage, NoFlatField):
        return []
    notes = []
    for name, frames, wish in (
        ("flats", scan.flats, _wish_for_flats(stage)),
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


def _check_beam(scan: TomoScan, selection: Selection, references: References) -> None:
    """Refuse flats that are nowhere brighter than the darks, if need be looking at the middle row."""
    if references.hopeless:
        raise InputError(
            scan.origin.location,
            f"none of the flats is of use: {'; '.join(references.notes[:3])}",
            dataset=scan.origin.datasets.get("flats"),
            hint="Take flats again; or set flat_field.bad_frames to 'keep' to use them as they are",
        )
    if scan.flats is None or scan.darks is None or 0 in (scan.flats.shape[0], scan.darks.shape[0]):
        return
    if references.lit:
        # Seen when they were judged; reading them again may unpack all of them.
        return
    row = (selection.rows.start + selection.rows.stop) // 2
    flats, darks = scan.flats[:, row : row + 1], scan.darks[:, row : row + 1]
    flat, dark = reduce_frames(flats[references.flats]), reduce_frames(darks[references.darks])
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
        return _about_gap(angles_deg)
    if angles_deg.size > LIKELY_RADIANS and covered <= 2 * np.pi + 0.1:
        raise GeometryError(
            f"{angles_deg.size} projections cover only {covered:.4g} degrees: are their angles in radians? "
            "They are wanted in degrees"
        )
    return [f"the angles cover only {covered:.4g} degrees; expect streaks where the views are missing"]


def _about_gap(angles_deg: NDArray[np.float64]) -> list[str]:
    """Say where views are missing inside the turn; a view from behind shows the same as one from in front."""
    views = np.sort(np.mod(angles_deg, 180.0))
    gaps = np.append(np.diff(views), views[0] + 180.0 - views[-1])
    widest = int(gaps.argmax())
    if gaps[widest] < max(GAP_DEG, GAP * typical_gap(gaps)):
        return []
    low, high = views[widest], views[widest] + gaps[widest]
    return [
        f"no projection shows the sample between {low:.4g} and {high:.4g} degrees, nor from behind; expect "
        "streaks where the views are missing"
    ]


def _wish_for_flats(stage: FlatField) -> str:
    """Return what to do without flats; what is made of several flats cannot go without."""
    return stage.missing_flats if isinstance(stage, StandardFlatField) else "error"
