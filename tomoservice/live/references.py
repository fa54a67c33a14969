"""The open beam and the dark of a scan that goes on: its own as soon as they are there, until then others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tomoservice.prep.minus_log import minus_log
from tomoservice.scan import Frames

MINIMUM_TRANSMISSION = 1e-4
EDGE = 0.05
"""Part of the detector's width at either side that counts as air, where no flat is known."""
MOST_FRAMES = 32
"""Flats or darks that are looked at: a median of more is hardly better."""


@dataclass(frozen=True)
class Beam:
    """Open beam and dark.

    Parameters
    ----------
    flat, dark
        (row, column) float32, in counts.
    provisional
        Whether the flat is not the scan's own.
    source
        Where the flat is from, in words.
    own_dark
        Whether the dark is the scan's own.
    """

    flat: NDArray[np.float32]
    dark: NDArray[np.float32]
    provisional: bool
    source: str
    own_dark: bool
    gain: NDArray[np.float32] = field(init=False)
    """(row, column) float32: 1 / (flat - dark), not a number where the flat is no brighter."""

    def __post_init__(self) -> None:
        light = self.flat - self.dark
        with np.errstate(divide="ignore"):
            object.__setattr__(self, "gain", np.where(light > 0, 1 / light, np.nan).astype(np.float32))

    def line_integrals(self, frames: NDArray[np.generic], rows: slice) -> NDArray[np.float32]:
        """Return line integrals of frames (frame, row, column), of which some rows are given."""
        lines = frames.astype(np.float32)
        lines -= self.dark[rows]
        lines *= self.gain[rows]
        return minus_log(lines, minimum_transmission=MINIMUM_TRANSMISSION, out=lines)

    def correction_to(self, other: Beam) -> NDArray[np.float32]:
        """Return what is to be added to line integrals (row, column) once another flat is known.

        Exact where no transmission was too small to be measured; wants the same dark.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.gain / other.gain
        return -minus_log(ratio, minimum_transmission=1e-6)


@dataclass(frozen=True)
class References:
    """Flat and dark of a scan, as far as it has them.

    Parameters
    ----------
    flat, dark
        (row, column) float32, in counts; None if there are none.
    counts
        Of how many flats and darks they were made.
    """

    flat: NDArray[np.float32] | None = None
    dark: NDArray[np.float32] | None = None
    counts: tuple[int, int] = (0, 0)


def estimated_flat(frames: NDArray[np.generic], dark: NDArray[np.float32]) -> NDArray[np.float32]:
    """Guess the open beam from what stands beside the sample.

    Parameters
    ----------
    frames : (frame, row, column) array
        Projections, in counts.
    dark : (row, column) float32 array
        In counts.

    Returns
    -------
    (row, column) float32 array
        In each row a straight line between the brightest that both edges of the detector have shown.
    """
    columns = frames.shape[2]
    width = max(int(EDGE * columns), 2)
    light = frames.astype(np.float32) - dark
    left, right = (
        np.median(light[:, :, part], axis=2).max(axis=0) for part in (slice(width), slice(-width, None))
    )
    along = np.linspace(0, 1, columns, dtype=np.float32)
    beam = left[:, None] * (1 - along) + right[:, None] * along
    estimate: NDArray[np.float32] = (np.maximum(beam, 1) + dark).astype(np.float32)
    return estimate


def reduced(stack: Frames | None) -> NDArray[np.float32] | None:
    """Return the median of flats or darks, (row, column) float32; None if there are none."""
    if stack is None or not stack.shape[0]:
        return None
    step = -(-stack.shape[0] // MOST_FRAMES)
    middle: NDArray[np.float32] = np.median(stack[::step], axis=0).astype(np.float32)
    return middle
