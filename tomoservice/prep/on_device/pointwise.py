"""What is done to each number of a sinogram by itself."""

from __future__ import annotations

import numpy as np

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.flat_field import check_minimum


def minus_log(machine: Machine, transmission: DeviceArray, *, minimum_transmission: float) -> None:
    """Take ``-log`` of transmissions in place; see `tomoservice.prep.minus_log`."""
    check_minimum(minimum_transmission)
    xp = machine.xp
    xp.copyto(transmission, np.float32(1), where=~xp.isfinite(transmission))
    xp.maximum(transmission, np.float32(minimum_transmission), out=transmission)
    xp.log(transmission, out=transmission)
    xp.negative(transmission, out=transmission)


def exponential(machine: Machine, line_integrals: DeviceArray) -> None:
    """Take ``exp(-p)`` of line integrals in place: transmissions again."""
    machine.xp.negative(line_integrals, out=line_integrals)
    machine.xp.exp(line_integrals, out=line_integrals)
