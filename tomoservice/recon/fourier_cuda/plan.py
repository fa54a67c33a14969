"""The Fourier method on a device, for arrays in its memory or the host's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.cuda import Conveyor, Machine
from tomoservice.cuda.conveyor import SLOTS, Work
from tomoservice.cuda.machine import DeviceArray
from tomoservice.errors import EngineError
from tomoservice.recon.base import (
    ReconstructionOptions,
    RowsAlone,
    Slab,
    SliceOptions,
    checked_angles,
    checked_options,
)
from tomoservice.recon.fourier.prepared import Prepared, checked_values
from tomoservice.recon.fourier.workspace import LANES
from tomoservice.recon.fourier_cuda.batches import MOST_PAIRS, Batch, cut_into_batches
from tomoservice.recon.fourier_cuda.device import Numbers, Space, Tables, make_slices, space_bytes
from tomoservice.threads import for_each

logger = logging.getLogger(__name__)

MEMORY_SHARE = 0.9
"""Part of a device's free memory that is planned with."""


class FourierDeviceReconstructor(RowsAlone):
    """Filtered back-projection by a non-uniform Fourier transform, on a device.

    Parameters
    ----------
    machine : callable
        Returns the device, when a plan is made.
    """

    name = "fourier"
    row_group = LANES

    def __init__(self, machine: Callable[[], Machine]) -> None:
        self._machine = machine

    def plan(
        self,
        angles_deg: ArrayLike,
        columns: int,
        options: SliceOptions | None = None,
        *,
        threads: int | None = None,
    ) -> FourierDevicePlan:
        """Prepare the transform for a set of angles; see `Reconstructor.plan`."""
        angles = checked_angles(angles_deg, columns)
        chosen = checked_options(options, ReconstructionOptions, self.name)
        return FourierDevicePlan(self._machine(), Prepared(angles, columns, chosen), threads)

    @property
    def machine(self) -> Machine:
        """The device."""
        return self._machine()

    def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
        """Estimate the bytes of the host that a plan takes: pinned memory for what is on its way."""
        del threads
        return SLOTS * LANES * _row_bytes(angles, columns, size)


