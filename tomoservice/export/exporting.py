"""Volumes that exist, written once more in the form that somebody wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomoservice import __version__
from tomoservice.errors import CancelledError, GeometryError
from tomoservice.export.base import VolumeForm, check_output, never, volume_output
from tomoservice.export.sources import Box, StoredVolume
from tomoservice.pipeline.layout import CHUNK_EDGE
from tomoservice.recipe.stages.output import FixedRange, PercentileRange
from tomoservice.recon.finishing import Conversion, IntegerType, choose_range

Range = tuple[int, int | None]
"""Half-open; a stop of None is the end."""
Dtype = Literal["float32", "uint16", "uint8"]

PIECE_BYTES = 128 * 2**20
"""Voxels that are read at once take so much as float32."""
SAMPLES = 9
"""Slices from which the range of grey values is chosen."""
LEAST_DEPTH = 16
"""Slices of a chunk where the source has fewer."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is written."""

    dtype: Dtype | None = None
    """Type of the numbers; None for what the volume has."""
    grey_range: PercentileRange | FixedRange | None = None
    """Grey values that whole numbers stand for; the default percentiles if None."""
    z: Range = (0, None)
    """Slices."""
    y: Range = (0, None)
    """Rows of a slice."""
    x: Range = (0, None)
    """Columns of a slice."""
    overwrite: bool = False
    """Whether a volume of ours that stands there is replaced."""


def export_volume(
    volume: StoredVolume,
    path: Path,
    options: ExportOptions | None = None,
    *,
    advance: Callable[[int], None] = lambda _slices: None,
    cancelled: Callable[[], bool] = never,
) -> VolumeForm:
    """Write a volume, or a part of it, to a file or folder whose ending names the format.

    Parameters
    ----------
    volume
        What is read.
    path
        ``.h5``, ``.ome.zarr``, ``.zarr`` or ``.tiff``; appears when all of it is written.
    options
        What of it is written, and as what.
    advance
        Told how many more slices have been written.
    cancelled
        Asked about once a second whether to stop.

    Returns
    -------
    VolumeForm
        What has been written.

    Raises
    ------
    CancelledError
        If somebody asked to stop; nothing is left.
    GeometryError
        If the part is none of the volume.
    EngineError
        If there are no grey values to choose a range from.
    OutputError
        If something stands there already, or cannot be written.
    """
    chosen = options or ExportOptions()
    check_output(path, overwrite=chosen.overwrite, inputs=volume.files)
    box = _box(volume.form.shape, chosen)
    convert, form = _converter(volume, box, chosen)
    record = _record(volume, form, box)
    with volume_output(path, form, overwrite=chosen.overwrite) as writer:
        for start, stop in _layers(form):
            if cancelled():
                raise CancelledError(f"stopped while writing {path}")
            first = box[0].start
            part = volume.read((slice(first + start, first + stop), box[1], box[2]))
            writer.write(start, convert(part))
            advance(stop - start)
        writer.finish(record, cancelled)
    return form


def slices_of(volume: StoredVolume, options: ExportOptions) -> int:
    """Return how many slices are going to be written.

    Raises
    ------
    GeometryError
        If the part is none of the volume.
    """
    z = _box(volume.form.shape, options)[0]
    return int(z.stop - z.start)


def _box(shape: tuple[int, int, int], options: ExportOptions) -> Box:
    z, y, x = (
        _cut(name, size, kept)
        for name, size, kept in zip("zyx", shape, (options.z, options.y, options.x), strict=True)
    )
    return z, y, x


def _cut(name: str, size: int, kept: Range) -> slice:
    start, stop = kept[0], size if kept[1] is None else kept[1]
    if not 0 <= start < stop <= size:
        raise GeometryError(
            f"{name} {start} to {stop} is no part of a volume with {size} voxels along {name}"
        )
    return slice(start, stop)


def _converter(
    volume: StoredVolume, box: Box, options: ExportOptions
) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], VolumeForm]:
    """Return what turns stored numbers into those that are written, and their form."""
    have = volume.form
    form = have.part(box)
    depth = min(max(form.chunks[0], LEAST_DEPTH), form.shape[0])
    form = replace(form, chunks=(depth, min(form.chunks[1], CHUNK_EDGE), min(form.chunks[2], CHUNK_EDGE)))
    wanted = options.dtype or have.dtype
    if wanted == have.dtype and options.grey_range is None:
        return np.ascontiguousarray, form
    if wanted == "float32":
        return lambda numbers: _grey(numbers, have), replace(form, dtype=wanted, slope=1.0, offset=0.0)
    low, high = _range(volume, box, options.grey_range or PercentileRange())
    conversion = Conversion(IntegerType(wanted), low, high)
    scaled = replace(form, dtype=wanted, slope=conversion.slope, offset=conversion.offset)
    return lambda numbers: conversion.apply(_grey(numbers, have)), scaled


def _grey(numbers: NDArray[Any], form: VolumeForm) -> NDArray[np.float32]:
    if numbers.dtype.kind == "f":
        return numbers.astype(np.float32, copy=False)
    grey: NDArray[np.float32] = (numbers * form.slope + form.offset).astype(np.float32)
    return grey


def _range(volume: StoredVolume, box: Box, wanted: PercentileRange | FixedRange) -> tuple[float, float]:
    if isinstance(wanted, FixedRange):
        return wanted.low, wanted.high
    first, count = box[0].start, box[0].stop - box[0].start
    every = sorted({first + count * (2 * i + 1) // (2 * SAMPLES) for i in range(SAMPLES)})
    slices = [_grey(volume.read((slice(z, z + 1), box[1], box[2]))[0], volume.form) for z in every]
    return choose_range(slices, (wanted.low, wanted.high))


def _layers(form: VolumeForm) -> Iterator[tuple[int, int]]:
    """Yield ranges of slices, whole layers of chunks if memory allows."""
    depth, height, width = form.shape
    fitting = max(PIECE_BYTES // (4 * height * width), 1)
    step = fitting // form.chunks[0] * form.chunks[0] or fitting
    for start in range(0, depth, step):
        yield start, min(start + step, depth)


def _record(volume: StoredVolume, form: VolumeForm, box: Box) -> dict[str, Any]:
    """Return what goes with the copy: how the volume was made, and what was taken of it."""
    known = {"recipe": {}, "scan": {"location": volume.location}, **volume.record}
    geometry = {
        key: kept for key, kept in known.get("geometry", {}).items() if key not in {"slope", "offset"}
    }
    return {
        **known,
        "geometry": geometry | form.geometry,
        "export": {
            "source": volume.location,
            "z": [box[0].start, box[0].stop],
            "y": [box[1].start, box[1].stop],
            "x": [box[2].start, box[2].stop],
            "date": datetime.now(UTC).isoformat(),
            "version": __version__,
        },
    }
