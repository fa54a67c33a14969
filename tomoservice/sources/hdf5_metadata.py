"""Single values in HDF5 files, with the units that their attributes name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from tomoservice.errors import InputError
from tomoservice.sources.hdf5 import find_dataset, has
from tomoservice.sources.units import Quantity, as_text, factor, unit_of


@dataclass(frozen=True, slots=True)
class Places:
    """Where a kind of file keeps its metadata, the best place first."""

    pixel_size: tuple[str, ...]
    """Data sets with the size of a pixel at the sample."""
    energy: tuple[str, ...]
    """Data sets with the photon energy."""
    distance: tuple[str, ...]
    """Data sets with the distance from sample to detector."""
    sample_name: tuple[str, ...]
    """Data sets with the name of the sample."""
    detector_pixel_size: tuple[str, ...] = ()
    """Data sets with the size of a pixel of the sensor, which is right only without magnification."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says about its scan."""

    pixel_size_um: float | None
    """Size of a pixel at the sample, in micrometres."""
    energy_kev: float | None
    """Photon energy in keV."""
    distance_mm: float | None
    """Distance from sample to detector in millimetres."""
    sample_name: str | None
    """Name of the sample."""


def read_metadata(group: h5py.Group, places: Places, notes: list[str]) -> Metadata:
    """Return what is found; what cannot be used is left out and said in `notes`, which is extended."""
    pixel_size = number(group, places.pixel_size, Quantity.LENGTH_UM, notes)
    if pixel_size is None:
        pixel_size = number(group, places.detector_pixel_size, Quantity.LENGTH_UM, notes)
        if pixel_size is not None:
            notes.append(
                f"the pixel size, {pixel_size:g} um, is that of the detector's own pixels: "
                "right only if nothing magnifies the image"
            )
    return Metadata(
        pixel_size_um=pixel_size,
        energy_kev=number(group, places.energy, Quantity.ENERGY_KEV, notes),
        distance_mm=number(group, places.distance, Quantity.DISTANCE_MM, notes),
        sample_name=text(group, places.sample_name),
    )


def number(group: h5py.Group, names: Iterable[str], quantity: Quantity, notes: list[str]) -> float | None:
    """Return the first positive value among data sets, in the package's unit.

    Parameters
    ----------
    group : h5py.Group
        Where relative names start.
    names : iterable of str
        Data sets to try, in this order.
    quantity : Quantity
        What the value is.
    notes : list of str
        Extended where a value is there but cannot be used.
    """
    for name in names:
        dataset = _dataset(group, name)
        if dataset is None:
            continue
        value = _scalar(dataset)
        if value is None or value <= 0:
            continue
        unit = unit_of(dataset.attrs)
        if unit is None:
            notes.append(f"{dataset.name} = {value:g} has no units and is ignored")
            continue
        by = factor(unit, quantity)
        if by is None:
            notes.append(f"{dataset.name} = {value:g} is in unknown unit {unit!r} and is ignored")
            continue
        return float(f"{value * by:.12g}")
    return None


def text(group: h5py.Group, names: Iterable[str]) -> str | None:
    """Return the first string among data sets that is not empty."""
    for name in names:
        dataset = _dataset(group, name)
        if dataset is not None and dataset.size:
            found = as_text(dataset[()]).strip()
            if found:
                return found
    return None


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset | None:
    if not has(group, name):
        return None
    try:
        return find_dataset(group, name)
    except InputError:
        # Metadata behind a dangling link is as good as absent: the scan can be reconstructed.
        return None


def _scalar(dataset: h5py.Dataset) -> float | None:
    if not dataset.size or dataset.dtype.kind not in "uif":
        return None
    values: Any = np.asarray(dataset[()], np.float64).reshape(-1)
    return float(values[0]) if np.isfinite(values[0]) else None
