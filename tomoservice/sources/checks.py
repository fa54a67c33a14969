"""Checks of a scan's pixels before work is put into it: lost frames, too little or too much light, NaN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError
from tomoservice.prep.saturation import limit_of
from tomoservice.scan import Frames, TomoScan
from tomoservice.sources.frames import as_slice, constant_runs

BLOCK_BYTES = 32 * 2**20
PROBES = 3
BEAMLESS = 0.02
"""A projection has lost its beam if it is darker than this part of the usual. Behind no sample a whole
detector, air included, is that dark."""
BLINDED = 0.9
"""A frame shows nothing if a greater part of its pixels is at the detector's limit."""
WAYS_OUT = {
    "projections": "Leave them out (frames.exclude in the recipe), or repeat the scan",
}


@dataclass(frozen=True, slots=True)
class BadFrames:
    """Frames of a stack that cannot be used."""

    zero: NDArray[np.int64]
    """Frames whose pixels are all zero."""
    not_finite: NDArray[np.int64]
    """Frames without a single finite pixel."""
    damaged: NDArray[np.int64]
    """Frames with some pixels that are NaN or infinite, as far as they were read."""
    saturated: NDArray[np.int64]
    """Frames next to all of whose pixels are at the detector's limit."""
    levels: NDArray[np.float64]
    """Mean of the pixels of each frame that was looked at, in order, as far as they were read."""


