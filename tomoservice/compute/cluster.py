"""A place of work elsewhere: a Dask scheduler and its workers, on this machine or on many."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

import distributed
from distributed import Client, Event, Security, get_worker
from distributed.comm import CommClosedError
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker

from tomoservice.compute.base import ANYWHERE, Line, Priority, unheard
from tomoservice.compute.hanging import HUNG_S, HangWatch
from tomoservice.compute.resolution import engine_versions
from tomoservice.compute.warming import warm_up
from tomoservice.compute.workbench import Workbench
from tomoservice.errors import CancelledError, EngineError, WorkersDiedError, WorkersLostError
from tomoservice.freed_memory import keep_freed_memory
from tomoservice.pipeline import Outline

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PLUGIN = "tomoservice"
CONNECT_S = 10.0
UNANSWERED_S = 3.0
"""How long a scheduler that did not answer is not asked again: many wait at once, and one after the other."""
LOOK_S = 0.5
"""How often a task asks the scheduler whether anybody wants its result, at most."""
LOST = (CommClosedError, OSError, TimeoutError, distributed.client.ClosedClientError)
"""How Dask says that the scheduler is gone."""

Address = Callable[[], tuple[str, Security | None]]
"""Returns where the scheduler is now, and what the connection is secured with; raises
`WorkersLostError` if there is none."""


class Connection(Client):
    """A client that leaves nothing behind when it does not reach the scheduler; Dask's leaves a thread.

    Nor does it stumble over a scheduler that goes away between a connection and its encryption, or wait for
    ever for one that takes the connection and says nothing.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            self._loop_runner.stop()
            raise

    async def _ensure_connected(self, timeout: float | None = None) -> None:
        try:
            # Dask's own limit ends with the connection, before a word is said.
            async with asyncio.timeout(None if timeout is None else 2 * timeout):
                await super()._ensure_connected(timeout=timeout)
        except ValueError as error:
            # Tornado, of a socket that was closed before TLS began; Dask tries again after OSError only.
            raise OSError(f"the scheduler went away while it was connected to: {error}") from error


class DaskComputer:
    """Works on a Dask cluster, connected to when there is something to do, and again when it was lost.

    Parameters
    ----------
    address
        Asked for the scheduler at every connection: a new one may be elsewhere.
    resource
        Dask resource of which a task that computes takes one: it goes to workers that offer it only.
    """

    def __init__(self, address: Address, resource: str | None = None) -> None:
        self._address = address
        self.resource = resource
        """Dask resource of which a task that computes takes one."""
        self.versions = engine_versions()
        """What workers must have, too."""
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._unanswered: tuple[str, float] | None = None
        self._hearers: dict[str, tuple[Callable[[str], None], Callable[[Outline], None]]] = {}

    @property
    def slots(self) -> int:
        """How many tasks that compute are worked on at once."""
        client = self.client()
        try:
            # The client's own copy is two seconds old.
            workers = client.sync(client.scheduler.identity, n_workers=-1)["workers"].values()
        except LOST as error:
            raise _lost(error) from error
        slots = sum(slots_of(worker, self.resource) for worker in workers)
        if not slots:
            raise _idle(self._address()[0], self.resource, len(workers))
        return slots

    def client(self) -> Client:
        """Return a client that is connected.

        Raises
        ------
        WorkersLostError
            There is no scheduler, or it does not answer, or did not a moment ago.
        """
        with self._lock:
            if self._client is not None and self._client.status == "running":
                return self._client
            self._leave()
            self._client = self._connected()
            return self._client

    def _connected(self) -> Client:
        where, security = self._address()
        if self._unanswered is not None:
            before, until = self._unanswered
            if where == before and time.monotonic() < until:
                raise _silent(where)
        try:
            client = Connection(
                where, security=security, timeout=CONNECT_S, set_as_default=False, name=PLUGIN
            )
        except LOST as error:
            self._unanswered = (where, time.monotonic() + UNANSWERED_S)
            raise _silent(where) from error
        self._unanswered = None
        try:
            client.register_plugin(WorkbenchPlugin(), name=PLUGIN)
            client.subscribe_topic(_topic(client.id), self._hear)
        except LOST as error:
            client.close(timeout=1)
            raise _lost(error) from error
        return client

    def _hear(self, event: tuple[float, tuple[str, Any]]) -> None:
        name, said = event[1]
        on_stage, on_outline = self._hearers.get(name, (unheard, unheard))
        if isinstance(said, str):
            on_stage(said)
        else:
            shape, chunks, dtype = said
            on_outline(Outline(tuple(shape), tuple(chunks), dtype))

    def errand(
        self,
        priority: Priority,
        on_stage: Callable[[str], None] | None = None,
        on_outline: Callable[[Outline], None] | None = None,
    ) -> DaskErrand:
        """Open an errand."""
        errand = DaskErrand(self, priority)
        self._hearers[errand.name] = (on_stage or unheard, on_outline or unheard)
        return errand

    def forget(self, name: str) -> None:
        """Hear no more of an errand."""
        self._hearers.pop(name, None)

    def close(self) -> None:
        """Leave the cluster."""
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        if self._client is not None:
            with suppress(*LOST):
                self._client.close(timeout=2)
            self._client = None


