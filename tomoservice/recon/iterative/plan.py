"""Slices by iteration: one slice a thread, pieces short enough to be cancelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.devices import CPU, DeviceChoice
from tomoservice.errors import EngineError, GeometryError
from tomoservice.recon.base import ReconstructionOptions, ReconstructionPlan, Slab, circle_mask
from tomoservice.recon.iterative.astra_projector import AstraProjector, Device
from tomoservice.recon.iterative.joseph import JosephProjector
from tomoservice.recon.iterative.options import Initial, IterationControl, IterativeOptions
from tomoservice.recon.iterative.problem import Problem, Solver, Sums, norm
from tomoservice.recon.iterative.projector import ParallelProjector2D, SliceGeometry
from tomoservice.recon.iterative.solvers import uniform_order
from tomoservice.threads import available_threads, for_each

# Two rows to a transform, not sixteen: a row by itself is what it is best at.
START_METHOD = "finufft"


@dataclass(frozen=True)
class Method:
    """What tells one iterative method from another.

    Parameters
    ----------
    name
        Name by which recipes ask for the method.
    solver
        The iterations.
    sums
        What the solver wants to know beforehand: given projector, shape of a sinogram, and an (M, M) array
        that is 1 for unknowns.
    images, sinograms
        Arrays of either kind that a slice takes while it is worked on, for the estimate of memory.
    by_turns
        Whether groups of projections take turns.
    """

    name: str
    solver: Solver
    sums: Callable[[ParallelProjector2D, tuple[int, int], NDArray[np.float32]], Sums]
    images: int
    sinograms: int
    by_turns: bool = False


class IterativePlan:
    """An iterative method prepared for a set of angles and a detector width.

    Parameters
    ----------
    method : Method
        Which.
    angles : (angle,) float64 array
        In radians.
    columns : int
        Detector columns N.
    options : IterativeOptions
        Checked by the method.
    threads : int, optional
        To use on the processor; the threads that fewer slices leave over share the work on each.
    device : DeviceChoice, default the CPU
        What projects.
    """

    def __init__(
        self,
        method: Method,
        angles: NDArray[np.float64],
        columns: int,
        options: IterativeOptions,
        *,
        threads: int | None = None,
        device: DeviceChoice = CPU,
    ) -> None:
        self._method, self._options, self._columns = method, options, columns
        self._size = options.size or columns
        self._order, self._starts = np.arange(len(angles)), [0]
        if method.by_turns:
            self._order, self._starts = uniform_order(angles, options.subsets)
        self._angles = angles[self._order]
        self._angles_deg = np.rad2deg(angles)
        self._outside = ~circle_mask(self._size) if options.mask_circle else None
        self._threads = threads or available_threads()
        self._device = Device(device.kind)
        self._device_index = device.index
        self._sums: tuple[float, Sums] | None = None
        self._start: ReconstructionPlan | None = None

    def execute(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
        initial: NDArray[np.float32] | None = None,
        control: IterationControl | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a slab; see `ReconstructionPlan.execute`.

        Parameters
        ----------
        initial : (row, M, M) float32 array, optional
            Slices to start from, in attenuation per pixel; with ``Initial.VOLUME``, and only then. Not
            modified, unless they are `out` itself.
        control : IterationControl, optional
            Cancels, stops and keeps, is told the residuals.

        Raises
        ------
        EngineError
            If there are no slices to start from, or some that nobody wants, or they are not finite.
        CancelledError
            If the control said so; `out` then holds some finished slices, and nothing of use in the others.
        """
        shape = (len(self._angles), self._columns, self._size)
        slab = Slab.checked(shape, sinograms, rotation_axis, first_row, out)
        steering = control or IterationControl()
        rows = range(len(slab.sinograms))
        if not rows:
            return slab.out
        for row in rows:
            # Refuses what is not finite, before anything long is computed.
            slab.sinogram(row)
        if np.ptp(slab.axes) == 0:
            self._shared_sums(float(slab.axes[0]), steering)
        self._put_starts(slab, initial, steering)
        threads = 1 if self._device is Device.CUDA else self._threads
        for_each(lambda row: self._reconstruct_row(slab, row, steering), rows, threads)
        return slab.out

    def _projector(self, axis: float, slices: int, control: IterationControl) -> ParallelProjector2D:
        geometry = SliceGeometry(self._angles, self._columns, self._size, axis)
        if self._device is Device.CUDA:
            return AstraProjector(
                geometry,
                device=self._device,
                device_index=self._device_index,
                groups=self._starts,
                between=control.listen,
            )
        threads = max(1, self._threads // slices)
        return JosephProjector(geometry, threads=threads, groups=self._starts, between=control.listen)

    def _new_sums(self, projector: ParallelProjector2D) -> Sums:
        inside = np.ones((self._size, self._size), np.float32)
        if self._outside is not None:
            inside[self._outside] = 0
        return self._method.sums(projector, (len(self._angles), self._columns), inside)

    def _shared_sums(self, axis: float, control: IterationControl) -> None:
        if self._sums is None or self._sums[0] != axis:
            with self._projector(axis, 1, control) as projector:
                self._sums = (axis, self._new_sums(projector))

    def _put_starts(self, slab: Slab, initial: NDArray[np.float32] | None, control: IterationControl) -> None:
        """Put what the iterations start from into the slices."""
        if (initial is not None) != (self._options.initial is Initial.VOLUME):
            given = "none was given" if initial is None else "a volume was given"
            raise EngineError(f"initial is {self._options.initial.value!r}, but {given} to start from")
        if initial is not None:
            _check_start(initial, slab.out.shape)
            slab.out[:] = initial
            return
        if self._options.initial is Initial.ZERO:
            slab.out[:] = 0
            return
        if self._start is None:
            from tomoservice.recon import get_reconstructor

            options = ReconstructionOptions(
                size=self._options.size,
                mask_circle=self._options.mask_circle,
                half_acquisition=self._options.half_acquisition,
            )
            self._start = get_reconstructor(START_METHOD).plan(self._angles_deg, self._columns, options)
        for row, axis in enumerate(slab.axes):
            # A row by itself: rows that share a transform would change with the slab.
            control.listen()
            part = slice(row, row + 1)
            self._start.execute(slab.sinograms[part], float(axis), out=slab.out[part])

    def _reconstruct_row(self, slab: Slab, row: int, control: IterationControl) -> None:
        axis = float(slab.axes[row])
        data = np.ascontiguousarray(slab.sinograms[row][self._order])
        image = np.array(slab.out[row], order="C")
        shared = self._sums
        with self._projector(axis, len(slab.sinograms), control) as projector:
            sums = shared[1] if shared is not None and shared[0] == axis else self._new_sums(projector)
            problem = Problem(projector, data, image, self._outside, self._options, sums)
            problem.limit(image)
            self._iterate(problem, slab.first_row + row, control)
        slab.out[row] = image

    def _iterate(self, problem: Problem, row: int, control: IterationControl) -> None:
        whole = norm(problem.data) or 1.0
        before = None
        # In this order the solver is not asked for an iteration more than there are.
        numbers = range(1, self._options.iterations + 1)
        for iteration, misfit in zip(numbers, self._method.solver(problem), strict=False):
            residual = misfit / whole
            control.on_iteration(row, iteration, residual)
            still = before is not None and abs(before - residual) < self._options.tolerance * before
            if still or control.stop_and_keep():
                return
            before = residual


def _check_start(initial: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Refuse slices that are no start for slices of `shape`."""
    if initial.shape != shape:
        raise GeometryError(f"the slices to start from must have the shape {shape}, got {initial.shape}")
    wrong = np.count_nonzero(~np.isfinite(initial))
    if wrong:
        raise EngineError(f"the slices to start from hold {wrong} values that are not finite")
