"""What is done to slices after the reconstruction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.recon.rings import PolarRings, remove_rings

UM_PER_CM = 1e4


@dataclass(frozen=True, slots=True)
class Finisher:
    """Turns what the engine computes into what the volume holds."""

    rings: PolarRings | None
    """How rings are removed, if they are."""
    scale: float
    """Factor of the grey values."""
    rows: slice
    """Rows of a slice that are kept."""
    columns: slice
    """Columns of a slice that are kept."""
    size: int
    """Edge of a slice as the engine computes it."""

    @property
    def keeps_all(self) -> bool:
        """Whether slices of the volume are as large as those of the engine."""
        whole = slice(0, self.size)
        return self.rows == whole and self.columns == whole

    def apply(self, slices: NDArray[np.float32]) -> None:
        """Finish whole slices (z, y, x) in place."""
        if self.rings is not None:
            remove_rings(slices, self.rings, out=slices)
        if self.scale != 1:
            slices *= np.float32(self.scale)

    def crop(self, slices: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Copy the part that is kept of slices (z, y, x) into `out`."""
        out[:] = slices[:, self.rows, self.columns]
