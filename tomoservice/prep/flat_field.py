"""Flat field correction: what the detector recorded -> transmission of the sample, or line integrals.

Scope: rows. Every line of a frame is corrected on its own, so the result does not depend on how a scan is cut
into slabs or into groups of projections.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep._flat_lines import (
    Beam,
    Bridges,
    blocks,
    cuts,
    find_bridges,
    has_lines,
    lines,
    readable,
)
from tomoservice.threads import for_each

T = TypeVar("T", bound=np.floating)

# A column below this fraction of the beam around it records noise, not the sample.
DEAD_FRACTION = 0.05
# Columns that make "the beam around it": wide enough to outvote a cluster of dead columns, narrow enough to
# follow the profile of the beam.
NEIGHBOURHOOD = 31
# Counts; nothing that a detector records is smaller, and the reciprocal of less could overflow float32.
SMALLEST_SIGNAL = 1e-12
# Below it float32 loses digits, and the compiled logarithm its meaning.
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


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


@dataclass(frozen=True)
class OpenBeam:
    """What projections are divided by, prepared once for many of them; made by `open_beam`."""

    dark: NDArray[np.float32]
    """Dark field (row, column) in counts."""
    gain: NDArray[np.float32]
    """1 / open beam (row, column), 0 where the pixel is bad."""
    frames: NDArray[np.float32]
    """What makes a beam that changes, (k, row, column); k is 0 for a steady one."""
    bridges: Bridges
    """Where bad pixels take their values from."""

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Pixels (row, column) that are bridged."""
        return self.bridges.bad

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.gain.shape
        return rows, columns

    def part(self, rows: slice, columns: slice = slice(None)) -> OpenBeam:
        """Return the beam of some of the rows and columns."""
        dark, gain = (np.ascontiguousarray(frame[rows, columns]) for frame in (self.dark, self.gain))
        frames = np.ascontiguousarray(self.frames[:, rows, columns])
        return OpenBeam(dark, gain, frames, find_bridges(self.bad[rows, columns]))


def open_beam(
    flats: NDArray[np.generic],
    dark: NDArray[np.generic] | None = None,
    *,
    components: NDArray[np.generic] | None = None,
    bad: NDArray[np.bool_] | None = None,
) -> OpenBeam:
    """Prepare the division by the beam.

    Parameters
    ----------
    flats : (row, column) or (k, row, column) real array
        Reduced flat field in counts; or several, of which each projection takes a mixture by its weights.
    dark : (row, column) real array or None
        Reduced dark field in counts; None stands for zero.
    components : (m, row, column) real array, optional
        Changes of the beam, in counts above the dark level, that a mixture adds to the flats (see
        `flat_components`).
    bad : (row, column) bool array, optional
        Pixels to bridge besides the dead ones (see `dead_pixels`, for every flat).

    Returns
    -------
    OpenBeam

    Raises
    ------
    GeometryError
        If the shapes differ.
    """
    stack = np.asarray(flats)
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.ndim != 3 or len(stack) == 0:
        msg = f"a flat field is one frame (row, column), or (k, row, column), got shape {np.shape(flats)}"
        raise GeometryError(msg)
    beams = np.stack([_open_beam(flat, dark) for flat in stack])
    lost: NDArray[np.bool_] = np.any([_dead(beam) for beam in beams], axis=0)
    for name, other in (("a mask of bad pixels", bad), ("components", components)):
        if other is not None and other.shape[-2:] != lost.shape:
            msg = f"{name} of shape {other.shape} does not fit a flat field of {lost.shape} (row, column)"
            raise GeometryError(msg)
    lost = lost if bad is None else lost | bad
    black = np.zeros(lost.shape, np.float32) if dark is None else np.where(lost, 0, dark).astype(np.float32)
    gain = np.divide(1, beams[0], out=np.zeros_like(beams[0]), where=~lost)
    if len(beams) == 1 and components is None:
        beams = beams[:0]
    else:
        # Any finite value will do for a bad pixel.
        changes = np.empty((0, *lost.shape)) if components is None else np.where(lost, 0, components)
        beams = np.concatenate([np.where(lost, 1, beams), changes])
    return OpenBeam(black, gain, np.ascontiguousarray(beams, np.float32), find_bridges(lost))


