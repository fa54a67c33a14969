"""What a scan is, in numbers that a person or a program can read."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tomoservice.geometry import group_views, typical_gap
from tomoservice.scan import ImageKey, TomoScan

REGULAR_SHARE = 0.05
"""Steps that differ from the typical one by a smaller share of it are regular."""
SAME_VIEW = 0.2
"""Angles within this fraction of the typical step are repetitions of one view."""


class Position(StrEnum):
    """When flats or darks were taken, in relation to the projections."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class StackSummary(_Part):
    """A stack of frames."""

    count: int
    """Number of frames."""
    dtype: str
    """Type of a pixel."""
    positions: tuple[Position, ...] | None = None
    """When they were taken, where the source tells it."""


class AngleSummary(_Part):
    """The angles of a scan, in degrees."""

    first_deg: float
    """Angle of the first projection."""
    last_deg: float
    """Angle of the last projection."""
    range_deg: float
    """Angle that the projections cover, a typical step included."""
    step_deg: float
    """Typical step between neighbouring views, in order of angle."""
    regular: bool
    """Whether all steps between views are alike."""
    ordered: bool
    """Whether the angles only rise or only fall in the order of acquisition."""
    views: int
    """Distinct views: several frames at one angle, encoder noise aside, are one."""
    frames_per_view: int | None
    """Frames at each view, if it is the same number everywhere."""


class ScanSummary(_Part):
    """What a scan is."""

    kind: str
    """Source that read it."""
    location: str
    """File, folder or address."""
    run_uid: str | None
    """Bluesky run."""
    files: tuple[str, ...]
    """Raw files that are read."""
    datasets: dict[str, str]
    """Data sets, by what they hold."""
    projections: int
    """Number of projections."""
    rows: int
    """Detector rows."""
    columns: int
    """Detector columns."""
    dtype: str
    """Type of a projection's pixel."""
    size_bytes: int
    """Size of projections, flats and darks, uncompressed."""
    angles: AngleSummary
    """Angles."""
    flats: StackSummary | None
    """Open-beam frames."""
    darks: StackSummary | None
    """Frames without beam."""
    rotation_axis: float | None
    """Column of the rotation axis, if known."""
    pixel_size_um: float | None
    """Size of a pixel in micrometres."""
    energy_kev: float | None
    """Photon energy in keV."""
    distance_mm: float | None
    """Distance from sample to detector in millimetres."""
    sample_name: str | None
    """Name of the sample."""
    notes: tuple[str, ...]
    """What the source had to decide."""


def describe(scan: TomoScan) -> ScanSummary:
    """Summarise a scan without reading a pixel.

    Parameters
    ----------
    scan : TomoScan
        Open scan.
    """
    count, rows, columns = scan.shape
    stacks = [stack for stack in (scan.projections, scan.flats, scan.darks) if stack is not None]
    return ScanSummary(
        kind=scan.origin.kind,
        location=scan.origin.location,
        run_uid=scan.origin.run_uid,
        files=scan.origin.files,
        datasets=dict(scan.origin.datasets),
        projections=count,
        rows=rows,
        columns=columns,
        dtype=scan.projections.dtype.name,
        size_bytes=sum(int(np.prod(stack.shape, dtype=np.int64)) * stack.dtype.itemsize for stack in stacks),
        angles=describe_angles(scan.angles_deg),
        flats=_stack(scan, "flats", ImageKey.FLAT),
        darks=_stack(scan, "darks", ImageKey.DARK),
        rotation_axis=scan.rotation_axis,
        pixel_size_um=scan.pixel_size_um,
        energy_kev=scan.energy_kev,
        distance_mm=scan.distance_mm,
        sample_name=scan.sample_name,
        notes=scan.notes,
    )


def describe_angles(angles_deg: NDArray[np.float64]) -> AngleSummary:
    """Summarise angles in degrees, at least one; frames of one view, encoder noise aside, count as one."""
    order = np.argsort(angles_deg, kind="stable")
    ascending = angles_deg[order]
    gaps = np.diff(ascending)
    group = np.zeros(ascending.size, np.intp)
    if gaps.any():
        group = group_views(ascending, SAME_VIEW * typical_gap(gaps))
    frames = np.bincount(group)
    steps = np.diff(np.bincount(group, ascending) / frames)
    typical = float(np.median(steps)) if steps.size else 0.0
    view = np.empty_like(group)
    view[order] = group
    turns = np.diff(view)
    return AngleSummary(
        first_deg=float(angles_deg[0]),
        last_deg=float(angles_deg[-1]),
        range_deg=float(np.ptp(angles_deg)) + typical,
        step_deg=typical,
        regular=bool((np.abs(steps - typical) <= REGULAR_SHARE * typical).all()),
        ordered=bool((turns >= 0).all() or (turns <= 0).all()),
        views=frames.size,
        frames_per_view=int(frames[0]) if (frames == frames[0]).all() else None,
    )


def _stack(scan: TomoScan, name: str, key: ImageKey) -> StackSummary | None:
    stack = scan.flats if name == "flats" else scan.darks
    if stack is None:
        return None
    return StackSummary(count=stack.shape[0], dtype=stack.dtype.name, positions=_positions(scan, key))


def _positions(scan: TomoScan, key: ImageKey) -> tuple[Position, ...] | None:
    if scan.image_keys is None:
        return None
    own = np.flatnonzero(scan.image_keys == key)
    projections = np.flatnonzero(scan.image_keys == ImageKey.PROJECTION)
    first, last = projections[0], projections[-1]
    found = (
        (Position.BEFORE, own < first),
        (Position.DURING, (own > first) & (own < last)),
        (Position.AFTER, own > last),
    )
    return tuple(position for position, where in found if where.any())