class DaskErrand:
    """Tasks that are given up together."""

    def __init__(self, computer: DaskComputer, priority: Priority) -> None:
        self.name = f"errand-{uuid.uuid4().hex}"
        self._computer = computer
        self._priority = priority
        self._count = itertools.count()
        self._open: dict[Future[Any], distributed.Future] = {}
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._given_up = False

    def submit(
        self,
        task: Callable[Concatenate[Workbench, Line, Arguments], Result],
        *arguments: Arguments.args,
        **keywords: Arguments.kwargs,
    ) -> Future[Result]:
        """Have a task done."""
        client = self._client = self._computer.client()
        key = f"{task.__name__}-{self.name}-{next(self._count)}"
        call = (self._computer.versions, task, arguments, keywords, (self.name, _topic(client.id)))
        wanted = self._computer.resource
        resources = {wanted: 1.0} if wanted and not getattr(task, ANYWHERE, False) else None
        how = {"key": key, "priority": int(self._priority), "pure": False, "resources": resources}
        try:
            remote = client.submit(_perform, *call, **how)
        except LOST as error:
            raise _lost(error) from error
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()
        self._open[future] = remote
        remote.add_done_callback(lambda done: self._finish(future, done))
        return future

    def _finish(self, future: Future[Any], remote: distributed.Future) -> None:
        """Hand a result over; called in a thread of Dask's client."""
        try:
            if remote.status == "error":
                future.set_exception(_raised(remote))
            else:
                future.set_result(remote.result(timeout=CONNECT_S))
        except (*LOST, distributed.CancelledError) as error:
            future.set_exception(_lost(error))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
            future.set_exception(error)
        finally:
            remote.release()
            with self._lock, suppress(*LOST):
                self._open.pop(future, None)
                if self._given_up and not self._open and remote.client.status == "running":
                    # The scheduler would keep it for ever.
                    Event(self.name, client=remote.client).clear()

    def close(self) -> None:
        """Tell all that has not ended that nobody wants it: what has not begun ends as soon as it does."""
        self._computer.forget(self.name)
        client = self._client
        with self._lock:
            if client is None or client.status != "running" or not self._open or self._given_up:
                return
            with suppress(*LOST):
                Event(self.name, client=client).set()
                self._given_up = True


class WorkbenchPlugin(WorkerPlugin):
    """Gives a worker process its workbench, and ends it should it hang.

    Parameters
    ----------
    hung_s
        How long it may answer nobody, in seconds.
    """

    name = PLUGIN
    idempotent = True

    def __init__(self, hung_s: float = HUNG_S) -> None:
        self.bench: Workbench | None = None
        self.versions: dict[str, str | None] = {}
        self._hung_s = hung_s
        self._watch: HangWatch | None = None

    def setup(self, worker: Any) -> None:
        """Make the workbench, and import what the first task needs before it comes."""
        self._watch = HangWatch(self._hung_s)
        self._watch.start(worker)
        self.bench = Workbench(worker.state.nthreads)
        self.versions = engine_versions()
        keep_freed_memory()
        threading.Thread(target=warm_up, name="warm-up", daemon=True).start()

    def teardown(self, worker: Any) -> None:
        """Close it."""
        del worker
        if self._watch is not None:
            self._watch.stop()
        if self.bench is not None:
            self.bench.close()


