"""Stages before the reconstruction on a device: for sinograms in its memory.

Same mathematics, parameters and errors as the stages of the CPU; numbers agree to rounding. What an array
namespace expresses is written with it, `flat_field` and `stripes` have kernels. Every function changes what
it is given, on the current stream, and is called within `Machine.active`.
"""

from __future__ import annotations

from tomoservice.prep.on_device.flat_field import DeviceBeam, bring_counts, correct_frames
from tomoservice.prep.on_device.outliers import bridge_stuck_pixels, remove_spikes, remove_zingers
from tomoservice.prep.on_device.phase import retrieve_phase
from tomoservice.prep.on_device.pointwise import (
    average_pixels,
    double_flat_field,
    exponential,
    level_borders,
    linearise,
    minus_log,
)
from tomoservice.prep.on_device.stripes import CORRECTIONS, remove_stripes

__all__ = [
    "CORRECTIONS",
    "DeviceBeam",
    "average_pixels",
    "bridge_stuck_pixels",
    "bring_counts",
    "correct_frames",
    "double_flat_field",
    "exponential",
    "level_borders",
    "linearise",
    "minus_log",
    "remove_spikes",
    "remove_stripes",
    "remove_zingers",
    "retrieve_phase",
]
