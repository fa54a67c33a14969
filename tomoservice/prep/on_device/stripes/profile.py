"""Removal of stripes by one number for each column, on a device; see `tomoservice.prep.stripes.profile`."""

from __future__ import annotations

import numpy as np

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.stripes import Smoothing, Titarenko


def titarenko(machine: Machine, sinogram: DeviceArray, method: Titarenko) -> DeviceArray:
    """Return a sinogram without full stripes."""
    parts = machine.xp.array_split(sinogram, min(method.blocks, len(sinogram)))
    return machine.xp.concatenate([_with_offsets(machine, part, method) for part in parts])


def smoothing(machine: Machine, sinogram: DeviceArray, method: Smoothing) -> DeviceArray:
    """Return a sinogram without full stripes."""
    return _with_offsets(machine, sinogram, method)


def _with_offsets(machine: Machine, part: DeviceArray, method: Titarenko | Smoothing) -> DeviceArray:
    # The offsets are found on the CPU: a few thousand numbers, one after the other.
    profile = machine.to_host(machine.xp.mean(part, axis=0, dtype=np.float64))
    return (part + machine.to_device(method.offsets(profile))).astype(np.float32)
