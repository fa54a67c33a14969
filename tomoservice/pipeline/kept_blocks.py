"""Blocks of sinograms between the steps of a chain, kept for whoever changes a later step next.

What is kept is known by the steps that have led to it, so a change of one step costs that step and what
follows. It is cut to the very rows that the next step needs, so the numbers are the same to the bit whatever
is kept: only the retrieval of a phase depends on how many rows it is given, and those follow from the recipe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tomoservice.pipeline.preprocess import Timer
from tomoservice.pipeline.selection import Selection
from tomoservice.pipeline.stages import FLOAT_BYTES, Block, Phase, Step, apply_steps

SPARE_ROWS = 4
"""Rows for a margin are kept up to the next power of two, and at least so many: a step that looks a little
farther then finds what it needs."""


@dataclass(frozen=True)
class Passage:
    """Rows on their way through steps."""

    known: Hashable
    """Tells apart what is read."""
    steps: tuple[Step, ...]
    """What is done, in this order."""
    known_steps: tuple[object, ...]
    """Tells the steps apart, one by one; can be hashed."""
    rows: tuple[int, int]
    """Slices (start, stop) that are wanted in the end."""
    selection: Selection
    """What of the scan is kept."""
    read: Callable[[tuple[int, int]], Block]
    """Returns at least these slices, as they come before the first step; not to be modified."""
    timed: Timer
    """Takes the time of stages."""
    cancelled: Callable[[], bool] | None
    """Asked now and then whether to stop."""
    most_bytes: int
    """Rows beyond what this recipe needs are held if a block with them takes no more."""

    @cached_property
    def held(self) -> tuple[tuple[int, int], ...]:
        """Slices (start, stop) that are held before each step, and after the last one."""
        roomy = self._held(spare=True)
        row = self.selection.angles_deg.size * self.selection.width * FLOAT_BYTES
        fits = (roomy[0][1] - roomy[0][0]) * row <= self.most_bytes
        return roomy if fits else self._held(spare=False)

    def _held(self, *, spare: bool) -> tuple[tuple[int, int], ...]:
        reach, held = 0, [self.rows]
        for number in reversed(range(len(self.steps))):
            margin = self.steps[number].margin
            # What a phase is retrieved from must not depend on the memory.
            reach += _roomy(margin) if spare or number > self._phase else margin
            held.append(self.selection.rows_around(*self.rows, reach))
        return tuple(reversed(held))

    @cached_property
    def _phase(self) -> int:
        """Number of the retrieval of a phase, or of steps if there is none."""
        numbers = (number for number, step in enumerate(self.steps) if isinstance(step, Phase))
        return next(numbers, len(self.steps))

    def needed(self, number: int) -> tuple[int, int]:
        """Return the slices (start, stop) that a step looks at."""
        return self.selection.rows_around(*self.held[number + 1], self.steps[number].margin)

    def key(self, number: int) -> Hashable:
        """Return what tells apart the blocks before a step."""
        retrieved_from = self.needed(self._phase) if number > self._phase else None
        return self.known, self.known_steps[:number], self.rows, retrieved_from


def _roomy(margin: int) -> int:
    return max(1 << (margin - 1).bit_length(), SPARE_ROWS) if margin else 0


class BlockStore:
    """Keeps the blocks that were used last, so many bytes of them.

    Parameters
    ----------
    size
        Bytes, at most.
    """

    def __init__(self, size: int) -> None:
        self._most = size
        self._kept: OrderedDict[Hashable, Block] = OrderedDict()
        self._lock = threading.Lock()
        self._turns: dict[Hashable, threading.Lock] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        with self._lock:
            return self._held()

    def find(self, key: Hashable, rows: tuple[int, int]) -> Block | None:
        """Return these slices (start, stop) if they are kept; not to be modified."""
        with self._lock:
            block = self._kept.get(key)
            if block is None or block.start > rows[0] or block.stop < rows[1]:
                return None
            self._kept.move_to_end(key)
            return block.part(*rows)

    def put(
        self, key: Hashable, block: Block, *, spared: Hashable = None, always: bool = False
    ) -> Block | None:
        """Keep a block in the place of those that have not been used for long; return it if it is kept.

        The one that is `spared` stays. One that is kept `always` may be larger than all that is to be kept,
        and is then the only one until the next comes.
        """
        with self._lock:
            others = [other for other in self._kept if other not in (key, spared)]
            size = block.sinograms.nbytes
            replaced = self._kept.get(key)
            free = self._most - self._held() + (0 if replaced is None else replaced.sinograms.nbytes)
            going = []
            while free < size and others:
                going.append(others.pop(0))
                free += self._kept[going[-1]].sinograms.nbytes
            if free < size and not always:
                return None
            for other in (key, *going):
                self._kept.pop(other, None)
            self._kept[key] = Block(_alone(block.sinograms), block.start)
            return self._kept[key]

    @contextmanager
    def turn(self, key: Hashable) -> Iterator[None]:
        """Let one thread at a time make what belongs to a key."""
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        try:
            with turn:
                yield
        finally:
            with self._lock:
                self._turns.pop(key, None)

    def _held(self) -> int:
        return sum(block.sinograms.nbytes for block in self._kept.values())


class KeptBlocks:
    """Takes rows through steps, and keeps what is between them.

    Of a single slice the blocks before all steps are kept, as far as there is room; of many, which take much,
    only the one before the first step that differs from the last time. What comes out is kept in any case.

    Parameters
    ----------
    size
        Bytes that are kept, at most.
    """

    def __init__(self, size: int) -> None:
        self.store = BlockStore(size)
        self._last: dict[bool, tuple[object, ...]] = {}
        self._turning: dict[bool, int] = {}
        self._lock = threading.Lock()

    def through(self, passage: Passage) -> NDArray[np.float32]:
        """Return sinograms (row, angle, column) after all steps, contiguous; not to be modified."""
        block, _ = self._before(len(passage.steps), passage, self._turning_point(passage))
        return np.ascontiguousarray(block.part(*passage.rows).sinograms)

    def _turning_point(self, passage: Passage) -> int:
        """Return the number of the first step that differs from the last time: the next change is there."""
        now, several = (passage.known, *passage.known_steps), _is_large(passage)
        with self._lock:
            last = self._last.get(several, ())
            if last != now:
                same = next((i for i, (a, b) in enumerate(zip(last, now, strict=False)) if a != b), None)
                alike = min(len(last), len(now)) if same is None else same
                self._turning[several] = max(alike - 1, 0)
                self._last[several] = now
            return self._turning[several]

    def _after(self, number: int, passage: Passage, turning: int) -> Block:
        """Return the block after a step, which may be modified."""
        block, is_kept = self._before(number, passage, turning)
        needed = passage.needed(number)
        block = block.part(*needed)
        if is_kept:
            # Steps work in place.
            block = Block(block.sinograms.copy(), block.start)
        step, wanted = passage.steps[number], passage.held[number + 1]
        return apply_steps((step,), block, wanted, passage.selection, passage.timed, passage.cancelled)

    def _before(self, number: int, passage: Passage, turning: int) -> tuple[Block, bool]:
        """Return the block before a step, or after the last; and whether it is kept, not to be modified."""
        rows = passage.held[number]
        if number == 0:
            return passage.read(rows), True
        key = passage.key(number)
        with self.store.turn(key):
            kept = self.store.find(key, rows)
            if kept is not None:
                return kept, True
            block = self._after(number - 1, passage, turning)
            if number == len(passage.steps):
                kept = self.store.put(key, block, always=True)
            elif number == turning or not _is_large(passage):
                spared = passage.key(turning) if turning else None
                kept = self.store.put(key, block, spared=spared)
            return (block, False) if kept is None else (kept, True)


def _is_large(passage: Passage) -> bool:
    return passage.rows[1] - passage.rows[0] > 1


def _alone(sinograms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sinograms that hold no memory beside their own; copied if they are a part of others."""
    whole = sinograms.base
    return sinograms if whole is None or whole.nbytes == sinograms.nbytes else sinograms.copy()
