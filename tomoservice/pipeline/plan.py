"""A plan: what a recipe does to a scan, with everything decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import AxisResult
from tomoservice.devices import CPU, DeviceChoice
from tomoservice.errors import RecipeError
from tomoservice.pipeline.beam import Beam
from tomoservice.pipeline.chain import Chain, tilt
from tomoservice.pipeline.finishing import UM_PER_CM, Finisher
from tomoservice.pipeline.initial import InitialVolume
from tomoservice.pipeline.layout import Slab
from tomoservice.pipeline.memory import Problem
from tomoservice.pipeline.selection import Selection
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.frames import Range
from tomoservice.recipe.stages.rings import PolarRings as PolarRingStage
from tomoservice.recipe.stages.rotation_axis import AxisValue
from tomoservice.recon.finishing import Conversion
from tomoservice.recon.rings import PolarRings
from tomoservice.threads import available_threads

FLOAT_BYTES = 4
RING_SLICES = 12
"""Sizes of a slice that a thread holds while it removes its rings."""


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
    read_whole: bool
    """Whether the storage gives whole frames, however few rows are asked for."""
    conversion: Conversion | None
    """How grey values become whole numbers, or None if they are stored as they are."""
    beam: Beam
    """What the projections are divided by."""
    chain: Chain
    """What follows before the reconstruction."""
    blind_rows: tuple[int, ...]
    """Detector rows that are kept but have seen nothing."""
    voxel_size_um: float | None
    """Edge of a voxel in micrometres, if the scan tells the pixel size."""
    notes: tuple[str, ...]
    """What had to be decided, in sentences for the user."""
    initial: InitialVolume | None = None
    """What the iterations start from, if that is a volume."""
    device: DeviceChoice = CPU
    """What computes the slices; no part of the recipe, because it does not change them."""

    @property
    def rotation_axis(self) -> float:
        """Detector column of the rotation axis in the full frame."""
        axis = self.resolved.rotation_axis
        if not isinstance(axis, AxisValue):
            raise RecipeError("rotation_axis: a resolved recipe holds a value")
        return axis.value

    @property
    def tilt_deg(self) -> float:
        """Angle between the rotation axis and the detector's columns."""
        axis = self.resolved.rotation_axis
        return axis.tilt_deg if isinstance(axis, AxisValue) else 0.0

    def axes(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the column of the rotation axis in the sinograms of slices `start` to `stop`."""
        axis = self.resolved.rotation_axis
        if isinstance(axis, AxisValue) and axis.tilt_deg != 0:
            return tilt(axis, self.selection).axis.at(np.arange(start, stop))
        return np.full(stop - start, self.selection.axis(self.rotation_axis))

    @property
    def problem(self) -> Problem:
        """What the memory of the reconstruction depends on."""
        angles, width = self.selection.angles_deg.size, self.selection.width
        working = self.chain.working_bytes(angles, width)
        return Problem(
            slices=self.shape[0],
            angles=angles,
            width=width,
            size=self.size,
            depth=self.chunks[0],
            margin=self.chain.margin,
            frame_rows=self.selection.frame_rows // self.selection.binning,
            first_row=self.selection.first_row,
            working_bytes=working.fixed + self._ring_bytes() + self._initial_bytes(),
            working_bytes_per_row=working.per_row,
            read_whole=self.read_whole,
        )

    def _initial_bytes(self) -> int:
        """Return the memory that reading the slices takes from which the iterations start."""
        return 0 if self.initial is None else self.initial.working_bytes

    def _ring_bytes(self) -> int:
        """Return the memory that the removal of rings takes."""
        if self.finisher.rings is None:
            return 0
        return RING_SLICES * available_threads() * self.size * self.size * FLOAT_BYTES

    @property
    def finisher(self) -> Finisher:
        """What is done to slices after the reconstruction."""
        per_cm = self.recipe.output.units == "per_cm" and self.voxel_size_um is not None
        rings = self.recipe.rings
        return Finisher(
            rings=PolarRings(**rings.model_dump(exclude={"method"}))
            if isinstance(rings, PolarRingStage)
            else None,
            scale=UM_PER_CM / self.voxel_size_um if per_cm and self.voxel_size_um else 1.0,
            rows=self.slice_rows,
            columns=self.slice_columns,
            size=self.size,
        )

    @property
    def slice_rows(self) -> slice:
        """Rows of a slice, as the engine computes it, that the volume holds."""
        return _kept(self.recipe.output.crop.rows, self.size)

    @property
    def slice_columns(self) -> slice:
        """Columns of a slice, as the engine computes it, that the volume holds."""
        return _kept(self.recipe.output.crop.columns, self.size)

    @property
    def axis_pixel(self) -> tuple[float, float]:
        """Row and column of the rotation axis in a slice of the volume."""
        middle = (self.size - 1) / 2
        return middle - self.slice_rows.start, middle - self.slice_columns.start

    @property
    def dtype(self) -> str:
        """Type of the numbers that the volume holds."""
        return "float32" if self.conversion is None else self.conversion.dtype.value

    @property
    def scaling(self) -> dict[str, float]:
        """Slope and offset of whole numbers: grey value = slope x number + offset."""
        conversion = self.conversion
        return {} if conversion is None else {"slope": conversion.slope, "offset": conversion.offset}

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
            "axis_pixel": list(self.axis_pixel),
            "dtype": self.dtype,
            **self.scaling,
            "detector_rows": [kept.rows.start, kept.rows.stop],
            "detector_columns": [kept.columns.start, kept.columns.stop],
            "binning": kept.binning,
            "projections": int(kept.angles_deg.size),
            "first_angle_deg": float(kept.angles_deg[0]),
            "last_angle_deg": float(kept.angles_deg[-1]),
        }


def _kept(crop: Range, size: int) -> slice:
    return slice(crop.start, size if crop.stop is None else crop.stop)
