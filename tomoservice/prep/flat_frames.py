"""Flats and darks that are no flats and darks: found by comparison with the others, and why.

Scope: frame statistics. Frames are read one at a time; what is kept of each is a thumbnail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError
from tomoservice.prep.saturation import saturated_part

# Below so many frames nothing tells a bad one from a good one, unless it is bad in itself.
ENOUGH = 3
# Distances, in robust standard deviations of the other frames, that are no chance.
DEVIATIONS = 8.0
# ... and at least this part of the level: a beam that fades by less is a beam.
LEVEL_CHANGE = 0.15
# Part of the level that a pixel of a thumbnail must have changed by, on the mean, for another picture.
PICTURE_CHANGE = 0.02
# Counts; no detector resolves less.
SMALLEST_CHANGE = 2.0
LARGEST_ZERO = 0.2
LARGEST_SATURATED = 0.2
THUMBNAIL = 64
MAD_TO_SIGMA = 1.4826


class Stack(Protocol):
    """Frames (frame, row, column) of which one is read at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, rows and columns."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        """Return a frame."""


@dataclass(frozen=True)
class JudgedFrames:
    """Which frames of a stack are bad."""

    bad: NDArray[np.bool_]
    """(frame,): True for a frame to leave out. At least one frame is never left out."""
    reasons: Mapping[int, str]
    """By frame, why it is bad, as the end of a sentence: "frame 3 is all zero"."""
    levels: NDArray[np.float64]
    """(frame,): median of the finite pixels of each frame in counts."""

    @property
    def kept(self) -> NDArray[np.intp]:
        """Indices of the frames that are left."""
        return np.flatnonzero(~self.bad)


@dataclass(frozen=True)
class _Looks:
    level: float
    zero: float
    saturated: float
    finite: float
    picture: NDArray[np.float32]


def judge_frames(frames: Stack, *, saturation: float | None = None, tolerance: float = 0.0) -> JudgedFrames:
    """Find bad frames among flats, or among darks.

    Bad in itself is a frame that is all zero, mostly not finite, saturated in a fifth of its pixels or more,
    or zero in a fifth of its pixels or more where others are not (partly lost). Of at least 3 frames, bad is
    one whose level differs from the others' by more than 15 % (a closed shutter among flats, an open one
    among darks), or that shows something else (a sample that was not moved out); either by more than 8
    robust standard deviations. If all frames are bad, none is left out.

    Parameters
    ----------
    frames : (frame, row, column) real array, or anything that is read like one
        Flats, or darks, in counts. Not modified.
    saturation : float, optional
        Counts at which the detector saturates; by default see `tomoservice.prep.saturation.detector_limit`.
    tolerance : float
        Counts that make no difference to the result: for darks, a fraction of a percent of the flats' level.

    Returns
    -------
    JudgedFrames

    Raises
    ------
    GeometryError
        If there are no frames.
    """
    shape = frames.shape
    if len(shape) != 3 or 0 in shape:
        raise GeometryError(f"flats and darks come as a stack (n, row, column), got shape {shape}")
    looks = [_look(np.asarray(frames[i]), saturation) for i in range(shape[0])]
    reasons = _bad_in_themselves(looks)
    rest = [i for i in range(len(looks)) if i not in reasons]
    if len(rest) >= ENOUGH:
        reasons |= _bad_among_others(looks, rest, tolerance)
    bad = np.zeros(len(looks), np.bool_)
    bad[list(reasons)] = True
    if bad.all():
        # Something is better than nothing; the reasons tell the user.
        bad[:] = False
    return JudgedFrames(bad, reasons, np.array([look.level for look in looks]))


def _look(frame: NDArray[Any], saturation: float | None) -> _Looks:
    finite = np.isfinite(frame)
    part = float(finite.mean())
    values = frame if part == 1 else np.where(finite, frame, 0)
    level = float(np.median(frame[finite])) if part > 0 else 0.0
    bright = saturated_part(values) if saturation is None else float((values >= saturation).mean())
    return _Looks(level, float((values == 0).mean()), bright, part, _thumbnail(values))


def _thumbnail(frame: NDArray[Any]) -> NDArray[np.float32]:
    """Return means of blocks of pixels, at most about 64 x 64 of them."""
    rows, columns = frame.shape
    row_edges, column_edges = (
        np.unique(np.linspace(0, n, min(n, THUMBNAIL), endpoint=False).astype(int)) for n in (rows, columns)
    )
    sums = np.add.reduceat(frame, row_edges, axis=0, dtype=np.float64)
    sums = np.add.reduceat(sums, column_edges, axis=1)
    sizes = np.diff(row_edges, append=rows)[:, None] * np.diff(column_edges, append=columns)
    return np.asarray(sums / sizes, np.float32)


def _bad_in_themselves(looks: list[_Looks]) -> dict[int, str]:
    reasons = {}
    usual_zero = float(np.median([look.zero for look in looks]))
    for i, look in enumerate(looks):
        if look.finite < 0.5:
            reasons[i] = f"is not finite in {1 - look.finite:.0%} of its pixels"
        elif look.zero == 1:
            # Darks of a detector that subtracts its own are zero, all of them.
            if usual_zero < 1 or len(looks) < ENOUGH:
                reasons[i] = "is all zero"
        elif look.zero - usual_zero > LARGEST_ZERO:
            reasons[i] = f"is zero in {look.zero:.0%} of its pixels: partly lost"
        elif look.saturated >= LARGEST_SATURATED:
            reasons[i] = f"is saturated in {look.saturated:.0%} of its pixels"
    return reasons


def _bad_among_others(looks: list[_Looks], rest: list[int], tolerance: float) -> dict[int, str]:
    reasons = {}
    levels = np.array([looks[i].level for i in rest])
    least = max(tolerance, LEVEL_CHANGE * abs(float(np.median(levels))), SMALLEST_CHANGE)
    usual, limit = _usual(levels, least)
    for i, level in zip(rest, levels, strict=True):
        if abs(level - usual) > limit:
            reasons[i] = f"has a level of {level:.4g}, the others of {usual:.4g}: is the shutter as it was?"
    alike = [i for i in rest if i not in reasons]
    if len(alike) < ENOUGH:
        return reasons
    pictures = np.stack([looks[i].picture for i in alike])
    brightness = np.array([looks[i].level for i in alike])[:, None, None]
    # A beam that fades shows the same picture; without a beam there is nothing to divide by.
    even = pictures * (usual / brightness) if brightness.min() > 0 else pictures - brightness
    distances = np.abs(even - np.median(even, axis=0)).mean(axis=(1, 2))
    usual, limit = _usual(distances, max(tolerance, PICTURE_CHANGE * abs(usual), SMALLEST_CHANGE))
    for i, distance in zip(alike, distances, strict=True):
        if distance - usual > limit:
            reasons[i] = (
                f"shows something else than the others (different by {distance:.3g} counts, the others by "
                f"{usual:.3g}): was the sample out of the beam?"
            )
    return reasons


def _usual(values: NDArray[np.float64], least: float) -> tuple[float, float]:
    """Return the median and the distance from it that is no chance."""
    middle = float(np.median(values))
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))
    return middle, max(DEVIATIONS * sigma, least)
