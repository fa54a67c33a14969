"""Normalisation of projections to a beam whose brightness changes: by what is recorded beside the sample.

Scopes: `air_brightness` needs frame statistics, of a small region of all frames; `monitor_brightness` no
pixels; `level_borders` rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep._flat_lines import cuts, has_lines, lines
from tomoservice.prep.flat_field import OpenBeam, line_integrals
from tomoservice.threads import for_each


def air_brightness(
    projections: NDArray[np.generic], beam: OpenBeam, weights: NDArray[np.generic] | None = None
) -> NDArray[np.float64]:
    """Return the brightness of the beam in a region that the sample never covers.

    Parameters
    ----------
    projections : (angle, row, column) real array
        Projections in counts, of the region only. Not modified.
    beam : OpenBeam
        The open beam of the same region.
    weights : (angle, k) real array, optional
        Mixture of a beam that changes, as for `line_integrals`.

    Returns
    -------
    (angle,) float64 array
        Mean transmission of the region, which is 1 where the beam is as bright as in the flats. For
        `line_integrals`, which refuses what is not above 0.

    Raises
    ------
    GeometryError
        If the shapes do not fit, or the region is empty.
    EngineError
        If no pixel of the region sees the beam.
    """
    if 0 in beam.shape:
        raise GeometryError(f"the air region is empty: {beam.shape} (row, column)")
    good = ~beam.bad
    if not good.any():
        raise EngineError(f"none of the {good.size} pixels of the air region sees the beam; choose another")
    transmission = line_integrals(projections, beam, minimum_transmission=None, weights=weights)
    mean: NDArray[np.float64] = transmission[:, good].mean(axis=1, dtype=np.float64)
    return mean


def monitor_brightness(
    readings: NDArray[np.generic], flat_reading: ArrayLike, projections: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """Return the brightness of the beam that a monitor recorded with every projection.

    Parameters
    ----------
    readings : (angle,) real array
        The monitor's reading at each projection, in any unit.
    flat_reading : float or (angle,) array
        Its mean reading while the flats were taken, in the same unit; or of those flats that each projection
        is divided by.
    projections : (angle,) integer array, optional
        Numbers of the projections, for the error; by default they are counted.

    Returns
    -------
    (angle,) float64 array
        Readings relative to the flats'.

    Raises
    ------
    EngineError
        If a reading is not above 0.
    """
    values, flats = np.asarray(readings, np.float64), np.asarray(flat_reading, np.float64)
    if (dark := flats[~_is_brightness(flats)]).size:
        raise EngineError(f"the monitor's reading at the flats must be above 0, got {dark.flat[0]}")
    wrong = np.flatnonzero(~_is_brightness(values))
    if wrong.size:
        first = wrong[0] if projections is None else projections[wrong[0]]
        msg = (
            f"the monitor reads {values.flat[wrong[0]]} at projection {first} ({wrong.size} such), "
            "which is no brightness; leave these projections out, or normalise to an air region"
        )
        raise EngineError(msg)
    return values / flats


def _is_brightness(readings: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(readings) & (readings > 0))


def level_borders(transmission: NDArray[np.float32], columns: int) -> None:
    """Bring the outermost pixels of every row of every projection to 1, in place.

    Each row is divided by the straight line from the mean of its first `columns` pixels, at the first, to the
    mean of its last, at the last: for a sample with air on both sides, and a beam whose brightness changes
    across the detector too. A mean that is not above 0 counts as 1. Scope: rows. The same as TomoPy's
    `normalize_bg` (Gürsoy et al. 2014, DOI 10.1107/S1600577514013939).

    Parameters
    ----------
    transmission : (angle, row, column) float32 array
        Finite transmissions; modified.
    columns : int
        Pixels of air on either side.

    Raises
    ------
    GeometryError
        If `transmission` is not a float32 stack with columns side by side in memory, or has fewer than twice
        as many columns as asked for.
    """
    from tomoservice.prep import _flat_kernels as kernels

    if transmission.ndim != 3 or transmission.dtype != np.float32 or not has_lines(transmission):
        msg = (
            "transmissions are a float32 stack (angle, row, column) with columns side by side in memory, got "
            f"{transmission.dtype} of shape {transmission.shape}"
        )
        raise GeometryError(msg)
    shape = transmission.shape
    check_border(columns, shape[2])
    target = lines(transmission)
    for_each(lambda part: kernels.level_borders(target, shape, part, columns), cuts(shape))


def check_border(columns: int, width: int) -> None:
    """Refuse more columns of air on either side than a row has."""
    if not 1 <= columns <= width // 2:
        raise GeometryError(f"{columns} columns of air on either side, of {width} columns in all")
