"""Where reconstructions are computed, on the CPU or on a CUDA device: the one place where it is decided.

What is asked for (`DeviceChoice`) is no part of a recipe: the device says where a volume is computed, not
what it is. With ``auto``, methods that a device can compute are computed there if there is one. Where a
library could use a device but finds none, the log says so once in a process, with the reason, and the CPU is
used.

Several devices: a process uses one. Which, ``CUDA_VISIBLE_DEVICES`` tells, so that each worker on a machine
may have its own; or ``cuda:1``, which counts those that the process sees.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

from tomoservice.errors import DeviceError

logger = logging.getLogger(__name__)

WANTED = re.compile(r"auto|cpu|cuda(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What is asked for.

    Parameters
    ----------
    kind
        "auto", "cpu" or "cuda".
    index
        Which of the devices that the process sees.
    """

    kind: str = "auto"
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> DeviceChoice:
        """Return what ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` stands for.

        Raises
        ------
        DeviceError
            If it is none of them.
        """
        match = WANTED.fullmatch(text.strip().lower())
        if match is None:
            raise DeviceError(f"no device {text!r}; there are auto, cpu, cuda, and cuda:1 for the second one")
        return cls(match[0].partition(":")[0], int(match[1] or 0))

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.kind == "cuda" and self.index else self.kind


AUTO, CPU = DeviceChoice(), DeviceChoice("cpu")


class Obstacle(NamedTuple):
    """Why a library cannot use a device."""

    reason: str
    expected: bool = False
    """Whether nobody needs to be told: a library that is not installed, or built without CUDA."""


def uses_cuda(choice: DeviceChoice, what: str, obstacle: Callable[[int], Obstacle | None]) -> bool:
    """Decide whether a library computes on a CUDA device.

    Parameters
    ----------
    choice
        What is asked for.
    what
        What would be computed, for messages.
    obstacle
        Told the device's index, returns why the library cannot use it, or None if it can. Asked only if need
        be, and best once in a process.

    Raises
    ------
    DeviceError
        If a device is asked for that cannot be used.
    """
    if choice.kind == "cpu":
        return False
    found = obstacle(choice.index)
    if found is None:
        return True
    if choice.kind == "cuda":
        raise DeviceError(
            f"{what} cannot use device {choice}: {found.reason}. Device 'auto' takes the CPU then"
        )
    if not found.expected:
        _say_once(what, found.reason)
    return False


@cache
def _say_once(what: str, reason: str) -> None:
    logger.info("%s: computed on the CPU, %s", what, reason)


@cache
def cupy_obstacle(index: int = 0) -> Obstacle | None:
    """Return why CuPy cannot use a device, or None if it can; CuPy is loaded if it is installed."""
    if find_spec("cupy") is None:
        return Obstacle("CuPy is not installed (pip install 'tomoservice[gpu]')", expected=True)
    try:
        import cupy
    except ImportError as error:
        return Obstacle(f"CuPy cannot be loaded: {_one_line(error)}")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        if index >= count:
            return Obstacle(f"there is no CUDA device {index}; the process sees {count}")
        # A device that is there may still be broken, or full.
        with cupy.cuda.Device(index):
            cupy.zeros(1).get()
    except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.memory.OutOfMemoryError) as error:
        return Obstacle(f"CuPy finds no CUDA device that it can use: {_one_line(error)}")
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
