"""Removal of stripes by sorting on a device; see `tomoservice.prep.stripes.BySorting`."""

from __future__ import annotations

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.stripes import BySorting
from tomoservice.prep.stripes.base import LARGEST_VALUE, check_values, small_window


def sort_stripes_away(machine: Machine, sinograms: DeviceArray, method: BySorting) -> None:
    """Remove small and medium stripes, in place.

    Parameters
    ----------
    machine : Machine
        The device.
    sinograms : (row, angle, column) float32 array
        Line integrals.
    method : BySorting
        Its parameter.

    Raises
    ------
    EngineError
        If a value is not finite, or beyond 1e15.
    """
    xp = machine.xp
    size = small_window(method.size, sinograms.shape[2])
    for row, sinogram in enumerate(sinograms):
        if not float(xp.abs(sinogram).max()) <= LARGEST_VALUE:
            check_values(machine.to_host(sinogram), row)
        order = xp.argsort(sinogram, axis=0, kind="stable")
        ranked = xp.take_along_axis(sinogram, order, axis=0)
        medians = machine.ndimage.median_filter(ranked, size=(1, size), mode="reflect")
        # Where each angle's value stands among those of its column.
        rank = xp.argsort(order, axis=0, kind="stable")
        sinogram[...] = xp.take_along_axis(medians, rank, axis=0)
