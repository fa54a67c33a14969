"""What code for a device stands on: arrays, kernels, transforms, streams; and nothing of tomography.

`machine` says what that is, as a `Protocol`; `cupy_machine` has it from CuPy; `conveyor` moves data between
host and device while the device computes. Importing this package loads nothing but NumPy.
"""

from __future__ import annotations

from tomoservice.cuda.conveyor import Conveyor
from tomoservice.cuda.machine import Event, Kernels, Machine, Stream

__all__ = ["Conveyor", "Event", "Kernels", "Machine", "Stream"]
