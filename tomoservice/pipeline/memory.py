"""How much of a reconstruction fits into memory at once."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from tomoservice.errors import MemoryBudgetError
from tomoservice.pipeline.layout import chunk_shape
from tomoservice.pipeline.selection import Selection
from tomoservice.recon import Reconstructor
from tomoservice.threads import available_threads

MEMORY_SHARE = 0.5
"""Part of the memory that is free now which a reconstruction takes when nothing else is said."""
LARGEST_PIECE = 64 * 2**20
SMALLEST_PIECE = 2**20
PIECE_SHARE = 32
"""Raw frames that are read at once take this part of the budget, ..."""
PIECES_HELD = 3
"""... and are held so many times: as read, corrected, and on their way into the sinograms."""
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What is held at once within a budget."""

    rows: int
    """Slices whose sinograms and pixels are held at once."""
    piece_bytes: int
    """Raw bytes that are read and corrected at once."""


def memory_budget(memory_bytes: int | None) -> int:
    """Return the memory budget in bytes: what is given, or half of what is free now."""
    return memory_bytes if memory_bytes is not None else int(psutil.virtual_memory().available * MEMORY_SHARE)


def piece_bytes(budget: int) -> int:
    """Return how many raw bytes are read and corrected at once."""
    return min(max(budget // PIECE_SHARE, SMALLEST_PIECE), LARGEST_PIECE)


def plan_memory(reconstructor: Reconstructor, selection: Selection, budget: int) -> MemoryPlan:
    """Return what fits into `budget` bytes.

    Raises
    ------
    MemoryBudgetError
        If not even the slices that share a transform fit.
    """
    angles, width, group = selection.angles_deg.size, selection.width, reconstructor.row_group
    piece = piece_bytes(budget)
    per_row = reconstructor.memory_per_row(angles, width)
    fixed = reconstructor.memory_fixed(angles, width, available_threads()) + PIECES_HELD * piece
    depth = chunk_shape((selection.slices, width, width), angles)[0]
    # Where a slab's edge cuts a group, the whole group is computed, on either side.
    margin = 2 * (group - 1)
    rows = (budget - fixed) // per_row - margin
    if rows < depth:
        # The slab is put together from parts, and held whole beside them.
        fixed += depth * width * width * FLOAT_BYTES
        rows = (budget - fixed) // per_row - margin
    least = min(group, selection.slices)
    if rows < least:
        raise MemoryBudgetError(
            f"the smallest piece, {least} slices of {width} x {width} from {angles} projections, takes "
            f"{(fixed + (least + margin) * per_row) / 2**20:.0f} MiB, the memory budget is "
            f"{budget / 2**20:.0f} MiB; raise the budget, or set frames.binning to 2 or frames.columns to "
            "fewer columns"
        )
    return MemoryPlan(int(rows), piece)
