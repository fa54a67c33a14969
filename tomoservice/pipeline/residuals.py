"""What an iterative reconstruction has left unexplained, iteration by iteration."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tomoservice.recon.iterative.options import IterationControl, never

Residual = tuple[int, int, float]
"""Detector row (binned), iteration from 1, and what is left of the sinogram: |A x - b| / |b|."""


@dataclass(frozen=True, slots=True)
class ResidualLog:
    """Keeps the residuals that a reconstruction tells; several threads may tell at once."""

    on_iteration: Callable[[int, int, float], None] | None = None
    """Told each as well, as it comes."""
    _told: list[Residual] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def residuals(self) -> list[Residual]:
        """All of them, by row and iteration."""
        with self._lock:
            return sorted(self._told)

    def control(self, stop_and_keep: Callable[[], bool] = never) -> IterationControl:
        """Return what `compute` is to be given.

        Parameters
        ----------
        stop_and_keep
            Asked after each iteration whether to end with what there is; see `IterationControl`.
        """
        return IterationControl(on_iteration=self.add, stop_and_keep=stop_and_keep)

    def last(self) -> list[Residual]:
        """Return the last residual of each row."""
        return list({row: (row, iteration, value) for row, iteration, value in self.residuals}.values())

    def add(self, row: int, iteration: int, value: float) -> None:
        """Take note of one."""
        with self._lock:
            self._told.append((row, iteration, value))
        if self.on_iteration is not None:
            self.on_iteration(row, iteration, value)
