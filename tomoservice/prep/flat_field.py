"""Flat field correction: what the detector recorded -> transmission of the sample.

Scope: rows. Every detector row is corrected on its own, so the result does not depend on how a scan is cut
into slabs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from tomoservice.errors import GeometryError

# A column below this fraction of the beam around it records noise, not the sample.
DEAD_FRACTION = 0.05
# Columns that make "the beam around it": wide enough to outvote a cluster of dead columns, narrow enough to
# follow the profile of the beam.
NEIGHBOURHOOD = 31
# Counts; nothing that a detector records is smaller, and the reciprocal of less could overflow float32.
SMALLEST_SIGNAL = 1e-12
# Projections worked on at once; keeps temporaries to a few frames.
BLOCK = 8


class Reduction(StrEnum):
    """How a stack of flats or darks becomes one frame."""

    MEAN = "mean"
    MEDIAN = "median"


def reduce_frames(frames: NDArray[np.generic], method: str = Reduction.MEAN) -> NDArray[np.float32]:
    """Reduce a stack of flats or darks to one frame.

    Parameters
    ----------
    frames : (n, row, column) real array
        Stack of frames in detector counts. Not modified.
    method : {"mean", "median"}
        The median ignores a bad frame or a cosmic ray; the mean has the lower noise.

    Returns
    -------
    (row, column) float32 array
        The reduced frame, in detector counts.

    Raises
    ------
    GeometryError
        If `frames` is not a stack of at least one frame, or the method is unknown.
    """
    stack = np.asarray(frames)
    if stack.ndim != 3 or 0 in stack.shape:
        msg = (
            f"flats and darks come as a stack (n, row, column) of at least one frame, got shape {stack.shape}"
        )
        raise GeometryError(msg)
    if method not in set(Reduction):
        msg = f"frames are reduced by {' or '.join(Reduction)}, got {method!r}"
        raise GeometryError(msg)
    reduced = np.empty(stack.shape[1:], np.float32)
    # Row by row: a median copies what it sorts, and a stack of large frames is best not copied whole.
    for row in range(stack.shape[1]):
        if method == Reduction.MEDIAN:
            reduced[row] = np.median(stack[:, row], axis=0)
        else:
            reduced[row] = np.mean(stack[:, row], axis=0, dtype=np.float64)
    return reduced


def dead_pixels(flat: NDArray[np.generic], dark: NDArray[np.generic] | None = None) -> NDArray[np.bool_]:
    """Find detector pixels that carry no information about the sample.

    A pixel is dead if its open-beam signal ``flat - dark`` is not finite, not positive, or below 5 % of the
    median of the 31 columns around it in its detector row. A region outside the beam, wider than that, keeps
    its (weak) pixels.

    Parameters
    ----------
    flat : (row, column) real array
        Reduced flat field in counts. Not modified.
    dark : (row, column) real array or None
        Reduced dark field in counts; None stands for zero. Not modified.

    Returns
    -------
    (row, column) bool array
        True where the pixel is dead.

    Raises
    ------
    GeometryError
        If the shapes of `flat` and `dark` differ.
    """
    return _dead(_open_beam(flat, dark))


def correct(
    projections: NDArray[np.generic],
    flat: NDArray[np.generic],
    dark: NDArray[np.generic] | None = None,
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Divide projections by the open beam: ``(projection - dark) / (flat - dark)``.

    Dead pixels (see `dead_pixels`) and values that are not finite are replaced by linear interpolation along
    the detector row of their own projection, at the ends of a row by the nearest good pixel. A detector row
    without any good pixel becomes 1, as if nothing stood in the beam. The result is finite everywhere.

    Parameters
    ----------
    projections : (angle, row, column) real array
        Projections in counts. Not modified, unless given as `out` as well.
    flat : (row, column) real array
        Reduced flat field in counts.
    dark : (row, column) real array or None
        Reduced dark field in counts; None stands for zero.
    out : (angle, row, column) float32 array, optional
        Where to put the result.

    Returns
    -------
    (angle, row, column) float32 array
        Transmission: 1 is the open beam. Noise makes it pass 1 and fall below 0.

    Raises
    ------
    GeometryError
        If the shapes do not fit.
    """
    stack = np.asarray(projections)
    gain = _open_beam(flat, dark)
    if stack.ndim != 3 or stack.shape[1:] != gain.shape:
        msg = (
            f"projections of shape {stack.shape} do not fit a flat field of shape {gain.shape}; "
            "wanted (angle, row, column) and (row, column) of the same frame"
        )
        raise GeometryError(msg)
    result = np.empty(stack.shape, np.float32) if out is None else out
    if result.shape != stack.shape or result.dtype != np.float32:
        msg = f"out must be float32 of shape {stack.shape}, got {result.dtype} of shape {result.shape}"
        raise GeometryError(msg)
    dead = _dead(gain)
    offset = np.zeros(gain.shape, np.float32) if dark is None else np.where(dead, 0, dark).astype(np.float32)
    scale = np.divide(1, gain, out=np.zeros_like(gain), where=~dead)
    repair = _Repair.of(dead)
    for start in range(0, len(stack), BLOCK):
        block = result[start : start + BLOCK]
        # Infinite and NaN counts are expected here; they are repaired below.
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(stack[start : start + BLOCK], offset, out=block, dtype=np.float32, casting="unsafe")
            block *= scale
        repair.apply(block)
        if stack.dtype.kind == "f":
            _repair_not_finite(block, dead)
    return result


