"""Readings of a monitor of the beam, brought to the frames that they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Readings = NDArray[np.float64]


def as_readings(values: Any, name: str, notes: list[str]) -> Readings | None:
    """Return readings as a row of numbers, or None, and a note, if they are none.

    Parameters
    ----------
    values : array-like
        What was recorded; complex or textual values are none.
    name : str
        Where, for the note.
    notes : list of str
        Extended by what the user should know.
    """
    try:
        return np.asarray(values).astype(np.float64, casting="same_kind").reshape(-1)
    except (TypeError, ValueError):
        notes.append(f"{name} holds no numbers: no beam monitor")
        return None


def readings_of(readings: Readings, frames: int, events: int, name: str, notes: list[str]) -> Readings | None:
    """Return one reading for each frame, or None, and a note, if the numbers do not match.

    Parameters
    ----------
    readings : (n,) float64 array
        One per frame, or one per event.
    frames, events : int
        How many there are.
    name : str
        Where they are from, for the note.
    notes : list of str
        Extended by what the user should know.
    """
    if readings.size == frames:
        return readings
    if events and readings.size == events and frames % events == 0:
        return np.repeat(readings, frames // events)
    notes.append(f"{name} has {readings.size} readings for {frames} frames: no beam monitor")
    return None
