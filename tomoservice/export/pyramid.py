"""The same volume at ever lower resolutions, beside its array: what viewers need to show large volumes.

The array itself is level 0, so nothing is copied. A level is made from the one before, piece by piece within
a memory budget, in a hidden folder that is renamed when all of it is on disk.
"""

from __future__ import annotations

import itertools
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tomoservice.errors import CancelledError, MemoryBudgetError, OutputError
from tomoservice.export.ome import Level, Placement, halving, ome_metadata, plan_levels, write_group
from tomoservice.recon.binning import Factors, bin_volume
from tomoservice.store import create_array, sync_tree

if TYPE_CHECKING:
    import zarr

MEMORY_BYTES = 256 * 2**20
"""Memory that is enough for full speed."""
MADE_FROM = "made_from"
"""Attribute of a level: what identifies the volume that it was made from."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class PyramidJob:
    """What a pyramid is made of, and with.

    Parameters
    ----------
    folder
        Folder that holds the array of the volume, and is to hold the levels.
    base
        Name of the array (z, y, x) in it.
    identity
        What identifies the pixels. Levels that were made from the same ones are kept as they are.
    memory_bytes
        Memory that may be used.
    cancelled
        Asked about once a second whether to stop.
    """

    folder: Path
    base: str
    identity: str
    memory_bytes: int = MEMORY_BYTES
    cancelled: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Pyramid:
    """A volume at every resolution."""

    levels: tuple[Level, ...]
    """From fine to coarse."""
    ome: dict[str, Any]
    """The attribute `ome` of the group that holds them."""

    def numbered(self) -> Pyramid:
        """Return the pyramid as it is where its levels are called 0, 1, ..."""
        levels = tuple(replace(level, path=str(number)) for number, level in enumerate(self.levels))
        (image,) = self.ome["multiscales"]
        pairs = zip(image["datasets"], levels, strict=True)
        datasets = [{**dataset, "path": level.path} for dataset, level in pairs]
        return Pyramid(levels, {**self.ome, "multiscales": [{**image, "datasets": datasets}]})


def build_levels(job: PyramidJob) -> tuple[Level, ...]:
    """Build the levels of a volume that are not there yet; return all, from fine to coarse.

    Raises
    ------
    CancelledError
        If somebody asked to stop; levels that are complete stay.
    MemoryBudgetError
        If not even a chunk can be made within the budget.
    OutputError
        If a level cannot be written.
    """
    import zarr

    try:
        source = zarr.open_array(job.folder / job.base, mode="r")
        z, y, x = source.shape
        levels = plan_levels((z, y, x), job.base)
        for finer, level in itertools.pairwise(levels):
            if not _is_made(job, level):
                _build(job, source, halving(finer.shape), level)
            source = zarr.open_array(job.folder / level.path, mode="r")
    except (OSError, ValueError) as error:
        raise OutputError(f"the pyramid of {job.folder} cannot be written: {error}") from error
    return levels


def publish_pyramid(
    job: PyramidJob, name: str, placement: Placement, attributes: Mapping[str, Any]
) -> Pyramid:
    """Build what is missing of a pyramid and make its folder an OME-Zarr image.

    Parameters
    ----------
    job
        The volume.
    name
        What the image is called.
    placement
        Where its voxels are.
    attributes
        Further attributes of the group, as plain JSON types.

    Raises
    ------
    CancelledError, MemoryBudgetError, OutputError
        As `build_levels`.
    """
    import zarr

    levels = build_levels(job)
    coarsest = zarr.open_array(job.folder / levels[-1].path, mode="r")
    ome = ome_metadata(name, levels, placement, np.asarray(coarsest[...]))
    try:
        write_group(job.folder, {"ome": ome, **attributes})
    except OSError as error:
        raise OutputError(f"the pyramid of {job.folder} cannot be written: {error}") from error
    return Pyramid(levels, ome)


def _is_made(job: PyramidJob, level: Level) -> bool:
    """Tell whether a level is there, made from these pixels; what was made from others is removed."""
    import zarr

    folder = job.folder / level.path
    if not folder.exists():
        return False
    try:
        array = zarr.open_array(folder, mode="r")
        if array.attrs.get(MADE_FROM) == job.identity and array.shape == level.shape:
            return True
    except (OSError, ValueError):
        # Not an array at all: no better than one of other pixels.
        pass
    shutil.rmtree(folder)
    return False


def _build(job: PyramidJob, source: zarr.Array[Any], factors: Factors, level: Level) -> None:
    draft = job.folder / f".{level.path}.{uuid.uuid4().hex}"
    for leftover in job.folder.glob(f".{level.path}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    z, y, x = (min(pair) for pair in zip(source.chunks, level.shape, strict=True))
    try:
        target = create_array(draft, level.shape, (z, y, x), str(source.dtype), {MADE_FROM: job.identity})
        for box in _pieces(target, factors, job.memory_bytes):
            if job.cancelled():
                raise CancelledError(f"stopped while writing the pyramid of {job.folder}")
            target[box] = bin_volume(np.asarray(source[_finer(box, factors)]), factors)
        sync_tree(draft)
        try:
            draft.rename(job.folder / level.path)
        except OSError:
            # Another process that works on the same volume was quicker.
            if not _is_made(job, level):
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _finer(box: Box, factors: Factors) -> Box:
    """Return the part of the finer level that a part of the coarser one is made from."""
    z, y, x = (
        slice(part.start * factor, part.stop * factor) for part, factor in zip(box, factors, strict=True)
    )
    return z, y, x


def _pieces(target: zarr.Array[Any], factors: Factors, memory_bytes: int) -> Iterator[Box]:
    """Yield parts of an array, whole chunks each and as large as memory allows, that together are all of it.

    Raises
    ------
    MemoryBudgetError
        If a chunk is too large.
    """
    # A voxel, those that it comes from, and as much again for Zarr's decoding and encoding.
    per_voxel = 2 * target.dtype.itemsize * (1 + factors[0] * factors[1] * factors[2])
    piece = list(target.chunks)
    for axis in (2, 1, 0):
        others = per_voxel * piece[0] * piece[1] * piece[2] // piece[axis]
        fitting = memory_bytes // (others * target.chunks[axis])
        if fitting == 0:
            raise MemoryBudgetError(
                f"a chunk of {target.chunks} voxels takes {others * piece[axis] / 2**20:.0f} MiB to make, "
                f"the budget is {memory_bytes / 2**20:.0f} MiB"
            )
        piece[axis] = min(fitting * target.chunks[axis], target.shape[axis])
        if fitting * target.chunks[axis] < target.shape[axis]:
            break
    cuts = [
        [slice(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(target.shape, piece, strict=True)
    ]
    yield from itertools.product(*cuts)