class FourierDevicePlan:
    """`FourierDeviceReconstructor` prepared for a set of angles and a detector width.

    Sinograms and results may be in the memory of the host or of the device. In pinned memory of the host they
    are read and filled without a copy.

    Parameters
    ----------
    machine : Machine
        The device.
    prepared : Prepared
        Geometry and options.
    threads : int, optional
        Of the host, that copy to and from pinned memory; by default as many as the process may.
    """

    def __init__(self, machine: Machine, prepared: Prepared, threads: int | None = None) -> None:
        self._machine = machine
        self._prepared = prepared
        self._threads = threads
        self._most_pairs: int | None = None
        self._conveyor: Conveyor | None = None
        self._space: Space | None = None
        self._tables: dict[int, Tables] = {}
        self._numbers: tuple[bytes, int, Numbers] | None = None

    @property
    def pairs_at_once(self) -> int | None:
        """Pairs of slices that are computed at once, at most; None before the first."""
        return self._most_pairs

    def execute(
        self,
        sinograms: NDArray[np.float32] | DeviceArray,
        rotation_axis: ArrayLike,
        *,
        first_row: int = 0,
        out: NDArray[np.float32] | DeviceArray | None = None,
    ) -> NDArray[np.float32]:
        """Reconstruct a slab; see `ReconstructionPlan.execute`.

        Without `out`, the result is where the sinograms are: on the host or on the device.

        Raises
        ------
        EngineError
            If not even a pair of slices fits into the device's memory.
        """
        with self._machine.active():
            there = self._machine.owns(sinograms if out is None else out)
            here = self._machine.owns(sinograms)
            xp = self._machine.xp if there else np
            if there and not here:
                sinograms = self._machine.to_device(np.asarray(sinograms, np.float32))
            slab = Slab.checked(self._prepared.shape, sinograms, rotation_axis, first_row, out, xp=xp)
            slab = slab.contiguous()
            rows = len(slab.sinograms)
            if rows:
                self._within_memory(slab, self._on_device if there else self._through_device)
            return slab.delivered(out)

    def _within_memory(self, slab: Slab, work: Callable[[Slab, int], None]) -> None:
        """Reconstruct with as many pairs at once as the device has memory for."""
        pairs = self._most_pairs or self._estimate()
        while True:
            self._most_pairs = pairs
            try:
                work(slab, pairs)
            except self._machine.out_of_memory as error:
                reason = str(error)
            else:
                return
            # Here, because the error holds on to what was allocated.
            self._let_go()
            if pairs == 1:
                raise EngineError(
                    f"{self._machine.name}: two slices of {self._prepared.size} x {self._prepared.size} from "
                    f"{len(self._prepared.angles)} projections do not fit into its free memory ({reason}); "
                    "bin, end other programs that use it, or compute on the CPU (device 'cpu')"
                )
            pairs //= 2
            logger.warning(
                "%s: out of memory; going on with %d instead of %d slices at once",
                self._machine.name,
                2 * pairs,
                4 * pairs,
            )

    def _estimate(self) -> int:
        """Return how many pairs should fit: 8, or as many halvings less as it takes."""
        free = MEMORY_SHARE * self._machine.free_bytes()
        angles, columns, size = self._prepared.shape
        response = self._prepared.groups.response(np.array([(columns - 1) / 2]))
        pairs = MOST_PAIRS
        while pairs > 1:
            slots = SLOTS * 2 * pairs * _row_bytes(angles, columns, size)
            if slots + space_bytes(pairs, angles, response.length, self._prepared.grid.length) <= free:
                break
            pairs //= 2
        return pairs

    def _let_go(self) -> None:
        self._conveyor = self._space = self._numbers = None
        self._tables.clear()
        self._machine.release()

    def _through_device(self, slab: Slab, pairs: int) -> None:
        """Reconstruct what is in the host's memory, or on the device, into the host's memory."""
        conveyor = self._conveyor_for(pairs)
        here = self._machine.owns(slab.sinograms)
        if here:
            # What made them may be under way on another stream.
            self._machine.wait()
        with conveyor.stream.current():
            bad = self._machine.xp.zeros(len(slab.sinograms), np.int32)
        ready_in = here or self._machine.is_pinned(slab.sinograms)
        ready_out = self._machine.is_pinned(slab.out)

        def load(batch: Batch, staging: NDArray[Any]) -> DeviceArray | NDArray[Any]:
            if ready_in and batch.as_they_lie is not None:
                return slab.sinograms[batch.as_they_lie]
            if here:
                with conveyor.stream.current():
                    return self._collected(slab, batch)
            self._copy(slab.sinograms, batch.rows, staging, batch.places)
            return staging[: 2 * batch.pairs]

        def compute(batch: Batch, sinograms: DeviceArray, slices: DeviceArray) -> DeviceArray:
            slices = slices[: 2 * batch.pairs]
            self._reconstruct(slab, batch, sinograms, slices, bad)
            return slices

        def store(batch: Batch, slices: NDArray[Any]) -> None:
            self._copy(slices, batch.places, slab.out, batch.rows)

        def place(batch: Batch) -> NDArray[Any] | None:
            return slab.out[batch.as_they_lie] if ready_out and batch.as_they_lie is not None else None

        conveyor.run(self._batches(slab, pairs), Work(load, compute, store, place))
        with conveyor.stream.current():
            self._check(slab, bad)

    def _on_device(self, slab: Slab, pairs: int) -> None:
        """Reconstruct what is on the device into its memory, on the current stream."""
        # The conveyor's slots would only stand in the way.
        self._conveyor = None
        machine, size = self._machine, self._prepared.size
        bad = machine.xp.zeros(len(slab.sinograms), np.int32)
        for batch in self._batches(slab, pairs):
            whole = batch.as_they_lie
            if whole is not None:
                self._reconstruct(slab, batch, slab.sinograms[whole], slab.out[whole], bad)
                continue
            slices = machine.empty((2 * batch.pairs, size, size), np.float32)
            self._reconstruct(slab, batch, self._collected(slab, batch), slices, bad)
            slab.out[machine.to_device(batch.rows)] = slices[machine.to_device(batch.places)]
        self._check(slab, bad)

    def _batches(self, slab: Slab, pairs: int) -> Iterator[Batch]:
        return cut_into_batches(slab, self._prepared.groups, pairs)

    def _collected(self, slab: Slab, batch: Batch) -> DeviceArray:
        """Return the sinograms of a batch, collected on the device."""
        machine = self._machine
        sinograms = machine.empty((2 * batch.pairs, *slab.sinograms.shape[1:]), np.float32)
        sinograms[machine.to_device(batch.places)] = slab.sinograms[machine.to_device(batch.rows)]
        return sinograms

    def _copy(
        self, source: NDArray[Any], places: NDArray[np.int64], target: NDArray[Any], to: NDArray[np.int64]
    ) -> None:
        """Copy rows of an array to rows of another, on several threads."""
        pairs = zip(places.tolist(), to.tolist(), strict=True)
        for_each(lambda pair: np.copyto(target[pair[1]], source[pair[0]]), pairs, self._threads)

    def _reconstruct(
        self, slab: Slab, batch: Batch, sinograms: DeviceArray, slices: DeviceArray, bad: DeviceArray
    ) -> None:
        tables, numbers = self._constants(slab, batch)
        sizes = (batch.pairs, len(self._prepared.angles), tables.samples, tables.length)
        if self._space is None or self._space.sizes != sizes:
            # Before the new one is made, or both would be in memory.
            self._space = None
            self._space = Space(self._machine, *sizes)
        make_slices(self._machine, self._space, batch, (tables, numbers), (sinograms, slices, bad))

    def _constants(self, slab: Slab, batch: Batch) -> tuple[Tables, Numbers]:
        """Return geometry and filter on the device; neighbouring groups nearly always share them."""
        axes = slab.axes[batch.group_rows]
        # Absent lanes have the first one's axis, so lanes play no part where all axes are alike.
        key = axes[:1].tobytes() if not np.ptp(axes) else axes.tobytes() + batch.lanes.tobytes()
        if self._numbers is None or self._numbers[0] != key:
            numbers = self._prepared.groups.numbers(axes, batch.lanes)
            length = numbers.response.length
            if length not in self._tables:
                tables = self._prepared.tables(numbers.response)
                self._tables[length] = Tables.of(self._machine, *tables)
            self._numbers = (key, length, Numbers.of(self._machine, numbers))
        _, length, brought = self._numbers
        return self._tables[length], brought

    def _conveyor_for(self, pairs: int) -> Conveyor:
        angles, columns, size = self._prepared.shape
        forms = (
            ((2 * pairs, angles, columns), np.float32),
            ((2 * pairs, size, size), np.float32),
        )
        if self._conveyor is None or self._conveyor.forms != forms:
            self._conveyor = None
            self._conveyor = Conveyor(self._machine, *forms)
        return self._conveyor

    def _check(self, slab: Slab, bad: DeviceArray) -> None:
        """Say which sinogram had a value that makes no slice, and where."""
        wrong = np.flatnonzero(self._machine.to_host(bad))
        if not wrong.size:
            return
        row = int(wrong[0])
        sinogram = slab.sinograms[row : row + 1]
        if self._machine.owns(sinogram):
            sinogram = self._machine.to_host(sinogram)
        checked_values(replace(slab, sinograms=sinogram, first_row=slab.first_row + row), 0)


def _row_bytes(angles: int, columns: int, size: int | None) -> int:
    """Return the bytes of one row of a slab, float32: its sinogram and its slice of edge `size`."""
    return 4 * (angles * columns + (size or columns) ** 2)
