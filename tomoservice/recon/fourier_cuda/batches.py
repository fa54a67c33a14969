"""How groups of sixteen slices are cut into pairs that a device computes at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.recon.base import Slab
from tomoservice.recon.fourier.group import GroupMaker
from tomoservice.recon.fourier.workspace import LANES

MOST_PAIRS = LANES // 2


@dataclass(frozen=True)
class Batch:
    """Pairs of slices that are computed at once; a pair are lanes k and k + 8 of a group.

    Parameters
    ----------
    pairs
        How many: 1, 2, 4 or 8.
    first_pair
        The first of them, 0 to 7.
    first_row
        Place in the slab of the group's lane 0; negative where the slab begins within the group.
    rows
        Places in the slab of the slices that there are, ascending.
    group_rows
        Those of all slices of the group that share a filter; `rows` are some of them.
    """

    pairs: int
    first_pair: int
    first_row: int
    rows: NDArray[np.int64]
    group_rows: NDArray[np.int64]

    @property
    def lanes(self) -> NDArray[np.int64]:
        """Lanes of `group_rows`."""
        return self.group_rows - self.first_row

    @property
    def places(self) -> NDArray[np.int64]:
        """Where each of `rows` stands among the slices of the batch: (part, pair), flat."""
        lanes = self.rows - self.first_row
        return lanes // MOST_PAIRS * self.pairs + lanes % MOST_PAIRS - self.first_pair

    @property
    def present(self) -> int:
        """A bit for each slice that there is."""
        return int(np.bitwise_or.reduce(1 << self.places))

    @property
    def as_they_lie(self) -> slice | None:
        """Rows of the slab that are the batch without any copying; None where they are not."""
        if len(self.rows) < LANES:
            return None
        return slice(int(self.rows[0]), int(self.rows[0]) + LANES)


def cut_into_batches(slab: Slab, groups: GroupMaker, most_pairs: int) -> Iterator[Batch]:
    """Cut a slab into batches of at most `most_pairs` pairs.

    Parameters
    ----------
    slab : Slab
        Only its rows and axes are looked at.
    groups : GroupMaker
        Tells which rows of a group share a filter.
    most_pairs : int
        1, 2, 4 or 8.
    """
    begin = slab.first_row - slab.first_row % LANES
    for first in range(begin, slab.first_row + len(slab.sinograms), LANES):
        for rows in groups.parts(slab, first):
            lane_0 = first - slab.first_row
            yield from _cut_group(rows, lane_0, most_pairs)


def _cut_group(rows: NDArray[np.int64], first_row: int, most_pairs: int) -> Iterator[Batch]:
    pair = (rows - first_row) % MOST_PAIRS
    left = np.ones(len(rows), bool)
    while left.any():
        low, high = int(pair[left].min()), int(pair[left].max())
        pairs = min(1 << (high - low).bit_length(), most_pairs)
        low = min(low, MOST_PAIRS - pairs)
        chosen = left & (pair < low + pairs)
        yield Batch(pairs, low, first_row, rows[chosen], rows)
        left &= ~chosen
