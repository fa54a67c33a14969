"""Slabs of the volume, one after the other, within the memory budget."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tomoservice.cuda import Machine
from tomoservice.errors import CancelledError, MemoryBudgetError
from tomoservice.pipeline.blocks import Groups, SlabSink, SlabWriter, cut_into_blocks, read_ahead
from tomoservice.pipeline.layout import Slab
from tomoservice.pipeline.memory import MemoryPlan, memory_budget, plan_memory
from tomoservice.pipeline.options import slice_options
from tomoservice.pipeline.plan import Plan
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.pipeline.stages import Phase
from tomoservice.recon import Reconstructor, get_reconstructor
from tomoservice.recon.astra_fbp import AstraFbpPlan
from tomoservice.recon.base import ReconstructionPlan, aligned_empty
from tomoservice.recon.fourier_cuda import FourierDeviceReconstructor
from tomoservice.recon.iterative.options import IterationControl, never
from tomoservice.recon.iterative.plan import IterativePlan
from tomoservice.scan import TomoScan
from tomoservice.threads import available_threads


class Stopwatch:
    """Sums up the seconds that each stage took, in all threads together."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time that the context takes to `stage`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[stage] += time.perf_counter() - began

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}


def compute(  # noqa: PLR0913 - what is computed, where it goes, and four ways to steer it
    plan: Plan,
    scan: TomoScan,
    *,
    on_slab: SlabSink,
    slabs: Iterable[Slab] | None = None,
    cancelled: Callable[[], bool] | None = None,
    memory_bytes: int | None = None,
    iterations: IterationControl | None = None,
) -> dict[str, float]:
    """Compute slabs of a planned volume and hand each to `on_slab`.

    While a block of slabs is computed the next one is read and corrected, and the last slab is stored, as far
    as the memory budget allows. The numbers depend neither on that nor on which slabs are asked for.

    Parameters
    ----------
    plan
        From `prepare`, for the same scan.
    scan
        The scan; it is only read.
    on_slab
        Called with each slab in turn and its slices (z, y, x), of the plan's `dtype`, perhaps in another
        thread; the array is filled anew once it has returned.
    slabs
        Which slabs to compute; by default all.
    cancelled
        Asked about once a second whether to stop.
    memory_bytes
        Memory budget; by default half of what is free now.
    iterations
        Told the residuals of an iterative method, with the binned detector row; may end it early and keep
        what there is. Asked whether to stop beside `cancelled`.

    Returns
    -------
    dict
        Seconds spent per stage: read, correct, reconstruct, write and so on. They overlap, so that their sum
        may exceed the time that has passed.

    Raises
    ------
    CancelledError
        If `cancelled` said so; slabs handed over before are complete.
    MemoryBudgetError
        If not even the smallest piece fits into the budget.
    """
    wanted = sorted(plan.slabs if slabs is None else slabs, key=lambda slab: slab.start)
    if not wanted:
        return {}
    with Computation(plan, scan, memory_bytes=memory_bytes) as computation:
        return computation.run(wanted, on_slab, cancelled=cancelled, iterations=iterations)