def _open_beam(flat: NDArray[np.generic], dark: NDArray[np.generic] | None) -> NDArray[np.float32]:
    white = np.asarray(flat, np.float32)
    if white.ndim != 2:
        msg = f"a flat field is one frame (row, column), got shape {white.shape}; reduce the stack first"
        raise GeometryError(msg)
    if dark is None:
        return white
    black = np.asarray(dark, np.float32)
    if black.shape != white.shape:
        msg = f"flat field {white.shape} and dark field {black.shape} must have the same shape (row, column)"
        raise GeometryError(msg)
    with np.errstate(invalid="ignore"):
        difference: NDArray[np.float32] = white - black
    return difference


def _dead(gain: NDArray[np.float32]) -> NDArray[np.bool_]:
    useless = ~(np.isfinite(gain) & (gain > SMALLEST_SIGNAL))
    # A NaN would spread through the median to pixels that are fine.
    signal = np.where(useless, 0, gain)
    around = median_filter(signal, size=(1, min(NEIGHBOURHOOD, gain.shape[1])), mode="nearest")
    dead: NDArray[np.bool_] = useless | (signal < DEAD_FRACTION * around)
    return dead


@dataclass(frozen=True)
class _Repair:
    """Where each dead pixel takes its value from: the nearest good columns left and right in its row."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    weight: NDArray[np.float32]
    lost_rows: NDArray[np.intp]

    @classmethod
    def of(cls, dead: NDArray[np.bool_]) -> _Repair:
        lost: NDArray[np.bool_] = np.all(dead, axis=1)
        rows, columns = np.nonzero(dead & ~lost[:, None])
        left = _nearest_good_before(dead)[rows, columns]
        right = dead.shape[1] - 1 - _nearest_good_before(dead[:, ::-1])[:, ::-1][rows, columns]
        left, right = np.where(left < 0, right, left), np.where(right == dead.shape[1], left, right)
        weight = (columns - left) / np.maximum(right - left, 1)
        return cls(rows, columns, left, right, weight.astype(np.float32), np.nonzero(lost)[0])

    def apply(self, block: NDArray[np.float32]) -> None:
        """Fill the dead pixels of a block (angle, row, column) in place."""
        if len(self.rows):
            # An infinite neighbour makes NaN here, which the caller repairs.
            with np.errstate(invalid="ignore"):
                low, high = block[:, self.rows, self.left], block[:, self.rows, self.right]
                block[:, self.rows, self.columns] = low + (high - low) * self.weight
        if len(self.lost_rows):
            block[:, self.lost_rows] = 1


def _nearest_good_before(dead: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each pixel the nearest good column to its left in its row, or -1."""
    position = np.where(dead, -1, np.arange(dead.shape[1]))
    return np.asarray(np.maximum.accumulate(position, axis=1), np.intp)


def _repair_not_finite(block: NDArray[np.float32], dead: NDArray[np.bool_]) -> None:
    finite: NDArray[np.bool_] = np.isfinite(block)
    if finite.all():
        return
    position = np.arange(block.shape[2])
    for angle, row in np.argwhere(~finite.all(axis=2)):
        line = block[angle, row]
        bad = dead[row] | ~finite[angle, row]
        line[bad] = 1 if bad.all() else np.interp(position[bad], position[~bad], line[~bad])
