"""A recipe meets a scan: everything that can be decided, checked and estimated before computing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tomoservice.axis import AxisResult
from tomoservice.errors import InputError, MissingDataError, RecipeError
from tomoservice.pipeline.axis import resolve_axis
from tomoservice.pipeline.memory import memory_budget, plan_memory
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.pipeline.selection import Selection, select
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages import AxisValue, Reconstruction, StandardFlatField
from tomoservice.recon import FilterName, Padding, ReconstructionOptions, get_reconstructor
from tomoservice.scan import TomoScan
from tomoservice.sources import check_frames

Progress = Callable[[str], None]
"""Told in words what is being done."""

CHUNK_EDGE = 64
"""Edge of a chunk along y and x: any of the three planes is then read at about the same speed."""
ROW_MULTIPLE = 8
"""Slabs hold a multiple of this many slices."""
SLAB_WORK = 2.5e10
"""Angles x columns x columns of a slab that takes a core about a second by Fourier reconstruction."""


@dataclass(frozen=True, slots=True)
class Slab:
    """Neighbouring slices that are computed and stored at once: one layer of chunks."""

    index: int
    """Place among the slabs, from 0."""
    start: int
    """First slice."""
    stop: int
    """First slice that no longer belongs to it."""


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
    scan: TomoScan, recipe: Recipe, *, memory_bytes: int | None = None, progress: Progress | None = None
) -> Plan:
    """Decide everything about a reconstruction before computing it.

    Reads the flats, the darks and a few projections or rows; searches the rotation axis if the recipe asks
    for it.

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
    """
    say = progress or _silent
    say("checking the scan")
    selection = select(scan, recipe)
    notes = [*scan.notes, *_check_flats(scan, recipe), *check_frames(scan)]
    voxel = None if scan.pixel_size_um is None else scan.pixel_size_um * selection.binning
    if recipe.output.units == "per_cm" and voxel is None:
        raise RecipeError(
            "output.units: got 'per_cm', but the scan does not tell its pixel size; use 'per_pixel'",
            name=recipe.name or "recipe",
        )
    plan_memory(get_reconstructor(recipe.reconstruction.method), selection, memory_budget(memory_bytes))
    say("finding the rotation axis")
    axis = resolve_axis(Preprocessor(scan, recipe, selection), scan, recipe, selection)
    if isinstance(axis, AxisResult):
        resolved = recipe.changed(rotation_axis=AxisValue(value=axis.rotation_axis))
        notes.append(f"rotation axis {axis.rotation_axis:.2f} by {axis.method}: {axis.note}")
    else:
        resolved = recipe
    shape = (selection.slices, selection.width, selection.width)
    chunks = chunk_shape(shape, selection.angles_deg.size)
    return Plan(
        recipe=recipe,
        resolved=resolved,
        selection=selection,
        shape=shape,
        chunks=chunks,
        slabs=cut_into_slabs(shape[0], chunks[0]),
        axis=axis,
        voxel_size_um=voxel,
        notes=tuple(notes),
    )


def chunk_shape(shape: tuple[int, int, int], angles: int) -> tuple[int, int, int]:
    """Return the chunks of a volume (z, y, x): 8 to 64 slices, about a second's work, and 64 x 64 pixels.

    It depends only on the problem, never on the machine, so a volume can be finished elsewhere.
    """
    slices, rows, columns = shape
    rows_per_second = SLAB_WORK / max(angles * columns * columns, 1)
    wanted = ROW_MULTIPLE * 2 ** round(math.log2(max(rows_per_second, 1) / ROW_MULTIPLE))
    depth = min(max(int(wanted), ROW_MULTIPLE), 64, max(slices, 1))
    return depth, min(CHUNK_EDGE, rows), min(CHUNK_EDGE, columns)


def cut_into_slabs(slices: int, depth: int) -> tuple[Slab, ...]:
    """Return the slabs of a volume: `depth` slices each, the last perhaps fewer."""
    starts = range(0, slices, depth)
    return tuple(Slab(i, start, min(start + depth, slices)) for i, start in enumerate(starts))


def reconstruction_options(stage: Reconstruction) -> ReconstructionOptions:
    """Return a recipe's reconstruction stage in the engine's terms."""
    return ReconstructionOptions(
        filter_name=FilterName(stage.filter),
        filter_cutoff=stage.filter_cutoff,
        butterworth_order=stage.filter_order,
        padding=Padding(stage.padding),
        mask_circle=stage.circular_mask,
    )


def _check_flats(scan: TomoScan, recipe: Recipe) -> list[str]:
    stage = recipe.flat_field
    if not isinstance(stage, StandardFlatField):
        return []
    notes = []
    for name, frames, wish in (
        ("flats", scan.flats, stage.missing_flats),
        ("darks", scan.darks, stage.missing_darks),
    ):
        if frames is not None:
            continue
        if wish == "error":
            raise MissingDataError(
                scan.origin.location,
                f"the scan has no {name}",
                dataset=scan.origin.datasets.get(name),
                hint=f"To go without, set flat_field.missing_{name} to 'ignore' in the recipe",
            )
        notes.append(f"the scan has no {name}; reconstructed without")
    if scan.flats is not None and scan.flats.shape[0] == 0:
        raise InputError(scan.origin.location, "the stack of flats is empty")
    return notes


def _silent(_message: str) -> None:
    """Say nothing."""
