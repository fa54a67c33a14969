"""Flats taken at several times: which belong together, and how much of each stands in a projection.

Time is counted in frames: the place of a frame in the order of acquisition. Scope: frames, of which only the
order matters; what comes out are weights for `tomoservice.prep.flat_field.line_integrals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError

PROJECTION, FLAT = 0, 1


class Interpolation(StrEnum):
    """How the flat field of a projection follows from flats taken at several times."""

    NONE = "none"
    LINEAR = "linear"
    NEAREST = "nearest"


@dataclass(frozen=True)
class FlatGroup:
    """Flats taken one after the other."""

    position: float
    """When, on the scale of the projections' positions."""
    frames: tuple[int, ...]
    """Which, as indices into the stack of flats."""


def groups_in_sequence(
    image_keys: NDArray[np.integer],
) -> tuple[NDArray[np.float64], list[FlatGroup]]:
    """Find the groups of flats in the order of acquisition.

    Parameters
    ----------
    image_keys : (frame,) integer array
        What each frame shows, as NXtomo numbers it: 0 projection, 1 flat, 2 dark, 3 invalid.

    Returns
    -------
    positions : (angle,) float64 array
        Place of each projection among all frames.
    groups : list of FlatGroup
        Flats without a projection between them are one group, at the mean of their places.

    Raises
    ------
    EngineError
        If there are no projections or no flats.
    """
    keys = np.asarray(image_keys)
    positions = np.flatnonzero(keys == PROJECTION).astype(np.float64)
    places = np.flatnonzero(keys == FLAT)
    if positions.size == 0 or places.size == 0:
        raise EngineError(f"{positions.size} projections and {places.size} flats in the order of acquisition")
    # Flats with as many projections before them stand in the same gap.
    gaps = np.searchsorted(positions, places)
    groups = [
        FlatGroup(float(places[gaps == gap].mean()), tuple(int(i) for i in np.flatnonzero(gaps == gap)))
        for gap in np.unique(gaps)
    ]
    return positions, groups


def groups_at(count: int, positions: Sequence[float]) -> list[FlatGroup]:
    """Divide `count` flats, in the order of acquisition, evenly among known positions.

    Parameters
    ----------
    count : int
        Number of flats. What is left over after an even division goes to the first groups, one each.
    positions : sequence of float
        When each group was taken, ascending, on the scale of the projections' positions (0 is the first
        projection, unless you count otherwise).

    Returns
    -------
    list of FlatGroup

    Raises
    ------
    EngineError
        If there are fewer flats than groups, or the positions do not ascend.
    """
    places = [float(position) for position in positions]
    if not places or count < len(places):
        raise EngineError(f"{count} flats cannot be divided among {len(places)} positions; give fewer")
    if any(not low < high for low, high in pairwise(places)):
        raise EngineError(f"the positions of flats must ascend, got {places}")
    parts = np.array_split(np.arange(count), len(places))
    return [FlatGroup(place, tuple(int(i) for i in part)) for place, part in zip(places, parts, strict=True)]


def without_frames(groups: Sequence[FlatGroup], bad: Sequence[int]) -> list[FlatGroup]:
    """Leave out bad flats, and groups of which nothing is left.

    Raises
    ------
    EngineError
        If no flat is left.
    """
    kept = [
        FlatGroup(group.position, tuple(i for i in group.frames if i not in set(bad))) for group in groups
    ]
    kept = [group for group in kept if group.frames]
    if not kept:
        raise EngineError("no flat is left; keep the ones that were left out, or repeat the flats")
    return kept


def time_weights(
    projection_positions: NDArray[np.generic], group_positions: Sequence[float], interpolation: str
) -> NDArray[np.float32]:
    """Return how much of each group's flat stands in each projection.

    Parameters
    ----------
    projection_positions : (angle,) real array
        When each projection was taken.
    group_positions : sequence of k floats
        When each group of flats was taken, ascending.
    interpolation : {"none", "linear", "nearest"}
        `linear` between the groups before and after, and before the first and after the last the nearest;
        `nearest`, of two that are as near the later; `none` takes the mean of all groups.

    Returns
    -------
    (angle, k) float32 array
        Weights that sum to 1 in every projection.

    Raises
    ------
    EngineError
        If a position is not finite, the groups do not ascend, or the interpolation is unknown.
    """
    when = np.asarray(projection_positions, np.float64)
    known = np.asarray(group_positions, np.float64)
    if interpolation not in set(Interpolation):
        raise EngineError(f"interpolation: got {interpolation!r}, wants one of {', '.join(Interpolation)}")
    if known.size == 0 or not np.isfinite(known).all() or np.any(np.diff(known) <= 0):
        raise EngineError(f"the positions of flats must be finite and ascend, got {known.tolist()}")
    if when.ndim != 1 or not np.isfinite(when).all():
        raise EngineError("the positions of projections must be finite, one per projection")
    if interpolation == Interpolation.NONE:
        return np.full((when.size, known.size), 1 / known.size, np.float32)
    weights = np.zeros((when.size, known.size), np.float32)
    rows = np.arange(when.size)
    after = np.clip(np.searchsorted(known, when, side="right"), 1, max(known.size - 1, 1))
    if known.size == 1:
        weights[:] = 1
        return weights
    part = np.clip((when - known[after - 1]) / (known[after] - known[after - 1]), 0, 1)
    if interpolation == Interpolation.NEAREST:
        part = (part >= 0.5).astype(np.float64)
    weights[rows, after - 1] = 1 - part
    weights[rows, after] = part
    return weights
