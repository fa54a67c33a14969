"""Removal of outliers on a device; see `tomoservice.prep.outliers` and `tomoservice.prep.flat_pixels`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep._flat_lines import find_bridges
from tomoservice.prep.flat_pixels import judged_by_change, too_few_to_judge
from tomoservice.prep.outliers import ZingerOptions, check_angles, limits_of, remove_not_finite

ARRAYS_HELD = 6
"""Sizes of a part that are taken while outliers in it are replaced."""
SHARE = 4
"""Part of the free memory that may be taken."""


def remove_zingers(machine: Machine, sinograms: DeviceArray, options: ZingerOptions) -> None:
    """Replace zingers in each projection by the median of their neighbours in row and column, in place.

    Parameters
    ----------
    machine : Machine
        The device.
    sinograms : (row, angle, column) float32 array
        Transmissions, with `ZingerOptions.row_margin` rows more on either side.
    options : ZingerOptions
        What counts as a zinger.
    """
    _mend(machine, sinograms)
    rows, angles, columns = sinograms.shape
    for low, high in _parts(machine, angles, rows * columns):
        part = sinograms[:, low:high]
        size = (options.size, 1, options.size)
        _replace(machine, part, machine.ndimage.median_filter(part, size=size, mode="nearest"), options)


def remove_spikes(machine: Machine, sinograms: DeviceArray, options: ZingerOptions) -> None:
    """Replace zingers along angle by the median of the same pixel in neighbouring projections, in place.

    Parameters
    ----------
    machine : Machine
        The device.
    sinograms : (row, angle, column) float32 array
        Transmissions, the angles in the order of the rotation.
    options : ZingerOptions
        What counts as a zinger; `size` counts angles.

    Raises
    ------
    EngineError
        If there are fewer angles than the window's size.
    """
    _mend(machine, sinograms)
    rows, angles, columns = sinograms.shape
    check_angles(angles, options)
    reach = options.size // 2
    for low, high in _parts(machine, rows, angles * columns):
        part = sinograms[low:high]
        medians = machine.ndimage.median_filter(part, size=(1, options.size, 1), mode="nearest")
        # The window moves inwards at the ends.
        medians[:, :reach] = medians[:, reach : reach + 1]
        medians[:, angles - reach :] = medians[:, angles - reach - 1 : angles - reach]
        _replace(machine, part, medians, options)


def bridge_stuck_pixels(machine: Machine, sinograms: DeviceArray) -> None:
    """Bridge pixels that change over the scan much less, or much more, than those on either side, in place.

    Parameters
    ----------
    machine : Machine
        The device.
    sinograms : (row, angle, column) float32 array
        Finite transmissions of all angles.
    """
    rows, angles, columns = sinograms.shape
    bad = np.zeros((rows, columns), np.bool_)
    if not too_few_to_judge(angles, columns):
        for row, sinogram in enumerate(sinograms):
            bad[row] = judged_by_change(machine.to_host(sinogram.std(axis=0, dtype=np.float64)))
    bridges = find_bridges(bad)
    for row in map(int, np.flatnonzero(bridges.touched)):
        sinogram = sinograms[row]
        if bridges.lost[row]:
            sinogram[...] = np.float32(1)
            continue
        some = slice(bridges.starts[row], bridges.starts[row + 1])
        column, left, right, weight = (
            machine.to_device(numbers[some])
            for numbers in (bridges.columns, bridges.left, bridges.right, bridges.weight)
        )
        low, high = sinogram[:, left], sinogram[:, right]
        sinogram[:, column] = low + (high - low) * weight


def _mend(machine: Machine, sinograms: DeviceArray) -> None:
    """Bridge values that are not finite along their row; on the CPU, because there are hardly ever any."""
    if all(bool(machine.xp.isfinite(sinogram).all()) for sinogram in sinograms):
        return
    host = machine.to_host(sinograms)
    remove_not_finite(host)
    sinograms[...] = machine.to_device(host)


def _parts(machine: Machine, length: int, numbers: int) -> Iterator[tuple[int, int]]:
    """Cut an axis into parts that the memory suffices for; each element has so many float32 numbers."""
    at_once = max(machine.free_bytes() // SHARE // (ARRAYS_HELD * 4 * numbers), 1)
    for low in range(0, length, at_once):
        yield low, min(low + at_once, length)


def _replace(machine: Machine, part: DeviceArray, medians: DeviceArray, options: ZingerOptions) -> None:
    """Put medians (row, angle, column) in the place of what stands out from them."""
    xp = machine.xp
    least, factor, kind = limits_of(options)
    excess = part - medians
    threshold = least
    if factor > 0:
        distance = xp.abs(excess)
        noise = distance.mean(axis=2, keepdims=True)
        for _ in range(2):
            # Without what stands out.
            noise = xp.minimum(distance, noise * np.float32(4)).mean(axis=2, keepdims=True)
        threshold = xp.maximum(noise * factor, least)
    out = xp.zeros(part.shape, np.bool_)
    if kind & 1:
        out |= excess > threshold
    if kind & 2:
        out |= -excess > threshold
    xp.copyto(part, medians, where=out)
