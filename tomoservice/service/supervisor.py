"""Child processes of the service, started again when they die."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence

from tomoservice.settings import Settings

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0
"""A child that lived this long starts again without a pause."""
STOP_S = 15.0
"""How long a child may take to finish its piece of work."""


class ProcessSupervisor:
    """Keeps one child process alive until it is stopped.

    The child reads its lot from its standard input and stops when that is closed, so it never outlives
    the service, not even one that is killed.

    Parameters
    ----------
    name : str
        What the child is, for messages.
    module : str
        Module that the child runs.
    first_lines : str
        What it reads from its standard input.
    descriptors : sequence of int
        Open files that it inherits.
    """

    def __init__(self, name: str, module: str, first_lines: str, descriptors: Sequence[int] = ()) -> None:
        self._name = name
        self._module = module
        self._first_lines = first_lines
        self._descriptors = tuple(descriptors)
        self._stopping = threading.Event()
        self._died = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._listening: int | None = None
        """Writing end of the child's standard input, once it has its first lines."""
        thread_name = f"{name.replace(' ', '-')}-supervisor"
        self._thread = threading.Thread(target=self._keep_alive, name=thread_name, daemon=True)

    @property
    def died(self) -> bool:
        """Whether a child has ended by itself."""
        return self._died.is_set()

    def start(self) -> None:
        """Start the child, and the thread that watches it."""
        self._thread.start()

    def nudge(self) -> None:
        """Send the child an empty line, if it is there; never waits."""
        # Held while a child starts, which looks by itself, or is gone.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._listening is not None:
                os.write(self._listening, b"\n")
        except OSError:
            # The pipe is full, which says enough, or the child is dying.
            logger.debug("the %s is not nudged", self._name)
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Stop the child for good and wait for it."""
        self._stopping.set()
        with self._lock:
            child = self._child
        if child is not None:
            self._finish(child)
        self._thread.join()

    def _finish(self, child: subprocess.Popen[str]) -> None:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            logger.warning("the %s did not stop within %g s and is killed", self._name, STOP_S)
            child.kill()
            child.wait()

    def _keep_alive(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                status, lived = self._run_once()
                what = f"ended with status {status}"
            except OSError as error:
                # No memory or no process left, for example: that may pass.
                what, lived = f"cannot be started ({error})", False
            if self._stopping.is_set():
                return
            self._died.set()
            pause = FIRST_PAUSE_S if lived else min(2 * pause, LONGEST_PAUSE_S)
            logger.error("the %s %s; starting it again in %g s", self._name, what, pause)
            self._stopping.wait(pause)

    def _run_once(self) -> tuple[int, bool]:
        with self._lock:
            if self._stopping.is_set():
                return 0, True
            child = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                pass_fds=self._descriptors,
                text=True,
                # Ctrl-C in a terminal reaches the whole process group; the service stops its child itself.
                start_new_session=True,
            )
            self._child = child
        if child.stdin is not None:
            try:
                child.stdin.write(self._first_lines)
                child.stdin.flush()
            except BrokenPipeError:
                logger.warning("the %s ended before it read its settings", self._name)
            else:
                os.set_blocking(child.stdin.fileno(), False)
                self._listening = child.stdin.fileno()
        try:
            child.wait(STEADY_S)
        except subprocess.TimeoutExpired:
            return child.wait(), True
        finally:
            if child.stdin is not None and child.poll() is not None:
                with self._lock:
                    self._listening = None
                    child.stdin.close()
        return child.returncode, False


class ConductorSupervisor(ProcessSupervisor):
    """Keeps one conductor alive until it is stopped.

    Parameters
    ----------
    uri : str
        Address of the service.
    api_key : str
        Key that may write.
    settings : Settings
        Passed on to the child.
    """

    def __init__(self, uri: str, api_key: str, settings: Settings) -> None:
        super().__init__("conductor", "tomoservice.conductor", _first_lines(uri, api_key, settings))


class LiveSupervisor(ProcessSupervisor):
    """Keeps one process alive that reconstructs scans while they go on; see `ConductorSupervisor`."""

    def __init__(self, uri: str, api_key: str, settings: Settings) -> None:
        super().__init__("live reconstruction", "tomoservice.live", _first_lines(uri, api_key, settings))


def _first_lines(uri: str, api_key: str, settings: Settings) -> str:
    # What it does not need it cannot lose.
    unneeded = {"api_key": None, "workers": 1, "database": None, "streaming": None}
    service = settings.service.model_copy(update=unneeded)
    text = settings.model_copy(update={"service": service}).model_dump_json()
    return f"{uri}\n{api_key}\n{text}\n"
