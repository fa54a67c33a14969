"""Slabs for whoever reads a volume now: before everything else, each only once, never too many at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.compute.base import Computer, Line, Priority
from tomoservice.compute.orders import RunAddress, VolumeOrder
from tomoservice.compute.workbench import Workbench
from tomoservice.errors import ServiceUnavailableError, TomoserviceError
from tomoservice.service.desk import Desk, never
from tomoservice.service.measures import Measures
from tomoservice.settings import Settings

logger = logging.getLogger(__name__)


class Order(Protocol):
    """What is to be filled."""

    @property
    def key(self) -> str:
        """Tells orders apart."""

    @property
    def folder(self) -> str:
        """Folder of the store."""


Fill = Callable[[Workbench, Line, Any, Sequence[int]], object]
"""Task that fills slabs of an order's store."""

JOIN_S = 1.0
"""How often to look for somebody who computes."""
MOST_AT_ONCE = 32
"""Slabs that one server has computed for readers at the same time; others wait for their turn."""
MOST_WAITING = 1024
"""Slabs that may wait; whoever asks for more is told to come again."""


class Readers:
    """Has slabs computed for readers.

    Parameters
    ----------
    computer : Computer
        Who computes.
    uri : callable
        Returns the address of the service, from which workers read runs.
    api_key : callable
        Returns the key with which they do.
    settings : Settings
        Memory, and how long a read may take.
    """

    def __init__(
        self, computer: Computer, uri: Callable[[], str], api_key: Callable[[], str], settings: Settings
    ) -> None:
        self.measures = Measures()
        """Counts what is done."""
        self.desk = Desk(computer, self.measures.answered)
        """Has other things computed for whoever asks."""
        self._computer = computer
        self._uri = uri
        self._api_key = api_key
        self._settings = settings
        self._tasks: dict[tuple[str, int, Priority], asyncio.Task[object]] = {}
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._hurrying: dict[str, asyncio.Task[None]] = {}
        self._hurried: dict[str, dict[int, Callable[[], Awaitable[bool]]]] = {}
        self._closed = False

    @property
    def longest_s(self) -> float:
        """Seconds that a single read may take to compute."""
        return self._settings.compute.interactive_s

    def order(self, record: ReconstructionRecord, folder: Path) -> VolumeOrder:
        """Return what workers are told of a reconstruction."""
        return VolumeOrder(
            run=self.run(record.run_uid, record.access_tags),
            recipe=record.metadata.recipe,
            recipe_name=record.metadata.recipe_name or "recipe",
            folder=str(folder),
            memory_bytes=self.memory_bytes,
            device=self.device,
        )

    def run(self, run_uid: str, access_tags: Sequence[str]) -> RunAddress:
        """Return what workers are told of a run, and of who is going to see what they make of it."""
        folders = tuple(str(place) for place in self._settings.raw_folders)
        return RunAddress(self._uri(), run_uid, self._api_key(), folders, tuple(sorted(access_tags)))

    @property
    def memory_bytes(self) -> int | None:
        """Memory of a worker process, if a setting says it."""
        return self._settings.compute.memory_bytes

    @property
    def device(self) -> str:
        """What computes slices."""
        return self._settings.compute.device

    async def compute(self, task: Fill, order: Order, slabs: Iterable[int]) -> None:
        """Have slabs computed by a task, and return when they are stored.

        Raises
        ------
        ServiceUnavailableError
            Nobody computes, or too many slabs are being computed for readers already.
        TomoserviceError
            As the worker raised it.
        """
        tasks = [self._begin(task, order, slab, Priority.INTERACTIVE) for slab in slabs]
        # Whoever goes away does not take the others' slabs along.
        await asyncio.gather(*(asyncio.shield(task) for task in tasks))

    def hurry(
        self, task: Fill, order: Order, slabs: Sequence[int], wanted: Callable[[], Awaitable[bool]]
    ) -> None:
        """Have slabs computed before the rest of the volume, one after the other.

        Those that are asked for while others of the same volume are hurried follow these.

        Parameters
        ----------
        task, order
            What fills slabs of which volume.
        slabs
            Numbers of the slabs.
        wanted
            Asked before each whether the volume is still to be computed.
        """
        # Whoever asked last knows best: the node may have been created again meanwhile.
        self._hurried.setdefault(order.key, {}).update(dict.fromkeys(slabs, wanted))
        if order.key not in self._hurrying:
            self._hurrying[order.key] = asyncio.create_task(self._hurry(task, order))

    async def _hurry(self, task: Fill, order: Order) -> None:
        hurried = self._hurried[order.key]
        try:
            while hurried and not self._closed:
                slab, wanted = next(iter(hurried.items()))
                if not await wanted():
                    for other in [number for number, asked in hurried.items() if asked is wanted]:
                        del hurried[other]
                    continue
                await asyncio.shield(self._begin(task, order, slab, Priority.LIVE))
                # Until now, so that nobody who asks for it again has it done twice.
                del hurried[slab]
        except TomoserviceError as error:
            logger.info("%s: slab %d: %s", order.folder, slab, error)
        finally:
            # With nothing in between: what is asked for from here on begins anew.
            del self._hurried[order.key], self._hurrying[order.key]

    async def join(self) -> None:
        """Connect to whoever computes as soon as there is somebody, so that no reader waits for that."""
        while not self._closed:
            try:
                await asyncio.to_thread(lambda: self._computer.slots)
            except TomoserviceError as error:
                logger.debug("nobody computes yet: %s", error)
                await asyncio.sleep(JOIN_S)
            else:
                return

    async def close(self) -> None:
        """Give up what nobody will hear of any more."""
        self._closed = True
        tasks = [*self._hurrying.values(), *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.desk.close()

    def _begin(self, fill: Fill, order: Order, slab: int, priority: Priority) -> asyncio.Task[object]:
        """Have a slab computed; whoever asks for the same one waits for the same task."""
        key = (order.key, slab, priority)
        task = self._tasks.get(key)
        if task is None:
            if len(self._tasks) >= MOST_WAITING:
                raise ServiceUnavailableError(
                    f"{MOST_WAITING} slabs wait for being computed already; ask again in a few seconds"
                )
            task = asyncio.create_task(self._fill(fill, order, slab, priority))
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._end(key, done))
        return task

    def _end(self, key: tuple[str, int, Priority], task: asyncio.Task[object]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and task.exception() is None:
            self.measures.filled()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nobody may be waiting for it; who is, hears of it.
            level = logging.INFO if isinstance(error, TomoserviceError) else logging.ERROR
            logger.log(level, "slab %d: %s", key[1], error)

    async def _fill(self, fill: Fill, order: Order, slab: int, priority: Priority) -> object:
        async with self._turns:
            return await self.desk.ask(priority, never, fill, order, [slab])
