"""Slabs of the volume, one after the other, within the memory budget."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import CancelledError
from tomoservice.pipeline.layout import Slab
from tomoservice.pipeline.memory import memory_budget, plan_memory
from tomoservice.pipeline.plan import Plan, reconstruction_options
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.recon import Reconstructor, get_reconstructor
from tomoservice.recon.base import ReconstructionPlan
from tomoservice.scan import TomoScan
from tomoservice.threads import available_threads

SlabSink = Callable[[Slab, NDArray[np.float32]], None]
"""Takes a finished slab (z, y, x); the array is its own to keep."""

UM_PER_CM = 1e4


class Stopwatch:
    """Sums up the seconds that each stage took."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to `stage`."""
        now = time.perf_counter()
        self._seconds[stage] += now - self._since
        self._since = now

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}


def compute(
    plan: Plan,
    scan: TomoScan,
    *,
    on_slab: SlabSink,
    slabs: Iterable[Slab] | None = None,
    cancelled: Callable[[], bool] | None = None,
    memory_bytes: int | None = None,
) -> dict[str, float]:
    """Compute slabs of a planned volume and hand each to `on_slab`.

    The numbers do not depend on which slabs are asked for, in which order, or on the memory budget.

    Parameters
    ----------
    plan
        From `prepare`, for the same scan.
    scan
        The scan; it is only read.
    on_slab
        Called with each slab in turn and its slices (z, y, x), float32.
    slabs
        Which slabs to compute; by default all.
    cancelled
        Asked about once a second whether to stop.
    memory_bytes
        Memory budget; by default half of what is free now.

    Returns
    -------
    dict
        Seconds spent per stage: read, flat_field_and_minus_log, reconstruct, write.

    Raises
    ------
    CancelledError
        If `cancelled` said so; slabs handed over before are complete.
    MemoryBudgetError
        If not even the smallest piece fits into the budget.
    """
    stop = cancelled or _never
    wanted = list(plan.slabs if slabs is None else slabs)
    if not wanted:
        return {}
    worker = _Worker(plan, scan, memory_budget(memory_bytes), stop)
    for block in worker.blocks(wanted):
        worker.run(block, on_slab)
    return worker.watch.seconds


class _Worker:
    """Holds what stays the same over all slabs: the reconstructor's plan, the budget, the stopwatch."""

    def __init__(self, plan: Plan, scan: TomoScan, budget: int, stop: Callable[[], bool]) -> None:
        self._plan = plan
        self._stop = stop
        stage = plan.resolved.reconstruction
        self._reconstructor: Reconstructor = get_reconstructor(stage.method)
        angles = plan.selection.angles_deg
        self._recon: ReconstructionPlan = self._reconstructor.plan(
            angles, plan.selection.width, reconstruction_options(stage)
        )
        self._axis = plan.selection.axis(plan.rotation_axis)
        memory = plan_memory(self._reconstructor, plan.selection, budget)
        self._rows_at_once = memory.rows
        self._pre = Preprocessor(scan, plan.resolved, plan.selection, memory.piece_bytes)
        self._least_rows = self._rows_per_second = self._reconstructor.row_group * available_threads()
        self.watch = Stopwatch()

    def blocks(self, slabs: Sequence[Slab]) -> Iterator[list[Slab]]:
        """Group neighbouring slabs whose rows fit into memory together, so that files are read in one go."""
        block: list[Slab] = []
        for slab in slabs:
            neighbour = bool(block) and slab.start == block[-1].stop
            if block and (not neighbour or slab.stop - block[0].start > self._rows_at_once):
                yield block
                block = []
            block.append(slab)
        yield block

    def run(self, block: list[Slab], on_slab: SlabSink) -> None:
        """Compute neighbouring slabs from one reading of their rows, or a large slab in parts."""
        if block[-1].stop - block[0].start <= self._rows_at_once:
            start, stop = self._whole_groups(block[0].start, block[-1].stop)
            sinograms = self._sinograms(start, stop)
            for slab in block:
                on_slab(slab, self._slices(sinograms, start, slab.start, slab.stop))
                self.watch.lap("write")
            return
        for slab in block:
            volume = np.empty((slab.stop - slab.start, *self._plan.shape[1:]), np.float32)
            for low, high in self._parts(slab):
                begin, end = self._whole_groups(low, high)
                part = self._slices(self._sinograms(begin, end), begin, low, high)
                volume[low - slab.start : high - slab.start] = part
            on_slab(slab, volume)
            self.watch.lap("write")

    def _parts(self, slab: Slab) -> Iterator[tuple[int, int]]:
        edges = [*range(slab.start, slab.stop, max(1, self._rows_at_once)), slab.stop]
        yield from pairwise(edges)

    def _whole_groups(self, start: int, stop: int) -> tuple[int, int]:
        """Widen a range of slices to whole groups of detector rows, as far as the volume goes.

        Slices of a group share a transform, so a group is always computed from the same rows, whatever
        slab asks for it.
        """
        group, first = self._reconstructor.row_group, self._plan.selection.first_row
        low = (first + start) // group * group - first
        high = -(-(first + stop) // group) * group - first
        return max(low, 0), min(high, self._plan.shape[0])

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut a range of slices into pieces of about a second, so that a wish to stop is soon heard."""
        while start < stop:
            if self._stop():
                raise CancelledError("stopped while reconstructing")
            # Pieces end with whole groups; the first of a reconstruction is small, to learn the speed.
            _, end = self._whole_groups(start, min(start + self._rows_per_second, stop))
            began = time.perf_counter()
            yield start, end
            seconds = max(time.perf_counter() - began, 1e-6)
            self._rows_per_second = max(self._least_rows, int((end - start) / seconds))
            start = end

    def _sinograms(self, start: int, stop: int) -> NDArray[np.float32]:
        rows = self._plan.selection.detector_rows(start, stop)
        return self._pre.sinograms(rows, timed=self.watch.lap, cancelled=self._stop)

    def _slices(
        self, sinograms: NDArray[np.float32], origin: int, start: int, stop: int
    ) -> NDArray[np.float32]:
        """Reconstruct slices `start` to `stop` from sinograms whose first row is slice `origin`."""
        low, high = self._whole_groups(start, stop)
        volume = np.empty((high - low, *self._plan.shape[1:]), np.float32)
        for begin, end in self._pieces(low, high):
            self._recon.execute(
                sinograms[begin - origin : end - origin],
                self._axis,
                first_row=self._plan.selection.first_row + begin,
                out=volume[begin - low : end - low],
            )
        voxel = self._plan.voxel_size_um
        if self._plan.recipe.output.units == "per_cm" and voxel is not None:
            volume *= np.float32(UM_PER_CM / voxel)
        self.watch.lap("reconstruct")
        return volume[start - low : stop - low]


def _never() -> bool:
    return False
