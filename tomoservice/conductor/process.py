"""The conductor as a process: logging, signals."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import IO, Any

from tomoservice.garbage import spare_what_is_there
from tomoservice.logs import start_logging
from tomoservice.settings import Settings

RETRY_S = "5"


def run_conductor(
    uri: str,
    api_key: str | None,
    settings: Settings,
    waking: Callable[[Callable[[], None]], None] | None = None,
) -> None:
    """Run a conductor in this process until SIGINT or SIGTERM.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write and register.
    settings : Settings
        Where volumes go; below which folders raw files are read directly; lease, memory, pace.
    waking : callable, optional
        Given what to call when something is being queued; without it, the conductor looks now and then.
    """
    log_file, _held = _log_to(settings.data_folder / "logs")
    # Tiled's client would try for 45 s, longer than a lease; we have patience of our own.
    os.environ.setdefault("TILED_RETRY_TIMEOUT", RETRY_S)
    from tomoservice.compute.cluster import DaskComputer
    from tomoservice.compute.launch import find_cluster, local_cluster
    from tomoservice.conductor.loop import Conductor

    folder, compute = settings.data_folder, settings.compute
    started: list[tuple[str, Any]] = []
    # What the data folder names may be the cluster of another conductor.
    computer = DaskComputer(
        lambda: started[0] if started else find_cluster(folder, compute), compute.resource
    )
    conductor = Conductor(
        uri, api_key, settings, computer=computer, log_file=str(log_file), readable=settings.raw_folders
    )

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        conductor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if waking is not None:
        waking(conductor.wake)
    # The server needs all cores to start; whoever computes would be in its way.
    conductor.wait_for_service()
    spare_what_is_there()
    if compute.scheduler is not None:
        conductor.run()
        return
    with local_cluster(folder, compute) as own:
        started.append(own)
        conductor.run()


def _log_to(folder: Path) -> tuple[Path, IO[str]]:
    """Send log records to standard error and to a file; return it, and what keeps it ours."""
    path, lock = reserve_log(folder)
    start_logging(path)
    return path, lock


def reserve_log(folder: Path) -> tuple[Path, IO[str]]:
    """Return the first log file that no other conductor writes, and the lock to be kept open meanwhile.

    Log files are renamed when they are full, which two processes cannot both do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        name = "conductor" if number == 1 else f"conductor-{number}"
        lock = (folder / f".{name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            break
    return folder / f"{name}.log", lock
