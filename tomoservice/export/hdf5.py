"""A volume as one HDF5 file in the form of NeXus NXtomoproc."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice import __version__
from tomoservice.export.base import VolumeForm, never

UNKNOWN = "unknown"


class Hdf5Writer:
    """Writes `/entry/data/data` (z, y, x) and the record under `/entry/reconstruction`.

    The layout is NXtomoproc, https://manual.nexusformat.org/classes/applications/NXtomoproc.html

    The pixels are one contiguous block whose space is taken from the disk at the start, and are written past
    the HDF5 library: a disk that is full says so before the computing, and no open HDF5 file can be damaged.
    """

    def __init__(self, path: Path, form: VolumeForm) -> None:
        self._form = form
        self._path = path
        self._dtype = np.dtype(form.dtype).newbyteorder("<")
        self._slice_bytes = form.shape[1] * form.shape[2] * self._dtype.itemsize
        size = form.shape[0] * self._slice_bytes
        _take_space(path, size)
        with h5py.File(path, "w") as file:
            self._offset = _create_entry(file, form)
        _take_space(path, self._offset + size)
        self._pixels = path.open("r+b", buffering=0)

    def write(self, start: int, slices: NDArray[Any]) -> None:
        """Store slices (z, y, x) at z = `start`."""
        self._pixels.seek(self._offset + start * self._slice_bytes)
        left = np.ascontiguousarray(slices, self._dtype).data.cast("B")
        while left:
            left = left[self._pixels.write(left) :]

    def finish(self, record: Mapping[str, Any], cancelled: Callable[[], bool] = never) -> None:
        """Store the record of how the volume was made, and close."""
        del cancelled
        self.close()
        with h5py.File(self._path, "r+") as file:
            entry = file["entry"]
            sample = record["scan"].get("sample_name")
            entry["title"] = sample or "tomographic reconstruction"
            _group(entry, "sample", "NXsample")["name"] = sample or UNKNOWN
            process = _group(entry, "reconstruction", "NXprocess")
            process["program"] = "tomoservice"
            process["version"] = __version__
            process["date"] = datetime.now(UTC).isoformat()
            parameters = _group(process, "parameters", "NXparameters")
            parameters["raw_file"] = record["scan"]["location"]
            parameters["recipe"] = json.dumps(record["recipe"])
            process["record"] = json.dumps(record)

    def close(self) -> None:
        """Close the file."""
        self._pixels.close()


def _take_space(path: Path, size: int) -> None:
    """Make the file at least `size` bytes long, and make sure that the disk holds them."""
    with path.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _create_entry(file: h5py.File, form: VolumeForm) -> int:
    """Write everything but the pixels; return where in the file these belong."""
    # The path of defaults is what viewers follow to what they show first.
    file.attrs["default"] = "entry"
    entry = _group(file, "entry", "NXentry")
    entry.attrs["default"] = "data"
    entry["definition"] = "NXtomoproc"
    _describe_source(_group(entry, "instrument", "NXinstrument"))
    group = _group(entry, "data", "NXdata")
    group.attrs["signal"] = "data"
    group.attrs["axes"] = ["z", "y", "x"]
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(form.shape)
    pixel = h5py.h5t.py_create(np.dtype(form.dtype).newbyteorder("<"))
    data = h5py.Dataset(h5py.h5d.create(group.id, b"data", pixel, space, layout))
    data.attrs["units"] = form.units
    data.attrs.update(form.scaling)
    # The names that the definition asks for, of whole numbers and of grey values alike.
    data.attrs["transform"] = "grey value = scaling x number + offset"
    data.attrs["scaling"], data.attrs["offset"] = form.slope, form.offset
    step = form.voxel_size_um if form.voxel_size_um is not None else 1.0
    for name, size, origin in zip("zyx", form.shape, form.origin, strict=True):
        position = (np.arange(size) - origin) * step
        # y points up while rows count downwards
        group[name] = -position if name == "y" else position
        group[name].attrs["units"] = "um" if form.voxel_size_um is not None else "pixel"
    return int(data.id.get_offset())


def _describe_source(instrument: h5py.Group) -> None:
    """Write what the definition asks for; scans say nothing of the source but that it gives X-rays."""
    source = _group(instrument, "source", "NXsource")
    source["type"] = source["name"] = UNKNOWN
    source["probe"] = "x-ray"


def _group(parent: Any, name: str, nexus_class: str) -> Any:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group
