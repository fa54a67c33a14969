"""Outlines of volumes whose shape depends on the rotation axis, which is searched first."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing

from tomoservice.catalog.volumes import VolumeOutline
from tomoservice.compute.base import Computer, Priority
from tomoservice.compute.orders import VolumeOrder
from tomoservice.compute.tasks import resolve
from tomoservice.errors import CancelledError, ServiceUnavailableError

logger = logging.getLogger(__name__)

AXIS_S = 120.0
"""How long a search for the rotation axis may take."""
STEP_S = 0.5
"""How often to look whether a search is still wanted."""

Asked = tuple[VolumeOrder, Future[VolumeOutline]]


class Outlines:
    """Searches rotation axes, one after the other, in a thread of its own.

    Parameters
    ----------
    computer : Computer
        Who searches.
    on_answer : callable
        Called when there is something new to be had, from that thread.
    """

    def __init__(self, computer: Computer, on_answer: Callable[[], None]) -> None:
        self._computer = computer
        self._on_answer = on_answer
        self._asked: dict[str, Asked] = {}
        self._waiting: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outlines", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def ask(self, path: str, order: VolumeOrder) -> VolumeOutline | None:
        """Return the outline of the volume of the node at `path`, or None as long as it is searched for.

        Raises
        ------
        ServiceUnavailableError
            Nobody searches at present; whoever asks again has it tried again.
        TomoserviceError
            As the worker raised it.
        """
        asked = self._asked.get(path)
        if asked is not None and asked[0].key != order.key:
            self.forget(path)
            asked = None
        if asked is None:
            self._asked[path] = asked = (order, Future())
            self._waiting.put(asked)
        answer = asked[1]
        if not answer.done():
            return None
        del self._asked[path]
        return answer.result()

    def __contains__(self, path: str) -> bool:
        """Tell whether the outline of a node has been asked for and not been had."""
        return path in self._asked

    def forget(self, path: str) -> None:
        """Nobody wants the outline any longer."""
        asked = self._asked.pop(path, None)
        if asked is not None:
            asked[1].cancel()

    def stop(self, seconds: float) -> None:
        """End the thread; return after some seconds in any case."""
        self._stopping.set()
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while (asked := self._waiting.get()) is not None and not self._stopping.is_set():
            order, answer = asked
            if answer.cancelled():
                continue
            try:
                outline = self._search(order, answer)
            except Exception as error:  # noqa: BLE001 - it is raised again where the answer is awaited
                self._answer(answer, error)
            else:
                self._answer(answer, outline)

    def _answer(self, answer: Future[VolumeOutline], outcome: VolumeOutline | Exception) -> None:
        # From here on it cannot be cancelled.
        if not answer.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
        # Where nobody searches, to look at once would be to look all the time.
        if not isinstance(outcome, ServiceUnavailableError):
            self._on_answer()

    def _search(self, order: VolumeOrder, answer: Future[VolumeOutline]) -> VolumeOutline:
        end = time.monotonic() + AXIS_S
        with closing(self._computer.errand(Priority.INTERACTIVE)) as errand:
            found = errand.submit(resolve, order)
            while time.monotonic() < end:
                if self._stopping.is_set() or answer.cancelled():
                    raise CancelledError("nobody wants the rotation axis any longer")
                try:
                    return found.result(STEP_S)
                except TimeoutError:
                    if found.done():
                        raise
        raise ServiceUnavailableError(f"no rotation axis after {AXIS_S:g} s")
