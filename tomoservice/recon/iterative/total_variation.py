"""Total variation of a slice, and the slice near a given one that has less of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Iterations start from the last result, so that few suffice each time.
INNER_ITERATIONS = 10
# Of the gradient followed by its adjoint in two dimensions.
GREATEST_EIGENVALUE = 8.0


def gradient(image: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Take forward differences along rows and columns, 0 at the end.

    Parameters
    ----------
    image : (row, column) float32 array
        Not modified.
    out : (2, row, column) float32 array
        Differences down and to the right.
    """
    out[0, -1], out[1, :, -1] = 0, 0
    np.subtract(image[1:], image[:-1], out=out[0, :-1])
    np.subtract(image[:, 1:], image[:, :-1], out=out[1, :, :-1])


def divergence(field: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Take the negative adjoint of `gradient`.

    Parameters
    ----------
    field : (2, row, column) float32 array
        Its last row down and last column to the right count for nothing. Not modified.
    out : (row, column) float32 array
        The divergence.
    """
    out[:] = 0
    out[:-1] += field[0, :-1]
    out[1:] -= field[0, :-1]
    out[:, :-1] += field[1, :, :-1]
    out[:, 1:] -= field[1, :, :-1]


def total_variation(image: NDArray[np.float32]) -> float:
    """Return the sum over pixels of the length of the gradient."""
    steps = np.empty((2, *image.shape), np.float32)
    gradient(image, steps)
    return float(np.hypot(steps[0], steps[1]).sum(dtype=np.float64))


class TotalVariation:
    """Minimise half the squared distance to an image, plus `weight` times the total variation, within limits.

    Fast gradient projection on the dual problem (Beck and Teboulle 2009, DOI 10.1109/TIP.2009.2028250), which
    remembers its last solution: made for a sequence of images that change little.

    Parameters
    ----------
    weight
        Price of total variation.
    limit
        Brings an image within its limits, in place.
    shape
        Of an image.
    """

    def __init__(
        self, weight: float, limit: Callable[[NDArray[np.float32]], None], shape: tuple[int, ...]
    ) -> None:
        self._weight, self._limit = weight, limit
        self._dual = np.zeros((2, *shape), np.float32)

    def __call__(self, image: NDArray[np.float32], iterations: int = INNER_ITERATIONS) -> NDArray[np.float32]:
        """Return the minimum, nearly; the image is not modified."""
        if not self._weight:
            result = image.copy()
            self._limit(result)
            return result
        weight = np.float32(self._weight)
        step = np.float32(1 / (GREATEST_EIGENVALUE * self._weight))
        dual, ahead, momentum = self._dual, self._dual.copy(), 1.0
        steps, result = np.empty_like(dual), np.empty_like(image)
        for _ in range(iterations):
            self._primal(image, ahead, result, weight)
            gradient(result, steps)
            steps *= step
            steps += ahead
            steps /= np.maximum(1, np.hypot(steps[0], steps[1]))
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            np.subtract(steps, dual, out=ahead)
            ahead *= np.float32((momentum - 1) / following)
            ahead += steps
            dual, steps, momentum = steps, dual, following
        self._dual = dual
        self._primal(image, dual, result, weight)
        return result

    def _primal(
        self,
        image: NDArray[np.float32],
        dual: NDArray[np.float32],
        out: NDArray[np.float32],
        weight: np.float32,
    ) -> None:
        divergence(dual, out)
        out *= weight
        out += image
        self._limit(out)
