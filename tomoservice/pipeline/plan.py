"""A recipe meets a scan: everything that can be decided, checked and estimated before computing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import AxisResult
from tomoservice.errors import RecipeError
from tomoservice.pipeline.axis import describe_search, resolve_axis
from tomoservice.pipeline.checks import check_scan
from tomoservice.pipeline.finishing import UM_PER_CM, Finisher
from tomoservice.pipeline.layout import Slab, chunk_shape, cut_into_slabs
from tomoservice.pipeline.memory import Problem, memory_budget, plan_memory
from tomoservice.pipeline.selection import Selection, select
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.rotation_axis import AxisValue
from tomoservice.recon import get_reconstructor
from tomoservice.scan import TomoScan

Progress = Callable[[str], None]
"""Told in words what is being done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A reconstruction, ready to be computed."""

    recipe: Recipe
    """The recipe as asked."""
    resolved: Recipe
    """The recipe with every automatic value filled in; computing it again gives the same volume."""
    selection: Selection
    """The part of the scan that is kept."""
    shape: tuple[int, int, int]
    """Shape of the volume (z, y, x)."""
    chunks: tuple[int, int, int]
    """Shape of a chunk of the stored volume (z, y, x); z is the number of slices of a slab."""
    slabs: tuple[Slab, ...]
    """The slabs, from the top."""
    axis: AxisResult | None
    """How the rotation axis was found, or None if the recipe gave it."""
    size: int
    """Edge of a slice as the engine computes it, before it is cropped."""
    voxel_size_um: float | None
    """Edge of a voxel in micrometres, if the scan tells the pixel size."""
    notes: tuple[str, ...]
    """What had to be decided, in sentences for the user."""

    @property
    def rotation_axis(self) -> float:
        """Detector column of the rotation axis in the full frame."""
        axis = self.resolved.rotation_axis
        if not isinstance(axis, AxisValue):
            raise RecipeError("rotation_axis: a resolved recipe holds a value")
        return axis.value

    def axes(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the column of the rotation axis in the sinograms of slices `start` to `stop`."""
        return np.full(stop - start, self.selection.axis(self.rotation_axis))

    @property
    def problem(self) -> Problem:
        """What the memory of the reconstruction depends on."""
        return Problem(
            slices=self.shape[0],
            angles=self.selection.angles_deg.size,
            width=self.selection.width,
            size=self.size,
            depth=self.chunks[0],
        )

    @property
    def finisher(self) -> Finisher:
        """What is done to slices after the reconstruction."""
        per_cm = self.recipe.output.units == "per_cm" and self.voxel_size_um is not None
        return Finisher(scale=UM_PER_CM / self.voxel_size_um if per_cm and self.voxel_size_um else 1.0)

    @property
    def units(self) -> str:
        """Unit of a grey value."""
        return "1/cm" if self.recipe.output.units == "per_cm" else "1/pixel"

    @property
    def geometry(self) -> dict[str, Any]:
        """What the volume's voxels mean, as plain JSON types."""
        kept = self.selection
        return {
            "rotation_axis": self.rotation_axis,
            "voxel_size_um": self.voxel_size_um,
            "units": self.units,
            "axes": ["z", "y", "x"],
            "detector_rows": [kept.rows.start, kept.rows.stop],
            "detector_columns": [kept.columns.start, kept.columns.stop],
            "binning": kept.binning,
            "projections": int(kept.angles_deg.size),
            "first_angle_deg": float(kept.angles_deg[0]),
            "last_angle_deg": float(kept.angles_deg[-1]),
        }


def prepare(
    scan: TomoScan,
    recipe: Recipe,
    *,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Plan:
    """Decide everything about a reconstruction before computing it.

    Reads the flats, the darks and a few rows of the projections; searches the rotation axis if the recipe
    asks for it.

    Parameters
    ----------
    scan
        The scan; it is only read.
    recipe
        The recipe as asked.
    memory_bytes
        Memory budget; by default half of what is free now.
    progress
        Told what is being done.
    cancelled
        Asked now and then whether to stop.

    Raises
    ------
    InputError
        If the scan is not usable: names file, data set and cause.
    RecipeError
        If the recipe does not fit the scan: names the field.
    GeometryError
        If the angles make no tomogram, or no axis can be found.
    MemoryBudgetError
        If not even the smallest piece fits into the budget.
    CancelledError
        If `cancelled` said so.
    """
    say = progress or _silent
    budget = memory_budget(memory_bytes)
    selection = select(scan, recipe)
    voxel = None if scan.pixel_size_um is None else scan.pixel_size_um * selection.binning
    if recipe.output.units == "per_cm" and voxel is None:
        raise RecipeError(
            "output.units: got 'per_cm', but the scan does not tell its pixel size; use 'per_pixel'",
            name=recipe.name or "recipe",
        )
    reconstructor = get_reconstructor(recipe.reconstruction.method)
    size = selection.width
    shape = (selection.slices, size, size)
    chunks = chunk_shape(shape, selection.angles_deg.size, row_group=reconstructor.row_group)
    problem = Problem(selection.slices, selection.angles_deg.size, selection.width, size, chunks[0])
    plan_memory(reconstructor, problem, budget)
    say("checking the scan")
    checked = check_scan(scan, recipe, selection)
    resolved, selection, notes = recipe, checked.selection, checked.notes
    if checked.lost.size:
        resolved = excluding(resolved, checked.lost)
    say("finding the rotation axis")
    axis = resolve_axis(scan, recipe, selection, budget=budget, cancelled=cancelled)
    if axis is not None:
        resolved = resolved.changed(rotation_axis=AxisValue(value=axis.rotation_axis))
        notes += describe_search(axis, scan)
    return Plan(
        recipe=recipe,
        resolved=resolved,
        selection=selection,
        shape=shape,
        chunks=chunks,
        slabs=cut_into_slabs(shape[0], chunks[0]),
        axis=axis,
        size=size,
        voxel_size_um=voxel,
        notes=tuple(notes),
    )


def excluding(recipe: Recipe, lost: NDArray[np.integer[Any]]) -> Recipe:
    """Return the recipe with these projections excluded, too."""
    left_out = sorted({*recipe.frames.exclude, *(int(number) for number in lost)})
    return recipe.changed(frames=recipe.frames.model_copy(update={"exclude": tuple(left_out)}))


def find_axis(
    scan: TomoScan,
    recipe: Recipe,
    *,
    memory_bytes: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> AxisResult:
    """Search the rotation axis as `recipe` says, and nothing else.

    Raises
    ------
    RecipeError
        If the recipe gives a value instead of a method, or does not fit the scan.
    InputError, GeometryError, CancelledError
        As `prepare`.
    """
    selection = check_scan(scan, recipe, select(scan, recipe)).selection
    budget = memory_budget(memory_bytes)
    found = resolve_axis(scan, recipe, selection, budget=budget, cancelled=cancelled)
    if found is None:
        raise RecipeError("rotation_axis.method: got 'value', wants a method to find the axis")
    return found


def _silent(_message: str) -> None:
    """Say nothing."""
