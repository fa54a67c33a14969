"""The Fourier method on the CPU: sixteen slices at a time, on all threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import nullcontext
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.recon.base import (
    ReconstructionOptions,
    RowsAlone,
    Slab,
    SliceOptions,
    checked_angles,
    checked_options,
    circle_mask,
)
from tomoservice.recon.fourier.geometry import make_grid, rows_at_once
from tomoservice.recon.fourier.group import SPREAD
from tomoservice.recon.fourier.prepared import Prepared, checked_values, reach_of
from tomoservice.recon.fourier.response import Response, Span
from tomoservice.recon.fourier.single import filtered_spectra, transform_to_slice
from tomoservice.recon.fourier.workspace import LANES, Pool, Sizes, Workspace
from tomoservice.recon.half_acquisition import overlap_weights
from tomoservice.threads import available_threads

# Numbers of a sinogram that make another thread worth its start, where only one slice is wanted.
WORTH_A_THREAD = 300_000
# Bytes that the system hands out at once, at least and where it can.
PAGE, LARGE_PAGE = 1 << 12, 1 << 21


class FourierReconstructor(RowsAlone):
    """Filtered back-projection by a non-uniform Fourier transform, on the CPU."""

    name = "fourier"
    row_group = LANES

    def plan(
        self,
        angles_deg: ArrayLike,
        columns: int,
        options: SliceOptions | None = None,
        *,
        threads: int | None = None,
    ) -> FourierPlan:
        """Prepare the transform for a set of angles; see `Reconstructor.plan`."""
        angles = checked_angles(angles_deg, columns)
        chosen = checked_options(options, ReconstructionOptions, self.name)
        return FourierPlan(angles, columns, chosen, threads or available_threads())

    def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
        """Estimate the bytes of tables and working space: polar samples and fine grid of sixteen slices."""
        edge = size or columns
        span = Span(columns, reach_of(edge, mask_circle=False), 0.0, SPREAD)
        length = make_grid(edge).length
        sizes = Sizes(angles, span.length, length, rows_at_once(length), edge, threads)
        return 4 * sizes.numbers


class FourierPlan:
    """`FourierReconstructor` prepared for a set of angles and a detector width.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians.
    columns : int
        Detector columns.
    options : ReconstructionOptions
        Filter, padding, mask, size, half-acquisition.
    threads : int
        Threads that work on a group of slices.
    """

    def __init__(
        self, angles: NDArray[np.float64], columns: int, options: ReconstructionOptions, threads: int
    ) -> None:
        self._threads = threads
        self._prepared = Prepared(angles, columns, options)
        self._pool = Pool()

    def execute(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a slab; see `ReconstructionPlan.execute`."""
        shape = self._prepared.shape
        slab = Slab.checked(shape, sinograms, rotation_axis, first_row, out).contiguous()
        groups = range(first_row - first_row % LANES, first_row + len(slab.sinograms), LANES)
        others = self._threads - 1
        with ThreadPoolExecutor(others, "tomoservice") if others else nullcontext() as executor:
            if slab.out is not out:
                _claim(slab.out, executor, self._threads)
            for first in groups:
                for rows in self._prepared.groups.parts(slab, first):
                    self._reconstruct_group(slab, first, rows, executor)
        return slab.delivered(out)

    def preview(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a few slices with the least delay; see `PreviewPlan.preview`."""
        shape = self._prepared.shape
        slab = Slab.checked(shape, sinograms, rotation_axis, first_row, out)
        for row in range(len(slab.sinograms)):
            slab.out[row] = self._reconstruct_one(checked_values(slab, row), slab.axes[row : row + 1])
        return slab.out

    def _reconstruct_one(
        self, sinogram: NDArray[np.float32], axis: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        response = self._prepared.groups.response(axis).shifted(float(axis[0]))
        tables, grid = self._prepared.tables(response)
        if self._prepared.options.half_acquisition:
            sinogram = sinogram * overlap_weights(self._prepared.columns, float(axis[0]))
        threads = max(min(self._threads, sinogram.size // WORTH_A_THREAD), 1)
        spectrum = filtered_spectra(sinogram, response, tables, grid, threads)
        image = transform_to_slice(spectrum, grid, self._prepared.grid, threads)
        if self._prepared.options.mask_circle:
            np.copyto(image, 0, where=~circle_mask(self._prepared.size))
        return image

    def _reconstruct_group(
        self, slab: Slab, first: int, rows: NDArray[np.int64], executor: Executor | None
    ) -> None:
        from tomoservice.recon.fourier.kernels.columns import make_slices
        from tomoservice.recon.fourier.kernels.filtering import filter_angles
        from tomoservice.recon.fourier.kernels.gridding import grid_rows

        group, response = self._prepared.groups.make(slab, first, rows)
        tables, grid = self._prepared.tables(response)
        slices = np.zeros(LANES, np.int64)
        lanes = rows - (first - slab.first_row)
        slices[lanes] = slab.out.ctypes.data + slab.out.strides[0] * rows
        with self._pool.lend(self._sizes(response)) as space:
            polar, columns = space.polar, space.columns
            _on_all(executor, space, lambda own, counter: filter_angles(tables, group, own, polar, counter))
            if group.bad.any():
                # Says which one, and where.
                checked_values(slab, int(rows[np.flatnonzero(group.bad[lanes])[0]]))
            _on_all(executor, space, lambda own, counter: grid_rows(grid, polar, own, columns, counter))
            _on_all(executor, space, lambda own, counter: make_slices(grid, columns, own, slices, counter))

    def _sizes(self, response: Response) -> Sizes:
        prepared = self._prepared
        length = prepared.grid.length
        angles = len(prepared.angles)
        return Sizes(angles, response.length, length, rows_at_once(length), prepared.size, self._threads)


def _claim(fresh: NDArray[np.float32], executor: Executor | None, threads: int) -> None:
    """Write to each page of new memory once, so that no page is met for the first time while slices are made.

    There each page is met by all threads at the same time, and the system then makes one for each of them.
    """
    memory = fresh.reshape(-1).view(np.uint8)
    starts = range(-fresh.ctypes.data % LARGE_PAGE, memory.size, LARGE_PAGE)

    def claim(part: range) -> None:
        for start in part:
            memory[start : start + LARGE_PAGE : PAGE] = 0

    _together(executor, [partial(claim, starts[thread::threads]) for thread in range(threads)])


def _on_all(
    executor: Executor | None, space: Workspace, work: Callable[[NDArray[np.float32], int], None]
) -> None:
    """Call `work` with each thread's working space, and the counter by which threads share out work."""
    counter = space.counter()
    _together(executor, [partial(work, own, counter) for own in space.scratch])


def _together(executor: Executor | None, works: list[Callable[[], None]]) -> None:
    """Do the first of some works, while threads of the executor do the others."""
    first, *others = works
    waiting = [] if executor is None else [executor.submit(work) for work in others]
    try:
        # The caller is one of the threads: it need not be woken.
        first()
    finally:
        # Whatever happens, nobody works in a space that has been given back.
        wait(waiting)
    for future in waiting:
        future.result()
