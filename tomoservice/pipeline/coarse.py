"""A volume of larger voxels, made while somebody waits: for planes along the rotation axis."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np

from tomoservice.geometry import axis_to_selection
from tomoservice.pipeline.options import slice_size
from tomoservice.pipeline.plan import FLOAT_BYTES, Plan
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.frames import Range
from tomoservice.recipe.stages.output import Crop

LARGEST_BINNING = 32
"""As the recipe's frames have it."""
CROPPED = 2
"""How many times wider than the plane a slice that is cropped may be computed."""
COPIES = 3
"""Sizes of the sinograms that are held: as recorded, corrected, and while they are."""


class Across(StrEnum):
    """Axis of the volume that a plane is perpendicular to."""

    Y = "y"
    """The plane is (z, x), seen from the front."""
    X = "x"
    """The plane is (z, y), seen from the side."""

    @property
    def dimension(self) -> int:
        """Place of the axis in the shape of a volume (z, y, x)."""
        return 1 if self is Across.Y else 2


def coarser(plan: Plan, max_width: int, memory_bytes: int) -> tuple[Recipe, int]:
    """Return a recipe that gives the volume of `plan` in larger voxels, and how many become one.

    Parameters
    ----------
    plan
        Of the whole volume; its rotation axis is known.
    max_width
        Voxels along x and y, at most.
    memory_bytes
        What sinograms and slices may take.

    Returns
    -------
    recipe
        Its frames are binned. Of projections in the order of their angles as many are left out as are not
        needed for that resolution: pi/2 times the columns are enough for half a turn (Crowther criterion).
    binning
        How many voxels become one along each axis; 1 if the volume is small enough as it is.
    """
    given = plan.resolved.frames.binning
    most = max(min(LARGEST_BINNING // given, plan.shape[0]), 1)
    # However little is kept of a slice, the whole of it is computed.
    wanted = max(math.ceil(max(plan.shape[1:]) / max_width), math.ceil(plan.size / (CROPPED * max_width)))
    binning = min(max(wanted, 1), most)
    while binning < most and _bytes(plan, binning) > memory_bytes:
        binning += 1
    if binning == 1:
        return plan.resolved, 1
    frames = plan.resolved.frames
    step = frames.angles.step * _step(plan, binning)
    crop, size = plan.resolved.output.crop, _size(plan, given * binning)
    return (
        plan.resolved.changed(
            frames=frames.model_copy(
                update={
                    "binning": given * binning,
                    "angles": frames.angles.model_copy(update={"step": step}),
                }
            ),
            output=plan.resolved.output.model_copy(
                update={
                    "crop": Crop(
                        rows=_binned(crop.rows, binning, size), columns=_binned(crop.columns, binning, size)
                    )
                }
            ),
        ),
        binning,
    )


def _bytes(plan: Plan, binning: int) -> int:
    slices, rows, columns = (size // binning for size in plan.shape)
    angles = plan.selection.angles_deg.size // _step(plan, binning)
    sinograms = slices * angles * (plan.selection.width // binning)
    return FLOAT_BYTES * (COPIES * sinograms + slices * rows * columns)


def _step(plan: Plan, binning: int) -> int:
    """Return of how many projections one is enough."""
    selection = plan.selection
    if not np.array_equal(selection.places, np.arange(selection.places.size)):
        # Every n-th in the order of acquisition is not every n-th angle.
        return 1
    angles = selection.angles_deg
    half_turns = max(abs(float(angles[-1] - angles[0])) / 180, 1.0)
    needed = math.ceil(math.pi / 2 * half_turns * selection.width / binning)
    frames = plan.resolved.frames
    for step in range(angles.size // needed, 1, -1):
        # Those that are left out may be just every n-th.
        kept = np.arange(frames.angles.start, selection.projections[-1] + 1, frames.angles.step * step)
        if np.isin(kept, selection.projections).sum() >= needed:
            return step
    return 1


def _size(plan: Plan, binning: int) -> int:
    """Return the edge of a slice of binned frames."""
    columns, half = plan.selection.columns, plan.resolved.reconstruction.half_acquisition == "on"
    axis = axis_to_selection(plan.rotation_axis, columns.start, binning)
    return slice_size((columns.stop - columns.start) // binning, axis, half_acquisition=half)


def _binned(kept: Range, binning: int, size: int) -> Range:
    start = min(kept.start // binning, size - 1)
    stop = None if kept.stop is None else min(max(kept.stop // binning, start + 1), size)
    return Range(start=start, stop=stop)
