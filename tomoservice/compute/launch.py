"""The cluster that a service brings along: scheduler and workers on this machine, for its user alone."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tomoservice.errors import SettingsError, WorkersLostError
from tomoservice.settings import ComputeSettings

CLUSTER_FILE = "compute.json"
TURN_S = 2.0
"""How often a cluster that nobody is told of looks whether the one before it is gone."""
CONFIG: dict[str, Any] = {
    # No dashboard, no metrics: nothing to see without a certificate.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # Workers get all tasks at once and take the most urgent one; a queue at the scheduler would hold urgent
    # ones back that come late.
    "distributed.scheduler.worker-saturation": "inf",
    # Nobody could look at it, and it samples every thread that computes a hundred times a second.
    "distributed.worker.profile.enabled": False,
    # Nobody reads them, and with the default lengths they take hours to be full.
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.system-monitor.log-length": 120,
    "distributed.diagnostics.computations.max-history": 1,
}
LOOPBACK = "127.0.0.1"
FILES = {"tls_ca_file": "ca", "tls_client_cert": "certificate", "tls_client_key": "key"}


@contextmanager
def local_cluster(folder: Path, compute: ComputeSettings) -> Iterator[tuple[str, Any]]:
    """Run a scheduler and workers, and say in the data folder where they are.

    Everybody on this machine can reach a port of it, so the connection is encrypted and wants a certificate,
    which only the owner of the data folder can read. There is no dashboard.

    There may be several clusters in one data folder, one of each conductor: the oldest is the one that others
    are told of, until it ends or dies.

    Parameters
    ----------
    folder : Path
        The data folder.
    compute : ComputeSettings
        How many workers.

    Yields
    ------
    tuple
        Address of this scheduler, and what the connection to it is secured with.
    """
    import dask
    from distributed import LocalCluster, Security
    from distributed.scheduler import DEFAULT_EXTENSIONS

    from tomoservice.compute.spans import NoSpans

    security = Security.temporary()
    cluster = partial(
        LocalCluster,
        n_workers=compute.workers,
        threads_per_worker=compute.threads_per_worker,
        processes=True,
        host=LOOPBACK,
        protocol="tls://",
        security=security,
        dashboard_address=f"{LOOPBACK}:0",
        worker_dashboard_address=None,
        scheduler_kwargs={"dashboard": False, "extensions": {**DEFAULT_EXTENSIONS, "spans": NoSpans}},
        resources=None if compute.resource is None else {compute.resource: compute.threads_per_worker},
        # Memory is planned beforehand; Dask would restart a worker for using what it was given.
        memory_limit=0,
    )
    with dask.config.set(CONFIG), cluster() as running:
        content = {"address": running.scheduler_address, "pid": os.getpid()}
        content |= {name: getattr(security, name) for name in FILES}
        with _announced(folder / CLUSTER_FILE, json.dumps(content)):
            yield running.scheduler_address, security


@contextmanager
def _announced(path: Path, text: str) -> Iterator[None]:
    """Keep a private file for as long as nobody else keeps it."""
    ended = threading.Event()
    # Whoever holds the lock owns the file; the system takes it from a process that dies.
    with path.with_name(f".{path.name}.lock").open("a") as lock:

        def announce() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            _write_private(path, text)
            return True

        def wait_for_turn() -> None:
            while not ended.wait(TURN_S):
                if announce():
                    ours.set()
                    return

        ours = threading.Event()
        waiting = threading.Thread(target=wait_for_turn, name="cluster-turn", daemon=True)
        if announce():
            ours.set()
        else:
            waiting.start()
        try:
            yield
        finally:
            ended.set()
            if waiting.ident is not None:
                waiting.join()
            if ours.is_set():
                path.unlink(missing_ok=True)


def find_cluster(folder: Path, compute: ComputeSettings) -> tuple[str, Any]:
    """Return the address of the scheduler, and what the connection to it is secured with.

    Parameters
    ----------
    folder : Path
        The data folder.
    compute : ComputeSettings
        Says where a scheduler is, if it is not the service's own.

    Raises
    ------
    WorkersLostError
        The service's own cluster does not run.
    """
    from distributed import Security

    if compute.scheduler is not None:
        tls = compute.tls
        if tls is None:
            return compute.scheduler, None
        files = {name: str(getattr(tls, field)) for name, field in FILES.items()}
        return compute.scheduler, Security(require_encryption=True, **files)
    try:
        content = json.loads((folder / CLUSTER_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WorkersLostError(
            f"nobody computes at present: the conductor of {folder} does not run; `tomoservice serve` starts "
            "it again by itself within a minute, unless conductor.embedded is false"
        ) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder / CLUSTER_FILE} cannot be read: {error}") from error
    secrets = {name: content[name] for name in FILES}
    return content["address"], Security(require_encryption=True, **secrets)


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    # Created with its final mode: nobody else can read it, not even for a moment.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
