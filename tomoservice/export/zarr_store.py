"""A volume as a Zarr array on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tomoservice.export.base import VolumeForm
from tomoservice.store import create_array


class ZarrWriter:
    """Writes a Zarr v3 array (z, y, x); the record goes into its attributes."""

    def __init__(self, path: Path, form: VolumeForm) -> None:
        attributes = {"axes": ["z", "y", "x"], "units": form.units, "voxel_size_um": form.voxel_size_um}
        attributes |= form.scaling
        self._array = create_array(path, form.shape, form.chunks, form.dtype, attributes)

    def write(self, start: int, slices: NDArray[Any]) -> None:
        """Store slices (z, y, x) at z = `start`."""
        self._array[start : start + len(slices)] = slices

    def finish(self, record: Mapping[str, Any]) -> None:
        """Store the record of how the volume was made."""
        self._array.attrs.update({"tomoservice": dict(record), "recipe": record["recipe"]})

    def close(self) -> None:
        """Do nothing: every write is on disk already."""
