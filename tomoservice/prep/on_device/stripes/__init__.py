"""Removal of stripes on a device; see `tomoservice.prep.stripes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.on_device.stripes import profile, vo, vo_smooth
from tomoservice.prep.on_device.stripes.fourier_wavelet import fourier_wavelet
from tomoservice.prep.stripes import (
    ByFiltering,
    ByFitting,
    BySorting,
    DeadStripes,
    EveryStripe,
    FourierWavelet,
    LargeStripes,
    Smoothing,
    StripeMethod,
    Titarenko,
)
from tomoservice.prep.stripes.base import LARGEST_VALUE, check_values

CORRECTIONS: Mapping[type, Callable[[Machine, DeviceArray, Any], DeviceArray]] = MappingProxyType(
    {
        BySorting: vo.by_sorting,
        LargeStripes: vo.large,
        DeadStripes: vo.dead,
        EveryStripe: vo.every,
        ByFiltering: vo_smooth.by_filtering,
        ByFitting: vo_smooth.by_fitting,
        FourierWavelet: fourier_wavelet,
        Titarenko: profile.titarenko,
        Smoothing: profile.smoothing,
    }
)
"""What corrects one sinogram (angle, column) by a method: class of the method -> function.

Each returns a new array, or the sinogram itself if there is nothing to correct, which it does not modify.
"""


def remove_stripes(machine: Machine, sinograms: DeviceArray, method: StripeMethod) -> None:
    """Remove stripes, in place.

    Parameters
    ----------
    machine : Machine
        The device.
    sinograms : (row, angle, column) float32 array
        Line integrals.
    method : StripeMethod
        One of those in `CORRECTIONS`.

    Raises
    ------
    EngineError
        If a value is not finite, or beyond 1e15, or the method cannot work on so few angles.
    """
    correct = CORRECTIONS[type(method)]
    for row, sinogram in enumerate(sinograms):
        if not float(machine.xp.abs(sinogram).max()) <= LARGEST_VALUE:
            check_values(machine.to_host(sinogram), row)
        sinogram[...] = correct(machine, sinogram, method)


__all__ = ["CORRECTIONS", "remove_stripes"]
