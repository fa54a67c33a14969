"""The real scans, read straight from their files: the engine's tests use no source of the package."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice.prep.flat_field import correct, reduce_frames
from tomoservice.prep.minus_log import minus_log


def _sinograms(projections, flats, darks) -> NDArray[np.float32]:
    transmission = correct(projections, reduce_frames(flats), reduce_frames(darks))
    return np.ascontiguousarray(minus_log(transmission, minimum_transmission=1e-4).swapaxes(0, 1))


def tooth(data_dir: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return sinograms and angles in degrees of the tooth."""
    with h5py.File(data_dir / "tooth" / "tooth.h5") as file:
        group = file["exchange"]
        sinograms = _sinograms(group["data"][()], group["data_white"][()], group["data_dark"][()])
        return sinograms, group["theta"][()]


def savu(data_dir: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return sinograms and angles in degrees of Savu's test scan."""
    with h5py.File(data_dir / "savu_24737" / "24737.nxs") as file:
        entry = file["entry1/tomo_entry"]
        frames, key = entry["instrument/detector/data"][()], entry["instrument/detector/image_key"][()]
        sinograms = _sinograms(frames[key == 0], frames[key == 1], frames[key == 2])
        return sinograms, entry["sample/rotation_angle"][()][key == 0]
