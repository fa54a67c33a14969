"""A volume as Zarr on disk: one array, or an OME-Zarr image with the volume at several resolutions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tomoservice.chunks import are_layers, write_layer
from tomoservice.export.base import VolumeForm, never
from tomoservice.export.ome import Placement
from tomoservice.export.pyramid import PyramidJob, publish_pyramid
from tomoservice.store import create_array

if TYPE_CHECKING:
    import zarr

BASE = "0"
RECORD = "tomoservice"
"""Attribute that holds the record."""


class ZarrWriter:
    """Writes a Zarr v3 array (z, y, x); the record goes into its attributes."""

    def __init__(self, path: Path, form: VolumeForm) -> None:
        self._array = create_array(path, form.shape, form.chunks, form.dtype, volume_attributes(form))

    def write(self, start: int, slices: NDArray[Any]) -> None:
        """Store slices (z, y, x) at z = `start`."""
        _store(self._array, start, slices)

    def finish(self, record: Mapping[str, Any], cancelled: Callable[[], bool] = never) -> None:
        """Store the record of how the volume was made."""
        del cancelled
        self._array.attrs.update(record_attributes(record))

    def close(self) -> None:
        """Do nothing: every write is on disk already."""


class OmeZarrWriter:
    """Writes a Zarr v3 group of the arrays 0, 1, ..., finest first; the record goes into its attributes.

    The layout is OME-NGFF 0.5, https://ngff.openmicroscopy.org/0.5/
    """

    def __init__(self, path: Path, form: VolumeForm) -> None:
        path.mkdir()
        self._path = path
        self._form = form
        self._array = create_array(path / BASE, form.shape, form.chunks, form.dtype)

    def write(self, start: int, slices: NDArray[Any]) -> None:
        """Store slices (z, y, x) at z = `start`."""
        _store(self._array, start, slices)

    def finish(self, record: Mapping[str, Any], cancelled: Callable[[], bool] = never) -> None:
        """Make the coarser levels, and store the record of how the volume was made."""
        job = PyramidJob(self._path, BASE, identity=uuid.uuid4().hex, cancelled=cancelled)
        placement = Placement(self._form.voxel_size_um, self._form.start)
        attributes = {**volume_attributes(self._form), **record_attributes(record)}
        publish_pyramid(job, record["scan"].get("sample_name") or "volume", placement, attributes)

    def close(self) -> None:
        """Do nothing: every write is on disk already."""


def _store(array: zarr.Array[Any], start: int, slices: NDArray[Any]) -> None:
    stop = start + len(slices)
    if are_layers(array, start, stop):
        write_layer(array, start, slices)
    else:
        # Where a layer does not fit into memory, Zarr joins its parts.
        array[start:stop] = slices


def volume_attributes(form: VolumeForm) -> dict[str, Any]:
    """Return what a volume's form says of its voxels, under the names that every Zarr of ours has."""
    described = {"axes": ["z", "y", "x"], "units": form.units, "voxel_size_um": form.voxel_size_um}
    return described | form.scaling


def record_attributes(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that hold the record of how a volume was made."""
    return {RECORD: dict(record), "recipe": record["recipe"]}
