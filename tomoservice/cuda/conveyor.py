"""Data to the device, and results back, while the device computes.

A slot has room for a piece of data and its result, in pinned memory of the host and on the device. With two
slots, the device computes one piece while the next is copied to it and the last one from it, each on a stream
of its own, and the host fills and empties slots meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from tomoservice.cuda.machine import DeviceArray, Event, Machine, Stream

Item = TypeVar("Item")
Form = tuple[tuple[int, ...], Any]
"""Shape and dtype of an array."""
SLOTS = 2


@dataclass
class _Slot(Generic[Item]):
    """Room for one piece."""

    host_in: NDArray[Any]
    device_in: DeviceArray
    device_out: DeviceArray
    host_out: NDArray[Any]
    uploaded: Event | None = None
    downloaded: Event | None = None
    waiting: tuple[Item, NDArray[Any] | None] | None = None
    """Whose result is on its way to the host, and what of it has to be stored from there."""


@dataclass(frozen=True)
class Work(Generic[Item]):
    """What is done to each piece.

    Parameters
    ----------
    load
        Fills an array of the host with a piece's data, and returns the part that it filled; or returns an
        array of its own, in pinned memory or on the device.
    compute
        Given the piece, its data on the device, and room for the result there: returns the part that holds
        the result. Called with the stream for computing as the current one.
    store
        Takes a piece's result from an array of the host, which is filled anew once it has returned.
    place
        Where in pinned memory a piece's result is wanted; None for wherever, to be stored from there.
    """

    load: Callable[[Item, NDArray[Any]], DeviceArray | NDArray[Any]]
    compute: Callable[[Item, DeviceArray, DeviceArray], DeviceArray]
    store: Callable[[Item, NDArray[Any]], None]
    place: Callable[[Item], NDArray[Any] | None] = lambda _: None


class Conveyor:
    """Slots and streams for pieces of one size.

    Parameters
    ----------
    machine
        The device.
    data, result
        Shape and dtype of a piece's data and of its result, at most.
    """

    def __init__(self, machine: Machine, data: Form, result: Form) -> None:
        self._machine = machine
        self.forms = (data, result)
        self._up, self._compute, self._down = (machine.stream() for _ in range(3))
        with self._compute.current():
            self._slots = [
                _Slot[Any](
                    machine.pinned(*data),
                    machine.empty(*data),
                    machine.empty(*result),
                    machine.pinned(*result),
                )
                for _ in range(SLOTS)
            ]

    @property
    def stream(self) -> Stream:
        """The stream for computing; what a computation needs beside a piece's data must come by it."""
        return self._compute

    def run(self, items: Iterable[Item], work: Work[Item]) -> None:
        """Take pieces through the device, in order; return when the last result has been stored."""
        number = -1
        try:
            for number, item in enumerate(items):
                slot = self._slots[number % SLOTS]
                self._finish(slot, work)
                self._send(slot, item, work)
            for later in range(SLOTS):
                self._finish(self._slots[(number + 1 + later) % SLOTS], work)
        finally:
            self._forget()

    def _send(self, slot: _Slot[Item], item: Item, work: Work[Item]) -> None:
        """Let one piece begin; the device is done with what was in the slot before."""
        data = work.load(item, slot.host_in)
        if not self._machine.owns(data):
            part = slot.device_in[: len(data)]
            self._up.upload(data, part)
            slot.uploaded = self._up.mark()
            self._compute.after(slot.uploaded)
            data = part
        with self._compute.current():
            result = work.compute(item, data, slot.device_out)
        self._down.after(self._compute.mark())
        place = work.place(item)
        target = slot.host_out[: len(result)] if place is None else place
        self._down.download(result, target)
        slot.downloaded = self._down.mark()
        slot.waiting = (item, target if place is None else None)

    def _finish(self, slot: _Slot[Item], work: Work[Item]) -> None:
        """Wait for the result that a slot still owes, and store it."""
        if slot.waiting is None or slot.downloaded is None:
            return
        (item, result), slot.waiting = slot.waiting, None
        slot.downloaded.wait()
        if result is not None:
            work.store(item, result)

    def _forget(self) -> None:
        """Leave no copy under way: the host's arrays may be gone when the caller has failed."""
        for slot in self._slots:
            for event in (slot.uploaded, slot.downloaded):
                if event is not None:
                    event.wait()
            slot.uploaded = slot.downloaded = slot.waiting = None
