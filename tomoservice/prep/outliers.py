"""Removal of what neither sample nor beam caused: zingers, and values that are not finite.

Scopes: zingers within frames need the rows around (margin: half the window's size); zingers along angle need
each detector row on its own, with all its angles; values that are not finite need each row of each frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep._flat_lines import Part, cuts, has_lines, lines
from tomoservice.threads import available_threads, for_each, ranges

SIZES = (3, 5)
# Mean distance -> standard deviation, for a normal distribution.
MEAN_TO_SIGMA = 1.2533
# In transmission. Less than any detector's noise: keeps noiseless data from a threshold of zero.
LEAST_JUMP = 1e-3


class Kind(StrEnum):
    """Which outliers are replaced."""

    BRIGHT = "bright"
    DARK = "dark"
    BOTH = "both"


class ThresholdUnit(StrEnum):
    """What a threshold is counted in."""

    NOISE = "noise"
    TRANSMISSION = "transmission"


@dataclass(frozen=True)
class ZingerOptions:
    """What counts as a zinger.

    Raises
    ------
    EngineError
        If a value makes no sense.
    """

    threshold: float = 8.0
    """Distance from the median of its neighbours above which a value is replaced by that median."""
    unit: str = ThresholdUnit.NOISE
    """`noise`: standard deviations of the distances in the value's own line (frame and row), without what
    stands out, and 1e-3 at least; `transmission`: as it is."""
    size: int = 3
    """Neighbours: 3 or 5 pixels (or angles) along each axis of the window. A zinger that fills more than half
    of the window stays."""
    kind: str = Kind.BRIGHT
    """Replace only what is brighter than its neighbours, or darker, or both."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.threshold) and self.threshold > 0):
            raise EngineError(f"the threshold for zingers must be above 0, got {self.threshold}")
        if self.size not in SIZES:
            raise EngineError(f"the window for zingers has a size of 3 or 5, got {self.size}")
        for name, got, known in (("unit", self.unit, ThresholdUnit), ("kind", self.kind, Kind)):
            if got not in set(known):
                raise EngineError(f"{name}: got {got!r}, wants one of {', '.join(known)}")

    @property
    def row_margin(self) -> int:
        """Rows that `remove_zingers` needs above and below those it is asked for."""
        return self.size // 2


def remove_zingers(projections: NDArray[np.float32], options: ZingerOptions | None = None) -> int:
    """Replace zingers in each projection by the median of their neighbours in row and column, in place.

    Scope: rows + margin of `ZingerOptions.row_margin`. At the borders the outermost pixels are repeated.
    Values that are not finite are first bridged along their row (see `remove_not_finite`).

    Parameters
    ----------
    projections : (angle, row, column) float32 array
        Transmission, or anything else that is smooth over a few pixels; modified. A transposed view of
        a stack of sinograms will do.
    options : ZingerOptions, optional
        What counts as a zinger.

    Returns
    -------
    int
        Number of values that were replaced, the margins' included.

    Raises
    ------
    GeometryError
        If `projections` is not a float32 stack with columns side by side in memory.
    """
    chosen = options or ZingerOptions()
    return remove_not_finite(projections) + _clean(projections, chosen.size, True, limits_of(chosen))


def remove_spikes(sinograms: NDArray[np.float32], options: ZingerOptions | None = None) -> int:
    """Replace zingers along angle by the median of the same pixel in neighbouring projections, in place.

    A zinger hits one projection only, whatever its shape. Scope: rows, with all angles of each. At the first
    and last angles the window moves inwards. Values that are not finite are first bridged along their row.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Transmission, the angles in the order of the rotation; modified.
    options : ZingerOptions, optional
        What counts as a zinger; `size` counts angles.

    Returns
    -------
    int
        Number of values that were replaced.

    Raises
    ------
    GeometryError
        If `sinograms` is not a float32 stack with columns side by side in memory.
    EngineError
        If there are fewer angles than the window's size.
    """
    chosen = options or ZingerOptions()
    replaced = remove_not_finite(sinograms)
    check_angles(sinograms.shape[1], chosen)
    return replaced + _clean(sinograms, chosen.size, False, limits_of(chosen))


def remove_not_finite(stack: NDArray[np.float32]) -> int:
    """Replace NaN and infinite values by interpolation along their row, in place.

    Scope: rows. Linear between the nearest finite values, at the ends of a row the nearest; a row of a frame
    without any becomes 1, as if nothing stood in the beam.

    Parameters
    ----------
    stack : (frame, row, column) float32 array
        Transmissions in either order of axes, columns last; modified.

    Returns
    -------
    int
        Number of values that were replaced.

    Raises
    ------
    GeometryError
        If `stack` is not a float32 stack with columns side by side in memory.
    """
    from tomoservice.prep._outlier_kernels import mend_lines

    _check(stack)
    target, counts = lines(stack), []
    for_each(lambda part: counts.append(mend_lines(target, stack.shape, part)), cuts(stack.shape))
    return sum(counts)


def median_frames(frames: NDArray[np.generic], size: int) -> NDArray[np.float32]:
    """Take the median over `size` x `size` pixels of each frame, repeating the outermost pixels.

    Parameters
    ----------
    frames : (frame, row, column) real array
        Finite values. Not modified.
    size : {3, 5}
        Pixels along each axis.

    Returns
    -------
    (frame, row, column) float32 array
        The medians.

    Raises
    ------
    GeometryError
        If `frames` is not a stack.
    EngineError
        If `size` is neither 3 nor 5.
    """
    if size not in SIZES:
        raise EngineError(f"medians are taken over 3 or 5 pixels, got {size}")
    medians = np.array(frames, np.float32, order="C")
    _check(medians)
    _clean(medians, size, True, (np.float32(0), np.float32(0), 0))
    return medians


def check_angles(angles: int, options: ZingerOptions) -> None:
    """Refuse to look for zingers along so few angles that the window does not fit."""
    if angles < options.size:
        msg = (
            f"zingers along angle need at least {options.size} projections, got {angles}; look for them "
            "within frames instead"
        )
        raise EngineError(msg)


def limits_of(options: ZingerOptions) -> tuple[np.float32, np.float32, int]:
    """Return the least threshold, the threshold over the mean distance, and 1 for bright, 2 for dark, 3."""
    kind = {Kind.BRIGHT: 1, Kind.DARK: 2, Kind.BOTH: 3}[Kind(options.kind)]
    if options.unit == ThresholdUnit.TRANSMISSION:
        return np.float32(options.threshold), np.float32(0), kind
    return np.float32(LEAST_JUMP), np.float32(options.threshold * MEAN_TO_SIGMA), kind


def _clean(
    stack: NDArray[np.float32], size: int, wide: bool, limits: tuple[np.float32, np.float32, int]
) -> int:
    from tomoservice.prep._outlier_kernels import replace_outliers

    if stack.size == 0:
        return 0
    target, counts = lines(stack), []

    def work(part: Part) -> None:
        counts.append(replace_outliers(target, stack.shape, part, (size, wide), limits))

    parts = [(begin, end, 0, 0) for begin, end in ranges(len(stack), 4 * available_threads())]
    for_each(work, parts)
    return sum(counts)


def _check(stack: NDArray[np.float32]) -> None:
    if stack.ndim != 3 or stack.dtype != np.float32 or not has_lines(stack):
        msg = (
            "outliers are removed from a float32 stack (frame, row, column) with columns side by side in "
            f"memory, got {stack.dtype} of shape {stack.shape} and strides {stack.strides}"
        )
        raise GeometryError(msg)
