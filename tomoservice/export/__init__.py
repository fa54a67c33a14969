"""Volumes as files for people: HDF5 (NXtomoproc), Zarr, TIFF slices."""

from __future__ import annotations

from tomoservice.export.base import (
    VolumeForm,
    VolumeWriter,
    check_output,
    is_volume,
    volume_output,
    writer_factory,
)
from tomoservice.export.exporting import ExportOptions, export_volume
from tomoservice.export.sources import StoredVolume, open_volume

__all__ = [
    "ExportOptions",
    "StoredVolume",
    "VolumeForm",
    "VolumeWriter",
    "check_output",
    "export_volume",
    "is_volume",
    "open_volume",
    "volume_output",
    "writer_factory",
]
