"""How a volume is cut into slabs and chunks."""

from __future__ import annotations

import math
from dataclasses import dataclass

CHUNK_EDGE = 64
"""Edge of a chunk along y and x: any of the three planes is then read at about the same speed."""
SLICE_MULTIPLE = 8
"""Slabs hold this many slices times a power of two."""
DEEPEST = 64
"""Slices of a slab, at most."""
SLAB_WORK = 2.5e10
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


def chunk_shape(shape: tuple[int, int, int], angles: int) -> tuple[int, int, int]:
    """Return the chunks of a volume (z, y, x): 8 to 64 slices, about a second's work, and 64 x 64 pixels.

    It depends only on the problem, never on the machine, so a volume can be finished elsewhere.
    """
    slices, rows, columns = shape
    per_second = max(SLAB_WORK / max(angles * columns * columns, 1), 1)
    wanted = SLICE_MULTIPLE * 2 ** round(math.log2(per_second / SLICE_MULTIPLE))
    depth = min(max(int(wanted), SLICE_MULTIPLE), DEEPEST, max(slices, 1))
    return depth, min(CHUNK_EDGE, rows), min(CHUNK_EDGE, columns)


def cut_into_slabs(slices: int, depth: int) -> tuple[Slab, ...]:
    """Return the slabs of a volume: `depth` slices each, the last perhaps fewer."""
    starts = range(0, slices, depth)
    return tuple(Slab(i, start, min(start + depth, slices)) for i, start in enumerate(starts))
