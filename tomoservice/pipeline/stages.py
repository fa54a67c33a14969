"""The stages between raw frames and the reconstruction, as steps on blocks of sinograms.

A step works on neighbouring slices at once. It says how many rows it must see beyond those that it is to
return (its margin), and returns what it was given without them, save at the ends of the detector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import CancelledError
from tomoservice.pipeline.selection import Selection
from tomoservice.prep.beam_hardening import linearise
from tomoservice.prep.flat_brightness import level_borders
from tomoservice.prep.flat_double import fixed_pattern, subtract_pattern
from tomoservice.prep.flat_double import row_margin as double_flat_margin
from tomoservice.prep.flat_field import bridge_pixels
from tomoservice.prep.flat_pixels import stuck_pixels
from tomoservice.prep.minus_log import minus_log
from tomoservice.prep.outliers import ZingerOptions, remove_spikes, remove_zingers
from tomoservice.prep.phase import PhasePlan, Retrieval, row_margin
from tomoservice.prep.stripes import StripeMethod, memory_per_thread, remove_stripes
from tomoservice.prep.tilt import TiltedAxis, shear_rows
from tomoservice.threads import available_threads, for_each

FLOAT_BYTES = 4
FRAMES_HELD = 5
"""Sizes of a projection that a thread holds while it retrieves its phase, padding included."""


@dataclass(frozen=True, slots=True)
class Block:
    """Sinograms of neighbouring slices."""

    sinograms: NDArray[np.float32]
    """(row, angle, column), contiguous."""
    start: int
    """Slice of the first one; negative above the first slice of the volume."""

    @property
    def stop(self) -> int:
        """Slice after the last one."""
        return self.start + len(self.sinograms)

    def part(self, start: int, stop: int) -> Block:
        """Return some of the slices; nothing is copied."""
        return Block(self.sinograms[start - self.start : stop - self.start], start)


@dataclass(frozen=True, slots=True)
class WorkingBytes:
    """Memory that a step takes beside the block that it works on."""

    fixed: int = 0
    """However large the block is."""
    per_row: int = 0
    """For each row of the block."""


class Step(Protocol):
    """A stage with its parameters."""

    @property
    def name(self) -> str:
        """What its time is booked under."""

    @property
    def margin(self) -> int:
        """Rows on either side that it looks at."""

    def working_bytes(self, angles: int, columns: int, /) -> WorkingBytes:
        """Return the memory that it takes beside the block, for sinograms of this size."""

    def apply(self, block: Block, start: int, stop: int, /) -> Block:
        """Return at least the slices `start` to `stop`; the block has `margin` more, as far as there are."""


class _Modest:
    """What most steps are: they take no memory of their own."""

    __slots__ = ()

    def working_bytes(self, _angles: int, _columns: int, /) -> WorkingBytes:
        """See `Step`."""
        return WorkingBytes()


@dataclass(frozen=True, slots=True)
class MinusLog(_Modest):
    """Transmission to line integrals, in place."""

    minimum_transmission: float
    name: str = "minus_log"
    margin: int = 0

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""

        def work(row: int) -> None:
            sinogram = block.sinograms[row]
            minus_log(sinogram, minimum_transmission=self.minimum_transmission, out=sinogram)

        for_each(work, range(len(block.sinograms)))
        return block


@dataclass(frozen=True, slots=True)
class Exponential(_Modest):
    """Line integrals back to transmission, in place: for what comes after stripe removal."""

    name: str = "minus_log"
    margin: int = 0

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""

        def work(row: int) -> None:
            sinogram = block.sinograms[row]
            np.negative(sinogram, out=sinogram)
            np.exp(sinogram, out=sinogram)

        for_each(work, range(len(block.sinograms)))
        return block


@dataclass(frozen=True, slots=True)
class LevelBorders(_Modest):
    """The pixels at both ends of a row are brought to 1, in place."""

    columns: int
    name: str = "flat_field"
    margin: int = 0

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""
        level_borders(block.sinograms, self.columns)
        return block


@dataclass(frozen=True, slots=True)
class DoubleFlatField(_Modest):
    """What all projections have in common is subtracted from line integrals, in place."""

    sigma: float
    name: str = "flat_field"

    @property
    def margin(self) -> int:
        """Rows on either side that the pattern depends on."""
        return double_flat_margin(self.sigma)

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""
        subtract_pattern(block.sinograms, fixed_pattern(block.sinograms, self.sigma))
        return block


@dataclass(frozen=True, slots=True)
class StuckPixels(_Modest):
    """Pixels that do not follow the scan are bridged, in place."""

    name: str = "outliers"
    margin: int = 0

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""
        bridge_pixels(block.sinograms.transpose(1, 0, 2), stuck_pixels(block.sinograms))
        return block


@dataclass(frozen=True, slots=True)
class Zingers(_Modest):
    """Removal of zingers within each projection, in place."""

    options: ZingerOptions
    name: str = "outliers"

    @property
    def margin(self) -> int:
        """Rows on either side that the median looks at."""
        return self.options.row_margin

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""
        remove_zingers(block.sinograms.transpose(1, 0, 2), self.options)
        return block


@dataclass(frozen=True, slots=True)
class Spikes(_Modest):
    """Removal of zingers along the angle, in place."""

    options: ZingerOptions
    name: str = "outliers"
    margin: int = 0

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""
        remove_spikes(block.sinograms, self.options)
        return block


@dataclass(frozen=True, slots=True)
class Stripes:
    """Removal of stripes from line integrals, in place."""

    method: StripeMethod
    name: str = "stripes"
    margin: int = 0

    def working_bytes(self, angles: int, columns: int, /) -> WorkingBytes:
        """See `Step`."""
        return WorkingBytes(fixed=available_threads() * memory_per_thread(self.method, angles, columns))

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""
        remove_stripes(block.sinograms, self.method, out=block.sinograms)
        return block


@dataclass(frozen=True, slots=True)
class Linearise(_Modest):
    """Correction of beam hardening, in place."""

    coefficients: tuple[float, ...]
    name: str = "beam_hardening"
    margin: int = 0

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""
        linearise(block.sinograms, self.coefficients, out=block.sinograms)
        return block


@dataclass(frozen=True, slots=True)
class Phase:
    """Phase retrieval from transmissions, in place."""

    retrieval: Retrieval
    name: str = "phase"

    @property
    def margin(self) -> int:
        """Rows on either side that the filter reaches."""
        return _reach(self.retrieval)

    def working_bytes(self, _angles: int, columns: int, /) -> WorkingBytes:
        """See `Step`."""
        # A transfer function and a padded frame for each thread.
        return WorkingBytes(per_row=FRAMES_HELD * (available_threads() + 1) * columns * FLOAT_BYTES)

    def apply(self, block: Block, _start: int, _stop: int, /) -> Block:
        """See `Step`."""
        self.whole(block.sinograms)
        return block

    def whole(self, sinograms: NDArray[np.float32]) -> None:
        """Retrieve the phase of whole projections, given as sinograms (row, angle, column), in place."""
        rows, _, columns = sinograms.shape
        projections = sinograms.transpose(1, 0, 2)
        PhasePlan(self.retrieval, rows, columns).execute(projections, out=projections)


@cache
def _reach(retrieval: Retrieval) -> int:
    return row_margin(retrieval)


@dataclass(frozen=True, slots=True)
class Tilt:
    """Correction of a tilted rotation axis."""

    axis: TiltedAxis
    """In binned pixels of the selection; rows count from the first slice."""
    first: int
    """First slice that the detector has."""
    last: int
    """Last slice that the detector has."""
    columns: int
    name: str = "tilt"

    @property
    def margin(self) -> int:
        """Rows on either side that are looked at."""
        moved = TiltedAxis(self.axis.rotation_axis, self.axis.tilt_deg, self.axis.reference_row - self.first)
        return moved.row_margin(self.columns, self.last - self.first + 1)

    def working_bytes(self, angles: int, columns: int, /) -> WorkingBytes:
        """See `Step`."""
        # Rows are still needed after their result is known.
        return WorkingBytes(per_row=angles * columns * FLOAT_BYTES)

    def apply(self, block: Block, start: int, stop: int, /) -> Block:
        """See `Step`."""
        # The detector's first row is row 0 to the correction.
        moved = TiltedAxis(self.axis.rotation_axis, self.axis.tilt_deg, self.axis.reference_row - self.first)
        sheared = shear_rows(
            block.sinograms,
            moved,
            (start - self.first, stop - self.first),
            first_row=block.start - self.first,
            frame_rows=self.last - self.first + 1,
        )
        return Block(sheared, start)


def apply_steps(
    steps: Sequence[Step],
    block: Block,
    wanted: tuple[int, int],
    selection: Selection,
    timed: Callable[[str], AbstractContextManager[None]],
    cancelled: Callable[[], bool] | None = None,
) -> Block:
    """Apply steps one after the other; what is left are the slices of `wanted` (start, stop)."""
    for number, step in enumerate(steps):
        if cancelled is not None and cancelled():
            raise CancelledError(f"stopped before {step.name}")
        needed = sum(later.margin for later in steps[number + 1 :])
        with timed(step.name):
            block = step.apply(block, *selection.rows_around(*wanted, needed))
    return block.part(*wanted)
