"""A beamline's installation in small: server, conductor, Dask scheduler and workers, each a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.faults.saboteur import FOLDER
from tests.service.conftest import wait_for
from tests.service.dask_processes import free_port

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef"
INSTANTS = int(os.environ.get("TOMOSERVICE_TEST_INSTANTS", "20"))
"""At which each process is killed."""
STOP_S = 20.0
START_S = 120.0
THREADS = 2
"""Tasks that a worker has in hand."""
IN_HAND = 2
"""Slabs that a task has in hand: one that is computed, one that is written."""
LEASE_S = 2.0
HEADERS = {"Authorization": f"Apikey {KEY}"}


class Site:
    """Processes that can be started, stopped and killed one by one.

    Parameters
    ----------
    folder
        For everything.
    data
        Folder of catalogue and volumes; in `folder` by default.
    service
        Settings of the server beside the usual ones.
    """

    def __init__(
        self, folder: Path, data: Path | None = None, service: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self.raw = folder / "raw"
        self.raw.mkdir(parents=True)
        self.uri = f"http://127.0.0.1:{free_port()}"
        self.scheduler = f"tcp://127.0.0.1:{free_port()}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._write_settings(service or {})

    def _write_settings(self, service: Mapping[str, Any]) -> None:
        common: dict[str, Any] = {
            "volumes": str(self.data / "volumes"),
            "compute": {"scheduler": self.scheduler, "memory_bytes": 2**30},
            "housekeeping": {"reserve_bytes": 0},
        }
        where = {"raw_folders": [str(self.raw)]}
        port = int(self.uri.rpartition(":")[2])
        server = {"port": port, "api_key": KEY, **where, **service}
        conductor = {"uri": self.uri, "poll_s": 0.5, "lease_s": LEASE_S}
        (self.folder / "server.yml").write_text(
            yaml.safe_dump(
                {
                    **common,
                    "data": str(self.data),
                    "service": server,
                    "conductor": {"embedded": False},
                    "live": {"enabled": False},
                }
            )
        )
        (self.folder / "conductor.yml").write_text(
            yaml.safe_dump(
                {
                    **common,
                    "data": str(self.folder / "conductor"),
                    "service": where,
                    "conductor": conductor,
                }
            )
        )

    def start(self, name: str) -> None:
        """Start `server`, `conductor`, `scheduler`, `worker...`, or `blind...`, which sees no raw files."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                self._command(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={
                    **os.environ,
                    FOLDER: str(self.folder),
                    "TILED_API_KEY": KEY,
                    "TILED_RETRY_TIMEOUT": "5",
                },
                start_new_session=True,
            )

    def _command(self, name: str) -> list[str]:
        if name in ("server", "conductor"):
            command = {"server": "serve", "conductor": "conductor"}[name]
            settings = ["--settings", str(self.folder / f"{name}.yml")]
            return [sys.executable, "-m", "tests.faults.saboteur", command, *settings]
        dask = [sys.executable, "-m", "dask"]
        if name == "scheduler":
            port = self.scheduler.rpartition(":")[2]
            return [*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
        own = ["--preload", "tests.faults.saboteur", "--local-directory", str(self.folder)]
        limits = ["--nthreads", str(THREADS), "--memory-limit", "0", "--no-dashboard"]
        command = [*dask, "worker", self.scheduler, *limits, *own]
        if name.startswith("blind"):
            # In a namespace of its own, where something else lies over the raw files.
            hidden = f'mount -t tmpfs none "{self.raw}" && exec "$@"'
            return ["unshare", "--mount", "bash", "-ec", hidden, "blind", *command]
        return command

    def wait_until_ready(self) -> None:
        """Return when the server answers."""
        wait_for(self.answers, START_S)

    def answers(self) -> bool:
        """Tell whether the server answers."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.uri}/healthz", timeout=2).status_code == 200
        return False

    def kill(self, name: str) -> None:
        """Kill a process by signal 9; of a worker, the one that computes, which its nanny starts again."""
        if name.startswith("worker"):
            for child in psutil.Process(self._running[name].pid).children():
                if "resource_tracker" not in " ".join(child.cmdline()):
                    child.kill()
            return
        process = self._running[name]
        process.send_signal(signal.SIGKILL)
        process.wait()

    def restart_dead(self) -> list[str]:
        """Start again what has died, as systemd would; return its names."""
        dead = [name for name, process in self._running.items() if process.poll() is not None]
        for name in dead:
            self.start(name)
        return dead

    def stop(self) -> None:
        """Stop everything in order."""
        for name in ("conductor", "server", *self._workers(), "scheduler"):
            self.stop_one(name)

    def _workers(self) -> list[str]:
        return [name for name in self._running if name.startswith(("worker", "blind"))]

    def stop_one(self, name: str) -> None:
        """Stop a process in order, if it runs."""
        process = self._running.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def metadata(self, path: str) -> dict[str, Any] | None:
        """Return a node's metadata as anybody sees them, or None if nobody answers, or with an error."""
        with suppress(httpx.TransportError):
            answer = httpx.get(f"{self.uri}/api/v1/metadata/{path}", headers=HEADERS, timeout=10)
            if answer.status_code == 200:
                content: dict[str, Any] = answer.json()["data"]["attributes"]["metadata"]
                return content
        return None

    def log(self, name: str) -> str:
        """Return what a process has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")


@contextmanager
def running_site(
    folder: Path,
    *,
    workers: int = 1,
    data: Path | None = None,
    service: Mapping[str, Any] | None = None,
) -> Iterator[Site]:
    """Start an installation, and stop it at the end."""
    site = Site(folder, data, service)
    try:
        names = ("server", "scheduler", *(f"worker-{number}" for number in range(workers)), "conductor")
        for name in names:
            site.start(name)
        site.wait_until_ready()
        yield site
    finally:
        site.stop()


def wait_until(seconds: float, condition: Callable[[], bool]) -> bool:
    """Return whether a condition became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
