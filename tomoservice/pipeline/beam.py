"""What the projections of a scan are divided by: its flats and darks, as the recipe wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import CancelledError, EngineError, RecipeError
from tomoservice.pipeline.memory import LARGEST_PIECE
from tomoservice.pipeline.reading import ProjectionReader, length
from tomoservice.pipeline.references import ChosenFrames, References
from tomoservice.pipeline.selection import Selection
from tomoservice.prep.flat_brightness import air_brightness, monitor_brightness
from tomoservice.prep.flat_components import (
    ComponentOptions,
    FlatComponents,
    component_weights,
    flat_components,
)
from tomoservice.prep.flat_field import OpenBeam, open_beam, reduce_frames
from tomoservice.prep.flat_pixels import bad_pixels
from tomoservice.prep.flat_time import FlatGroup, groups_at, groups_in_sequence, time_weights, without_frames
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.flat_field import (
    DynamicFlatField,
    MonitorNormalisation,
    NoFlatField,
    RegionNormalisation,
    StandardFlatField,
)
from tomoservice.scan import Frames, ImageKey, TomoScan

Floats = NDArray[np.floating[Any]]
WORKING_BYTES = 16
"""What is held for each pixel of a flat beside it: a copy, and squares in double precision."""
BANDS_PIECES = 2
"""Flats may take so many times what is read of the projections at once, which waits meanwhile."""


@dataclass(frozen=True, slots=True)
class Beam:
    """The beam of a scan; flats and darks are read for the rows that are asked for."""

    scan: TomoScan
    recipe: Recipe
    references: References
    level: float | None = None
    """Counts of the open beam, taken to be uniform, for a scan without flats."""
    groups: tuple[FlatGroup, ...] = ()
    """Flats taken at different times, if projections are divided by those of their own time."""
    components: FlatComponents | None = None
    """How the flats differ, for a beam that is fitted to each projection."""
    weights: Floats | None = None
    """(line, part): how much of each part of the beam stands in each line of a sinogram."""
    brightness: Floats | None = None
    """(line,): brightness of the beam in each line of a sinogram, relative to the flats."""
    piece_bytes: int = LARGEST_PIECE
    """Bytes of flats and darks that are looked at at once, as far as single rows allow."""

    @property
    def is_monitored(self) -> bool:
        """Whether a monitor tells how bright it was."""
        stage = self.recipe.flat_field
        return not isinstance(stage, NoFlatField) and isinstance(stage.normalisation, MonitorNormalisation)

    def open(self, rows: slice, columns: slice) -> OpenBeam:
        """Return the beam on some rows and columns of the detector."""
        stage = self.recipe.flat_field
        if isinstance(stage, NoFlatField):
            # Already divided by the beam; what is left to do is to mend values that are not finite.
            return open_beam(np.ones((length(rows), length(columns)), np.float32))
        if self.components is not None:
            return self._dynamic(self.components, rows, columns)
        combine = stage.combine if isinstance(stage, StandardFlatField) else "mean"
        dark = self.dark(rows, columns, combine)
        if self.scan.flats is None or not self.references.flats.size:
            return open_beam(np.full((length(rows), length(columns)), self.level, np.float32), dark)
        groups = [np.asarray(group.frames) for group in self.groups] or [self.references.flats]
        shape = length(rows), length(columns)
        reduced = np.empty((len(groups), *shape), np.float32)
        bad = np.zeros(shape, np.bool_) if stage.bad_pixels == "bridge" else None
        for flats, place in self._bands(self.scan.flats, rows, columns):
            if bad is not None:
                bad[place] = bad_pixels(flats[self.references.flats], None if dark is None else dark[place])
            for target, group in zip(reduced, groups, strict=True):
                target[place] = reduce_frames(flats[group], combine)
        return open_beam(reduced if self.groups else reduced[0], dark, bad=bad)

    def during(self, lines: NDArray[np.intp]) -> tuple[Floats | None, Floats | None]:
        """Return weights of the beam's parts and its brightness during projections, by sinogram line."""
        return (
            None if self.weights is None else self.weights[lines],
            None if self.brightness is None else self.brightness[lines],
        )

    def _dynamic(self, components: FlatComponents, rows: slice, columns: slice) -> OpenBeam:
        """Return the mean beam and its components; they are smoothed, which takes rows around and columns."""
        frames = self.scan.flats
        if frames is None:
            raise RecipeError("flat_field.method: got 'dynamic', but the scan has no flats")
        margin = components.row_margin
        wide, broad = (
            slice(max(part.start - margin, 0), min(part.stop + margin, size))
            for part, size in zip((rows, columns), frames.shape[1:], strict=True)
        )
        flats = frames[:, wide, broad][self.references.flats]
        dark = self.dark(wide, broad, "mean")
        stage = self.recipe.flat_field
        bridged = not isinstance(stage, NoFlatField) and stage.bad_pixels == "bridge"
        beam = components.beam(flats, dark, bad=bad_pixels(flats, dark) if bridged else None)
        inner = slice(rows.start - wide.start, rows.stop - wide.start, rows.step)
        across = slice(columns.start - broad.start, columns.stop - broad.start)
        return beam.part(inner, across)

    def dark(self, rows: slice, columns: slice, combine: str) -> NDArray[np.float32] | None:
        """Return the dark field (row, column) in counts, mean or median; None if there is none."""
        darks = self.scan.darks
        if darks is None or not self.references.darks.size:
            return None
        reduced = np.empty((length(rows), length(columns)), np.float32)
        for band, place in self._bands(darks, rows, columns):
            reduced[place] = reduce_frames(band[self.references.darks], combine)
        return reduced

    def _bands(self, frames: Frames, rows: slice, columns: slice) -> Iterator[tuple[NDArray[Any], slice]]:
        """Cut rows so that as much of all frames as fits is looked at at once; nothing looks across rows.

        Yields some rows of all frames, and their places among the rows that are wanted. Frames of which
        single rows cannot be read are read once, as they are.
        """
        one = frames.shape[0] * length(columns) * (frames.dtype.itemsize + WORKING_BYTES)
        most = max(BANDS_PIECES * self.piece_bytes // max(one, 1), 1)
        wanted = range(rows.start, rows.stop, rows.step or 1)
        whole = frames[:, rows, columns] if getattr(frames, "rows_together", 1) > most else None
        for begin in range(0, len(wanted), most):
            part = wanted[begin : begin + most]
            place = slice(begin, begin + len(part))
            if whole is not None:
                yield whole[:, place], place
            else:
                yield frames[:, slice(part.start, part.stop, part.step), columns], place


def look_at_beam(
    scan: TomoScan,
    recipe: Recipe,
    selection: Selection,
    references: References,
    *,
    piece_bytes: int = LARGEST_PIECE,
    cancelled: Callable[[], bool] | None = None,
) -> Beam:
    """Find out what has to be known of all frames before any row can be corrected.

    Reads all flats and darks; and, where the recipe asks for it, a region of all projections, or all of them.

    Raises
    ------
    RecipeError
        If the recipe asks for what the scan does not tell: names the field.
    EngineError
        If flats, readings or the region of air are of no use.
    CancelledError
        If `cancelled` said so.
    """
    stage = recipe.flat_field
    beam = Beam(scan, recipe, references, piece_bytes=piece_bytes)
    if isinstance(stage, NoFlatField):
        return beam
    reader = ProjectionReader(scan, selection, piece_bytes)
    without_flats = scan.flats is None or not beam.references.flats.size
    if isinstance(stage, DynamicFlatField):
        beam = _with_components(beam, stage, reader, cancelled)
    elif without_flats:
        beam = replace(beam, level=stage.open_beam or _open_beam_level(scan))
    elif stage.interpolation != "none":
        beam = _with_groups(beam, stage, selection)
    return _with_brightness(beam, reader, cancelled)


def _with_groups(beam: Beam, stage: StandardFlatField, selection: Selection) -> Beam:
    scan, name = beam.scan, beam.recipe.name or "recipe"
    flats = 0 if scan.flats is None else scan.flats.shape[0]
    positions = np.arange(scan.shape[0], dtype=np.float64)
    if stage.flat_positions is not None:
        groups = groups_at(flats, stage.flat_positions)
    else:
        keys = scan.image_keys
        told = keys is not None and (
            np.count_nonzero(keys == ImageKey.PROJECTION) == scan.shape[0]
            and np.count_nonzero(keys == ImageKey.FLAT) == flats
        )
        if keys is None or not told:
            raise RecipeError(
                f"flat_field.flat_positions: is needed for interpolation {stage.interpolation!r}: "
                "the scan does not tell when its flats were taken; give before which projections",
                name=name,
            )
        positions, groups = groups_in_sequence(keys)
    bad = np.setdiff1d(np.arange(flats), beam.references.flats)
    groups = without_frames(groups, [int(number) for number in bad])
    weights = time_weights(
        positions[selection.projections], [group.position for group in groups], stage.interpolation
    )
    return replace(beam, groups=tuple(groups), weights=_by_line(weights, selection))


def _with_components(
    beam: Beam, stage: DynamicFlatField, reader: ProjectionReader, cancelled: Callable[[], bool] | None
) -> Beam:
    scan, selection = beam.scan, reader.selection
    if scan.flats is None:
        raise RecipeError(
            "flat_field.method: got 'dynamic', but the scan has no flats; use 'standard'",
            name=beam.recipe.name or "recipe",
        )
    whole = slice(0, scan.shape[1]), slice(0, scan.shape[2])
    dark = beam.dark(*whole, "mean")
    options = ComponentOptions(stage.components, stage.smoothing, stage.downsampling)
    components = flat_components(ChosenFrames(scan.flats, beam.references.flats), dark, options)
    weights = np.empty((selection.angles_deg.size, 1 + components.count), np.float32)
    for places, frames in _heard(reader.pieces(*whole), cancelled):
        weights[places] = component_weights(frames, components)
    return replace(beam, components=components, weights=weights)


def _with_brightness(beam: Beam, reader: ProjectionReader, cancelled: Callable[[], bool] | None) -> Beam:
    stage = beam.recipe.flat_field
    if isinstance(stage, NoFlatField):
        return beam
    scan, selection = beam.scan, reader.selection
    normalisation, name = stage.normalisation, beam.recipe.name or "recipe"
    if isinstance(normalisation, MonitorNormalisation):
        readings = _readings(scan, normalisation, name)[selection.projections]
        flat = normalisation.flat_value or _flat_reading(beam, selection, name)
        brightness = monitor_brightness(readings, flat, selection.projections)
        return replace(beam, brightness=_by_line(brightness, selection))
    if not isinstance(normalisation, RegionNormalisation):
        return beam
    region = []
    for field, part, size in (
        ("rows", normalisation.rows, scan.shape[1]),
        ("columns", normalisation.columns, scan.shape[2]),
    ):
        stop = size if part.stop is None else part.stop
        if part.start >= size or stop > size:
            raise RecipeError(
                f"flat_field.normalisation.{field}: got {part.start} to {stop}, but the detector has {size} "
                f"{field}",
                name=name,
            )
        region.append(slice(part.start, stop))
    air = beam.open(*region)
    brightness = np.empty(selection.angles_deg.size, np.float64)
    for places, frames in _heard(reader.pieces(*region), cancelled):
        brightness[places] = air_brightness(frames, air, beam.during(places)[0])
    return replace(beam, brightness=brightness)


def _readings(scan: TomoScan, normalisation: MonitorNormalisation, name: str) -> Floats:
    """Return what the monitor read at all projections."""
    if normalisation.values is None:
        if scan.monitor is None:
            raise RecipeError(
                "flat_field.normalisation.values: are needed: the scan holds no readings of a beam monitor. "
                "Give one for each projection, or normalise by 'border' or 'region'",
                name=name,
            )
        return scan.monitor
    if len(normalisation.values) != scan.shape[0]:
        raise RecipeError(
            f"flat_field.normalisation.values: got {len(normalisation.values)} readings, "
            f"but the scan has {scan.shape[0]} projections",
            name=name,
        )
    return np.asarray(normalisation.values)


def _flat_reading(beam: Beam, selection: Selection, name: str) -> float | Floats:
    """Return what the monitor read at the flats: at all, or at those that each projection is divided by."""
    readings, used = beam.scan.flat_monitor, beam.references.flats
    if readings is None or not used.size:
        raise RecipeError(
            "flat_field.normalisation.flat_value: is needed: the scan holds no readings of the beam "
            "monitor at its flats",
            name=name,
        )
    dead = [number for number in used if not (np.isfinite(readings[number]) and readings[number] > 0)]
    if dead:
        raise EngineError(
            f"the monitor reads {readings[dead[0]]} at flat {dead[0]} ({len(dead)} such), which is no "
            "brightness; leave these flats out (flat_field.exclude_flats), or give "
            "flat_field.normalisation.flat_value"
        )
    if not beam.groups or beam.weights is None:
        return float(readings[used].mean())
    groups = np.array([readings[np.asarray(group.frames)].mean() for group in beam.groups])
    by_line: Floats = beam.weights @ groups
    return by_line[selection.places]


def about_monitor(beam: Beam) -> list[str]:
    """Say how the brightness of the beam changed, if a monitor tells it."""
    if not beam.is_monitored or beam.brightness is None:
        return []
    low, high = 100 * beam.brightness.min(), 100 * beam.brightness.max()
    return [f"the beam monitor read {low:.1f} to {high:.1f} % of what it read at the flats"]


def _heard(pieces: Any, cancelled: Callable[[], bool] | None) -> Any:
    """Pass pieces on until somebody says stop."""
    for piece in pieces:
        if cancelled is not None and cancelled():
            raise CancelledError("stopped while looking at the beam")
        yield piece


def _by_line(values: NDArray[Any], selection: Selection) -> NDArray[Any]:
    """Put values that stand in the order of acquisition into that of a sinogram's lines."""
    ordered = np.empty_like(values)
    ordered[selection.places] = values
    return ordered


def _open_beam_level(scan: TomoScan) -> float:
    """Return the counts of the open beam of a scan without flats.

    The brightest percent of a few projections over the whole frame: wherever the sample leaves part of
    the field of view free, that is the beam beside it.
    """
    count = scan.shape[0]
    sample = sorted({round(i * (count - 1) / 4) for i in range(5)})
    frames = np.stack([scan.projections[i] for i in sample])
    return float(np.nanpercentile(frames, 99))
