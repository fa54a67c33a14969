"""Stages before the reconstruction on a device, where they are worth it: for sinograms in its memory.

Same mathematics, parameters and errors as the stages of the CPU; numbers agree to rounding. What an array
namespace expresses is written with it, `flat_field` has kernels. Every function changes what it is given, on
the current stream, and is called within `Machine.active`.
"""

from __future__ import annotations

from tomoservice.prep.on_device.flat_field import DeviceBeam, bring_counts, correct_frames
from tomoservice.prep.on_device.phase import retrieve_phase
from tomoservice.prep.on_device.pointwise import exponential, minus_log
from tomoservice.prep.on_device.stripes import sort_stripes_away

__all__ = [
    "DeviceBeam",
    "bring_counts",
    "correct_frames",
    "exponential",
    "minus_log",
    "retrieve_phase",
    "sort_stripes_away",
]
