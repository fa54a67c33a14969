"""The Fourier method on the CPU: sixteen slices at a time, on all threads."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.errors import EngineError
from tomoservice.recon.base import (
    ReconstructionOptions,
    Slab,
    SliceOptions,
    checked_angles,
    checked_options,
    circle_mask,
    sinogram_and_slice_bytes,
)
from tomoservice.recon.fourier.geometry import (
    LARGEST,
    FilterTables,
    GridTables,
    make_filter_tables,
    make_grid,
    make_grid_tables,
    rows_at_once,
)
from tomoservice.recon.fourier.group import SPREAD, GroupMaker
from tomoservice.recon.fourier.response import Response, Span
from tomoservice.recon.fourier.single import filtered_spectra, transform_to_slice
from tomoservice.recon.fourier.workspace import LANES, Pool, Sizes, Workspace
from tomoservice.recon.half_acquisition import check_whole_turn, overlap_weights
from tomoservice.recon.weights import angular_weights
from tomoservice.threads import available_threads

# Numbers of a sinogram that make another thread worth its start, where only one slice is wanted.
WORTH_A_THREAD = 300_000
# Samples beyond the circle that the interpolation between samples looks at.
BEYOND = 0.5


class FourierReconstructor:
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

    def memory_per_row(self, angles: int, columns: int, size: int | None = None) -> int:
        """Estimate the bytes that each row of a slab takes: sinogram and slice."""
        return sinogram_and_slice_bytes(angles, columns, size)

    def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
        """Estimate the bytes of tables and working space: polar samples and fine grid of sixteen slices."""
        edge = size or columns
        span = Span(columns, _reach(edge, mask_circle=False), 0.0, SPREAD)
        length = make_grid(edge).length
        sizes = Sizes(angles, span.length, length, rows_at_once(length), edge, threads)
        return 4 * sizes.numbers


def _reach(size: int, *, mask_circle: bool) -> float:
    """Return the largest distance from the axis at which a filtered projection is wanted."""
    return (size if mask_circle else math.sqrt(2) * size) / 2 - BEYOND


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
        if options.half_acquisition:
            check_whole_turn(angles)
        self._angles = angles
        self._columns = columns
        self._options = options
        self._threads = threads
        self._size = size = options.size or columns
        self._weights = angular_weights(angles, whole_turn=options.half_acquisition)
        self._groups = GroupMaker(columns, _reach(size, mask_circle=options.mask_circle), options)
        self._grid = make_grid(size)
        self._limits = _limits(size, mask_circle=options.mask_circle)
        self._pool = Pool()
        self._lock = threading.Lock()
        self._tables: dict[int, tuple[FilterTables, GridTables]] = {}

    def execute(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a slab; see `ReconstructionPlan.execute`."""
        shape = (len(self._angles), self._columns, self._size)
        slab = Slab.checked(shape, sinograms, rotation_axis, first_row, out).contiguous()
        groups = range(first_row - first_row % LANES, first_row + len(slab.sinograms), LANES)
        threads = nullcontext() if self._threads == 1 else ThreadPoolExecutor(self._threads, "tomoservice")
        with threads as executor:
            for first in groups:
                for rows in self._groups.parts(slab, first):
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
        shape = (len(self._angles), self._columns, self._size)
        slab = Slab.checked(shape, sinograms, rotation_axis, first_row, out)
        for row in range(len(slab.sinograms)):
            slab.out[row] = self._reconstruct_one(_checked(slab, row), slab.axes[row : row + 1])
        return slab.out

    def _reconstruct_one(
        self, sinogram: NDArray[np.float32], axis: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        response = self._groups.response(axis).shifted(float(axis[0]))
        tables, grid = self._prepared(response)
        if self._options.half_acquisition:
            sinogram = sinogram * overlap_weights(self._columns, float(axis[0]))
        threads = max(min(self._threads, sinogram.size // WORTH_A_THREAD), 1)
        spectrum = filtered_spectra(sinogram, response, tables, grid, threads)
        image = transform_to_slice(spectrum, grid, self._grid, threads)
        if self._options.mask_circle:
            np.copyto(image, 0, where=~circle_mask(self._size))
        return image

    def _reconstruct_group(
        self, slab: Slab, first: int, rows: NDArray[np.int64], executor: Executor | None
    ) -> None:
        from tomoservice.recon.fourier.kernels.columns import make_slices
        from tomoservice.recon.fourier.kernels.filtering import filter_angles
        from tomoservice.recon.fourier.kernels.gridding import grid_rows

        group, response = self._groups.make(slab, first, rows)
        tables, grid = self._prepared(response)
        slices = np.zeros(LANES, np.int64)
        lanes = rows - (first - slab.first_row)
        slices[lanes] = slab.out.ctypes.data + slab.out.strides[0] * rows
        with self._pool.lend(self._sizes(response)) as space:
            polar, columns = space.polar, space.columns
            _on_all(executor, space, lambda own, counter: filter_angles(tables, group, own, polar, counter))
            if group.bad.any():
                # Says which one, and where.
                _checked(slab, int(rows[np.flatnonzero(group.bad[lanes])[0]]))
            _on_all(executor, space, lambda own, counter: grid_rows(grid, polar, own, columns, counter))
            _on_all(executor, space, lambda own, counter: make_slices(grid, columns, own, slices, counter))

    def _sizes(self, response: Response) -> Sizes:
        length = self._grid.length
        angles = len(self._angles)
        return Sizes(angles, response.length, length, rows_at_once(length), self._size, self._threads)

    def _prepared(self, response: Response) -> tuple[FilterTables, GridTables]:
        """Return the tables for a length; nearly always the same one."""
        length = response.length
        with self._lock:
            if length not in self._tables:
                # An even edge has no pixel at the axis, but one half a pixel to the right and below.
                half = self._size // 2 - (self._size - 1) / 2
                turns = half * (np.cos(self._angles) - np.sin(self._angles))
                filled = np.flatnonzero(response.factor) - length // 2
                reach = int(np.abs(filled).max(initial=1))
                self._tables[length] = (
                    make_filter_tables(self._columns, length, turns, self._weights),
                    make_grid_tables(self._grid, length, reach, self._angles, self._limits),
                )
            return self._tables[length]


def _checked(slab: Slab, row: int) -> NDArray[np.float32]:
    """Return one sinogram (angle, column), or say what is wrong with its values."""
    sinogram = slab.sinogram(row)
    largest = max(float(sinogram.max()), -float(sinogram.min()))
    if largest > LARGEST:
        msg = (
            f"the sinogram of detector row {slab.first_row + row} has values up to {largest:g}, too large "
            "for single precision; check the flat field correction"
        )
        raise EngineError(msg)
    return sinogram


def _limits(size: int, *, mask_circle: bool) -> NDArray[np.int64]:
    """Return the first row of a slice that is wanted in each column, and the one after the last."""
    mask = circle_mask(size) if mask_circle else np.ones((size, size), bool)
    first = mask.argmax(axis=0)
    last = np.where(mask.any(axis=0), size - mask[::-1].argmax(axis=0), first)
    return np.stack([first, last], axis=1).astype(np.int64)


def _on_all(
    executor: Executor | None, space: Workspace, work: Callable[[NDArray[np.float32], int], None]
) -> None:
    """Call `work` with each thread's working space, and the counter by which threads share out work."""
    counter = space.counter()
    if executor is None:
        work(space.scratch[0], counter)
        return
    # Consuming the results raises what one of them raised.
    for _ in executor.map(lambda own: work(own, counter), space.scratch):
        pass
