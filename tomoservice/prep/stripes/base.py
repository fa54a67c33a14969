"""What every method of stripe removal is: parameters, and a function of one sinogram.

Scope of all of them: rows. Each sinogram is corrected on its own, by one thread, so the result depends
neither on how a scan is cut into slabs nor on the number of threads.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.threads import for_each

# Nothing that a detector records comes near; squares and sums of it stay finite in float32.
LARGEST_VALUE = 1e15

Sinogram = NDArray[np.float32]
"""(angle, column) float32 array of line integrals, dimensionless."""


class StripeMethod(Protocol):
    """A method of stripe removal with its parameters: an immutable object that any thread may use."""

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes.

        Parameters
        ----------
        sinogram : (angle, column) float32 array
            Line integrals, contiguous and finite. Not modified.

        Returns
        -------
        (angle, column) float32 array
            May be `sinogram` itself if there is nothing to correct.
        """
        ...


def remove_stripes(
    sinograms: NDArray[np.generic],
    method: StripeMethod,
    *,
    out: Sinogram | None = None,
    threads: int | None = None,
) -> Sinogram:
    """Remove stripes from a stack of sinograms.

    Stripes are looked for in line integrals, where the error of a pixel's gain is a constant.

    Parameters
    ----------
    sinograms : (row, angle, column) real array
        Line integrals. Not modified, unless given as `out` as well.
    method : StripeMethod
        How, for instance ``BySorting(size=31)``.
    out : (row, angle, column) float32 array, optional
        Where to put the result.
    threads : int, optional
        Rows worked on at once; by default as many as the process may keep busy.

    Returns
    -------
    (row, angle, column) float32 array
        Finite everywhere.

    Raises
    ------
    GeometryError
        If the shapes do not fit.
    EngineError
        If a value is not finite or beyond 1e15, or the method cannot work on so few angles or columns.
    """
    stack = np.asarray(sinograms)
    if stack.ndim != 3 or 0 in stack.shape:
        msg = f"stripes are removed from sinograms (row, angle, column), got an array of shape {stack.shape}"
        raise GeometryError(msg)
    result = np.empty(stack.shape, np.float32) if out is None else out
    if result.shape != stack.shape or result.dtype != np.float32:
        msg = f"out must be float32 of shape {stack.shape}, got {result.dtype} of shape {result.shape}"
        raise GeometryError(msg)

    def work(row: int) -> None:
        sinogram = np.ascontiguousarray(stack[row], np.float32)
        check_values(sinogram, row)
        result[row] = method.corrected(sinogram)

    for_each(work, range(len(stack)), threads)
    return result


def small_window(size: int | None, columns: int) -> int:
    """Return the columns of a window against small stripes: as given, or 1 %, at least 5.

    A window wider than twice the detector sees nothing new, and counts as that wide.
    """
    return min(size or max(round(0.01 * columns) | 1, 5), 2 * columns + 1)


def large_window(size: int | None, columns: int) -> int:
    """Return the columns of a window against large stripes: as given, or 2.5 %, at least 15."""
    return min(size or max(round(0.025 * columns) | 1, 15), 2 * columns + 1)


def at_least(name: str, value: float | None, least: float) -> None:
    """Refuse a parameter below `least`, or one that is not a number; None stands for a rule that finds it."""
    if value is not None and not least <= value < np.inf:
        msg = f"{name} must be at least {least} and finite, got {value}"
        raise EngineError(msg)


def above(name: str, value: float, limit: float) -> None:
    """Refuse a parameter that is not above `limit`, or not a number."""
    if not limit < value < np.inf:
        msg = f"{name} must be above {limit} and finite, got {value}"
        raise EngineError(msg)


def check_values(sinogram: Sinogram, row: int) -> None:
    """Refuse a sinogram (angle, column) with a value that is not finite, or beyond 1e15."""
    # A NaN makes both comparisons false.
    if sinogram.min() >= -LARGEST_VALUE and sinogram.max() <= LARGEST_VALUE:
        return
    bad = ~(np.abs(sinogram) <= LARGEST_VALUE)
    angle, column = np.argwhere(bad)[0]
    msg = (
        f"sinogram {row} of the stack has {np.count_nonzero(bad)} values that are not finite or beyond "
        f"{LARGEST_VALUE:g}, the first ({sinogram[angle, column]}) at angle {angle}, column {column}; let "
        "minus log or the removal of outliers replace them before stripes are removed"
    )
    raise EngineError(msg)
