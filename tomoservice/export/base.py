"""Volumes as files for people: one writer per format, nothing half-written left behind."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tomoservice.pipeline import Plan

from tomoservice.errors import OutputError

REMOVE_S = 5.0
HDF5_ENDINGS = frozenset({".h5", ".hdf5", ".nxs"})
OWN_SLICES = re.compile(r"slice_\d+\.tiff|recipe\.yml|record\.json")


@dataclass(frozen=True, slots=True)
class VolumeForm:
    """Shape and meaning of a volume that is about to be written."""

    shape: tuple[int, int, int]
    """Slices, rows and columns (z, y, x)."""
    chunks: tuple[int, int, int]
    """Chunks that formats with chunks use; the first is the number of slices written at once."""
    voxel_size_um: float | None
    """Edge of a voxel in micrometres, if known."""
    units: str
    """Unit of a grey value: 1/pixel or 1/cm."""
    dtype: str = "float32"
    """Type of the stored numbers: float32, uint16 or uint8."""
    slope: float = 1.0
    """Grey value = slope x number + offset."""
    offset: float = 0.0
    """Grey value of the number 0."""
    axis_pixel: tuple[float, float] | None = None
    """Row and column of the rotation axis in a slice; by default its middle."""
    middle: float | None = None
    """Slice where z is 0; by default the middle one."""
    start: tuple[int, int, int] = (0, 0, 0)
    """Voxel (z, y, x) of the whole volume where this part of it begins."""

    @classmethod
    def of(cls, plan: Plan) -> VolumeForm:
        """Return the form of a planned volume."""
        return cls(
            plan.shape,
            plan.chunks,
            plan.voxel_size_um,
            plan.units,
            dtype=plan.dtype,
            axis_pixel=plan.axis_pixel,
            slope=plan.scaling.get("slope", 1.0),
            offset=plan.scaling.get("offset", 0.0),
        )

    @classmethod
    def described(
        cls,
        shape: tuple[int, int, int],
        chunks: tuple[int, int, int],
        dtype: str,
        geometry: Mapping[str, Any],
    ) -> VolumeForm:
        """Return the form of a volume that exists, from what its record says under `geometry`."""
        pixel, start = geometry.get("axis_pixel"), geometry.get("start")
        return cls(
            shape,
            chunks,
            geometry.get("voxel_size_um"),
            geometry.get("units", ""),
            dtype=dtype,
            slope=geometry.get("slope", 1.0),
            offset=geometry.get("offset", 0.0),
            axis_pixel=None if pixel is None else (pixel[0], pixel[1]),
            middle=geometry.get("middle"),
            start=(0, 0, 0) if start is None else (start[0], start[1], start[2]),
        )

    @property
    def geometry(self) -> dict[str, Any]:
        """What `described` reads, as plain JSON types."""
        middle, row, column = self.origin
        whole = np.dtype(self.dtype).kind != "f"
        return {
            "voxel_size_um": self.voxel_size_um,
            "units": self.units,
            "dtype": self.dtype,
            **({"slope": self.slope, "offset": self.offset} if whole else {}),
            "axis_pixel": [row, column],
            "middle": middle,
            "start": list(self.start),
        }

    @property
    def origin(self) -> tuple[float, float, float]:
        """Slice, row and column where coordinates are 0: the middle slice, on the rotation axis."""
        slices, rows, columns = self.shape
        row, column = self.axis_pixel or ((rows - 1) / 2, (columns - 1) / 2)
        middle = (slices - 1) / 2 if self.middle is None else self.middle
        return middle, row, column

    def part(self, box: tuple[slice, slice, slice]) -> VolumeForm:
        """Return the form of a part (z, y, x) of the volume; its voxels stay where they are."""
        z, row, column = (have - cut.start for have, cut in zip(self.origin, box, strict=True))
        depth, height, width = (cut.stop - cut.start for cut in box)
        chunks = self.chunks
        return replace(
            self,
            shape=(depth, height, width),
            chunks=(min(chunks[0], depth), min(chunks[1], height), min(chunks[2], width)),
            start=(self.start[0] + box[0].start, self.start[1] + box[1].start, self.start[2] + box[2].start),
            axis_pixel=(row, column),
            middle=z,
        )

    @property
    def scaling(self) -> dict[str, float]:
        """Slope and offset under the names that CF and NeXus readers know; empty for grey values as such."""
        whole = np.dtype(self.dtype).kind != "f"
        return {"scale_factor": self.slope, "add_offset": self.offset} if whole else {}


def never() -> bool:
    """Say that nobody asked to stop."""
    return False


class VolumeWriter(Protocol):
    """Writes a volume slab by slab into a place that is not its final one."""

    def write(self, start: int, slices: NDArray[Any]) -> None:
        """Store slices (z, y, x), of the form's type, at z = `start`."""

    def finish(self, record: Mapping[str, Any], cancelled: Callable[[], bool] = never) -> None:
        """Store the record of how the volume was made, and whatever is made from the volume as a whole.

        Raises
        ------
        CancelledError
            If `cancelled` said so.
        """

    def close(self) -> None:
        """Close without finishing; may be called twice."""


