"""Sinograms on a device whose columns are sorted along the angle; see `tomoservice.prep.stripes._sorted`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from tomoservice.cuda.machine import DeviceArray, Machine, blocks_of, number
from tomoservice.windows import window_path

THREADS = (128, 1, 1)


@cache
def kernel_source() -> str:
    """Return the text of ``stripes.cu``."""
    return resources.files("tomoservice.prep.on_device.stripes").joinpath("stripes.cu").read_text("utf-8")


@dataclass(frozen=True)
class Ranked:
    """A sinogram whose columns are sorted along the angle, equal values in the order of their angles.

    Parameters
    ----------
    machine
        Where it is.
    values : (column, rank) float32 array
        Ascending along the rank, contiguous.
    order : (column, rank) int64 array
        Angle at which each value was measured.
    """

    machine: Machine
    values: DeviceArray
    order: DeviceArray

    @classmethod
    def of(cls, machine: Machine, sinogram: DeviceArray) -> Ranked:
        """Sort a sinogram (angle, column) without NaN; it is not modified."""
        xp = machine.xp
        columns = xp.ascontiguousarray(sinogram.T)
        order = xp.ascontiguousarray(xp.argsort(columns, axis=1, kind="stable"))
        return cls(machine, xp.ascontiguousarray(xp.take_along_axis(columns, order, axis=1)), order)

    def medians(self, size: int) -> DeviceArray:
        """Return the medians (column, rank) over `size` neighbouring columns at each rank."""
        machine, values = self.machine, self.values
        medians = machine.empty(values.shape, np.float32)
        path = machine.to_device(window_path(len(values), size))
        bits, out = values.view(np.uint32), medians.view(np.uint32)
        self._launch("running_medians", bits, path, *self._sizes(), number(size), out)
        return medians

    def unsorted(self, values: DeviceArray) -> DeviceArray:
        """Return `values` (column, rank), contiguous, as a sinogram (angle, column)."""
        sinogram = self.machine.empty(values.shape[::-1], np.float32)
        self._launch("unsort_columns", values, self.order, *self._sizes(), sinogram)
        return sinogram

    def _sizes(self) -> tuple[np.generic, ...]:
        return tuple(map(number, self.values.shape))

    def _launch(self, name: str, *arguments: Any) -> None:
        columns, ranks = self.values.shape
        kernels = self.machine.kernels(kernel_source(), {})
        kernels.launch(name, blocks_of((ranks, columns, 1), THREADS), THREADS, list(arguments))
