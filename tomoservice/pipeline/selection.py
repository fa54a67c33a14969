"""Frame selection applied to a scan: what is read, and where its pixels are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import RecipeError
from tomoservice.geometry import axis_to_selection, check_angles
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.frames import Range
from tomoservice.scan import TomoScan

TURN_DEG = 361.0
"""A whole turn, whose last view may repeat the first."""
LEAP_DEG, LEAP = 5.0, 4.0
"""Degrees, and times the distance to the nearest view, from which two views are far apart."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of a scan that a recipe keeps, in unbinned detector pixels."""

    rows: slice
    """Detector rows, a whole number of binned rows."""
    columns: slice
    """Detector columns, a whole number of binned columns."""
    projections: NDArray[np.intp]
    """Numbers of the projections that are kept, in the order of acquisition: ascending."""
    places: NDArray[np.intp]
    """Where each of them stands in a sinogram, whose angles ascend (or descend, if they were recorded so)."""
    binning: int
    """Pixels averaged into one along rows and columns."""
    angles_deg: NDArray[np.float64]
    """Angle of each line of a sinogram."""
    frame_rows: int
    """Detector rows of the full frame."""

    @property
    def slices(self) -> int:
        """Number of slices of the volume."""
        return int(self.rows.stop - self.rows.start) // self.binning

    @property
    def width(self) -> int:
        """Number of binned columns, which is the width of a slice."""
        return int(self.columns.stop - self.columns.start) // self.binning

    @property
    def first_row(self) -> int:
        """Binned detector row of the first slice: the absolute row that slices are grouped by."""
        return int(self.rows.start // self.binning)

    def detector_rows(self, start: int, stop: int) -> slice:
        """Return the detector rows behind slices `start` to `stop` of the volume."""
        first = self.rows.start
        return slice(first + start * self.binning, first + stop * self.binning)

    def rows_around(self, start: int, stop: int, margin: int) -> tuple[int, int]:
        """Widen a range of slices by `margin` on either side, as far as the detector goes.

        Slices before the first one have negative numbers.
        """
        above = self.rows.start // self.binning
        below = (self.frame_rows - self.rows.start) // self.binning
        return max(start - margin, -above), min(stop + margin, max(below, stop))

    def without(self, lost: NDArray[np.integer[Any]]) -> Selection:
        """Return the selection without some projections, numbered as the scan does."""
        kept = ~np.isin(self.projections, lost)
        angles = self.angles_deg[self.places[kept]]
        return replace(self, projections=self.projections[kept], **_sorted(angles))

    def axis(self, rotation_axis: float) -> float:
        """Return the rotation axis as a column of the selection."""
        return axis_to_selection(rotation_axis, self.columns.start, self.binning)


def select(scan: TomoScan, recipe: Recipe) -> Selection:
    """Return what `recipe.frames` keeps of `scan`.

    Raises
    ------
    RecipeError
        If a range does not lie inside the scan or keeps too little of it: names the field.
    GeometryError
        If an angle is not finite.
    """
    frames = recipe.frames
    projections, rows, columns = scan.shape
    kept_angles = _inside(frames.angles, projections, "frames.angles", "projections", recipe)
    kept_rows = _inside(frames.rows, rows, "frames.rows", "rows", recipe)
    kept_columns = _inside(frames.columns, columns, "frames.columns", "columns", recipe)
    kept = np.arange(kept_angles.start, kept_angles.stop, frames.angles.step)
    if frames.exclude and max(frames.exclude) >= projections:
        raise RecipeError(
            f"frames.exclude: got {max(frames.exclude)}, but the scan has {projections} projections, "
            f"0 to {projections - 1}",
            name=recipe.name or "recipe",
        )
    kept = np.setdiff1d(kept, np.asarray(frames.exclude, np.intp))
    angles_deg = scan.angles_deg[kept]
    check_angles(angles_deg)
    if angles_deg.size < 2:
        raise RecipeError(
            f"frames.angles: {angles_deg.size} projection(s) kept of {projections}; "
            "a tomogram needs at least 2",
            name=recipe.name or "recipe",
        )
    return Selection(
        rows=_binned(kept_rows, recipe, "rows"),
        columns=_binned(kept_columns, recipe, "columns"),
        projections=kept,
        binning=frames.binning,
        frame_rows=rows,
        **_sorted(angles_deg),
    )


def _sorted(angles_deg: NDArray[np.float64]) -> dict[str, Any]:
    """Return places and angles of a sinogram in which neighbouring views are neighbours."""
    angles_deg = in_one_turn(angles_deg)
    steps = np.diff(angles_deg)
    if (steps >= 0).all() or (steps <= 0).all():
        return {"places": np.arange(angles_deg.size), "angles_deg": angles_deg}
    order = np.argsort(angles_deg, kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(order.size)
    return {"places": places, "angles_deg": angles_deg[order]}


def in_one_turn(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return angles (view,) in degrees, from 0 to 360 where views that follow each other are far apart.

    By the golden ratio, say, counted up turn by turn. Other angles are returned as they are.
    """
    return np.mod(angles_deg, 360) if _leaps(angles_deg) else angles_deg


def _leaps(angles_deg: NDArray[np.float64]) -> bool:
    """Tell whether views go round several times, so that those taken one after the other are far apart."""
    if np.ptp(angles_deg) <= TURN_DEG:
        return False
    between = np.abs(np.mod(np.diff(angles_deg) + 180, 360) - 180)
    nearest = np.diff(np.sort(np.mod(angles_deg, 360)))
    apart = float(np.median(between))
    return apart > LEAP_DEG and apart > LEAP * float(np.median(nearest))


def _inside(wanted: Range, available: int, field: str, unit: str, recipe: Recipe) -> slice:
    stop = available if wanted.stop is None else wanted.stop
    if wanted.start >= available or stop > available:
        raise RecipeError(
            f"{field}: got {wanted.start} to {stop}, but the scan has {available} {unit}",
            name=recipe.name or "recipe",
        )
    return slice(wanted.start, stop)


def _binned(kept: slice, recipe: Recipe, unit: str) -> slice:
    binning = recipe.frames.binning
    whole = (kept.stop - kept.start) // binning
    least = 2 if unit == "columns" else 1
    if whole < least:
        raise RecipeError(
            f"frames.binning: got {binning}, but only {kept.stop - kept.start} {unit} are kept, of which "
            f"{whole} would be left; {least} or more are wanted",
            name=recipe.name or "recipe",
        )
    return slice(kept.start, kept.start + whole * binning)


def bin_frames(frames: NDArray[np.float32], binning: int) -> NDArray[np.float32]:
    """Average `binning` x `binning` pixels of each frame (frame, row, column), dtype kept.

    The numbers of rows and columns must be multiples of `binning`. Returns the input for a binning of 1.
    """
    if binning == 1:
        return frames
    count, rows, columns = frames.shape
    blocks: NDArray[Any] = frames.reshape(count, rows // binning, binning, columns // binning, binning)
    binned: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return binned
