"""A volume as a directory of TIFF slices."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray

from tomoservice.export.base import VolumeForm, never
from tomoservice.recipe.text import write_yaml


class TiffWriter:
    """Writes `slice_00000.tiff` and so on, with `recipe.yml` and `record.json` beside them."""

    def __init__(self, path: Path, form: VolumeForm) -> None:
        path.mkdir()
        self._folder = path
        self._form = form

    def write(self, start: int, slices: NDArray[Any]) -> None:
        """Store slices (z, y, x) from z = `start`, a file each."""
        resolution = None
        if self._form.voxel_size_um is not None:
            per_cm = 1e4 / self._form.voxel_size_um
            resolution = (per_cm, per_cm)
        for offset, image in enumerate(slices):
            tifffile.imwrite(
                self._folder / f"slice_{start + offset:05d}.tiff",
                image,
                photometric="minisblack",
                resolution=resolution,
                resolutionunit=None if resolution is None else "CENTIMETER",
                metadata={"axes": "YX", "units": self._form.units, **self._form.scaling},
            )

    def finish(self, record: Mapping[str, Any], cancelled: Callable[[], bool] = never) -> None:
        """Store the record of how the volume was made."""
        del cancelled
        (self._folder / "recipe.yml").write_text(write_yaml(dict(record["recipe"])), "utf-8")
        (self._folder / "record.json").write_text(json.dumps(record, indent=2), "utf-8")

    def close(self) -> None:
        """Do nothing: every file is closed already."""
