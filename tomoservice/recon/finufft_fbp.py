"""Filtered back-projection by a non-uniform Fourier transform, on the CPU, with FINUFFT.

The same mathematics as `tomoservice.recon.fourier` by an independent library: a check on it, and what to use
where Numba cannot compile.

Back-projection of the filtered projections with ideal (trigonometric) interpolation is a sum of plane waves
on a polar grid of frequencies: a type 1 non-uniform FFT (Barnett, Magland, af Klinteberg 2019,
DOI 10.1137/18M120885X). Two real slices make one complex transform.

Each transform runs on one thread and slices are paired at absolute detector rows (2k with 2k+1), so the bits
depend neither on the number of threads nor on how the scan is cut into slabs that begin at even rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from tomoservice.recon.base import (
    ReconstructionOptions,
    RowsAlone,
    Slab,
    SliceOptions,
    checked_angles,
    checked_options,
    circle_mask,
)
from tomoservice.recon.filtering import ProjectionFilter, window_samples
from tomoservice.recon.half_acquisition import check_whole_turn
from tomoservice.recon.weights import angular_weights
from tomoservice.threads import available_threads

if TYPE_CHECKING:
    import finufft

# Far below the error that sampling itself makes; 1.25 is three to four times faster than the usual 2.
TOLERANCE = 1e-4
OVERSAMPLING = 1.25


class FinufftReconstructor(RowsAlone):
    """Filtered back-projection by FINUFFT on the CPU."""

    name = "finufft"
    row_group = 2

    def plan(
        self,
        angles_deg: ArrayLike,
        columns: int,
        options: SliceOptions | None = None,
        *,
        threads: int | None = None,
    ) -> FinufftPlan:
        """Prepare the transform for a set of angles; see `Reconstructor.plan`."""
        angles = checked_angles(angles_deg, columns)
        chosen = checked_options(options, ReconstructionOptions, self.name)
        return FinufftPlan(angles, columns, chosen, threads or available_threads())

    def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
        """Estimate the bytes that a plan and its working space take."""
        edge = size or columns
        points = angles * window_samples(edge, mask_circle=False)
        # Shared: two coordinates and a complex weight. Per thread: filtered pair, its spectrum, the index
        # that sorts the points, the fine grid and the complex slice.
        shared = points * (4 + 4 + 8) + edge * edge
        fine = int((OVERSAMPLING * edge + 16) ** 2)
        return shared + threads * (points * (8 + 8 + 8) + 8 * (fine + edge * edge))


class FinufftPlan:
    """`FinufftReconstructor` prepared for a set of angles and a detector width.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians.
    columns : int
        Detector columns N.
    options : ReconstructionOptions
        Filter, padding, mask.
    threads : int
        Pairs of slices worked on at once.
    """

    def __init__(
        self, angles: NDArray[np.float64], columns: int, options: ReconstructionOptions, threads: int
    ) -> None:
        self._angles = len(angles)
        self._columns = columns
        self._size = options.size or columns
        self._threads = threads
        self._samples = window_samples(self._size, mask_circle=options.mask_circle)
        self._filter = ProjectionFilter(columns, self._samples, options)
        self._outside = ~circle_mask(self._size) if options.mask_circle else None
        self._lock = threading.Lock()
        self._idle: list[finufft.Plan] = []
        if options.half_acquisition:
            check_whole_turn(angles)
        self._prepare(angles, angular_weights(angles, whole_turn=options.half_acquisition))

    def _prepare(self, angles: NDArray[np.float64], angular: NDArray[np.float64]) -> None:
        samples = self._samples
        index = np.arange(samples)
        frequency = fft.fftfreq(samples)
        x = (2 * np.pi * np.cos(angles)[:, None] * frequency).ravel()
        # Rows count downwards, y upwards.
        y = (-2 * np.pi * np.sin(angles)[:, None] * frequency).ravel()
        # Mode 0 is pixel N // 2, which lies half a pixel from the axis if N is even.
        offset = self._size // 2 - (self._size - 1) / 2
        weights = np.repeat(angular / samples, samples)
        # Sample 0 of a filtered projection lies at -samples / 2, an even split by construction.
        centring = np.where(index % 2 == 0, 1.0, -1.0)
        centring[samples // 2] = 0
        factors = weights * np.exp(1j * offset * (x + y)) * np.tile(centring, len(angles))
        self._x, self._y = x.astype(np.float32), y.astype(np.float32)
        self._factors = factors.astype(np.complex64).reshape(len(angles), samples)

    @contextmanager
    def _transform(self) -> Iterator[finufft.Plan]:
        """Lend a transform to one thread at a time: FINUFFT's plans hold their working space."""
        with self._lock:
            plan = self._idle.pop() if self._idle else self._new_transform()
        try:
            yield plan
        finally:
            with self._lock:
                self._idle.append(plan)

    def _new_transform(self) -> finufft.Plan:
        import finufft

        plan = finufft.Plan(
            1,
            (self._size, self._size),
            eps=TOLERANCE,
            isign=1,
            dtype="complex64",
            upsampfac=OVERSAMPLING,
            nthreads=1,
        )
        plan.setpts(self._y, self._x)
        return plan

    def execute(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a slab; see `ReconstructionPlan.execute`."""
        shape = (self._angles, self._columns, self._size)
        slab = Slab.checked(shape, sinograms, rotation_axis, first_row, out)
        last_row = first_row + len(slab.sinograms)
        pairs = range(first_row - first_row % 2, last_row, 2)
        if self._threads == 1 or len(pairs) <= 1:
            for pair in pairs:
                self._reconstruct_pair(slab, pair)
        else:
            with ThreadPoolExecutor(self._threads, "tomoservice-finufft") as pool:
                # Consuming the results raises what a pair raised.
                for _ in pool.map(lambda pair: self._reconstruct_pair(slab, pair), pairs):
                    pass
        return slab.out

    def _reconstruct_pair(self, slab: Slab, pair: int) -> None:
        """Reconstruct detector rows `pair` (real part) and `pair + 1` (imaginary part)."""
        filtered = np.zeros((self._angles, self._samples), np.complex64)
        first = pair - slab.first_row
        real, imaginary = (0 <= row < len(slab.sinograms) for row in (first, first + 1))
        if real:
            self._filter.apply(slab.sinogram(first), float(slab.axes[first]), filtered.real)
        if imaginary:
            self._filter.apply(slab.sinogram(first + 1), float(slab.axes[first + 1]), filtered.imag)
        spectrum = fft.fft(filtered, axis=-1, overwrite_x=True)
        spectrum *= self._factors
        with self._transform() as transform:
            image = transform.execute(spectrum.ravel())
        if real:
            self._put(slab, first, image.real)
        if imaginary:
            self._put(slab, first + 1, image.imag)

    def _put(self, slab: Slab, row: int, image: NDArray[np.float32]) -> None:
        slab.out[row] = image
        if self._outside is not None:
            slab.out[row][self._outside] = 0
