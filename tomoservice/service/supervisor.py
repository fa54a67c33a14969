"""The conductor as a child process of the service, started again when it dies."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

from tomoservice.settings import Settings

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0
"""A child that lived this long starts again without a pause."""
STOP_S = 15.0
"""How long a conductor may take to finish its piece of work."""


class ConductorSupervisor:
    """Keeps one conductor process alive until it is stopped.

    The child reads its settings from its standard input and stops when that is closed, so it never
    outlives the service, not even one that is killed.

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
        service = settings.service.model_copy(update={"api_key": None})
        self._text = settings.model_copy(update={"service": service}).model_dump_json()
        self._first_lines = f"{uri}\n{api_key}\n{self._text}\n"
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._keep_alive, name="conductor-supervisor", daemon=True)

    def start(self) -> None:
        """Start the child, and the thread that watches it."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the child for good and wait for it."""
        self._stopping.set()
        with self._lock:
            child = self._child
        if child is not None:
            _finish(child)
        self._thread.join()

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
            pause = FIRST_PAUSE_S if lived else min(2 * pause, LONGEST_PAUSE_S)
            logger.error("the conductor %s; starting it again in %g s", what, pause)
            self._stopping.wait(pause)

    def _run_once(self) -> tuple[int, bool]:
        with self._lock:
            if self._stopping.is_set():
                return 0, True
            child = subprocess.Popen(
                [sys.executable, "-m", "tomoservice.conductor"],
                stdin=subprocess.PIPE,
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
                logger.warning("the conductor ended before it read its settings")
        try:
            child.wait(STEADY_S)
        except subprocess.TimeoutExpired:
            return child.wait(), True
        finally:
            if child.stdin is not None and child.poll() is not None:
                child.stdin.close()
        return child.returncode, False


def _finish(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        logger.warning("the conductor did not stop within %g s and is killed", STOP_S)
        child.kill()
        child.wait()
