"""Angles of a Bluesky run's projections, in one of the ways that a scan layout names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError, MissingDataError
from tomoservice.sources.angles import angles_from_dataset, angles_from_values
from tomoservice.sources.hdf5 import find_dataset, open_hdf5
from tomoservice.sources.layout import (
    UNIX_MINUS_EPICS_S,
    AngleDataset,
    AngleSource,
    Linspace,
    Monitor,
    ScanLayout,
    Values,
    look_up,
)
from tomoservice.sources.run_frames import RunStack
from tomoservice.sources.run_view import RunView

Found = tuple[NDArray[np.float64], str]
Namer = Callable[[tuple[str, ...]], tuple[str, ...]]


def angles_of_run(
    view: RunView, layout: ScanLayout, projections: RunStack, named: Namer, notes: list[str]
) -> Found:
    """Return the angle of every projection.

    Parameters
    ----------
    view : RunView
        Run.
    layout : ScanLayout
        Ways to the angles; the first that the run has everything for is taken.
    projections : RunStack
        Projections that want angles.
    named : callable
        Puts the detector's name into data keys.
    notes : list of str
        Extended by what the user should know.

    Returns
    -------
    angles_deg : ndarray of float64
        Angles in degrees; their number may differ from that of the projections.
    source : str
        Where they are from.

    Raises
    ------
    MissingDataError
        If the run has what none of the ways needs.
    """
    for source in layout.angles:
        found = _try(view, layout, source, projections, named, notes)
        if found is not None:
            return projections.per_frame(found[0]), found[1]
    looked_for = "; ".join(_describe(source, named) for source in layout.angles)
    raise MissingDataError(
        view.where,
        f"the run holds no angles (looked for {looked_for})",
        hint="Record them, or use a scan layout that says where they are",
    )


def _try(
    view: RunView,
    layout: ScanLayout,
    source: AngleSource,
    projections: RunStack,
    named: Namer,
    notes: list[str],
) -> Found | None:
    match source:
        case Values():
            return _values(view, source, layout.projections.stream, named)
        case Linspace():
            return _linspace(view, source)
        case Monitor():
            return _monitor(view, source, layout.projections.stream, named, notes)
        case AngleDataset():
            return _dataset(source, projections)


def _values(view: RunView, source: Values, own_stream: str, named: Namer) -> Found | None:
    stream = source.stream or own_stream
    key = view.first_key(stream, named(source.data_key))
    if key is None:
        return None
    name = f"{stream}/{key}"
    values = view.values(stream, key)
    return angles_from_values(values, view.where, name, unit=source.unit, scale=source.scale), name


def _linspace(view: RunView, source: Linspace) -> Found | None:
    parts = [look_up(view.start, part) if isinstance(part, str) else part
             for part in (source.start, source.stop, source.num)]  # fmt: skip
    if any(part is None for part in parts):
        return None
    name = f"start document: {source.start}, {source.stop}, {source.num}"
    try:
        start, stop, num = float(parts[0]), float(parts[1]), int(parts[2])
        values = np.linspace(start, stop, num, endpoint=source.endpoint)
    except (TypeError, ValueError) as error:
        raise InputError(view.where, f"no range of angles: {parts}", dataset=name) from error
    return angles_from_values(values, view.where, name, unit=source.unit), name


def _monitor(view: RunView, source: Monitor, own_stream: str, named: Namer, notes: list[str]) -> Found | None:
    times_key = view.first_key(own_stream, named(source.frame_times))
    if times_key is None or source.data_key not in view.keys(source.stream):
        return None
    name = f"{source.stream}/{source.data_key} at {own_stream}/{times_key}"
    stamp = view.first_key(source.stream, (f"ts_{source.data_key}", "time"))
    if stamp is None:
        raise MissingDataError(view.where, "the monitor has no times", dataset=source.stream)
    moments = np.asarray(view.values(source.stream, stamp), np.float64).reshape(-1)
    positions = angles_from_values(
        view.values(source.stream, source.data_key), view.where, name, unit=source.unit
    )
    frames = np.asarray(view.values(own_stream, times_key), np.float64).reshape(-1)
    if source.clock == "epics":
        frames = frames + UNIX_MINUS_EPICS_S
    order = np.argsort(moments, kind="stable")
    outside = int(((frames < moments.min()) | (frames > moments.max())).sum())
    if outside == frames.size:
        raise InputError(
            view.where,
            "no frame was taken while the rotation was monitored",
            dataset=name,
            hint=f"Frames start at {frames.min():.3f} s, the monitor at {moments.min():.3f} s:"
            " check the layout's clock",
        )
    if outside:
        notes.append(
            f"{outside} frames were taken when the rotation was not monitored: they get the nearest angle"
        )
    return np.interp(frames, moments[order], positions[order]), name


def _dataset(source: AngleDataset, projections: RunStack) -> Found | None:
    if not projections.files:
        return None
    with open_hdf5(projections.files[0]) as file:
        return angles_from_dataset(find_dataset(file, source.dataset)), source.dataset


def _describe(source: AngleSource, named: Namer) -> str:
    match source:
        case Values():
            return f"data key {' or '.join(named(source.data_key))}"
        case Linspace():
            return f"start keys {source.start}, {source.stop}, {source.num}"
        case Monitor():
            return f"{source.stream}/{source.data_key} with {' or '.join(named(source.frame_times))}"
        case AngleDataset():
            return f"data set {source.dataset}"
