"""What a volume will look like, as far as a recipe and the geometry of a scan tell without any frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tomoservice.errors import GeometryError, RecipeError
from tomoservice.pipeline.axis import check_inside
from tomoservice.pipeline.layout import chunk_shape
from tomoservice.pipeline.options import is_half_acquisition, slice_size
from tomoservice.pipeline.selection import Selection, select
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.rotation_axis import AxisValue
from tomoservice.recon import get_reconstructor
from tomoservice.recon.half_acquisition import check_whole_turn
from tomoservice.scan import TomoScan


@dataclass(frozen=True, slots=True)
class Outline:
    """Shape, chunks and type of a volume."""

    shape: tuple[int, int, int]
    """Shape of the volume (z, y, x)."""
    chunks: tuple[int, int, int]
    """Shape of a chunk (z, y, x); z is the number of slices of a slab."""
    dtype: str
    """Type of the numbers that the volume holds."""


def outline(scan: TomoScan, recipe: Recipe) -> Outline | None:
    """Return what the volume will look like, or None if that depends on where the rotation axis is.

    Reads no frame, so it takes no longer than opening the scan did.

    Parameters
    ----------
    scan
        The scan.
    recipe
        The recipe as asked, or resolved.

    Raises
    ------
    RecipeError
        If the recipe does not fit the scan: names the field.
    GeometryError
        If the angles make no tomogram.
    """
    selection = select(scan, recipe)
    size = _size(recipe, selection)
    if size is None:
        return None
    chunks = chunks_of(recipe, selection, size)
    return Outline(cropped_shape(recipe, selection.slices, size), chunks, recipe.output.dtype)


def _size(recipe: Recipe, selection: Selection) -> int | None:
    """Return the edge of a slice, if it does not depend on an axis that is still to be found."""
    stage, width = recipe.reconstruction, selection.width
    if isinstance(recipe.rotation_axis, AxisValue):
        check_inside(recipe.rotation_axis.value, "got", recipe, selection)
        axis = selection.axis(recipe.rotation_axis.value)
        half = is_half_acquisition(stage, selection.angles_deg, width, axis)
        return slice_size(width, axis, half_acquisition=half)
    if stage.half_acquisition == "off":
        return width
    try:
        check_whole_turn(np.deg2rad(selection.angles_deg))
    except GeometryError:
        return width if stage.half_acquisition == "auto" else None
    return None


def chunks_of(
    recipe: Recipe, selection: Selection, size: int, depth: int | None = None
) -> tuple[int, int, int]:
    """Return the chunks of a volume whose slices are `size` pixels wide before they are cropped.

    `depth`, if given, is how many slices a slab has already.
    """
    group = get_reconstructor(recipe.reconstruction.method).row_group
    shape = (selection.slices, size, size)
    chunks = chunk_shape(shape, selection.angles_deg.size, row_group=group)
    return chunks if depth is None else (depth, *chunks[1:])


def cropped_shape(recipe: Recipe, slices: int, size: int) -> tuple[int, int, int]:
    """Return the shape of the volume, or say that there is less of a slice than the recipe keeps."""
    crop = recipe.output.crop
    edges = []
    for name, kept in (("rows", crop.rows), ("columns", crop.columns)):
        stop = size if kept.stop is None else kept.stop
        if kept.start >= size or stop > size:
            raise RecipeError(
                f"output.crop.{name}: got {kept.start} to {stop}, but a slice has {size} {name}",
                name=recipe.name or "recipe",
            )
        edges.append(stop - kept.start)
    return slices, edges[0], edges[1]
