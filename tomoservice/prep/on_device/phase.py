"""Phase retrieval on a device; see `tomoservice.prep.phase.PhasePlan`."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import fftfreq, next_fast_len, rfftfreq

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.phase import Padding, Retrieval, row_margin, transfer
from tomoservice.prep.phase.mirror import LARGEST, load, mirrored_shape
from tomoservice.prep.phase.plan import check_reach

FRAMES_HELD = 8
"""Sizes of a padded frame that each one takes while it is filtered."""
SHARE = 4
"""Part of the free memory that frames may take."""


def retrieve_phase(machine: Machine, sinograms: DeviceArray, retrieval: Retrieval) -> None:
    """Retrieve the transmissions without propagation, in place.

    Parameters
    ----------
    machine : Machine
        The device.
    sinograms : (row, angle, column) float32 array
        Transmissions; rows are the whole frame's, or a slab's with `row_margin` rows more on either side.
    retrieval : Retrieval
        Method, material, experiment, padding.

    Raises
    ------
    EngineError
        As `PhasePlan`.
    """
    rows, angles, columns = sinograms.shape
    kind = _Mirrored if retrieval.padding is Padding.REFLECT else _Continued
    work = kind(machine, retrieval, rows, columns)
    at_once = max(machine.free_bytes() // SHARE // (FRAMES_HELD * 4 * work.pixels), 1)
    for begin in range(0, angles, at_once):
        part = sinograms[:, begin : begin + at_once]
        # The open beam is 1, and left so.
        frames = machine.xp.ascontiguousarray(part.transpose(1, 0, 2)) - np.float32(1)
        _check(machine, frames, begin)
        part[...] = (work.filtered(frames) + np.float32(1)).transpose(1, 0, 2)


def _check(machine: Machine, frames: DeviceArray, first: int) -> None:
    """Refuse frames with a value that is no measurement, in the words of the CPU's stage."""
    if bool((machine.xp.abs(frames) < LARGEST).all()):
        return
    for number, frame in enumerate(machine.to_host(frames)):
        load(frame + np.float32(1), np.empty(frame.shape, np.float32), f"projection {first + number}")


class _Mirrored:
    """Filters frames that are mirrored at their edges, by cosine transforms."""

    def __init__(self, machine: Machine, retrieval: Retrieval, rows: int, columns: int) -> None:
        self._machine, self._size = machine, (rows, columns)
        self._more = tuple(
            padded - length
            for padded, length in zip(
                mirrored_shape(rows, columns, row_margin(retrieval)), (rows, columns), strict=True
            )
        )
        shape = (rows + self._more[0], columns + self._more[1])
        down, across = (np.arange(length) / (2 * length) for length in shape)
        self._transfer = machine.to_device(transfer(retrieval, down, across).astype(np.float32))
        self.pixels = shape[0] * shape[1]

    def filtered(self, frames: DeviceArray) -> DeviceArray:
        """Return (frame, row, column) filtered."""
        (rows, columns), fft = self._size, self._machine.fft
        wider = ((0, 0), *((0, more) for more in self._more))
        # numpy's "symmetric" repeats the outermost pixel.
        padded = self._machine.xp.pad(frames, wider, mode="symmetric")
        spectrum = fft.dctn(padded, axes=(1, 2)) * self._transfer
        return fft.idctn(spectrum, axes=(1, 2))[:, :rows, :columns]


class _Continued:
    """Filters frames that are continued by their outermost values, by padded Fourier transforms."""

    def __init__(self, machine: Machine, retrieval: Retrieval, rows: int, columns: int) -> None:
        self._machine, self._size = machine, (rows, columns)
        reach = check_reach(row_margin(retrieval))
        self._shape = tuple(next_fast_len(length + 2 * reach + 1, real=True) for length in (rows, columns))
        down, across = fftfreq(self._shape[0]), rfftfreq(self._shape[1])
        self._transfer = machine.to_device(transfer(retrieval, down, across).astype(np.float32))
        self.pixels = self._shape[0] * self._shape[1]

    def filtered(self, frames: DeviceArray) -> DeviceArray:
        """Return (frame, row, column) filtered."""
        machine, (rows, columns) = self._machine, self._size
        padded: Any = frames
        for axis, (length, longer) in enumerate(zip(self._size, self._shape, strict=True), 1):
            # Transforms are cyclic: what stands before the first pixel stands at the end.
            place = np.arange(longer)
            place[length:] = np.where(place[length:] < (length + longer) // 2, length - 1, 0)
            padded = machine.xp.take(padded, machine.to_device(place), axis=axis)
        spectrum = machine.fft.rfft2(padded, axes=(1, 2)) * self._transfer
        return machine.fft.irfft2(spectrum, self._shape, axes=(1, 2))[:, :rows, :columns]
