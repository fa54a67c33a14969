"""A place of work in this very process: threads, the urgent tasks first."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from tomoservice.compute.base import Line, Priority, unheard
from tomoservice.compute.workbench import Workbench
from tomoservice.pipeline import Outline

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(order=True)
class _Waiting:
    rank: tuple[int, int]
    future: Future[Any] = field(compare=False)
    work: Callable[[], Any] = field(compare=False)


class LocalComputer:
    """Works in threads of this process; they start with the first task and end with `close`.

    Parameters
    ----------
    slots
        Tasks that are worked on at once.
    """

    def __init__(self, slots: int = 1) -> None:
        self._slots = slots
        self._bench = Workbench(slots)
        self._waiting: queue.PriorityQueue[_Waiting] = queue.PriorityQueue()
        self._count = itertools.count()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    @property
    def slots(self) -> int:
        """How many tasks are worked on at once."""
        return self._slots

    def errand(
        self,
        priority: Priority,
        on_stage: Callable[[str], None] | None = None,
        on_outline: Callable[[Outline], None] | None = None,
    ) -> _LocalErrand:
        """Open an errand."""
        return _LocalErrand(self, priority, _LocalLine(on_stage or unheard, on_outline or unheard))

    def put(self, priority: Priority, work: Callable[[Workbench], Any]) -> Future[Any]:
        """Have something done with what is kept ready."""
        with self._lock:
            if not self._threads:
                names = (f"compute-{number}" for number in range(self._slots))
                self._threads = [threading.Thread(target=self._work, name=name) for name in names]
                for thread in self._threads:
                    thread.start()
        future: Future[Any] = Future()
        self._waiting.put(_Waiting((-priority, next(self._count)), future, partial(work, self._bench)))
        return future

    def close(self) -> None:
        """Finish what has begun, and end the threads."""
        with self._lock:
            threads, self._threads = self._threads, []
        for _ in threads:
            # Before everything that waits.
            self._waiting.put(_Waiting((-1000, 0), Future(), _nothing))
        for thread in threads:
            thread.join()
        self._bench.close()

    def _work(self) -> None:
        while True:
            waiting = self._waiting.get()
            if waiting.work is _nothing:
                return
            if not waiting.future.set_running_or_notify_cancel():
                continue
            try:
                waiting.future.set_result(waiting.work())
            except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
                waiting.future.set_exception(error)


class _LocalErrand:
    """Tasks that are given up together."""

    def __init__(self, computer: LocalComputer, priority: Priority, line: _LocalLine) -> None:
        self._computer = computer
        self._priority = priority
        self._line = line
        self._futures: set[Future[Any]] = set()

    def submit(
        self,
        task: Callable[Concatenate[Workbench, Line, Arguments], Result],
        *arguments: Arguments.args,
        **keywords: Arguments.kwargs,
    ) -> Future[Result]:
        """Have a task done."""
        future: Future[Result] = self._computer.put(
            self._priority, lambda bench: task(bench, self._line, *arguments, **keywords)
        )
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def close(self) -> None:
        """Give up what has not begun, and tell the rest that nobody wants it."""
        self._line.stop()
        for future in list(self._futures):
            future.cancel()


class _LocalLine:
    def __init__(self, on_stage: Callable[[str], None], on_outline: Callable[[Outline], None]) -> None:
        self._stopped = threading.Event()
        self._on_stage = on_stage
        self._on_outline = on_outline

    def stop(self) -> None:
        self._stopped.set()

    def should_stop(self) -> bool:
        return self._stopped.is_set()

    def tell(self, stage: str) -> None:
        self._on_stage(stage)

    def show(self, outline: Outline) -> None:
        self._on_outline(outline)


def _nothing() -> None:
    """Mark the end of a thread."""
