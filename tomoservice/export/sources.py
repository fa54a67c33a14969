"""Volumes that are on disk already, read part by part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError, OutputError
from tomoservice.export.base import HDF5_ENDINGS, VolumeForm
from tomoservice.export.zarr_store import RECORD
from tomoservice.scan import EarlierVolume
from tomoservice.store import GROUP, VOLUME, SlabStore

Box = tuple[slice, slice, slice]
"""Part (z, y, x) of a volume; each with a start and a stop."""


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume that exists somewhere."""

    location: str
    """Where: a path, or an address."""
    form: VolumeForm
    """Shape and meaning."""
    record: Mapping[str, Any]
    """How it was made; empty if nothing says."""
    read: Callable[[Box], NDArray[Any]]
    """Returns a part (z, y, x) of it, of the form's type."""
    files: tuple[str, ...] = ()
    """Files and folders that are read."""


@contextmanager
def open_volume(path: Path) -> Iterator[StoredVolume]:
    """Open a volume on disk.

    Parameters
    ----------
    path
        The folder of a reconstruction, or a volume that this package wrote: HDF5, a Zarr array, OME-Zarr.

    Raises
    ------
    InputError
        If it is none of these, or not complete.
    """
    if path.suffix.lower() in HDF5_ENDINGS and path.is_file():
        with _open_hdf5(path) as volume:
            yield volume
    elif (path / VOLUME).is_dir():
        yield _open_store(path)
    elif path.name == VOLUME and path.is_dir():
        yield _open_store(path.parent)
    elif (path / GROUP).is_file():
        yield _open_zarr(path)
    else:
        raise InputError(
            path,
            "is no volume that can be read",
            hint="Give the folder of a reconstruction, or an .h5, .zarr or .ome.zarr that tomoservice wrote",
        )


@contextmanager
def open_earlier_volume(path: Path) -> Iterator[EarlierVolume]:
    """Open a volume on disk, for iterations to start from; takes and raises what `open_volume` does."""
    with open_volume(path) as volume:
        yield earlier_volume(volume)


def earlier_volume(volume: StoredVolume) -> EarlierVolume:
    """Return a volume as reconstructions want it."""
    _, rows, columns = volume.form.shape
    return EarlierVolume(
        volume.location,
        volume.form.shape,
        {**volume.record.get("geometry", {}), **volume.form.geometry},
        lambda z: volume.read((z, slice(0, rows), slice(0, columns))),
        volume.files,
        volume.record.get("volume_checksum"),
    )


def stored_volume(store: SlabStore, record: Mapping[str, Any], location: str = "") -> StoredVolume:
    """Return the volume of a store, and what is known of how it was made."""
    geometry = record.get("geometry", {})
    form = VolumeForm.described(store.shape, store.chunks, str(store.dtype), geometry)
    array = store.array
    return StoredVolume(
        location or str(store.folder),
        form,
        record,
        lambda box: np.asarray(array[box]),
        (str(store.folder),),
    )


def _open_store(folder: Path) -> StoredVolume:
    try:
        store = SlabStore.open(folder)
        store.checksum()
    except OutputError as error:
        raise InputError(folder, str(error), hint="Only complete volumes are read as a whole") from error
    group = folder / GROUP
    attributes = json.loads(group.read_text("utf-8"))["attributes"] if group.exists() else {}
    return stored_volume(store, attributes.get(RECORD, {}))


def _open_zarr(path: Path) -> StoredVolume:
    import zarr

    node: Any = zarr.open(path, mode="r")
    attributes: dict[str, Any] = node.attrs.asdict()
    try:
        array: Any = node if isinstance(node, zarr.Array) else _finest(node, attributes)
        z, y, x = array.shape
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(path, "is no volume (z, y, x) in Zarr that tomoservice wrote") from error
    record = attributes.get(RECORD, {})
    described = {
        "voxel_size_um": attributes.get("voxel_size_um"),
        "units": attributes.get("units", ""),
        "slope": attributes.get("scale_factor", 1.0),
        "offset": attributes.get("add_offset", 0.0),
    }
    geometry = record.get("geometry", {}) | described
    form = VolumeForm.described((z, y, x), array.chunks, str(array.dtype), geometry)
    return StoredVolume(str(path), form, record, lambda box: np.asarray(array[box]), (str(path),))


def _finest(group: Any, attributes: Mapping[str, Any]) -> Any:
    return group[attributes["ome"]["multiscales"][0]["datasets"][0]["path"]]


@contextmanager
def _open_hdf5(path: Path) -> Iterator[StoredVolume]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(path, f"cannot be read: {error}") from error
    with file:
        data, record = file.get("entry/data/data"), file.get("entry/reconstruction/record")
        if not isinstance(data, h5py.Dataset) or not isinstance(record, h5py.Dataset) or data.ndim != 3:
            raise InputError(path, "holds no volume that tomoservice wrote", dataset="/entry/data/data")
        known = json.loads(record.asstr()[()])
        z, y, x = data.shape
        form = VolumeForm.described(
            # Slices lie one after the other.
            (z, y, x),
            (1, y, x),
            str(data.dtype),
            known.get("geometry", {}),
        )
        yield StoredVolume(str(path), form, known, lambda box: np.asarray(data[box]), (str(path),))
