"""What one live reconstruction leaves to the next: where the axis was, and what the beam was like."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tomoservice.live.references import Beam


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of scans with a detector of some shape."""

    run_uid: str
    """The scan."""
    rotation_axis: float | None = None
    """Where its axis was found."""
    beam: Beam | None = None
    """Its open beam and dark."""


class LiveMemory:
    """Remembers the latest scan of every detector, for as long as the process lives."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Remembered] = {}
        self._lock = threading.Lock()

    def recall(self, frame_shape: tuple[int, int]) -> Remembered | None:
        """Return what is known of scans with frames (rows, columns) of that shape."""
        with self._lock:
            return self._known.get(frame_shape)

    def remember(self, frame_shape: tuple[int, int], scan: Remembered) -> None:
        """Keep what a scan has shown; what it has not is kept from the one before."""
        with self._lock:
            before = self._known.get(frame_shape)
            axis = scan.rotation_axis
            if axis is None and before is not None:
                axis = before.rotation_axis
            self._known[frame_shape] = Remembered(
                scan.run_uid, axis, scan.beam or (before.beam if before else None)
            )