class Computation:
    """A plan made ready to compute slabs, some now and some later, in one thread at a time.

    Holds what stays the same over all slabs: the reconstructor's plan, the stages and, where a stage needs
    whole projections, those. To be closed; a context manager.

    Parameters
    ----------
    plan
        From `prepare`, for the same scan.
    scan
        The scan; it is only read.
    memory_bytes
        Memory budget; by default half of what is free now.

    Raises
    ------
    MemoryBudgetError
        If not even the smallest piece fits into the budget.
    """

    def __init__(self, plan: Plan, scan: TomoScan, *, memory_bytes: int | None = None) -> None:
        budget = memory_budget(memory_bytes)
        self._plan = plan
        self._stop: Callable[[], bool] = never
        self._watch = Stopwatch()
        self._opened = ExitStack()
        self._reconstructor: Reconstructor = get_reconstructor(
            plan.resolved.reconstruction.method, plan.device
        )
        self._recon: ReconstructionPlan = self._reconstructor.plan(
            plan.selection.angles_deg,
            plan.selection.width,
            slice_options(plan.resolved.reconstruction, plan.size),
        )
        self._machine: Machine | None = None
        if isinstance(self._reconstructor, FourierDeviceReconstructor):
            self._machine = self._reconstructor.machine
        self._memory, self._whole = self._within(budget)
        self._pre = Preprocessor(
            scan,
            plan.selection,
            plan.beam,
            plan.chain,
            self._memory.piece_bytes,
            min(self._memory.rows + 2 * plan.chain.margin, plan.selection.frame_rows),
            machine=self._machine,
        )
        self._filtered = False
        self._finish = plan.finisher
        self._groups = Groups(self._reconstructor.row_group, plan.selection.first_row, plan.shape[0])
        self._least_rows = self._rows_per_second = self._reconstructor.row_group * available_threads()
        self._control = IterationControl()
        self._cut: tuple[tuple[int, int], NDArray[np.float32]] | None = None

    @property
    def rows(self) -> int:
        """Slices that are computed from one reading of the scan."""
        return self._memory.rows

    def _within(self, budget: int) -> tuple[MemoryPlan, Phase | None]:
        """Return what fits into the budget, and the step that is better done on whole projections, if any."""
        problem, phase = self._plan.problem, self._plan.chain.phase
        if phase is None:
            return plan_memory(self._reconstructor, problem, budget), None
        try:
            memory = plan_memory(self._reconstructor, problem, budget)
        except MemoryBudgetError:
            memory = None
        # Blocks of slabs whose margins are wider than themselves do most of the work twice.
        if memory is not None and (2 * problem.margin <= memory.rows or memory.rows >= problem.slices):
            return memory, None
        alone = replace(problem, margin=problem.margin - phase.margin)
        return plan_memory(self._reconstructor, alone, budget), phase

    def _filter_whole_frames(self) -> None:
        """Do the step that needs whole projections, once for all slabs."""
        if self._whole is None or self._filtered:
            return
        time, rows = self._watch.time, self._memory.rows
        # The file outlives this run, whose wish to stop must not end the ones that follow.
        self._opened.enter_context(self._pre.whole_frames(self._whole, rows, time, self._stop))
        self._filtered = True

    def run(
        self,
        slabs: Sequence[Slab],
        on_slab: SlabSink,
        *,
        cancelled: Callable[[], bool] | None = None,
        iterations: IterationControl | None = None,
    ) -> dict[str, float]:
        """Compute slabs, block by block; takes, returns and raises what `compute` does.

        Parameters
        ----------
        slabs
            Ascending.
        on_slab, cancelled, iterations
            See `compute`.
        """
        conversion = self._plan.conversion
        self._stop = cancelled or never
        self._control = iterations or IterationControl()
        self._watch = Stopwatch()
        self._filter_whole_frames()

        def timed(slab: Slab, slices: NDArray[np.float32]) -> None:
            with self._watch.time("write"):
                on_slab(slab, slices if conversion is None else conversion.apply(slices))

        shape = (self._plan.chunks[0], *self._plan.shape[1:])
        blocks = cut_into_blocks(slabs, self._memory.rows, self._groups, self._memory.first_rows)
        with (
            SlabWriter(timed, shape, background=self._memory.ahead, empty=self._empty) as writer,
            read_ahead(blocks, self._load, ahead=self._memory.ahead) as loaded,
        ):
            self._run(slabs, loaded, writer)
        return self._watch.seconds

    def _empty(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return room for slices that a device, if there is one, fills by itself."""
        if self._machine is None:
            return aligned_empty(shape)
        with self._machine.active():
            pinned: NDArray[np.float32] = self._machine.pinned(shape, np.float32)
            return pinned

    def close(self) -> None:
        """Give back what is held."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(
        self,
        slabs: Sequence[Slab],
        loaded: Iterator[tuple[tuple[int, int], NDArray[np.float32]]],
        writer: SlabWriter,
    ) -> None:
        waiting = iter(slabs)
        slab, buffer = next(waiting), None
        for (start, stop), sinograms in loaded:
            origin = self._groups.around(start, stop)[0]
            done = start
            while done < stop:
                buffer = writer.buffer() if buffer is None else buffer
                end = min(slab.stop, stop)
                self._fill(buffer[done - slab.start : end - slab.start], done, sinograms, origin)
                done = end
                if done == slab.stop:
                    writer.put(slab, buffer)
                    buffer, slab = None, next(waiting, slab)
            # Before the next block is asked for, or there would be three in memory.
            self._pre.give_back(sinograms)
            del sinograms

    def _load(self, block: tuple[int, int], abandoned: Callable[[], bool]) -> NDArray[np.float32]:
        return self._pre.sinograms(
            *self._groups.around(*block),
            timed=self._watch.time,
            cancelled=lambda: abandoned() or self._stop(),
        )

    def _fill(
        self, out: NDArray[np.float32], start: int, sinograms: NDArray[np.float32], origin: int
    ) -> None:
        """Reconstruct slices from `start` into `out`; the first sinogram is that of slice `origin`."""
        stop = start + len(out)
        for begin, end in self._pieces(start, stop):
            low, high = max(begin, start), min(end, stop)
            target = out[low - start : high - start]
            part = sinograms[begin - origin : end - origin]
            if (low, high) == (begin, end) and self._finish.keeps_all:
                self._reconstruct(part, begin, target)
            else:
                self._finish.crop(self._group(part, begin)[low - begin : high - begin], target)

    def _group(self, sinograms: NDArray[np.float32], begin: int) -> NDArray[np.float32]:
        """Reconstruct a group of which only a part is wanted now; the next slab may want the rest."""
        key = (begin, begin + len(sinograms))
        if self._cut is None or self._cut[0] != key:
            size = self._plan.size
            slices = np.empty((len(sinograms), size, size), np.float32)
            self._reconstruct(sinograms, begin, slices)
            self._cut = (key, slices)
        return self._cut[1]

    def _reconstruct(self, sinograms: NDArray[np.float32], begin: int, out: NDArray[np.float32]) -> None:
        axes = self._plan.axes(begin, begin + len(sinograms))
        first_row = self._plan.selection.first_row + begin
        with self._watch.time("reconstruct"):
            given = self._control
            control = replace(given, cancelled=lambda: self._stop() or given.cancelled())
            if isinstance(self._recon, IterativePlan):
                start = self._plan.initial
                if start is not None:
                    start.put(begin, out)
                # They may start from what is there already.
                initial = None if start is None else out
                self._recon.execute(
                    sinograms, axes, first_row=first_row, out=out, initial=initial, control=control
                )
            elif isinstance(self._recon, AstraFbpPlan):
                self._recon.execute(sinograms, axes, first_row=first_row, out=out, control=control)
            else:
                self._recon.execute(sinograms, axes, first_row=first_row, out=out)
        with self._watch.time("finish"):
            self._finish.apply(out)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut a range of slices into whole groups, and those into pieces of about a second.

        So a wish to stop is soon heard. A group that the range cuts is a piece of its own.
        """
        while start < stop:
            if self._stop():
                raise CancelledError("stopped while reconstructing")
            begin, end = self._groups.around(start, start + 1)
            if begin == start and self._finish.keeps_all:
                last = self._groups.around(start, start + self._rows_per_second)[1]
                whole = last if last <= stop else self._groups.around(stop - 1, stop)[0]
                end = max(end, whole)
            began = time.perf_counter()
            yield begin, end
            seconds = max(time.perf_counter() - began, 1e-6)
            self._rows_per_second = max(self._least_rows, int((end - begin) / seconds))
            start = end
