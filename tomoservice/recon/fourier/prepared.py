"""What the Fourier method works out once for a set of angles and a detector width, wherever it computes."""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError
from tomoservice.recon.base import ReconstructionOptions, Slab, circle_mask
from tomoservice.recon.fourier.geometry import (
    LARGEST,
    FilterTables,
    GridTables,
    make_filter_tables,
    make_grid,
    make_grid_tables,
)
from tomoservice.recon.fourier.group import GroupMaker
from tomoservice.recon.fourier.response import Response
from tomoservice.recon.half_acquisition import check_whole_turn
from tomoservice.recon.weights import angular_weights

# Samples beyond the circle that the interpolation between samples looks at.
BEYOND = 0.5


class Prepared:
    """Geometry, filter and tables.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians.
    columns : int
        Detector columns.
    options : ReconstructionOptions
        Filter, padding, mask, size, half-acquisition.
    """

    def __init__(self, angles: NDArray[np.float64], columns: int, options: ReconstructionOptions) -> None:
        if options.half_acquisition:
            check_whole_turn(angles)
        self.angles = angles
        self.columns = columns
        self.options = options
        self.size = size = options.size or columns
        self.groups = GroupMaker(columns, reach_of(size, mask_circle=options.mask_circle), options)
        self.grid = make_grid(size)
        self._weights = angular_weights(angles, whole_turn=options.half_acquisition)
        self._limits = _limits(size, mask_circle=options.mask_circle)
        self._lock = threading.Lock()
        self._tables: dict[int, tuple[FilterTables, GridTables]] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Angles, columns, edge of a slice."""
        return len(self.angles), self.columns, self.size

    def tables(self, response: Response) -> tuple[FilterTables, GridTables]:
        """Return the tables for a length; nearly always the same one."""
        length = response.length
        with self._lock:
            if length not in self._tables:
                # An even edge has no pixel at the axis, but one half a pixel to the right and below.
                half = self.size // 2 - (self.size - 1) / 2
                turns = half * (np.cos(self.angles) - np.sin(self.angles))
                filled = np.flatnonzero(response.factor) - length // 2
                reach = int(np.abs(filled).max(initial=1))
                self._tables[length] = (
                    make_filter_tables(self.columns, length, turns, self._weights),
                    make_grid_tables(self.grid, length, reach, self.angles, self._limits),
                )
            return self._tables[length]


def reach_of(size: int, *, mask_circle: bool) -> float:
    """Return the largest distance from the axis at which a filtered projection is wanted."""
    return (size if mask_circle else math.sqrt(2) * size) / 2 - BEYOND


def checked_values(slab: Slab, row: int) -> NDArray[np.float32]:
    """Return one sinogram (angle, column), or say what is wrong with its values."""
    sinogram = slab.sinogram(row)
    largest = max(float(sinogram.max()), -float(sinogram.min()))
    if largest > LARGEST:
        msg = (
            f"the sinogram of detector row {slab.first_row + row} has values up to {largest:g}, too large "
            "for single precision; check the flat field correction"
        )
        raise EngineError(msg)
    return sinogram


def _limits(size: int, *, mask_circle: bool) -> NDArray[np.int64]:
    """Return the first row of a slice that is wanted in each column, and the one after the last."""
    mask = circle_mask(size) if mask_circle else np.ones((size, size), bool)
    first = mask.argmax(axis=0)
    last = np.where(mask.any(axis=0), size - mask[::-1].argmax(axis=0), first)
    return np.stack([first, last], axis=1).astype(np.int64)
