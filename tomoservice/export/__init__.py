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

__all__ = ["VolumeForm", "VolumeWriter", "check_output", "is_volume", "volume_output", "writer_factory"]
