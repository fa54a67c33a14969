"""The stages between raw frames and the reconstruction, as steps on blocks of sinograms.

A step works on neighbouring slices at once. It says how many rows it must see beyond those that it is to
return (its margin), and returns what it was given without them, save at the ends of the detector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tomoservice.pipeline.pieces import Check, checking, in_pieces
from tomoservice.pipeline.selection import Selection
from tomoservice.prep.beam_hardening import linearise
from tomoservice.prep.flat_brightness import level_borders
from tomoservice.prep.flat_double import fixed_pattern, subtract_pattern
from tomoservice.prep.flat_double import row_margin as double_flat_margin
from tomoservice.prep.flat_field import bridge_pixels
from tomoservice.prep.flat_pixels import stuck_pixels
from tomoservice.prep.minus_log import minus_log
from tomoservice.prep.outliers import ZingerOptions, remove_spikes, remove_zingers
from tomoservice.prep.phase import (
    PhasePlan,
    Retrieval,
    SeveralDistances,
    SeveralPlan,
    row_margin,
    row_margin_of_several,
)
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

    def apply(self, block: Block, start: int, stop: int, check: Check, /) -> Block:
        """Return at least the slices `start` to `stop`; the block has `margin` more, as far as there are.

        Calls `check` about once a second, which raises if the work is no longer wanted.
        """


class _Modest:
    """What most steps are: they take no memory of their own."""

    __slots__ = ()

    def working_bytes(self, _angles: int, _columns: int, /) -> WorkingBytes:
        """See `Step`."""
        return WorkingBytes()


class _RowByRow(_Modest, ABC):
    """What works on each sinogram alone, in place."""

    __slots__ = ()

    def apply(self, block: Block, _start: int, _stop: int, check: Check, /) -> Block:
        """See `Step`."""
        for low, high in in_pieces(len(block.sinograms), available_threads(), check):
            self.work(block.sinograms[low:high])
        return block

    @abstractmethod
    def work(self, sinograms: NDArray[np.float32], /) -> None:
        """Work on some sinograms (row, angle, column), in place."""


@dataclass(frozen=True, slots=True)
class MinusLog(_RowByRow):
    """Transmission to line integrals, in place."""

    minimum_transmission: float
    name: str = "minus_log"
    margin: int = 0

    def work(self, sinograms: NDArray[np.float32], /) -> None:
        """See `_RowByRow`."""

        def work(row: int) -> None:
            minus_log(sinograms[row], minimum_transmission=self.minimum_transmission, out=sinograms[row])

        for_each(work, range(len(sinograms)))


@dataclass(frozen=True, slots=True)
class Exponential(_RowByRow):
    """Line integrals back to transmission, in place: for what comes after stripe removal."""

    name: str = "minus_log"
    margin: int = 0

    def work(self, sinograms: NDArray[np.float32], /) -> None:
        """See `_RowByRow`."""

        def work(row: int) -> None:
            np.negative(sinograms[row], out=sinograms[row])
            np.exp(sinograms[row], out=sinograms[row])

        for_each(work, range(len(sinograms)))


@dataclass(frozen=True, slots=True)
class LevelBorders(_RowByRow):
    """The pixels at both ends of a row are brought to 1, in place."""

    columns: int
    name: str = "flat_field"
    margin: int = 0

    def work(self, sinograms: NDArray[np.float32], /) -> None:
        """See `_RowByRow`."""
        level_borders(sinograms, self.columns)


@dataclass(frozen=True, slots=True)
class DoubleFlatField(_Modest):
    """What all projections have in common is subtracted from line integrals, in place."""

    sigma: float
    name: str = "flat_field"

    @property
    def margin(self) -> int:
        """Rows on either side that the pattern depends on."""
        return double_flat_margin(self.sigma)

    def apply(self, block: Block, _start: int, _stop: int, check: Check, /) -> Block:
        """See `Step`."""
        pattern = fixed_pattern(block.sinograms, self.sigma)
        check()
        subtract_pattern(block.sinograms, pattern)
        return block


@dataclass(frozen=True, slots=True)
class StuckPixels(_RowByRow):
    """Pixels that do not follow the scan are bridged, in place."""

    name: str = "outliers"
    margin: int = 0

    def work(self, sinograms: NDArray[np.float32], /) -> None:
        """See `_RowByRow`."""
        bridge_pixels(sinograms.transpose(1, 0, 2), stuck_pixels(sinograms))


@dataclass(frozen=True, slots=True)
class Zingers(_Modest):
    """Removal of zingers within each projection, in place."""

    options: ZingerOptions
    name: str = "outliers"

    @property
    def margin(self) -> int:
        """Rows on either side that the median looks at."""
        return self.options.row_margin

    def apply(self, block: Block, _start: int, _stop: int, check: Check, /) -> Block:
        """See `Step`."""
        projections = block.sinograms.transpose(1, 0, 2)
        for low, high in in_pieces(len(projections), available_threads(), check):
            remove_zingers(projections[low:high], self.options)
        return block


@dataclass(frozen=True, slots=True)
class Spikes(_RowByRow):
    """Removal of zingers along the angle, in place."""

    options: ZingerOptions
    name: str = "outliers"
    margin: int = 0

    def work(self, sinograms: NDArray[np.float32], /) -> None:
        """See `_RowByRow`."""
        remove_spikes(sinograms, self.options)


@dataclass(frozen=True, slots=True)
class Stripes(_RowByRow):
    """Removal of stripes from line integrals, in place."""

    method: StripeMethod
    name: str = "stripes"
    margin: int = 0

    def working_bytes(self, angles: int, columns: int, /) -> WorkingBytes:
        """See `Step`."""
        return WorkingBytes(fixed=available_threads() * memory_per_thread(self.method, angles, columns))

    def work(self, sinograms: NDArray[np.float32], /) -> None:
        """See `_RowByRow`."""
        remove_stripes(sinograms, self.method, out=sinograms)


@dataclass(frozen=True, slots=True)
class Linearise(_RowByRow):
    """Correction of beam hardening, in place."""

    coefficients: tuple[float, ...]
    name: str = "beam_hardening"
    margin: int = 0

    def work(self, sinograms: NDArray[np.float32], /) -> None:
        """See `_RowByRow`."""
        linearise(sinograms, self.coefficients, out=sinograms)


class Source(Protocol):
    """Where the transmissions at another distance come from."""

    def working_bytes(self, angles: int, columns: int, /) -> WorkingBytes:
        """Return the memory that it takes, with what it returns, for sinograms of this size."""

    def sinograms(self, start: int, stop: int, check: Check, /) -> NDArray[np.float32]:
        """Return transmissions (row, angle, column) on the pixels of slices `start` to `stop`."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Phase retrieval from transmissions, in place."""

    retrieval: Retrieval | SeveralDistances
    sources: tuple[Source, ...] = ()
    """The scans at all distances but the first."""
    name: str = "phase"

    @property
    def margin(self) -> int:
        """Rows on either side that the filter reaches."""
        return _reach(self.retrieval)

    def working_bytes(self, angles: int, columns: int, /) -> WorkingBytes:
        """See `Step`."""
        others = [source.working_bytes(angles, columns) for source in self.sources]
        # A transfer function for each distance, and a padded frame or two for each thread.
        frames = FRAMES_HELD * (available_threads() + 1 + len(others))
        return WorkingBytes(
            sum(need.fixed for need in others),
            frames * columns * FLOAT_BYTES + sum(need.per_row for need in others),
        )

    def apply(self, block: Block, _start: int, _stop: int, check: Check, /) -> Block:
        """See `Step`."""
        others = [source.sinograms(block.start, block.stop, check) for source in self.sources]
        self.whole([block.sinograms, *others], check)
        return block

    def whole(self, distances: Sequence[NDArray[np.float32]], check: Check) -> None:
        """Retrieve the phase of whole projections, given as sinograms (row, angle, column) for each distance.

        The result takes the place of the first.
        """
        stacks = [sinograms.transpose(1, 0, 2) for sinograms in distances]
        angles, rows, columns = stacks[0].shape
        plan: PhasePlan | SeveralPlan
        if isinstance(self.retrieval, SeveralDistances):
            plan = SeveralPlan(self.retrieval, rows, columns)
        else:
            plan = PhasePlan(self.retrieval, rows, columns)
        for low, high in in_pieces(angles, available_threads(), check):
            parts = [stack[low:high] for stack in stacks]
            if isinstance(plan, SeveralPlan):
                plan.execute(parts, out=parts[0])
            else:
                plan.execute(parts[0], out=parts[0])


@cache
def _reach(retrieval: Retrieval | SeveralDistances) -> int:
    return row_margin(retrieval) if isinstance(retrieval, Retrieval) else row_margin_of_several(retrieval)


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

    def apply(self, block: Block, start: int, stop: int, _check: Check, /) -> Block:
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


def apply_steps(  # noqa: PLR0913 - what is done to what, and two who are asked meanwhile
    steps: Sequence[Step],
    block: Block,
    wanted: tuple[int, int],
    selection: Selection,
    timed: Callable[[str], AbstractContextManager[None]],
    cancelled: Callable[[], bool] | None = None,
    *,
    apply: Callable[[Step, Block, int, int, Check], Block] | None = None,
) -> Block:
    """Apply steps one after the other; what is left are the slices of `wanted` (start, stop).

    `apply` applies a step to a block, where that is not on the CPU.
    """
    for number, step in enumerate(steps):
        check = checking(cancelled, f"during {step.name}")
        check()
        needed = sum(later.margin for later in steps[number + 1 :])
        with timed(step.name):
            rows = selection.rows_around(*wanted, needed)
            block = step.apply(block, *rows, check) if apply is None else apply(step, block, *rows, check)
    return block.part(*wanted)
