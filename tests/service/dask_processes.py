"""A Dask scheduler and workers as processes of their own, started by what the documentation says to type."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.service.backends import WORKERS_PAGE, documented

DOCUMENTED = "tomo.example.org:8786"
STOP_S = 20.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def documented_process(
    block: str, port: int, folder: Path, options: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a block of the page about workers, with this machine's address instead of the page's.

    Parameters
    ----------
    block
        Name of the block.
    port
        Of the scheduler.
    folder
        Where it runs, and keeps its log.
    options
        What is typed after the block's last command.
    environment
        Beside that of this process.
    """
    code = documented(block, WORKERS_PAGE).replace(DOCUMENTED, f"127.0.0.1:{port}").rstrip()
    code = code.replace("tomo.example.org", "127.0.0.1").replace("--port 8786", f"--port {port}")
    # The last command takes the shell's place, so that a signal reaches it.
    lines = code.replace("\ndask ", "\nexec dask ")
    lines = lines if "exec dask" in lines else f"exec {lines}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (folder / f"{block.replace(' ', '-')}.log").open("ab") as log:
        process = subprocess.Popen(
            ["bash", "-ec", f"{lines} {options}"],
            cwd=folder,
            env={**os.environ, **(environment or {}), "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def dask_workers(port: int, folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run workers of a scheduler."""
    with ExitStack() as running:
        options = f"--local-directory {folder}"
        yield [
            running.enter_context(documented_process("dask worker", port, folder, options))
            for _ in range(count)
        ]
