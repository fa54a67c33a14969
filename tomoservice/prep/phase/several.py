"""The contrast transfer function inverted from several distances.

Where one distance shows no contrast another does: few frequencies are left that need regularisation. The
frames of all distances must show the same pixels: aligned, and brought to one magnification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep.phase.mirror import Image, MirroredFrames, load
from tomoservice.prep.phase.reach import TOLERANCE, margin_of
from tomoservice.propagation import FreeSpace
from tomoservice.threads import available_threads, for_each, ranges


def retrieve_from_several_distances(
    projections: NDArray[np.generic],
    delta_beta: float,
    spaces: Sequence[FreeSpace],
    *,
    regularisation: float = 0.1,
    threads: int | None = None,
) -> Image:
    """Retrieve the transmission of a weak object of one material from projections at several distances.

    Least squares over the distances, frequency by frequency. Frames are padded by their mirror images.
    Scope: rows + margin, from `row_margin_of_several`.

    Parameters
    ----------
    projections : (distance, angle, row, column) real array
        Transmissions, 1 is the open beam. Not modified.
    delta_beta : float
        Ratio of refraction to absorption of the material, above 0.
    spaces : sequence of FreeSpace
        The experiment at each distance; energy and pixel size are the same.
    regularisation : float
        As of `Retrieval`.
    threads : int, optional
        Threads to use; by default as many as the process may. The result does not depend on it.

    Returns
    -------
    (angle, row, column) float32 array
        Transmissions without propagation, as from `PhasePlan`.

    Raises
    ------
    GeometryError
        If shapes do not fit.
    EngineError
        If a number is out of range, the experiments differ in more than distance, or a value is not finite.

    References
    ----------
    P. Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999), DOI 10.1063/1.125225; here for one material.
    """
    _check(delta_beta, spaces, regularisation)
    stack = np.asarray(projections)
    if stack.ndim != 4 or len(stack) != len(spaces) or 0 in stack.shape[2:]:
        raise GeometryError(
            f"projections of shape {stack.shape} do not fit {len(spaces)} distances; wanted (distance, "
            "angle, row, column)"
        )
    angles, rows, columns = stack.shape[1:]
    frames = MirroredFrames(rows, columns, row_margin_of_several(delta_beta, spaces, regularisation))
    filters = _filters(delta_beta, spaces, regularisation, *frames.frequencies).astype(np.float32)
    result = np.empty((angles, rows, columns), np.float32)

    def retrieve(part: tuple[int, int]) -> None:
        workspace, total = frames.workspace(), frames.workspace()
        for angle in range(*part):
            total[...] = 0
            for distance, filter_ in enumerate(filters):
                load(
                    stack[distance, angle],
                    workspace[:rows, :columns],
                    f"projection {angle} at distance {distance}",
                )
                spectrum = frames.spectrum(workspace)
                spectrum *= filter_
                total += spectrum
            np.add(frames.frame(total), 1, out=result[angle])

    count = threads or available_threads()
    for_each(retrieve, ranges(angles, 4 * count), count)
    return result


def row_margin_of_several(
    delta_beta: float, spaces: Sequence[FreeSpace], regularisation: float = 0.1, tolerance: float = TOLERANCE
) -> int:
    """Return how many rows beyond a row decide about its value; as `row_margin`."""
    _check(delta_beta, spaces, regularisation)
    share = tolerance / len(spaces)

    def filter_(number: int, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        one: NDArray[np.float64] = _filters(delta_beta, spaces, regularisation, rows, columns)[number]
        return one

    return max(margin_of(partial(filter_, number), share) for number in range(len(spaces)))


def _filters(
    delta_beta: float,
    spaces: Sequence[FreeSpace],
    regularisation: float,
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the factor of each distance's spectrum, before all are added, (distance, row, column)."""
    square = rows[:, None] ** 2 + columns**2
    first = math.atan(delta_beta)
    beyond = [np.pi / space.fresnel_number * square - first for space in spaces]
    contrast = np.cos(beyond)
    # As with one distance, nothing is needed up to the first maximum of the farthest.
    step = np.clip(np.max(beyond, axis=0) / (np.pi / 2), 0.0, 1.0)
    weight = step * step * (3 - 2 * step)
    whole = (contrast**2).sum(axis=0) + len(spaces) * regularisation * weight
    filters: NDArray[np.float64] = contrast / whole * math.cos(first)
    return filters


def _check(delta_beta: float, spaces: Sequence[FreeSpace], regularisation: float) -> None:
    for name, value in (("delta/beta", delta_beta), ("the regularisation", regularisation)):
        if not (math.isfinite(value) and value > 0):
            raise EngineError(f"{name} must be a number above 0, got {value}")
    if len({(space.energy_kev, space.pixel_size_um) for space in spaces}) != 1:
        raise EngineError(
            f"{len(spaces)} experiments must be at least one, and differ in nothing but their distance"
        )
