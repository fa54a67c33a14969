"""Removal of stripes by sorting on a device; see `tomoservice.prep.stripes.vo`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.on_device.stripes.ranked import Ranked
from tomoservice.prep.stripes import BySorting, DeadStripes, EveryStripe, LargeStripes
from tomoservice.prep.stripes.base import large_window, small_window
from tomoservice.prep.stripes.vo import SMOOTH_ANGLES
from tomoservice.windows import window_path


def by_sorting(machine: Machine, sinogram: DeviceArray, method: BySorting) -> DeviceArray:
    """Return a sinogram without small and medium stripes."""
    ranked = Ranked.of(machine, sinogram)
    return ranked.unsorted(ranked.medians(small_window(method.size, sinogram.shape[1])))


def large(machine: Machine, sinogram: DeviceArray, method: LargeStripes) -> DeviceArray:
    """Return a sinogram without large stripes."""
    ranked = _without_large(Ranked.of(machine, sinogram), method)
    return ranked.unsorted(ranked.values)


def dead(machine: Machine, sinogram: DeviceArray, method: DeadStripes) -> DeviceArray:
    """Return a sinogram without stripes of unresponsive and of fluctuating pixels."""
    repaired = _repaired(machine, sinogram, method)
    if not method.residual:
        return repaired
    return large(machine, repaired, LargeStripes(snr=method.snr, size=method.size))


def every(machine: Machine, sinogram: DeviceArray, method: EveryStripe) -> DeviceArray:
    """Return a sinogram without stripes of any kind."""
    of_dead, of_large, of_small = method.in_turn()
    ranked = _without_large(Ranked.of(machine, _repaired(machine, sinogram, of_dead)), of_large)
    return ranked.unsorted(ranked.medians(small_window(of_small.size, sinogram.shape[1])))


def _without_large(ranked: Ranked, method: LargeStripes) -> Ranked:
    machine, values = ranked.machine, ranked.values
    smooth = ranked.medians(large_window(method.size, len(values)))
    kept = method.ranks_kept(values.shape[1])
    mean, around = (
        machine.to_host(machine.xp.mean(array[:, kept], axis=1, dtype=np.float64))
        for array in (values, smooth)
    )
    ratio, stripes = method.judged(mean, around)
    if method.normalise:
        values = (values / machine.to_device(ratio[:, None])).astype(np.float32)
    replaced = machine.to_device(stripes[:, None])
    return replace(ranked, values=machine.xp.where(replaced, smooth, values))


def _repaired(machine: Machine, sinogram: DeviceArray, method: DeadStripes) -> DeviceArray:
    bridges = method.bridges(machine.to_host(_fluctuations(machine, sinogram)))
    if bridges is None:
        return sinogram
    lost, left, right, weight = map(
        machine.to_device, (bridges.lost, bridges.left, bridges.right, bridges.weight)
    )
    repaired = sinogram.copy()
    repaired[:, lost] = (sinogram[:, left] * (1 - weight) + sinogram[:, right] * weight).astype(np.float32)
    return repaired


def _fluctuations(machine: Machine, sinogram: DeviceArray) -> DeviceArray:
    """Sum for each column how far its values lie from their mean over neighbouring angles."""
    xp, angles = machine.xp, len(sinogram)
    path = machine.to_device(window_path(angles, SMOOTH_ANGLES))
    longer = xp.take(sinogram, path, axis=0).astype(np.float64)
    total = longer[:angles].copy()
    for later in range(1, SMOOTH_ANGLES):
        total += longer[later : later + angles]
    smooth = (total / SMOOTH_ANGLES).astype(np.float32)
    return xp.sum(xp.abs(sinogram - smooth), axis=0, dtype=np.float64)
