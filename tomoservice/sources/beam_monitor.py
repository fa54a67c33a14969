"""Readings of a monitor of the beam, brought to the frames that they belong to.

A scan whose monitor is of no use is a scan without one, and a note says why: most recipes want none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Readings = NDArray[np.float64]


def as_readings(
    shape: Sequence[int], read: Callable[[], Any], frames: int, name: str, notes: list[str]
) -> Readings | None:
    """Return readings as a row of numbers, or None, and a note, if they are none.

    Parameters
    ----------
    shape : sequence of int
        What there is to read: a row, or as many readings as frames, by event and frame.
    read : callable
        Reads it.
    frames : int
        How many there are.
    name : str
        Where it is, for the note.
    notes : list of str
        Extended by what the user should know.
    """
    if sum(length != 1 for length in shape) > 1 and math.prod(shape) != frames:
        sizes = " x ".join(map(str, shape))
        notes.append(f"{name} has the shape {sizes}, wanted is one reading per frame: no beam monitor")
        return None
    try:
        return np.asarray(read()).astype(np.float64, casting="same_kind").reshape(-1)
    except (TypeError, ValueError):
        notes.append(f"{name} holds no numbers: no beam monitor")
        return None


def readings_of(readings: Readings, frames: int, name: str, notes: list[str]) -> Readings | None:
    """Return one reading for each frame, or None, and a note, if there are too few.

    Parameters
    ----------
    readings : (n,) float64 array
        In the order of the frames.
    frames : int
        How many there are.
    name : str
        Where they are from, for the note.
    notes : list of str
        Extended by what the user should know.
    """
    if readings.size < frames:
        notes.append(f"{name} has {readings.size} readings for {frames} frames: no beam monitor")
        return None
    if readings.size > frames:
        notes.append(f"{name} has {readings.size} readings for {frames} frames: the first {frames} are used")
    return readings[:frames]
