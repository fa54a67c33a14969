"""Volumes as files for people: one writer per format, nothing half-written left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import OutputError


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


class VolumeWriter(Protocol):
    """Writes a volume slab by slab into a place that is not its final one."""

    def write(self, start: int, slices: NDArray[np.float32]) -> None:
        """Store slices (z, y, x) at z = `start`."""

    def finish(self, record: Mapping[str, Any]) -> None:
        """Store the record of how the volume was made, and close."""

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
    if ending in {".h5", ".hdf5", ".nxs"}:
        from tomoservice.export.hdf5 import Hdf5Writer

        return Hdf5Writer
    if ending == ".zarr":
        from tomoservice.export.zarr_store import ZarrWriter

        return ZarrWriter
    if ending in {".tiff", ".tif", ""}:
        from tomoservice.export.tiff import TiffWriter

        return TiffWriter
    raise OutputError(
        f"{path}: no format is known for {ending!r}; give a path that ends in .h5 (one HDF5 file), "
        ".zarr (a Zarr array) or .tiff (a directory of TIFF slices)"
    )


def check_output(path: Path, *, overwrite: bool, inputs: tuple[str, ...] = ()) -> None:
    """Refuse an output that would destroy something, before any computing.

    Parameters
    ----------
    path
        Where the volume is to go.
    overwrite
        Whether an existing result may be replaced.
    inputs
        Files that were read; they are never replaced, whatever `overwrite` says.

    Raises
    ------
    OutputError
        If `path` is an input, exists, or its folder cannot be written.
    """
    writer_factory(path)
    taken = {Path(entry).resolve() for entry in inputs}
    if path.resolve() in taken or any(path.resolve() in entry.parents for entry in taken):
        raise OutputError(f"{path}: is the input itself; raw data is never replaced. Choose another output")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; choose another output or pass --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent.resolve()} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent.resolve()} cannot be written")


@contextmanager
def volume_output(path: Path, form: VolumeForm) -> Iterator[VolumeWriter]:
    """Write a volume to `path`, which appears only once `finish` has been called.

    The volume grows in a hidden neighbour that is renamed at the end, and removed when anything goes
    wrong. What stood at `path` before is replaced.

    Raises
    ------
    OutputError
        If the volume cannot be written: the disk is full, say.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    _remove(partial)
    writer: VolumeWriter | None = None
    try:
        writer = writer_factory(path)(partial, form)
        yield writer
        writer.close()
        _replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error}") from error
    finally:
        if writer is not None:
            writer.close()
        _remove(partial)


def _replace(partial: Path, path: Path) -> None:
    if path.is_dir():
        old = path.with_name(f".{path.name}.old-{os.getpid()}")
        path.rename(old)
        partial.rename(path)
        _remove(old)
    else:
        partial.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
