"""What makes Zarr arrays of one volume an OME-Zarr image: OME-NGFF 0.5, https://ngff.openmicroscopy.org/0.5/.

A level is the volume at a resolution; level 0 is the volume itself. Coordinates are those of voxels' centres,
in the order of the array: z, y and x count upwards from the centre of the first voxel of the whole volume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.png import grey_window
from tomoservice.recon.binning import Factors, binned_shape
from tomoservice.store import GROUP, write_durably

VERSION = "0.5"
SMALLEST_EDGE = 64
"""Longest edge of the coarsest level, at most."""


@dataclass(frozen=True, slots=True)
class Level:
    """A volume at one resolution."""

    path: str
    """Name of its array in the group."""
    shape: tuple[int, int, int]
    """Voxels along z, y and x."""
    factors: Factors
    """Voxels of the volume that one voxel is the mean of, along z, y and x."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the voxels of an image are."""

    voxel_size_um: float | None
    """Edge of a voxel of level 0 in micrometres; without it coordinates count voxels."""
    start: tuple[int, int, int] = (0, 0, 0)
    """Voxel (z, y, x) of the whole volume where level 0 begins."""


def plan_levels(shape: tuple[int, int, int], base: str, smallest: int = SMALLEST_EDGE) -> tuple[Level, ...]:
    """Return the levels of a volume, each half as long as the one before along every axis that is not 1.

    Parameters
    ----------
    shape
        Of the volume (z, y, x).
    base
        Name of the array that is level 0; the others are called 1, 2, ...
    smallest
        The coarsest level is the first whose longest edge is no longer than this.
    """
    levels = [Level(base, shape, (1, 1, 1))]
    while max(levels[-1].shape) > smallest:
        last = levels[-1]
        steps = halving(last.shape)
        z, y, x = (have * step for have, step in zip(last.factors, steps, strict=True))
        levels.append(Level(str(len(levels)), binned_shape(last.shape, steps), (z, y, x)))
    return tuple(levels)


def halving(shape: tuple[int, int, int]) -> Factors:
    """Return by what a level of this shape is binned to give the next one."""
    z, y, x = (min(size, 2) for size in shape)
    return z, y, x


def ome_metadata(
    name: str, levels: Sequence[Level], placement: Placement, coarsest: NDArray[Any]
) -> dict[str, Any]:
    """Return the attribute `ome` of the group that holds the levels.

    Parameters
    ----------
    name
        What the image is called.
    levels
        From fine to coarse.
    placement
        Where the voxels are.
    coarsest
        (z, y, x) pixels of the last level, from which viewers' grey scale is chosen.
    """
    unit = {} if placement.voxel_size_um is None else {"unit": "micrometer"}
    return {
        "version": VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
                "datasets": [
                    {"path": level.path, "coordinateTransformations": _transformations(level, placement)}
                    for level in levels
                ],
                "type": "mean",
                "metadata": {"description": "each level is the mean of 2 x 2 x 2 voxels of the one before"},
            }
        ],
        "omero": {
            "channels": [
                {"label": name, "color": "FFFFFF", "active": True, "window": _window(coarsest)},
            ],
            "rdefs": {"model": "greyscale"},
        },
    }


def _transformations(level: Level, placement: Placement) -> list[dict[str, Any]]:
    size = 1.0 if placement.voxel_size_um is None else placement.voxel_size_um
    # The centre of the first block of f voxels lies (f - 1) / 2 voxels behind that of the first voxel.
    first = [
        size * (start + (factor - 1) / 2)
        for factor, start in zip(level.factors, placement.start, strict=True)
    ]
    return [
        {"type": "scale", "scale": [size * factor for factor in level.factors]},
        {"type": "translation", "translation": first},
    ]


def _window(pixels: NDArray[Any]) -> dict[str, float]:
    values = pixels.astype(np.float32)
    start, end = grey_window(values)
    if pixels.dtype.kind != "f":
        return {"min": 0.0, "max": float(np.iinfo(pixels.dtype).max), "start": start, "end": end}
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (start, end)
    return {"min": min(low, start), "max": max(high, end), "start": start, "end": end}


def write_group(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Make a folder of Zarr arrays a Zarr v3 group; it is one as a whole or not at all."""
    content = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    write_durably(folder / GROUP, json.dumps(content, indent=2))
