"""Filtered back-projection with ASTRA's back-projector: slow on the CPU, and an independent check.

The filter is ours (`tomoservice.recon.filtering`); the back-projection, its interpolation and its handling of
a fractional axis are ASTRA's (van Aarle et al. 2016, DOI 10.1364/OE.24.025129).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.devices import CPU, DeviceChoice
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
from tomoservice.recon.iterative.astra_projector import AstraProjector, Device
from tomoservice.recon.iterative.options import IterationControl
from tomoservice.recon.iterative.projector import SliceGeometry
from tomoservice.recon.weights import angular_weights
from tomoservice.threads import available_threads


class AstraFbpReconstructor(RowsAlone):
    """Filtered back-projection with ASTRA.

    Parameters
    ----------
    device : DeviceChoice, default the CPU
        What back-projects; one that `tomoservice.recon.place` has found to answer.
    """

    name = "astra_fbp"
    row_group = 1

    def __init__(self, device: DeviceChoice = CPU) -> None:
        self._device = device

    def plan(
        self,
        angles_deg: ArrayLike,
        columns: int,
        options: SliceOptions | None = None,
        *,
        threads: int | None = None,
    ) -> AstraFbpPlan:
        """Prepare a set of angles; see `Reconstructor.plan`."""
        angles = checked_angles(angles_deg, columns)
        chosen = checked_options(options, ReconstructionOptions, self.name)
        return AstraFbpPlan(angles, columns, chosen, threads or available_threads(), self._device)

    def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
        """Estimate the bytes of the working space: for each thread a filtered sinogram and two slices."""
        edge = size or columns
        samples = window_samples(edge, mask_circle=False)
        return edge * edge + threads * 4 * (angles * samples + 2 * edge * edge)


class AstraFbpPlan:
    """`AstraFbpReconstructor` prepared for a set of angles and a detector width.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians.
    columns : int
        Detector columns N.
    options : ReconstructionOptions
        Filter, padding, mask.
    threads : int
        Slices worked on at once, on the CPU.
    device : DeviceChoice, default the CPU
        What back-projects.
    """

    def __init__(
        self,
        angles: NDArray[np.float64],
        columns: int,
        options: ReconstructionOptions,
        threads: int,
        device: DeviceChoice = CPU,
    ) -> None:
        self._angles = angles
        self._columns = columns
        self._size = size = options.size or columns
        self._device, self._device_index = Device(device.kind), device.index
        self._threads = 1 if self._device is Device.CUDA else threads
        self._samples = window_samples(size, mask_circle=options.mask_circle)
        self._filter = ProjectionFilter(columns, self._samples, options)
        if options.half_acquisition:
            check_whole_turn(angles)
        weights = angular_weights(angles, whole_turn=options.half_acquisition)
        self._weights = weights.astype(np.float32)[:, None]
        self._outside = ~circle_mask(size) if options.mask_circle else None

    def execute(
        self,
        sinograms: NDArray[np.float32],
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | None = None,
        control: IterationControl | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a slab; see `ReconstructionPlan.execute`.

        Parameters
        ----------
        control : IterationControl, optional
            Cancels: heard several times a second within each slice on the CPU.

        Raises
        ------
        CancelledError
            If the control said so.
        """
        shape = (len(self._angles), self._columns, self._size)
        slab = Slab.checked(shape, sinograms, rotation_axis, first_row, out)
        steering = control or IterationControl()
        rows = range(len(slab.sinograms))
        if self._threads == 1 or len(rows) <= 1:
            for row in rows:
                self._reconstruct_row(slab, row, steering)
        else:
            with ThreadPoolExecutor(self._threads, "tomoservice-astra") as pool:
                # Consuming the results raises what a row raised.
                for _ in pool.map(lambda row: self._reconstruct_row(slab, row, steering), rows):
                    pass
        return slab.out

    def _reconstruct_row(self, slab: Slab, row: int, control: IterationControl) -> None:
        axis = float(slab.axes[row])
        filtered = np.empty((len(self._angles), self._samples), np.float32)
        self._filter.apply(slab.sinogram(row), axis, filtered, sub_pixel=False)
        filtered *= self._weights
        # The axis lies that fraction of a column after the middle sample.
        middle = self._samples // 2 + axis - math.floor(axis)
        geometry = SliceGeometry(self._angles, self._samples, self._size, middle)
        image = np.empty((self._size, self._size), np.float32)
        with AstraProjector(
            geometry, device=self._device, device_index=self._device_index, between=control.listen
        ) as projector:
            projector.back(filtered, image)
        slab.out[row] = image
        if self._outside is not None:
            slab.out[row][self._outside] = 0