def line_integrals(
    frames: NDArray[np.generic],
    beam: OpenBeam,
    *,
    minimum_transmission: float | None,
    weights: NDArray[np.generic] | None = None,
    brightness: NDArray[np.generic] | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Divide projections by the open beam and take minus the logarithm, in one pass over memory.

    The transmission is ``(projection - dark) / (open beam * brightness)``. Bad pixels of the beam, and values
    that are not finite, are replaced by linear interpolation along the detector row of their own projection,
    at the ends of a row by the nearest good pixel. A detector row without any good pixel becomes 1, as if
    nothing stood in the beam. The result is finite everywhere.

    Parameters
    ----------
    frames : (angle, row, column) real array
        Projections in counts. Not modified, unless given as `out` as well.
    beam : OpenBeam
        From `open_beam`, for the same rows and columns.
    minimum_transmission : float or None
        Lower transmissions, negative ones included, are raised to this before the logarithm; in (0, 1].
        None takes no logarithm.
    weights : (angle, k) real array, optional
        How much of each flat and component of the beam stands in each projection; needed if it has several.
    brightness : (angle,) real array, optional
        Brightness of the beam during each projection, relative to the flats; 1 by default.
    out : (angle, row, column) float32 array, optional
        Where to put the result. Any strides will do if columns are neighbours in memory: the transposed view
        of a stack of sinograms is filled as fast as a stack of projections.

    Returns
    -------
    (angle, row, column) float32 array
        Line integrals of the attenuation, dimensionless, within 1e-6 of their value; or transmission.

    Raises
    ------
    GeometryError
        If the shapes do not fit, or `minimum_transmission` is not in (0, 1].
    EngineError
        If a brightness is not finite and positive, or weights are missing or not finite.
    """
    from tomoservice.prep import _flat_kernels as kernels

    stack = np.asarray(frames)
    _check_stack(stack, beam.shape)
    if minimum_transmission is not None:
        check_minimum(minimum_transmission)
    result = np.empty(stack.shape, np.float32) if out is None else out
    check_out(result, stack.shape)
    target = result if has_lines(result) else np.empty(stack.shape, np.float32)
    mixture, dimming = (
        checked_weights(beam, len(stack), weights),
        checked_brightness(len(stack), brightness),
    )
    least = np.float32(minimum_transmission or 0)
    steady = len(beam.frames) == 0 and brightness is None
    for begin, end in blocks(stack):
        source = readable(stack[begin:end])
        wild = source.dtype.kind == "f"
        here = Beam(beam.dark, beam.gain, beam.frames, mixture[begin:end], dimming[begin:end], wild)
        arguments = lines(source), here, beam.bridges, lines(target[begin:end])
        simple = least > 0 and not wild and steady
        work = kernels.log_of_counts if simple else kernels.correct_lines
        for_each(lambda part: work(*arguments, part, least), cuts(source.shape))  # noqa: B023
    if target is not result:
        result[...] = target
    return result


def correct(
    projections: NDArray[np.generic],
    flat: NDArray[np.generic],
    dark: NDArray[np.generic] | None = None,
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Divide projections by the open beam: ``(projection - dark) / (flat - dark)``.

    Bad pixels and values that are not finite are bridged as `line_integrals` does.

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
        Transmission: 1 is the open beam. Noise makes it pass 1 and fall below 0. Finite everywhere.

    Raises
    ------
    GeometryError
        If the shapes do not fit.
    """
    if np.ndim(flat) != 2:
        msg = f"a flat field is one frame (row, column), got shape {np.shape(flat)}; reduce the stack first"
        raise GeometryError(msg)
    return line_integrals(projections, open_beam(flat, dark), minimum_transmission=None, out=out)


def bridge_pixels(stack: NDArray[np.float32], bad: NDArray[np.bool_]) -> None:
    """Bridge bad pixels, and values that are not finite, along the rows of frames, in place.

    Parameters
    ----------
    stack : (frame, row, column) float32 array
        Frames of any meaning; modified.
    bad : (row, column) bool array
        Pixels that carry no information in any frame.

    Raises
    ------
    GeometryError
        If the shapes do not fit.
    """
    ones = np.ones(bad.shape, np.float32)
    line_integrals(stack, open_beam(ones, bad=bad), minimum_transmission=None, out=stack)


def check_out(out: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Refuse an array that cannot take a result of `shape`."""
    if out.shape != shape or out.dtype != np.float32:
        msg = f"out must be float32 of shape {shape}, got {out.dtype} of shape {out.shape}"
        raise GeometryError(msg)


def check_minimum(minimum_transmission: float) -> None:
    """Refuse a least transmission that has no logarithm or none that makes sense."""
    if not SMALLEST_NORMAL <= minimum_transmission <= 1:
        msg = f"minimum_transmission must be above 0 and at most 1, got {minimum_transmission}"
        raise GeometryError(msg)


def _check_stack(stack: NDArray[np.generic], frame: tuple[int, int]) -> None:
    if stack.ndim != 3 or stack.shape[1:] != frame:
        msg = (
            f"projections of shape {stack.shape} do not fit a flat field of shape {frame}; "
            "wanted (angle, row, column) and (row, column) of the same frame"
        )
        raise GeometryError(msg)


def checked_weights(beam: OpenBeam, count: int, weights: NDArray[np.generic] | None) -> NDArray[np.float32]:
    """Return the weights (frame, part) of a beam that changes, or say what is wrong with them."""
    size = len(beam.frames)
    if size == 0:
        return np.empty((count, 0), np.float32)
    given = np.empty((0, 0)) if weights is None else np.asarray(weights)
    if given.shape != (count, size) or not np.isfinite(given).all():
        msg = (
            f"a beam of {size} flats and components wants finite weights of shape ({count}, {size}), one row "
            f"per projection; got {'none' if weights is None else f'shape {given.shape}'}"
        )
        raise EngineError(msg)
    return np.ascontiguousarray(given, np.float32)


def checked_brightness(count: int, brightness: NDArray[np.generic] | None) -> NDArray[np.float32]:
    """Return 1 / brightness (frame,), or say what is wrong with it."""
    if brightness is None:
        return np.ones(count, np.float32)
    given = np.asarray(brightness, np.float64)
    if given.shape != (count,):
        raise EngineError(f"{count} projections but a brightness of shape {given.shape}")
    wrong = np.flatnonzero(~(np.isfinite(given) & (given > 0)))
    if wrong.size:
        msg = (
            f"the beam's brightness must be above 0, got {given[wrong[0]]} for projection {wrong[0]} "
            f"({wrong.size} such); leave these projections out, or normalise to something else"
        )
        raise EngineError(msg)
    return (1 / given).astype(np.float32)


def around(frame: NDArray[T]) -> NDArray[T]:
    """Return for each pixel (row, column) the median of the 31 columns around it in its row."""
    size = min(NEIGHBOURHOOD, frame.shape[1])
    # SciPy has a fast way for single lines, and takes six times as long for all of them at once.
    return np.stack([median_filter(line, size, mode="nearest") for line in frame])


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
    # What is not finite, or overflows, makes dead pixels.
    with np.errstate(invalid="ignore", over="ignore"):
        difference: NDArray[np.float32] = white - black
    return difference


def _dead(gain: NDArray[np.float32]) -> NDArray[np.bool_]:
    useless = ~(np.isfinite(gain) & (gain > SMALLEST_SIGNAL))
    # A NaN would spread through the median to pixels that are fine.
    signal = np.where(useless, 0, gain)
    dead: NDArray[np.bool_] = useless
    # No median exceeds the maximum: most rows need no median to be cleared.
    rows = np.flatnonzero(np.any(signal < DEAD_FRACTION * signal.max(axis=1, keepdims=True), axis=1))
    if rows.size:
        dead[rows] |= signal[rows] < DEAD_FRACTION * around(signal[rows])
    return dead
