"""How a volume is cut into slabs and chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass

CHUNK_EDGE = 64
"""Edge of a chunk along y and x: any of the three planes is then read at about the same speed."""
SHALLOWEST = 8
"""Slices of a slab, at least; of a method that computes more of them together, as many."""
DEEPEST = 64
"""Slices of a slab, at most."""
SLAB_WORK = 1e11
"""Angles x columns x columns of a slab that takes a core about a second by Fourier reconstruction."""


@dataclass(frozen=True, slots=True)
class Slab:
    """Neighbouring slices that are computed and stored at once: one layer of chunks."""

    index: int
    """Place among the slabs, from 0."""
    start: int
    """First slice."""
    stop: int
    """First slice that no longer belongs to it."""


def chunk_shape(
    shape: tuple[int, int, int], angles: int, *, row_group: int = 1, work: float = SLAB_WORK
) -> tuple[int, int, int]:
    """Return the chunks of a volume (z, y, x): 8 to 64 slices, about a second's work, and 64 x 64 pixels.

    It depends only on the problem, never on the machine, so a volume can be finished elsewhere.

    Parameters
    ----------
    shape
        Of the volume.
    angles
        Projections.
    row_group
        Slices that the method computes together.
    work
        Angles x columns x columns that the method does in about a second.
    """
    slices, rows, columns = shape
    least = max(SHALLOWEST, row_group)
    per_second = max(work / max(angles * columns * columns, 1), 1)
    wanted = least * 2 ** round(math.log2(per_second / least))
    depth = min(max(int(wanted), least), max(DEEPEST, row_group), max(slices, 1))
    return depth, min(CHUNK_EDGE, rows), min(CHUNK_EDGE, columns)


def cut_into_slabs(slices: int, depth: int) -> tuple[Slab, ...]:
    """Return the slabs of a volume: `depth` slices each, the last perhaps fewer."""
    starts = range(0, slices, depth)
    return tuple(Slab(i, start, min(start + depth, slices)) for i, start in enumerate(starts))
