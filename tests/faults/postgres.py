"""A PostgreSQL server of one's own, which may be restarted without anybody else noticing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.dask_processes import free_port

USER = "postgres"


class OwnPostgres:
    """A server that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._run("initdb", "--auth=trust", f"--username={USER}", "--no-sync", f"--pgdata={folder / 'pg'}")
        self.start()
        self._run("createdb", "--host=127.0.0.1", f"--port={self._port}", f"--username={USER}", "faults")

    @property
    def uri(self) -> str:
        """Address of an empty database."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}/faults"

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        log = f"--log={self._folder / 'log'}"
        self._run("pg_ctl", "start", "--wait", f"--pgdata={self._folder / 'pg'}", log, f"--options={options}")

    def stop(self) -> None:
        """Stop it as a power cut does: what is under way is broken off, connections are cut."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={self._folder / 'pg'}")

    def _run(self, *command: str) -> None:
        # PostgreSQL refuses to run as root.
        user = USER if os.geteuid() == 0 else None
        subprocess.run(command, check=True, user=user, cwd=self._folder, stdout=subprocess.DEVNULL)


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Make a PostgreSQL server, and remove it at the end; skip where its programs are not installed."""
    if not all(shutil.which(name) for name in ("initdb", "pg_ctl", "createdb")):
        pytest.skip("initdb, pg_ctl and createdb of PostgreSQL are not in PATH")
    # Not below the folder of the tests, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="tomoservice-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        server = OwnPostgres(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
