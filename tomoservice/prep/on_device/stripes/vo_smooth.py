"""Removal of stripes on a smooth part of columns on a device; see `tomoservice.prep.stripes.vo_smooth`."""

from __future__ import annotations

import numpy as np

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.on_device.stripes.ranked import Ranked
from tomoservice.prep.stripes.base import small_window
from tomoservice.prep.stripes.vo_smooth import LARGEST_GAIN, ByFiltering, ByFitting, alternating, padding


def by_filtering(machine: Machine, sinogram: DeviceArray, method: ByFiltering) -> DeviceArray:
    """Return a sinogram without wide and partial stripes."""
    smooth = _low_frequencies(machine, sinogram, method)
    ranked = Ranked.of(machine, smooth)
    medians = ranked.medians(small_window(method.size, sinogram.shape[1]))
    return ranked.unsorted(medians) + (sinogram - smooth)


def by_fitting(machine: Machine, sinogram: DeviceArray, method: ByFitting) -> DeviceArray:
    """Return a sinogram without stripes, as far as a polynomial describes its columns."""
    xp = machine.xp
    fit = _fitted(machine, sinogram, method)
    smooth = _smoothed(machine, fit, method)
    size, smooth_size = (float(xp.mean(xp.abs(array))) for array in (fit, smooth))
    if size == 0 or smooth_size == 0:
        return sinogram
    smooth *= size / smooth_size
    nothing = fit == 0
    factor = smooth / xp.where(nothing, 1, fit)
    explained = (factor >= 1 / LARGEST_GAIN) & (factor <= LARGEST_GAIN) & ~nothing
    return (sinogram * xp.where(explained, factor, 1)).astype(np.float32)


def _low_frequencies(machine: Machine, sinogram: DeviceArray, method: ByFiltering) -> DeviceArray:
    xp, fft = machine.xp, machine.fft
    angles = len(sinogram)
    pad = padding(angles)
    length = angles + 2 * pad
    signs, kept = machine.to_device(alternating(length)), machine.to_device(method.transfer(length))
    columns = xp.ascontiguousarray(sinogram.T).astype(np.float64)
    padded = xp.pad(columns, ((0, 0), (pad, pad)), mode="reflect") * signs
    filtered = fft.irfft(fft.rfft(padded, axis=1) * kept, length, axis=1) * signs
    return xp.ascontiguousarray(filtered[:, pad : pad + angles].T).astype(np.float32)


def _fitted(machine: Machine, sinogram: DeviceArray, method: ByFitting) -> DeviceArray:
    """Return the value at each angle of a polynomial fitted to the angles around it, float64."""
    xp, fft = machine.xp, machine.fft
    angles = len(sinogram)
    kept = machine.to_device(method.fit_transfer(angles))
    columns = xp.ascontiguousarray(sinogram.T).astype(np.float64)
    # The cosine transform by which the CPU does it is this Fourier transform of mirrored columns.
    mirrored = xp.concatenate([columns, columns[:, -2:0:-1]], axis=1)
    fitted = fft.irfft(fft.rfft(mirrored, axis=1) * kept, mirrored.shape[1], axis=1)
    return xp.ascontiguousarray(fitted[:, :angles].T)


def _smoothed(machine: Machine, fit: DeviceArray, method: ByFitting) -> DeviceArray:
    """Return a fit (angle, column) after a low-pass in both directions."""
    xp, fft = machine.xp, machine.fft
    angles, columns = fit.shape
    pad = padding(angles)
    padded = xp.pad(fit, ((0, 0), (pad, pad)), mode="edge")
    padded = xp.pad(padded, ((pad, pad), (0, 0)), mode="mean")
    rows, width = padded.shape
    signs = machine.to_device(alternating(rows)[:, None] * alternating(width))
    kept = machine.to_device(method.smoothing_transfer(rows, width, columns))
    smooth = fft.irfft2(fft.rfft2(padded * signs) * kept, (rows, width)) * signs
    return smooth[pad : pad + angles, pad : pad + columns]
