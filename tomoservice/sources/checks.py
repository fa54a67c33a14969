"""Checks of a scan's pixels before work is put into it: lost frames, frames that are not numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError
from tomoservice.scan import Frames, TomoScan

BLOCK_BYTES = 32 * 2**20
PROBES = 3


@dataclass(frozen=True, slots=True)
class BadFrames:
    """Frames of a stack that cannot be used."""

    zero: NDArray[np.int64]
    """Frames whose pixels are all zero."""
    not_finite: NDArray[np.int64]
    """Frames without a single finite pixel."""
    damaged: NDArray[np.int64]
    """Frames with some pixels that are NaN or infinite, as far as they were read."""


def check_frames(scan: TomoScan, *, sample: int | None = None, allow_lost: bool = False) -> list[str]:
    """Look for frames that are all zero or not finite.

    Flats and darks are read wholly. Of projections three rows are read, and all of a frame whose
    three rows are suspicious; a lost frame shows in any row.

    Parameters
    ----------
    scan : TomoScan
        Scan, of which only pixels are read.
    sample : int, optional
        Largest number of projections to look at, evenly spaced; all of them by default.
    allow_lost : bool
        Whether lost projections are only noted.

    Returns
    -------
    list of str
        What the user should know.

    Raises
    ------
    InputError
        If a flat is zero, a flat or dark is not finite, or a projection is either and `allow_lost`
        is not set; names file, data set and frame numbers.
    """
    notes: list[str] = []
    if scan.flats is not None:
        bad = bad_frames(scan.flats, whole=True)
        _refuse(scan, "flats", bad.zero, "all zero")
        _refuse(scan, "flats", bad.not_finite, "not finite")
        notes += _damaged("flats", bad)
    if scan.darks is not None:
        bad = bad_frames(scan.darks, whole=True)
        _refuse(scan, "darks", bad.not_finite, "not finite")
        notes += _damaged("darks", bad)
    count = scan.projections.shape[0]
    step = 1 if sample is None else max(1, -(-count // max(1, sample)))
    bad = bad_frames(scan.projections, step=step)
    for frames, what in ((bad.zero, "all zero"), (bad.not_finite, "not finite")):
        if frames.size and allow_lost and frames.size < len(range(0, count, step)):
            notes.append(f"projections {listed(frames)} are {what}: lost")
        else:
            _refuse(scan, "projections", frames, what)
    return notes + _damaged("projections", bad)


def bad_frames(frames: Frames, *, step: int = 1, whole: bool = False) -> BadFrames:
    """Return which frames are all zero or not finite.

    Parameters
    ----------
    frames : Frames
        Stack (frame, row, column).
    step : int
        Look at every step-th frame only.
    whole : bool
        Read all rows of every frame, instead of three first.
    """
    rows = frames.shape[1]
    probes = list(range(rows)) if whole else sorted({rows * (i + 1) // (PROBES + 1) for i in range(PROBES)})
    zero, not_finite, damaged = [], [], []
    for first, last in _blocks(frames, len(probes), step):
        selected = slice(first, last, step)
        if whole:
            block = frames[selected]
        else:
            block = np.concatenate([frames[selected, row : row + 1] for row in probes], axis=1)
        # An integer sum of squares would overflow; any() and isfinite cannot.
        is_zero = ~block.any(axis=(1, 2))
        finite = _finite(block)
        for offset in np.flatnonzero(is_zero | (finite < block[0].size)):
            number = first + int(offset) * step
            frame = block[offset] if whole else frames[number]
            if not frame.any():
                zero.append(number)
            elif (good := int(np.isfinite(frame).sum())) == 0:
                not_finite.append(number)
            elif good < frame.size:
                damaged.append(number)
    return BadFrames(*(np.asarray(item, np.int64) for item in (zero, not_finite, damaged)))


def _blocks(frames: Frames, rows: int, step: int) -> Iterator[tuple[int, int]]:
    count, _, columns = frames.shape
    size = step * max(1, BLOCK_BYTES // max(1, rows * columns * frames.dtype.itemsize))
    for first in range(0, count, size):
        yield first, min(first + size, count)


def _finite(block: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of finite pixels of each frame."""
    if block.dtype.kind != "f":
        return np.full(block.shape[0], block[0].size, np.int64)
    return np.asarray(np.isfinite(block).sum(axis=(1, 2)), np.int64)


def _refuse(scan: TomoScan, what: str, frames: NDArray[np.int64], why: str) -> None:
    if frames.size:
        raise InputError(
            scan.origin.location,
            f"{what} {listed(frames)} ({frames.size} in all) {'is' if frames.size == 1 else 'are'} {why}",
            dataset=scan.origin.datasets.get(what),
            hint=f"Leave them out of the {what}, or repeat the scan",
        )


def _damaged(what: str, bad: BadFrames) -> list[str]:
    if not bad.damaged.size:
        return []
    return [f"{what} {listed(bad.damaged)} have pixels that are NaN or infinite"]


def listed(frames: NDArray[np.int64], most: int = 6) -> str:
    """Return frame numbers as text, runs as ranges: `3, 7 to 12`."""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    parts = [str(run[0]) if run.size == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return ", ".join(parts[:most]) + (", ..." if len(parts) > most else "")
