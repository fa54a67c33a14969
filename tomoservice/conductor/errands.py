"""Errands of a reconstruction: given up when it is time to stop, begun again when the workers were lost."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from concurrent.futures import TimeoutError as NotYetError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from tomoservice.catalog.writer import Progress
from tomoservice.compute.base import Computer, Errand, Line, Priority
from tomoservice.compute.workbench import Workbench
from tomoservice.conductor.patience import Patience, persistently
from tomoservice.conductor.watch import JobWatch
from tomoservice.errors import (
    CancelledError,
    FaultError,
    ServiceUnavailableError,
    WorkersDiedError,
    WorkersLostError,
)
from tomoservice.pipeline import Outline

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

LOOK_S = 0.2
"""How often it is asked whether to stop."""
DEATHS = 2
"""How many times a task is given to other workers after some died with it in hand: everything that a worker
has in hand counts as the cause, whatever it really died of."""
MISSED_S = 5.0
"""How long a task is waited for before it is asked whether there are any workers, and how often then."""
HINT = (
    "workers read from the service at the address that the conductor uses: it must be one that their "
    "machines reach; give it with `tomoservice conductor --uri`, or by the setting conductor.uri"
)


@dataclass(eq=False)
class Begun(Generic[Result]):
    """A task that somebody works on."""

    submit: Callable[[], Future[Result]]
    """Begins it once more."""
    future: Future[Result]


class Setbacks:
    """What befell the tasks of an errand, and how much of that is borne.

    Workers that are lost are waited for without limit. What a task itself says, that the service does not
    answer, is borne for minutes, and the death of workers a few times.

    Parameters
    ----------
    should_stop
        Asked whether to stop waiting.
    waits
        Told what is waited for.
    """

    def __init__(self, should_stop: Callable[[], bool], waits: Callable[[str], None] | None = None) -> None:
        self._patience = Patience(
            should_stop,
            lambda error: not isinstance(error, WorkersLostError),
            hint=lambda error: "" if isinstance(error, FaultError) else HINT,
        )
        self._waits = waits
        self._deaths: Counter[Hashable] = Counter()

    def bear(self, error: ServiceUnavailableError | WorkersDiedError, *parts: Hashable) -> None:
        """Return, after a pause if there has to be one, if the task is to be begun again.

        Parameters
        ----------
        error
            What the task raised.
        parts
            Of what was to be done; nothing if it is one task.

        Raises
        ------
        CancelledError
            It is time to stop.
        WorkersDiedError, CatalogError
            Enough has been borne.
        """
        if isinstance(error, WorkersDiedError):
            self._deaths.update(parts or [None])
            if max(self._deaths[part] for part in parts or [None]) > DEATHS:
                raise error
            logger.warning("%s; trying it with others", error)
            return
        if self._waits is not None:
            self._waits(str(error))
        try:
            self._patience.bear(error)
        except ServiceUnavailableError:
            raise CancelledError(f"told to stop while waiting: {error}") from error

    def forget(self) -> None:
        """Begin anew with waiting, because a task went well."""
        self._patience.renew()


class WatchedErrand:
    """An errand of one reconstruction.

    Parameters
    ----------
    computer
        Who computes.
    watch
        Says when to stop and how urgent it is, and is told what is being done.
    """

    def __init__(self, computer: Computer, watch: JobWatch) -> None:
        self._computer = computer
        self.watch = watch
        self._errands: dict[Priority, Errand] = {}
        # Several threads may begin tasks of one reconstruction.
        self._lock = threading.Lock()
        self._outline: Future[Outline] = Future()
        self._closed = threading.Event()
        self._looked = time.monotonic()
        self._missed = False

    @property
    def slots(self) -> int:
        """How many tasks are worked on at once."""
        setbacks = self.setbacks()
        while True:
            try:
                return self._computer.slots
            except WorkersLostError as error:
                setbacks.bear(error)

    def begin(
        self,
        task: Callable[Concatenate[Workbench, Line, Arguments], Result],
        *arguments: Arguments.args,
        **keywords: Arguments.kwargs,
    ) -> Begun[Result]:
        """Have a task done.

        Raises
        ------
        CancelledError
            It is time to stop, and nobody is at work.
        """

        def submit() -> Future[Result]:
            return self._errand().submit(task, *arguments, **keywords)

        return Begun(submit, self._persist(submit))

    def wait(self, begun: Begun[Result]) -> Result:
        """Return what came of a task.

        Raises
        ------
        CancelledError
            It is time to stop.
        TomoserviceError
            As the task raised it.
        """

        setbacks = self.setbacks()
        while True:
            try:
                return self._awaited(begun.future)
            except (ServiceUnavailableError, WorkersDiedError) as error:
                setbacks.bear(error)
                begun.future = self._persist(begun.submit)

    def result(
        self,
        task: Callable[Concatenate[Workbench, Line, Arguments], Result],
        *arguments: Arguments.args,
        **keywords: Arguments.kwargs,
    ) -> Result:
        """Have a task done and return what came of it; raises what `begin` and `wait` do."""
        return self.wait(self.begin(task, *arguments, **keywords))

    def outline(self, begun: Begun[Any]) -> Outline | None:
        """Return what a task says that the volume is going to look like; None if it ends without saying so.

        Raises
        ------
        CancelledError
            It is time to stop.
        """
        while not (self._outline.done() or begun.future.done()):
            if self._should_stop():
                raise CancelledError("told to stop")
            wait([self._outline, begun.future], LOOK_S, return_when=FIRST_COMPLETED)
        return self._outline.result() if self._outline.done() else None

    def _see(self, outline: Outline) -> None:
        # A task that is begun once more says it again.
        with suppress(InvalidStateError):
            self._outline.set_result(outline)

    def setbacks(self) -> Setbacks:
        """Return what bears the setbacks of several tasks together."""
        return Setbacks(self._should_stop, self.watch.waits)

    def misses_workers(self) -> bool:
        """Tell whether nobody is there who could work, and say so; to be asked often while waiting."""
        if time.monotonic() - self._looked > MISSED_S:
            try:
                _ = self._computer.slots
                self._missed = False
            except WorkersLostError as error:
                self._missed = True
                self.watch.waits(str(error))
            self._looked = time.monotonic()
        return self._missed

    def close(self) -> None:
        """Give up what has not begun, and tell the rest that nobody wants it; nothing is begun any more."""
        with self._lock:
            self._closed.set()
            errands = list(self._errands.values())
        for errand in errands:
            errand.close()

    def _errand(self) -> Errand:
        """Return the errand for tasks that are begun now: how urgent they are may have changed."""
        priority = self.watch.priority
        with self._lock:
            if self._closed.is_set():
                raise CancelledError("given up")
            if priority not in self._errands:
                self._errands[priority] = self._computer.errand(
                    priority, lambda stage: self.watch.report(Progress(stage)), self._see
                )
            return self._errands[priority]

    def _should_stop(self) -> bool:
        return self._closed.is_set() or self.watch.should_stop()

    def _awaited(self, future: Future[Result]) -> Result:
        self._looked = time.monotonic()
        while True:
            if self._should_stop():
                raise CancelledError("told to stop")
            self.misses_workers()
            try:
                return future.result(LOOK_S)
            except NotYetError:
                # A task may raise the same.
                if future.done():
                    raise

    def _persist(self, action: Callable[[], Any]) -> Any:
        try:
            return persistently(action, self._should_stop)
        except ServiceUnavailableError as error:
            raise CancelledError(f"told to stop while waiting: {error}") from error
