"""One slice on its way to a solution: what every iterative method works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.recon.iterative.options import IterativeOptions
from tomoservice.recon.iterative.projector import ParallelProjector2D

# A pixel that less than this much of a line meets is not seen.
LEAST_SUM = 1e-3
# A line that hardly grazes the slice says nothing about it, but its noise, divided by its length in pixels,
# would make bright specks at the rim. In slices of a few pixels all lines are short.
SHORT_LINE, SHORT_PART = 3.0, 1 / 8
POWER_ITERATIONS = 6


@dataclass(frozen=True)
class Sums:
    """What a method wants to know about the projector beforehand; the same for all rows with the same axis.

    Parameters
    ----------
    lines
        (angle, column) float32: one over the length of each line within the unknowns, 0 where it misses or
        hardly grazes them.
    pixels
        (M, M) float32: one over what each pixel's value adds to all lines, 0 where no line meets it.
    bound
        Upper bound on the greatest eigenvalue of forward projection followed by back-projection.
    """

    lines: NDArray[np.float32]
    pixels: NDArray[np.float32]
    bound: float = 0.0


@dataclass(frozen=True)
class Problem:
    """Find the slice whose projections are `data`.

    Parameters
    ----------
    projector
        Forward and back-projection.
    data
        (angle, column) float32, line integrals in the projector's order of angles. Not modified.
    image
        (M, M) float32: the start, changed by the method in place; 0 outside the unknowns.
    outside
        (M, M) bool: pixels that are no unknowns, or None.
    options
        Limits and the method's own parameters.
    sums
        Of the projector.
    """

    projector: ParallelProjector2D
    data: NDArray[np.float32]
    image: NDArray[np.float32]
    outside: NDArray[np.bool_] | None
    options: IterativeOptions
    sums: Sums

    def misfit(self) -> NDArray[np.float32]:
        """Return data less the projections of the image, a new array."""
        if not self.image.any():
            return self.data.copy()
        projected = np.empty_like(self.data)
        self.projector.forward(self.image, projected)
        return np.subtract(self.data, projected, out=projected)

    def back(
        self, sinogram: NDArray[np.float32], out: NDArray[np.float32], group: int | None = None
    ) -> NDArray[np.float32]:
        """Back-project onto the unknowns, into `out`."""
        self.projector.back(sinogram, out, group)
        if self.outside is not None:
            out[self.outside] = 0
        return out

    def limit(self, image: NDArray[np.float32]) -> None:
        """Keep the unknowns within the limits, and the rest at 0, in place."""
        low, high = self.options.minimum, self.options.maximum
        if low is not None or high is not None:
            np.clip(image, low, high, out=image)
        if self.outside is not None:
            image[self.outside] = 0


Solver = Callable[[Problem], Iterator[float]]
"""Makes one iteration each time it is asked, and tells the norm of the misfit that it leaves."""


def dot(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the sum of products in double precision, the same bits whatever other threads do."""
    return float(np.einsum("ij,ij->", one, other, dtype=np.float64, casting="same_kind"))


def norm(array: NDArray[np.float32]) -> float:
    """Return the Euclidean norm."""
    return float(np.sqrt(dot(array, array)))


def line_and_pixel_sums(
    projector: ParallelProjector2D, shape: tuple[int, int], inside: NDArray[np.float32]
) -> Sums:
    """Return the sums that SIRT, SART and EM weight with.

    With several groups of projections the sum of a pixel is the largest that any group has: what a correction
    by one group must be divided by, so that none overshoots, wherever the detector ends.

    Parameters
    ----------
    projector
        Forward and back-projection.
    shape
        Of a sinogram.
    inside
        (M, M) float32, 1 for unknowns and 0 elsewhere.
    """
    lines, pixels = np.empty(shape, np.float32), np.zeros_like(inside)
    projector.forward(inside, lines)
    ones, part = np.ones(shape, np.float32), np.empty_like(inside)
    for group in projector.groups:
        projector.back(ones, part, group)
        np.maximum(pixels, part, out=pixels)
    short = min(SHORT_LINE, SHORT_PART * len(inside))
    return Sums(_reciprocal(lines, short), _reciprocal(pixels * inside, LEAST_SUM))


def greatest_eigenvalue(
    projector: ParallelProjector2D, shape: tuple[int, int], inside: NDArray[np.float32]
) -> Sums:
    """Return an upper bound on the squared norm of the projector.

    No value of the operator is negative, so for any positive image the greatest factor by which it changes a
    pixel bounds the eigenvalue (Collatz and Wielandt; Horn and Johnson, Matrix Analysis, 8.1.26); repetition
    brings the bound down to it.
    """
    image, projected, result = inside.copy(), np.empty(shape, np.float32), np.empty_like(inside)
    bound = np.inf
    for _ in range(POWER_ITERATIONS):
        projector.forward(image, projected)
        projector.back(projected, result)
        result *= inside
        seen = result > 0
        bound = min(bound, float((result[seen] / image[seen]).max(initial=LEAST_SUM)))
        image = np.where(seen, result / result.max(initial=LEAST_SUM), image)
    nothing = np.zeros((0, 0), np.float32)
    return Sums(nothing, nothing, bound)


def no_sums(_projector: ParallelProjector2D, _shape: tuple[int, int], _inside: NDArray[np.float32]) -> Sums:
    """Return nothing, for a method that needs nothing."""
    nothing = np.zeros((0, 0), np.float32)
    return Sums(nothing, nothing)


def _reciprocal(array: NDArray[np.float32], least: float) -> NDArray[np.float32]:
    return np.divide(1, array, out=np.zeros_like(array), where=array > least)
