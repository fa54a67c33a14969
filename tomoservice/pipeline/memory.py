"""How much of a reconstruction fits into memory at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import psutil

from tomoservice.errors import MemoryBudgetError
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
MARGINS = 2
"""A block has at least so many times the rows of its margin, if memory allows."""
BLOCKS = 12
"""A volume is computed from so many readings at least, so that reading and writing hide behind computing."""
FIRST = 4
"""The first block is so many times smaller: nothing is computed while it is read."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What the memory of a reconstruction depends on."""

    slices: int
    """Slices of the volume."""
    angles: int
    """Lines of a sinogram."""
    width: int
    """Columns of a sinogram."""
    size: int
    """Edge of a slice."""
    depth: int
    """Slices of a slab."""
    margin: int = 0
    """Rows on either side that the stages before the reconstruction look at."""
    frame_rows: int | None = None
    """Rows that there are, beyond which no margin goes; by default none is cut."""
    working_bytes: int = 0
    """Memory that the stages take beside the block they work on."""
    working_bytes_per_row: int = 0
    """What of it grows with the rows of the block."""
    first_row: int = 0
    """Detector row of the first slice; where it is not the first of a group, blocks hold cut groups' rows."""
    read_whole: bool = False
    """Whether reading a row reads the whole frame, so that few readings matter more than overlap."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What is held at once within a budget."""

    rows: int
    """Slices that are computed from one reading of the scan."""
    ahead: bool
    """Whether the next block is read, and the last slab written, while one is computed."""
    piece_bytes: int
    """Raw bytes that are read and corrected at once."""
    first_rows: int | None = None
    """Slices of the very first reading; as many by default."""


def memory_budget(memory_bytes: int | None) -> int:
    """Return the memory budget in bytes: what is given, or half of what is free now."""
    return memory_bytes if memory_bytes is not None else int(psutil.virtual_memory().available * MEMORY_SHARE)


def piece_bytes(budget: int) -> int:
    """Return how many raw bytes are read and corrected at once."""
    return min(max(budget // PIECE_SHARE, SMALLEST_PIECE), LARGEST_PIECE)


def plan_memory(reconstructor: Reconstructor, problem: Problem, budget: int) -> MemoryPlan:
    """Return what fits into `budget` bytes.

    Raises
    ------
    MemoryBudgetError
        If not even the slices that are computed together fit.
    """
    group = reconstructor.row_group
    rows = _rows(reconstructor, problem, budget, ahead=True)
    if rows >= min(max(problem.depth, group), problem.slices):
        first_rows = rows
        if not problem.read_whole:
            wanted = -(-problem.slices // BLOCKS)
            # What a margin costs again in every block should be the smaller part.
            wanted = max(wanted, MARGINS * problem.margin)
            rows = min(rows, max(-(-wanted // problem.depth) * problem.depth, group))
            first_rows = min(max(rows // FIRST, MARGINS * problem.margin, group), rows)
        return MemoryPlan(rows, ahead=True, piece_bytes=piece_bytes(budget), first_rows=first_rows)
    rows = _rows(reconstructor, problem, budget, ahead=False)
    least = min(group, problem.slices)
    if rows < least:
        held = min(least + _more_rows(problem, group, ahead=False), _all_rows(problem))
        one = _per_row(problem) + _beside(reconstructor, problem)
        needed = _fixed(reconstructor, problem, budget, ahead=False) + one * held
        looked_at = f" with {problem.margin} rows on either side that a stage looks at"
        around = looked_at if problem.margin > least else ""
        raise MemoryBudgetError(
            f"the smallest piece, {least} slices of {problem.size} x {problem.size} from {problem.angles} "
            f"projections{around}, takes {needed / 2**20:.0f} MiB, the memory budget is "
            f"{budget / 2**20:.0f} MiB; raise the budget, or set frames.binning to 2 or frames.columns to "
            "fewer columns"
        )
    return MemoryPlan(rows, ahead=False, piece_bytes=piece_bytes(budget))


def _rows(reconstructor: Reconstructor, problem: Problem, budget: int, *, ahead: bool) -> int:
    """Return how many rows of sinograms fit beside what is held anyway."""
    free = budget - _fixed(reconstructor, problem, budget, ahead=ahead)
    held = free // (_per_row(problem) * (2 if ahead else 1) + _beside(reconstructor, problem))
    if problem.margin and held >= _all_rows(problem):
        # One block, whose margins end where the detector does.
        return problem.slices
    return int(held - _more_rows(problem, reconstructor.row_group, ahead=ahead))


def _all_rows(problem: Problem) -> float:
    """Return the rows of which the whole volume is computed at once."""
    return math.inf if problem.frame_rows is None else problem.frame_rows


def _beside(reconstructor: Reconstructor, problem: Problem) -> int:
    """Return what a row of a block takes beside its sinogram: in the stages, or in the reconstruction."""
    reconstructing = reconstructor.memory_per_row(problem.angles, problem.width, problem.size)
    return max(problem.working_bytes_per_row, reconstructing)


def _per_row(problem: Problem) -> int:
    return problem.angles * problem.width * FLOAT_BYTES


def _more_rows(problem: Problem, group: int, *, ahead: bool) -> int:
    """Return the rows that a block holds beside its own: margins, and the rest of groups that it cuts."""
    cut = 2 * (group - 1) if problem.first_row % group or problem.depth % group else 0
    # Margins on both sides, and once for all blocks those that the next one begins with.
    return (3 if ahead else 4) * problem.margin + min(cut, problem.slices)


def _fixed(reconstructor: Reconstructor, problem: Problem, budget: int, *, ahead: bool) -> int:
    one_slice = problem.size * problem.size * FLOAT_BYTES
    # The slab that is filled, the one that is written, and a group that a slab's edge cuts.
    slices = problem.depth * (2 if ahead else 1) + reconstructor.row_group
    return (
        reconstructor.memory_fixed(problem.angles, problem.width, available_threads(), problem.size)
        + PIECES_HELD * piece_bytes(budget)
        + slices * one_slice
        + problem.working_bytes
    )
