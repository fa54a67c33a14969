"""What is done to slices after the reconstruction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UM_PER_CM = 1e4


@dataclass(frozen=True, slots=True)
class Finisher:
    """Turns what the engine computes into what the volume holds."""

    scale: float
    """Factor of the grey values."""
    rows: slice | None = None
    """Rows of a slice that are kept."""
    columns: slice | None = None
    """Columns of a slice that are kept."""

    @property
    def keeps_all(self) -> bool:
        """Whether slices of the volume are as large as those of the engine."""
        return self.rows is None and self.columns is None

    def apply(self, slices: NDArray[np.float32]) -> None:
        """Finish slices (z, y, x) in place."""
        if self.scale != 1:
            slices *= np.float32(self.scale)

    def crop(self, slices: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Copy the part that is kept of slices (z, y, x) into `out`."""
        out[:] = slices[:, self.rows or slice(None), self.columns or slice(None)]
