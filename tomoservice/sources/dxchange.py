"""DXchange HDF5 files, as the Advanced Photon Source writes them.

`/exchange/data`, `data_white`, `data_dark` and `theta`; De Carlo et al., doi:10.1107/S160057751401604X.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError, MissingDataError
from tomoservice.scan import ScanOrigin, TomoScan
from tomoservice.sources.angles import angles_from_dataset, match_counts
from tomoservice.sources.frames import LazyFrames, shorten
from tomoservice.sources.hdf5 import files_behind, find_dataset, has, open_frames, open_hdf5
from tomoservice.sources.hdf5_metadata import Places, read_metadata
from tomoservice.sources.units import as_text

PLACES = Places(
    pixel_size=(
        "/measurement/instrument/detector/actual_pixel_size_x",
        "/measurement/instrument/detection_system/objective/resolution",
        "/process/acquisition/pixel_size",
    ),
    detector_pixel_size=(
        "/measurement/instrument/detector/pixel_size",
        "/measurement/instrument/detector/pixel_size_x",
    ),
    energy=(
        "/measurement/instrument/monochromator/energy",
        "/measurement/instrument/beam/energy",
        "/process/acquisition/energy",
    ),
    distance=(
        "/measurement/instrument/camera_motor_stack/setup/camera_distance",
        "/measurement/instrument/detector_motor_stack/setup/camera_distance",
        "/measurement/instrument/sample_detector_distance",
        "/measurement/instrument/detector/distance",
        "/process/acquisition/distance",
    ),
    sample_name=("/measurement/sample/name", "/measurement/sample/description"),
)


def is_dxchange(file: h5py.File) -> bool:
    """Return whether the file looks like DXchange."""
    return has(file, "/exchange/data")


def open_dxchange(path: str | Path, *, angles_deg: NDArray[np.float64] | None = None) -> TomoScan:
    """Open a DXchange file.

    Parameters
    ----------
    path : str or Path
        HDF5 file.
    angles_deg : ndarray of float64, optional
        One angle per projection in degrees, instead of those in the file.

    Raises
    ------
    InputError
        If the file is damaged, a link in it leads nowhere, or angles are missing.
    """
    file = open_hdf5(Path(path))
    try:
        return _scan(file, angles_deg)
    except BaseException:
        file.close()
        raise


def _scan(file: h5py.File, angles_deg: NDArray[np.float64] | None) -> TomoScan:
    data = find_dataset(file, "/exchange/data")
    if data.ndim != 3:
        raise InputError(
            file.filename, f"must be (angle, row, column), has shape {data.shape}", dataset=data.name
        )
    _check_order(data)
    notes: list[str] = []
    projections = open_frames(data)
    count, angles, said = match_counts(projections.shape[0], _angles(file, angles_deg), file.filename)
    notes += said
    datasets = {"projections": "/exchange/data", "angles": "/exchange/theta"}
    if angles_deg is not None:
        datasets["angles"] = "given"
    files = list(files_behind(data))
    stacks: dict[str, LazyFrames | None] = {}
    for what, name in (("flats", "/exchange/data_white"), ("darks", "/exchange/data_dark")):
        stacks[what] = None
        if not has(file, name):
            notes.append(f"the file has no {name}: no {what}")
            continue
        dataset = find_dataset(file, name)
        stack = open_frames(dataset)
        if stack.shape[0] == 0:
            notes.append(f"{name} is empty: no {what}")
            continue
        stacks[what] = stack
        datasets[what] = name
        files.extend(files_behind(dataset))
    metadata = read_metadata(file, PLACES, notes)
    return TomoScan(
        projections=shorten(projections, count),
        angles_deg=angles,
        origin=ScanOrigin(
            "dxchange", str(file.filename), datasets, files=tuple(dict.fromkeys([str(file.filename), *files]))
        ),
        flats=stacks["flats"],
        darks=stacks["darks"],
        pixel_size_um=metadata.pixel_size_um,
        energy_kev=metadata.energy_kev,
        distance_mm=metadata.distance_mm,
        sample_name=metadata.sample_name,
        notes=tuple(notes),
        closer=file.close,
    )


def _check_order(data: h5py.Dataset) -> None:
    axes = as_text(data.attrs["axes"]).lower().split(":") if "axes" in data.attrs else []
    if len(axes) == 3 and "theta" in axes and axes[0] != "theta":
        raise InputError(
            data.file.filename,
            f"axes are {':'.join(axes)}, expected theta:y:x",
            dataset=data.name,
            hint="Write the projections as (angle, row, column)",
        )


def _angles(file: h5py.File, given: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if given is not None:
        return np.asarray(given, np.float64)
    if not has(file, "/exchange/theta"):
        raise MissingDataError(
            file.filename,
            "the file holds no angles",
            dataset="/exchange/theta",
            hint="Write one angle per projection there in degrees, or give the angles separately",
        )
    return angles_from_dataset(find_dataset(file, "/exchange/theta"))
