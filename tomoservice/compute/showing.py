"""What workers do for whoever looks: previews by any recipe, searches for the axis, thumbnails."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import AxisResult
from tomoservice.compute.base import Line
from tomoservice.compute.orders import RunAddress
from tomoservice.compute.pictures import binned, binning_for
from tomoservice.compute.workbench import Workbench
from tomoservice.devices import DeviceChoice
from tomoservice.errors import InputError, RecipeError
from tomoservice.pipeline.coarse import Across
from tomoservice.pipeline.previews import Preview, Previewer
from tomoservice.recipe import Recipe, parse_recipe


@dataclass(frozen=True)
class Shown:
    """A preview on its way to whoever wants to see it."""

    image: NDArray[np.float32]
    """(y, x) slice, (z, x) or (z, y) plane, (angle, column) sinogram or (row, column) projection."""
    recipe: dict[str, Any]
    """The recipe with every automatic value filled in."""
    notes: tuple[str, ...]
    """What had to be decided."""
    units: str
    """Of the grey values."""
    timings_s: dict[str, float]
    """Seconds per stage; stages that were kept from before are absent."""
    full_shape: tuple[int, int]
    """Shape before pixels were averaged."""
    binning: int
    """How many pixels have become one, in each direction."""


class View(StrEnum):
    """What a preview shows."""

    SLICE = "slice"
    """Slice of the volume (y, x)."""
    XZ = "xz"
    """Plane of the volume along the rotation axis, seen from the front (z, x)."""
    YZ = "yz"
    """Plane of the volume along the rotation axis, seen from the side (z, y)."""
    SINOGRAM = "sinogram"
    """Sinogram (angle, column) as it is reconstructed: line integrals."""
    RECORDED_SINOGRAM = "recorded-sinogram"
    """Sinogram (angle, column) after the flat field and the logarithm, and nothing else."""
    PROJECTION = "projection"
    """Projection (row, column) after the flat field and the logarithm."""
    RECORDED_PROJECTION = "recorded-projection"
    """Projection (row, column) as the detector counted it."""


PLANES = {View.XZ: Across.Y, View.YZ: Across.X}
"""Axis of the volume that a plane is perpendicular to."""
PLANE_WIDTH = 256
"""Columns of a plane along the rotation axis, at most, unless something else is said: it takes all slices."""


@dataclass(frozen=True)
class PreviewOrder:
    """A preview that somebody wants to see."""

    run: RunAddress
    """Of what."""
    recipe: dict[str, Any]
    """As asked."""
    view: View
    """Which picture."""
    number: int
    """Slice of the volume (z), place of a plane (y or x), or line of the sinograms for projections."""
    max_width: int | None = None
    """Columns of the picture, at most: pixels are averaged until they are. Planes along the rotation axis are
    made of so large voxels; they have `PLANE_WIDTH` columns unless something else is said."""
    memory_bytes: int | None = None
    """Memory of the worker process; by default half of what is free."""
    device: str = "auto"
    """What computes a slice."""

    @property
    def width(self) -> int | None:
        """Columns of the picture, at most, if there is a limit."""
        return self.max_width or (PLANE_WIDTH if self.view in PLANES else None)


def show(bench: Workbench, line: Line, order: PreviewOrder) -> Shown:
    """Make a preview, with what is kept of earlier ones.

    Raises
    ------
    CancelledError
        `line` said so.
    TomoserviceError
        The scan cannot be read, or does not fit the recipe.
    """
    recipe = parse_recipe(order.recipe)
    with bench.previewer(order.run, order.memory_bytes) as previewer:
        preview = _look(previewer, line, recipe, order)
    image = preview.image
    # Planes come as small as they are wanted, unless there are too few slices to bin.
    further = binning_for(image.shape[1], order.width)
    return Shown(
        image=binned(image, further),
        recipe=preview.resolved.dump(),
        notes=preview.notes,
        units=_units(recipe, order.view),
        timings_s=preview.timings_s,
        full_shape=(image.shape[0] * preview.binning, image.shape[1] * preview.binning),
        binning=preview.binning * further,
    )


def _look(previewer: Previewer, line: Line, recipe: Recipe, order: PreviewOrder) -> Preview:
    stop, number, device = line.should_stop, order.number, DeviceChoice.parse(order.device)
    match order.view:
        case View.SLICE:
            return previewer.slice(recipe, number, device=device, cancelled=stop)
        case View.XZ | View.YZ:
            across, width = PLANES[order.view], order.width or PLANE_WIDTH
            return previewer.plane(recipe, across, number, max_width=width, device=device, cancelled=stop)
        case View.SINOGRAM | View.RECORDED_SINOGRAM:
            corrected = order.view is View.SINOGRAM
            return previewer.sinogram(recipe, number, corrected=corrected, cancelled=stop)
        case View.PROJECTION | View.RECORDED_PROJECTION:
            return previewer.projection(recipe, number, corrected=order.view is View.PROJECTION)
        case _:
            assert_never(order.view)


def _units(recipe: Recipe, view: View) -> str:
    match view:
        case View.SLICE | View.XZ | View.YZ:
            return "1/cm" if recipe.output.units == "per_cm" else "1/pixel"
        case View.RECORDED_PROJECTION:
            return "counts"
        case _:
            return ""


def thumbnail(
    bench: Workbench, line: Line, run: RunAddress, max_width: int, memory_bytes: int | None = None
) -> NDArray[np.float32]:
    """Return the projection in the middle of a run (row, column), small.

    It is divided by the flat field if that can be done, and otherwise shown as the detector counted it.

    Raises
    ------
    InputError
        The scan cannot be read.
    """
    del line
    recipe = Recipe()
    with bench.previewer(run, memory_bytes) as previewer:
        number = previewer.scan.shape[0] // 2
        try:
            image = previewer.projection(recipe, number).image
        except InputError:
            image = previewer.projection(recipe, number, corrected=False).image
    return binned(image, binning_for(image.shape[1], max_width))


def search_axis(
    bench: Workbench, line: Line, run: RunAddress, recipe: dict[str, Any], memory_bytes: int | None = None
) -> AxisResult:
    """Search the rotation axis as a recipe says, and return value, curve and confidence.

    Raises
    ------
    RecipeError
        If the recipe gives a value instead of a method.
    """
    asked = parse_recipe(recipe)
    with bench.previewer(run, memory_bytes) as previewer:
        found = previewer.plan(asked, cancelled=line.should_stop).axis
    if found is None:
        raise RecipeError("rotation_axis.method: got 'value', wants a method to find the axis")
    return found
