"""The contrast transfer function inverted from several distances.

Where one distance shows no contrast another does: few frequencies are left that need regularisation. The
frames of all distances must show the same pixels: aligned, and brought to one magnification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep.phase.mirror import Image, MirroredFrames, load
from tomoservice.prep.phase.reach import TOLERANCE, margin_of
from tomoservice.propagation import FreeSpace
from tomoservice.threads import available_threads, for_each, ranges


@dataclass(frozen=True, kw_only=True)
class SeveralDistances:
    """A retrieval from several distances for one material.

    Parameters
    ----------
    delta_beta
        Ratio of refraction to absorption of the material.
    spaces
        The experiment at each distance; energy and pixel size are the same.
    regularisation
        As of `Retrieval`.

    Raises
    ------
    EngineError
        If a number is out of range, or the experiments differ in more than distance.
    """

    delta_beta: float
    spaces: tuple[FreeSpace, ...]
    regularisation: float = 0.1

    def __post_init__(self) -> None:
        for name, value in (("delta/beta", self.delta_beta), ("the regularisation", self.regularisation)):
            if not (math.isfinite(value) and value > 0):
                raise EngineError(f"{name} must be a number above 0, got {value}")
        if len({(space.energy_kev, space.pixel_size_um) for space in self.spaces}) != 1:
            raise EngineError(
                f"{len(self.spaces)} experiments must be at least one, and differ in nothing but their "
                "distance"
            )

    def filters(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the factor of each distance's spectrum, before all are added.

        Parameters
        ----------
        rows, columns : (m,) and (n,) float64 arrays
            Frequencies along columns and along rows, cycles per pixel.

        Returns
        -------
        (distance, m, n) float64 array
        """
        square = rows[:, None] ** 2 + columns**2
        first = math.atan(self.delta_beta)
        beyond = [np.pi / space.fresnel_number * square - first for space in self.spaces]
        contrast = np.cos(beyond)
        # As with one distance, nothing is needed up to the first maximum of the farthest.
        step = np.clip(np.max(beyond, axis=0) / (np.pi / 2), 0.0, 1.0)
        weight = step * step * (3 - 2 * step)
        whole = (contrast**2).sum(axis=0) + len(self.spaces) * self.regularisation * weight
        filters: NDArray[np.float64] = contrast / whole * math.cos(first)
        return filters


def row_margin_of_several(retrieval: SeveralDistances, tolerance: float = TOLERANCE) -> int:
    """Return how many rows beyond a row decide about its value; as `row_margin`."""
    share = tolerance / len(retrieval.spaces)

    def filter_(number: int, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        one: NDArray[np.float64] = retrieval.filters(rows, columns)[number]
        return one

    return max(margin_of(partial(filter_, number), share) for number in range(len(retrieval.spaces)))


class SeveralPlan:
    """A retrieval from several distances, prepared for frames of one size; usable for any number of them.

    Least squares over the distances, frequency by frequency. Frames are padded by their mirror images.
    Scope: rows + margin, from `row_margin_of_several`.

    Parameters
    ----------
    retrieval
        Material and experiments.
    rows, columns
        Size of a frame.
    threads
        Threads to use; by default as many as the process may. The result does not depend on it.

    Raises
    ------
    GeometryError
        If a frame has no pixels.

    References
    ----------
    P. Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999), DOI 10.1063/1.125225; here for one material.
    """

    def __init__(
        self, retrieval: SeveralDistances, rows: int, columns: int, *, threads: int | None = None
    ) -> None:
        if rows < 1 or columns < 1:
            raise GeometryError(f"a frame needs at least one row and one column, got {rows} x {columns}")
        self.shape = (rows, columns)
        self._threads = threads or available_threads()
        self._frames = MirroredFrames(rows, columns, row_margin_of_several(retrieval))
        self._filters = retrieval.filters(*self._frames.frequencies).astype(np.float32)

    def execute(self, distances: Sequence[NDArray[np.generic]], *, out: Image | None = None) -> Image:
        """Retrieve the transmissions without propagation.

        Parameters
        ----------
        distances : sequence of (angle, row, column) real arrays
            Transmissions at each distance, 1 is the open beam. Not modified, save what is given as `out`.
        out : (angle, row, column) float32 array, optional
            Where to put the result; may be one of them.

        Returns
        -------
        (angle, row, column) float32 array
            Transmissions without propagation, as from `PhasePlan`.

        Raises
        ------
        GeometryError
            If shapes do not fit.
        EngineError
            If a value is not finite.
        """
        shapes = {np.shape(stack) for stack in distances}
        if len(distances) != len(self._filters) or len(shapes) != 1:
            raise GeometryError(
                f"projections of {len(distances)} distances, of shapes {sorted(shapes)}, do not fit "
                f"{len(self._filters)} distances; wanted (angle, row, column) for each, all alike"
            )
        shape = shapes.pop()
        if len(shape) != 3 or shape[1:] != self.shape:
            raise GeometryError(
                f"projections of shape {shape} do not fit frames of {self.shape[0]} x {self.shape[1]}; "
                "wanted (angle, row, column)"
            )
        result = np.empty(shape, np.float32) if out is None else out

        def retrieve(part: tuple[int, int]) -> None:
            workspace, total = self._frames.workspace(), self._frames.workspace()
            for angle in range(*part):
                self._add_up(distances, angle, workspace, total)
                np.add(self._frames.frame(total), 1, out=result[angle])

        for_each(retrieve, ranges(shape[0], 4 * self._threads), self._threads)
        return result

    def _add_up(
        self, distances: Sequence[NDArray[np.generic]], angle: int, workspace: Image, total: Image
    ) -> None:
        """Put the spectrum of one projection, from all distances, into `total`."""
        rows, columns = self.shape
        total[...] = 0
        for number, (stack, filter_) in enumerate(zip(distances, self._filters, strict=True)):
            load(stack[angle], workspace[:rows, :columns], f"projection {angle} at distance {number}")
            spectrum = self._frames.spectrum(workspace)
            spectrum *= filter_
            total += spectrum
