"""Processes that a session starts, and stops without leaving anything behind."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from tomoservice.errors import BeamlineError

logger = logging.getLogger(__name__)

READY: Final = "ready"
"""The line that such a process writes when it answers."""
KEY_VARIABLE: Final = "TILED_API_KEY"
"""The variable in which the key of the service stands: arguments may be read by everybody on the machine."""
STOP_S: Final = 10.0


@contextmanager
def child_process(
    command: Sequence[str], what: str, timeout_s: float, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a module as a process while the block runs; it ends with this process even if that is killed.

    Parameters
    ----------
    command
        Module and arguments. It writes the line ``ready`` when it answers, and ends when its standard input
        closes.
    what
        What it is, for messages.
    timeout_s
        How long it may take until it answers.
    environment
        Variables besides those of this process.

    Yields
    ------
    int
        Number of the process.

    Raises
    ------
    BeamlineError
        It does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        _wait_until_ready(process, what, timeout_s)
        yield process.pid
    finally:
        _stop(process, what)


def say_ready() -> threading.Event:
    """Tell whoever started this process that it answers; the event is set when that one is gone."""
    gone = threading.Event()

    def watch() -> None:
        # Unbuffered: a daemon's lock on standard input would abort the process at its end.
        with suppress(OSError):
            while os.read(sys.stdin.fileno(), 1024):
                pass
        gone.set()

    threading.Thread(target=watch, name="watch-input", daemon=True).start()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    return gone


def _wait_until_ready(process: subprocess.Popen[str], what: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    if process.stdout is None:
        message = f"the standard output of {what} is not connected"
        raise BeamlineError(message)
    ready, _, _ = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))
    if not ready:
        message = f"{what} did not answer within {timeout_s:g} s"
        raise BeamlineError(message)
    if process.stdout.readline().strip() != READY:
        status = process.wait(timeout=STOP_S)
        message = f"{what} ended with status {status}; its reason stands above"
        raise BeamlineError(message)


def _stop(process: subprocess.Popen[str], what: str) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        logger.warning("%s (process %d) did not end in %g s and was killed", what, process.pid, STOP_S)
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