def check_frames(
    scan: TomoScan, *, sample: int | None = None, allow_lost: bool = False, references: bool = True
) -> list[str]:
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
    references : bool
        Whether flats and darks are used.

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
    notes = check_references(scan) if references else []
    looked_at = np.arange(scan.projections.shape[0])
    if sample is not None:
        looked_at = looked_at[:: max(1, -(-len(looked_at) // max(1, sample)))]
    return notes + check_projections(scan, looked_at, most_lost=1.0 if allow_lost else 0.0).notes


def check_references(
    scan: TomoScan,
    flats: NDArray[np.integer[Any]] | None = None,
    darks: NDArray[np.integer[Any]] | None = None,
) -> list[str]:
    """Look at flats and darks, at all or those with these numbers; see `check_frames`."""
    notes: list[str] = []
    if scan.flats is not None:
        bad = bad_frames(scan.flats, flats, whole=True)
        _refuse(scan, "flats", bad.zero, "all zero")
        _refuse(scan, "flats", bad.not_finite, "not finite")
        notes += _damaged("flats", bad)
    if scan.darks is not None:
        bad = bad_frames(scan.darks, darks, whole=True)
        _refuse(scan, "darks", bad.not_finite, "not finite")
        notes += _damaged("darks", bad)
    return notes


@dataclass(frozen=True, slots=True)
class LostProjections:
    """Projections that hold nothing, and what the user should know of all that were looked at."""

    numbers: NDArray[np.int64]
    """The lost ones, ascending, in the order of acquisition."""
    notes: list[str]
    """In sentences."""


def check_projections(
    scan: TomoScan, numbers: NDArray[np.integer[Any]], *, most_lost: float
) -> LostProjections:
    """Look for projections that are all zero, not finite or saturated, or have lost their beam.

    Parameters
    ----------
    scan : TomoScan
        Scan, of which only pixels are read.
    numbers : (projection,) int array
        Projections to look at, ascending.
    most_lost : float
        Part of them that may be lost, 0 to 1; never all.

    Raises
    ------
    InputError
        If more are lost: names file, data set and projections.
    """
    bad = bad_frames(scan.projections, numbers)
    notes: list[str] = []
    dim = _beamless(scan, numbers, bad)
    lost = np.unique(np.concatenate([bad.zero, bad.not_finite, bad.saturated, dim])).astype(np.int64)
    bearable = lost.size <= most_lost * numbers.size and lost.size < numbers.size
    for frames, what in (
        (bad.zero, "all zero"),
        (bad.not_finite, "not finite"),
        (bad.saturated, "saturated"),
        (dim, "without beam"),
    ):
        if bearable and frames.size:
            notes.append(f"{_named('projections', frames)} {_is(frames)} {what}: lost")
        else:
            _refuse(scan, "projections", frames, what)
    return LostProjections(lost, notes + _damaged("projections", bad))


def _beamless(scan: TomoScan, numbers: NDArray[np.integer[Any]], bad: BadFrames) -> NDArray[np.int64]:
    """Return the projections that are as dark as if there were no beam, and not bad for another reason."""
    dark = 0.0
    if scan.darks is not None and scan.darks.shape[0]:
        dark = float(np.nanmedian(scan.darks[0, _probes(scan.darks.shape[1])]))
    light = bad.levels - dark
    known = np.isfinite(light)
    if not known.any():
        return np.empty(0, np.int64)
    usual = float(np.median(light[known]))
    spread = float(np.median(np.abs(light[known] - usual)))
    # Where projections differ by as much as they are bright, nothing tells one without beam.
    dim = np.flatnonzero(known & (light < BEAMLESS * usual) & (3 * spread < usual))
    return np.setdiff1d(np.asarray(numbers, np.int64)[dim], np.concatenate([bad.zero, bad.not_finite]))


def bad_frames(
    frames: Frames, selected: NDArray[np.integer[Any]] | None = None, *, whole: bool = False
) -> BadFrames:
    """Return which frames are all zero, not finite or saturated.

    Parameters
    ----------
    frames : Frames
        Stack (frame, row, column).
    selected : int array, optional
        Numbers of the frames to look at, ascending; all by default.
    whole : bool
        Read all rows of every frame, instead of three first.
    """
    rows = slice(None) if whole else _probes(frames.shape[1])
    zero, not_finite, damaged = [], [], []
    brightest = _Brightest(frames.dtype)
    levels: list[NDArray[np.float64]] = [np.empty(0)]
    for numbers in _blocks(frames, np.arange(frames.shape[0]) if selected is None else selected, rows):
        # One read of all rows: a compressed frame is decompressed once.
        block = frames[as_slice(numbers), rows]
        # An integer sum of squares would overflow; any() and isfinite cannot.
        is_zero = ~block.any(axis=(1, 2))
        with np.errstate(invalid="ignore", over="ignore"):
            levels.append(block.mean(axis=(1, 2), dtype=np.float64))
        brightest.look(numbers, block)
        finite = _finite(block)
        for offset in np.flatnonzero(is_zero | (finite < block[0].size)):
            number = numbers[int(offset)]
            frame = block[offset] if whole else frames[number]
            if not frame.any():
                zero.append(number)
            elif (good := int(np.isfinite(frame).sum())) == 0:
                not_finite.append(number)
            elif good < frame.size:
                damaged.append(number)
    zeros, no_numbers, spoilt = (np.asarray(item, np.int64) for item in (zero, not_finite, damaged))
    blinded = [
        number
        for number in brightest.saturated()
        if whole or _saturated_part(frames[number], brightest.limit) > BLINDED
    ]
    return BadFrames(zeros, no_numbers, spoilt, np.asarray(blinded, np.int64), np.concatenate(levels))


class _Brightest:
    """Remembers how many pixels of each frame are as bright as its brightest: at which counts the detector
    saturates only all of them tell.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._greatest: list[tuple[int, int]] = []

    def look(self, numbers: range, block: NDArray[Any]) -> None:
        """Look at some rows of frames."""
        if self._dtype.kind != "u":
            return
        greatest = block.max(axis=(1, 2), keepdims=True)
        much = (block == greatest).mean(axis=(1, 2)) > BLINDED
        self._greatest += [
            (number, int(most)) if share else (-1, int(most))
            for number, most, share in zip(numbers, greatest.ravel(), much, strict=True)
        ]

    @property
    def limit(self) -> float | None:
        """Counts at which the detector saturates, if known."""
        most = max((counts for _, counts in self._greatest), default=0)
        return limit_of(most, self._dtype)

    def saturated(self) -> list[int]:
        """Return the frames that are, as far as they were read."""
        limit = self.limit
        return [number for number, counts in self._greatest if number >= 0 and counts == limit]


def _saturated_part(frame: NDArray[Any], limit: float | None) -> float:
    return 0.0 if limit is None else float((frame >= limit).mean())


def _probes(rows: int) -> slice:
    """Return up to three rows, spread over the frame."""
    step = rows // (PROBES + 1)
    return slice(step, PROBES * step + 1, step) if step else slice(None)


def _blocks(frames: Frames, selected: NDArray[np.integer[Any]], rows: slice) -> Iterator[range]:
    _, height, columns = frames.shape
    frame_bytes = len(range(height)[rows]) * columns * frames.dtype.itemsize
    size = max(1, BLOCK_BYTES // max(1, frame_bytes))
    for run in constant_runs(selected):
        for first in range(0, len(run), size):
            yield run[first : first + size]


def _finite(block: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of finite pixels of each frame."""
    if block.dtype.kind != "f":
        return np.full(block.shape[0], block[0].size, np.int64)
    return np.asarray(np.isfinite(block).sum(axis=(1, 2)), np.int64)


def _refuse(scan: TomoScan, what: str, frames: NDArray[np.int64], why: str) -> None:
    if frames.size:
        total = f" ({frames.size} in all)" if frames.size > 1 else ""
        raise InputError(
            scan.origin.location,
            f"{_named(what, frames)}{total} {_is(frames)} {why}",
            dataset=scan.origin.datasets.get(what),
            hint=WAYS_OUT.get(what, "Write the scan without them, or repeat it"),
        )


def _damaged(what: str, bad: BadFrames) -> list[str]:
    if not bad.damaged.size:
        return []
    have = "has" if bad.damaged.size == 1 else "have"
    return [f"{_named(what, bad.damaged)} {have} pixels that are NaN or infinite"]


def _named(what: str, frames: NDArray[np.int64]) -> str:
    return f"{what.removesuffix('s') if frames.size == 1 else what} {listed(frames)}"


def _is(frames: NDArray[np.int64]) -> str:
    return "is" if frames.size == 1 else "are"


def listed(frames: NDArray[np.int64], most: int = 6) -> str:
    """Return frame numbers as text, runs as ranges: `3, 7 to 12`."""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    parts = [str(run[0]) if run.size == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return ", ".join(parts[:most]) + (", ..." if len(parts) > most else "")
