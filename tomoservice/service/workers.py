"""Several server processes behind one port."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

from tomoservice.catalog.transport import probe
from tomoservice.errors import ServiceUnavailableError
from tomoservice.service.supervisor import ProcessSupervisor
from tomoservice.settings import Settings

LOOK_S = 0.1
PROBE_S = 1.0


def run_workers(
    settings: Settings,
    api_key: str,
    listener: socket.socket,
    uri: str,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
) -> None:
    """Serve from several processes, which take connections from one socket, until SIGINT or SIGTERM.

    A process that dies is started again.

    Parameters
    ----------
    settings : Settings
        Number of workers, database, streaming.
    api_key : str
        Key that may write.
    listener : socket
        Bound and listening.
    uri : str
        Where it listens.
    on_ready : callable
        Called when requests are answered.
    on_stop : callable
        Called when the service has been asked to stop, while requests are still answered.

    Raises
    ------
    ServiceUnavailableError
        A process ended before the service answered for the first time.
    """
    text = f"{listener.fileno()}\n{uri}\n{api_key}\n{settings.model_dump_json()}\n"
    workers = [
        ProcessSupervisor(
            f"server process {number + 1}", "tomoservice.service.worker", text, [listener.fileno()]
        )
        for number in range(settings.service.workers)
    ]
    with _told_to_stop() as stopping, ExitStack() as running:
        for worker in workers:
            worker.start()
            running.callback(worker.stop)
        _wait_until_ready(uri, workers, stopping)
        if not stopping.is_set():
            on_ready()
        stopping.wait()
        on_stop()


def _wait_until_ready(uri: str, workers: Sequence[ProcessSupervisor], stopping: threading.Event) -> None:
    while not stopping.wait(LOOK_S):
        if any(worker.died for worker in workers):
            raise ServiceUnavailableError("a server process ended while it started; its messages say why")
        try:
            probe(uri, PROBE_S)
        except ServiceUnavailableError:
            # The socket listens from the beginning, but nobody takes connections yet.
            continue
        return


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Yield what is set by SIGINT and SIGTERM."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