class _DaskLine:
    """A line from a worker over the scheduler."""

    def __init__(self, name: str, topic: str) -> None:
        self._name = name
        self._topic = topic
        self._worker = get_worker()
        self._event = Event(name, client=self._worker._get_client())
        self._looked = -LOOK_S
        self._stopped = False

    def should_stop(self) -> bool:
        now = time.monotonic()
        if not self._stopped and now - self._looked > LOOK_S:
            self._looked = now
            # Without the scheduler nobody will hear of the result, but it may be on disk by then.
            with suppress(*LOST):
                self._stopped = self._event.is_set()
        return self._stopped

    def tell(self, stage: str) -> None:
        self._worker.log_event(self._topic, (self._name, stage))

    def show(self, outline: Outline) -> None:
        # As plain values, which is all that an event can carry.
        said = (list(outline.shape), list(outline.chunks), outline.dtype)
        self._worker.log_event(self._topic, (self._name, said))


def _perform(versions: dict[str, str | None], *call: Any) -> Any:
    """Do a task on a worker, if it computes what whoever ordered it would: then both know what a call is."""
    plugin = get_worker().plugins[PLUGIN]
    _check_versions(plugin.versions, versions)
    task, arguments, keywords, line = call
    try:
        to_orderer = _DaskLine(*line)
    except LOST as error:
        raise _lost(error) from error
    if to_orderer.should_stop():
        raise CancelledError("given up before it began")
    return task(plugin.bench, to_orderer, *arguments, **keywords)


def _check_versions(mine: dict[str, str | None], wanted: dict[str, str | None]) -> None:
    if mine == wanted:
        return
    different = ", ".join(
        f"{name} {mine.get(name) or 'missing'} instead of {version}"
        for name, version in wanted.items()
        if mine.get(name) != version
    )
    raise EngineError(
        f"the Dask worker {get_worker().address} on {socket.gethostname()} has {different}; install the same "
        "versions on workers, conductors and servers, since slabs of different ones are never mixed"
    )


def slots_of(worker: dict[str, Any], resource: str | None) -> int:
    """Return how many tasks that compute a worker does at once, by what its scheduler says of it."""
    threads = int(worker["nthreads"])
    return threads if resource is None else min(threads, int(worker["resources"].get(resource, 0)))


def _idle(where: str, resource: str | None, workers: int) -> WorkersLostError:
    if resource is None or not workers:
        option = "" if resource is None else f" --resources {resource}=1"
        return WorkersLostError(
            f"no worker is connected to the Dask scheduler at {where}; start one with `dask worker{option}`"
        )
    return WorkersLostError(
        f"none of the {workers} workers of the Dask scheduler at {where} offers {resource}, for which the "
        f"setting compute.resource asks; start them with `dask worker --resources {resource}=1`"
    )


def _topic(client: str) -> str:
    return f"tomoservice-{client}"


def _raised(remote: distributed.Future) -> BaseException:
    """Return what a task raised, whatever it is; raises one of `LOST` only if it cannot be had."""
    error: BaseException = remote.exception(timeout=CONNECT_S)
    if isinstance(error, KilledWorker):
        return _killed(error)
    return error.with_traceback(remote.traceback(timeout=CONNECT_S))


def _lost(error: BaseException) -> WorkersLostError:
    return WorkersLostError(f"the connection to the Dask scheduler is lost ({type(error).__name__})")


def _silent(where: str) -> WorkersLostError:
    return WorkersLostError(f"no Dask scheduler answers at {where}; is the conductor running?")


def _killed(error: KilledWorker) -> WorkersDiedError:
    attempts = getattr(error, "allowed_failures", None)
    times = "several" if attempts is None else attempts + 1
    return WorkersDiedError(
        f"{times} worker processes in a row died with the same task in hand ({error.task}): most often the "
        "machine ran out of memory; give compute.memory_bytes a smaller value, run fewer workers, or set "
        "frames.binning to 2"
    )