WriterFactory = Callable[[Path, VolumeForm], VolumeWriter]


def writer_factory(path: Path) -> WriterFactory:
    """Return the writer for the format that `path` names by its ending.

    Raises
    ------
    OutputError
        If the ending names no format.
    """
    ending = path.suffix.lower()
    if ending in HDF5_ENDINGS:
        from tomoservice.export.hdf5 import Hdf5Writer

        return Hdf5Writer
    if ending == ".zarr":
        from tomoservice.export.zarr_store import OmeZarrWriter, ZarrWriter

        return OmeZarrWriter if path.stem.lower().endswith(".ome") else ZarrWriter
    if ending in {".tiff", ".tif", ""}:
        from tomoservice.export.tiff import TiffWriter

        return TiffWriter
    raise OutputError(
        f"{path}: no format is known for {ending!r}; give a path that ends in .h5 (one HDF5 file), "
        ".ome.zarr (OME-Zarr at several scales), .zarr (a Zarr array) or .tiff (a directory of TIFF slices)"
    )


def check_output(path: Path, *, overwrite: bool, inputs: tuple[str, ...] = ()) -> None:
    """Refuse an output that would destroy something, before any computing.

    Parameters
    ----------
    path
        Where the volume is to go.
    overwrite
        Whether an existing volume of ours may be replaced; anything else is never replaced.
    inputs
        Files and folders that were read; nothing is written over them or into them.

    Raises
    ------
    OutputError
        If `path` is an input or lies in one, exists, or its folder cannot be written.
    """
    writer_factory(path)
    place = path.resolve()
    if path.name in {"", ".."}:
        raise OutputError(f"{path}: names no file or folder of its own; give one")
    for entry in (Path(name).resolve() for name in inputs):
        if place == entry or place in entry.parents:
            raise OutputError(
                f"{path}: is the input itself, or holds it; raw data is never replaced. Choose another output"
            )
        if entry.is_dir() and entry in place.parents:
            raise OutputError(f"{path}: lies inside the input {entry}; raw data stays as it is")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; choose another output or pass --overwrite")
    if path.exists() and not is_volume(path):
        raise OutputError(f"{path}: is not a volume that tomoservice wrote, so it is not replaced")
    if not place.parent.is_dir():
        raise OutputError(f"{path}: the folder {place.parent} does not exist")
    if not os.access(place.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {place.parent} cannot be written")


def is_volume(path: Path) -> bool:
    """Tell whether what stands at `path` has the form of a volume that one of our writers made."""
    if path.suffix.lower() in HDF5_ENDINGS:
        return path.is_file()
    if path.suffix.lower() == ".zarr":
        return (path / "zarr.json").is_file()
    return (path / "record.json").is_file() and all(
        OWN_SLICES.fullmatch(file.name) for file in path.iterdir()
    )


@contextmanager
def volume_output(path: Path, form: VolumeForm, *, overwrite: bool = False) -> Iterator[VolumeWriter]:
    """Write a volume to `path`, which appears only once `finish` has been called.

    The volume grows in a hidden neighbour that is renamed at the end, and removed when anything goes
    wrong.

    Parameters
    ----------
    path
        Where the volume goes.
    form
        Shape and meaning.
    overwrite
        Whether a volume that stands at `path` by then is replaced.

    Raises
    ------
    OutputError
        If the volume cannot be written: the disk is full, say, or something stands at `path` by now.
    """
    partial = path.with_name(f".{path.name}.partial-{uuid.uuid4().hex[:8]}")
    writer: VolumeWriter | None = None
    try:
        writer = writer_factory(path)(partial, form)
        yield writer
        writer.close()
        check_output(path, overwrite=overwrite)
        _replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error}") from error
    finally:
        if writer is not None:
            writer.close()
        _remove(partial)


def _replace(partial: Path, path: Path) -> None:
    if not path.is_dir():
        partial.replace(path)
        return
    old = path.with_name(f".{path.name}.old-{uuid.uuid4().hex[:8]}")
    path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    """Remove a file or a folder; other threads of a library may still be writing into the latter."""
    deadline = time.monotonic() + REMOVE_S
    while path.is_dir() and time.monotonic() < deadline:
        shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.05)
    if not path.is_dir():
        path.unlink(missing_ok=True)
