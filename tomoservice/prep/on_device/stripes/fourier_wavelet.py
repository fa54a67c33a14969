"""The wavelet transform of `tomoservice.prep.stripes.FourierWavelet` on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.stripes.fourier_wavelet import Filters, FourierWavelet, paths

Taps = NDArray[np.float32]


def fourier_wavelet(machine: Machine, sinogram: DeviceArray, method: FourierWavelet) -> DeviceArray:
    """Return a sinogram without stripes."""
    return method.corrected_by(_Transforms(machine), sinogram)


class _Transforms:
    """See `tomoservice.prep.stripes.fourier_wavelet.Transforms`."""

    def __init__(self, machine: Machine) -> None:
        self.xp: Any = machine.xp
        self.fft: Any = machine.fft
        self._machine = machine

    def analyse(self, signal: DeviceArray, filters: Filters, /) -> tuple[DeviceArray, DeviceArray]:
        low, high = (taps[::-1] for taps in filters)
        down, across = map(self._machine.to_device, paths(signal.shape, low.size))
        along = _every_second(self.xp.take(signal, down, axis=0), low)
        longer = self.xp.take(along, across, axis=1).T
        smooth, detail = (self.xp.ascontiguousarray(_every_second(longer, taps).T) for taps in (low, high))
        return smooth, detail

    def synthesise(
        self, smooth: DeviceArray, detail: DeviceArray, filters: Filters, shape: tuple[int, ...], /
    ) -> DeviceArray:
        low, high = filters
        along = self._between(smooth.T, low, shape[1]) + self._between(detail.T, high, shape[1])
        return self._between(along.T, low, shape[0])

    def _between(self, half: DeviceArray, taps: Taps, length: int) -> DeviceArray:
        """Return a signal of this length along the first axis, of which `half` has every second value."""
        signal = self.xp.empty((length, half.shape[1]), np.float32)
        last = taps.size // 2 - 1
        for odd in (0, 1):
            part = signal[odd::2]
            part[...] = half[: len(part)] * taps[2 * last + odd]
            for tap in range(1, last + 1):
                part += half[tap : tap + len(part)] * taps[2 * (last - tap) + odd]
        return signal


def _every_second(longer: DeviceArray, taps: Taps) -> DeviceArray:
    """Filter along the first axis and keep every second value of a signal that goes on beyond its ends."""
    half = taps.size // 2
    count = len(longer) // 2 + 1 - half
    sums: Any = 0
    for tap in range(half):
        first = 2 * (half - tap) - 1
        upper, lower = longer[first::2][:count], longer[first - 1 :: 2][:count]
        sums = upper * taps[2 * tap] + lower * taps[2 * tap + 1] + sums
    return sums
