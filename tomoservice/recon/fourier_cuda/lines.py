"""The lines that the samples of projections lie on, sorted so that a cell of the fine grid finds them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomoservice.recon.fourier.geometry import GridTables

FEWEST_PARTS, MOST_PARTS = 64, 1 << 15
PARTS_PER_LINE = 2


class Lines(NamedTuple):
    """Lines through the middle of the fine grid, in the order of their directions; see ``kernels.cu``."""

    along: NDArray[np.float64]
    """(line,): cells from one sample to the next along a row."""
    across: NDArray[np.float64]
    """(line,): cells from one sample to the next from row to row."""
    inverse: NDArray[np.float64]
    """(line,): 1 over the one of both that is larger."""
    direction: NDArray[np.float32]
    """(line, 2): cosine and sine."""
    angle: NDArray[np.int32]
    """(line,): number of the projection."""
    first: NDArray[np.int32]
    """(part + 1,): first line of each of the equal parts of half a turn, and how many lines there are."""


def sorted_lines(grid: GridTables) -> Lines:
    """Return the lines of a scan's projections.

    Parameters
    ----------
    grid : GridTables
        Its `along` and `across`.
    """
    turn = np.arctan2(grid.across, grid.along)
    # A line has no sign. What rounds up to half a turn is none.
    folded = np.mod(turn, np.pi)
    folded[folded >= np.pi] = 0
    order = np.argsort(folded, kind="stable")
    along, across = grid.along[order], grid.across[order]
    parts = int(np.clip(PARTS_PER_LINE * len(order), FEWEST_PARTS, MOST_PARTS))
    part = np.minimum((folded[order] * (parts / np.pi)).astype(np.int64), parts - 1)
    return Lines(
        along=along,
        across=across,
        inverse=1 / np.where(np.abs(across) > np.abs(along), across, along),
        direction=np.stack([np.cos(turn[order]), np.sin(turn[order])], axis=1).astype(np.float32),
        angle=order.astype(np.int32),
        first=np.searchsorted(part, np.arange(parts + 1)).astype(np.int32),
    )
