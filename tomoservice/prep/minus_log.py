"""Beer-Lambert: transmission -> line integrals of the attenuation.

Scope: pointwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import GeometryError


def minus_log(
    transmission: NDArray[np.generic],
    *,
    minimum_transmission: float,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Take ``-log`` of a transmission, after clipping it from below.

    Parameters
    ----------
    transmission : real array of any shape
        1 is the open beam. Not modified, unless given as `out` as well. A value that is not finite counts as
        1: a hole in the data, not an opaque sample.
    minimum_transmission : float
        Lower values, negative ones included, are set to this before the logarithm. What a detector's noise is
        worth: 1e-4 clips no measurement of 12 bits or more, and bounds line integrals to 9.2.
    out : float32 array of the same shape, optional
        Where to put the result.

    Returns
    -------
    float32 array of the same shape
        Line integrals of the linear attenuation, dimensionless; finite everywhere.

    Raises
    ------
    GeometryError
        If `minimum_transmission` is not in (0, 1], or `out` does not fit.
    """
    if not 0 < minimum_transmission <= 1:
        msg = f"minimum_transmission must be above 0 and at most 1, got {minimum_transmission}"
        raise GeometryError(msg)
    source = np.asarray(transmission)
    result = np.empty(source.shape, np.float32) if out is None else out
    if result.shape != source.shape or result.dtype != np.float32:
        msg = f"out must be float32 of shape {source.shape}, got {result.dtype} of shape {result.shape}"
        raise GeometryError(msg)
    whole, whole_source = np.atleast_1d(result), np.atleast_1d(source)
    # One projection at a time stays in the cache, and keeps temporaries to one projection.
    for part, part_source in (
        zip(whole, whole_source, strict=True) if whole.ndim > 1 else [(whole, whole_source)]
    ):
        np.copyto(part, part_source, casting="unsafe")
        part[~np.isfinite(part)] = 1
        np.maximum(part, minimum_transmission, out=part)
        np.log(part, out=part)
        np.negative(part, out=part)
    return result
