"""Volumes at half the resolution: neighbouring voxels averaged into one.

Scope: rows without a margin; a layer of the result comes from as many layers of the volume as a factor says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError
from tomoservice.threads import available_threads, for_each

Factors = tuple[int, int, int]


def binned_shape(shape: tuple[int, int, int], factors: Factors) -> tuple[int, int, int]:
    """Return the shape of a volume (z, y, x) after binning; what is left over at an edge makes a voxel."""
    z, y, x = (-(-size // factor) for size, factor in zip(shape, factors, strict=True))
    return z, y, x


def bin_volume(volume: NDArray[Any], factors: Factors, *, threads: int | None = None) -> NDArray[Any]:
    """Average blocks of voxels.

    Parameters
    ----------
    volume : (z, y, x) array
        float32, or whole numbers. Not modified.
    factors : tuple of int
        Voxels of a block along z, y and x. Blocks at the far edges hold what is left.
    threads : int, optional
        Threads to use; by default as many as the process may.

    Returns
    -------
    (z, y, x) array of the same type
        Of each block the mean of the values that are not NaN, or NaN if there is none; of whole numbers the
        nearest one, halves upwards.

    Raises
    ------
    GeometryError
        If `volume` is no volume, or a factor is less than 1.
    """
    if volume.ndim != 3 or min(factors) < 1:
        raise GeometryError(f"cannot bin an array of shape {volume.shape} by {factors}")
    # Loaded when it is needed: Numba takes longer than all the rest.
    from tomoservice.recon._binning_kernel import average, average_whole

    depth, in_plane = factors[0], factors[1:]
    z, y, x = volume.shape
    result = np.empty(binned_shape((z, y, x), factors), volume.dtype)
    kernel = average if volume.dtype.kind == "f" else average_whole

    def work(layer: int) -> None:
        kernel(volume[layer * depth : (layer + 1) * depth], in_plane, result[layer])

    for_each(work, range(len(result)), threads or available_threads())
    return result
