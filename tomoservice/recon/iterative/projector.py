"""Forward and back-projection of one slice: a linear operator and its adjoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SliceGeometry:
    """Where the lines of a sinogram pass through a slice.

    Parameters
    ----------
    angles
        (angle,) float64, in radians, in the order of the sinogram.
    columns
        Detector columns N.
    size
        Edge M of the slice in pixels; the rotation axis is in its middle.
    axis
        Detector column of the rotation axis.
    """

    angles: NDArray[np.float64]
    columns: int
    size: int
    axis: float


class ParallelProjector2D(Protocol):
    """Line integrals of a slice at a set of angles, and their adjoint; a context manager.

    Lines are sampled by linear interpolation (Joseph 1982, DOI 10.1109/TMI.1982.4307572). The projections may
    be cut into groups of neighbours, for methods that take them by turns. To be called by one thread at a
    time. Long calls are cut into pieces of well below a second; the results do not depend on the number of
    threads.
    """

    def __enter__(self) -> ParallelProjector2D:
        """Begin to use it."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Give back what it holds."""
        ...

    @property
    def groups(self) -> range:
        """Numbers of the groups."""
        ...

    def rows(self, group: int) -> slice:
        """Return the part of the sinogram that a group of projections covers."""
        ...

    def forward(self, image: NDArray[np.float32], out: NDArray[np.float32], group: int | None = None) -> None:
        """Project a slice.

        Parameters
        ----------
        image : (M, M) float32 array, contiguous
            Attenuation per pixel (row, column). Not modified.
        out : (angle, N) float32 array, contiguous
            Line integrals; only the rows of the group are written.
        group : int, optional
            Group of projections; by default all.
        """
        ...

    def back(self, sinogram: NDArray[np.float32], out: NDArray[np.float32], group: int | None = None) -> None:
        """Back-project a sinogram: the adjoint of `forward`.

        Parameters
        ----------
        sinogram : (angle, N) float32 array, contiguous
            Not modified; only the rows of the group are read.
        out : (M, M) float32 array, contiguous
            The sum over the projections.
        group : int, optional
            Group of projections; by default all.
        """
        ...
