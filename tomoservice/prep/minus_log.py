"""Beer-Lambert: transmission -> line integrals of the attenuation.

Scope: pointwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.prep._flat_lines import CUTS_PER_THREAD, WORTH_A_THREAD
from tomoservice.prep.flat_field import check_minimum, check_out
from tomoservice.threads import available_threads, for_each, ranges

# Pixels that are worked on at once.
STRETCH = 1 << 16


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
        Line integrals of the linear attenuation, dimensionless; finite, within 1e-6 of their value.

    Raises
    ------
    GeometryError
        If `minimum_transmission` is not in (0, 1], or `out` does not fit.
    """
    from tomoservice.prep._flat_kernels import log_values

    check_minimum(minimum_transmission)
    source = np.asarray(transmission)
    result = np.empty(source.shape, np.float32) if out is None else out
    check_out(result, source.shape)
    target = result if result.flags.c_contiguous else np.empty(source.shape, np.float32)
    least = np.float32(minimum_transmission)
    flat, flat_source = target.reshape(-1), None if source is target else source.reshape(-1)

    def work(part: tuple[int, int]) -> None:
        # A stretch at a time: what is copied is still in the cache when its logarithm is taken.
        for begin in range(part[0], max(part[1], 1), STRETCH):
            end = min(begin + STRETCH, part[1])
            if flat_source is not None:
                # What overflows becomes infinite, and counts as 1.
                with np.errstate(over="ignore", invalid="ignore"):
                    np.copyto(flat[begin:end], flat_source[begin:end], casting="unsafe")
            log_values(flat, begin, end, least)

    parts = CUTS_PER_THREAD * available_threads() if flat.size >= WORTH_A_THREAD else 1
    for_each(work, ranges(flat.size, parts))
    if target is not result:
        result[...] = target
    return result
