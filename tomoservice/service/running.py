"""A service as a child process, for tests, demonstrations and notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomoservice.errors import ServiceUnavailableError, SettingsError
from tomoservice.service.folder import read_info, stored_api_key
from tomoservice.settings import Settings, load_settings

READY_S = 120.0
STOP_S = 30.0
LOG_FILE = "service.log"


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that runs in a child process."""

    uri: str
    """Address."""
    api_key: str
    """Key that may write."""
    pid: int
    """Process that serves."""
    data: Path
    """Data folder."""
    log: Path
    """What the service and its conductor print."""


@contextmanager
def running_service(
    data: Path, settings: Mapping[str, Any] | None = None, *, ready_s: float = READY_S
) -> Iterator[RunningService]:
    """Start a service in a child process, wait until it answers, and stop it at the end.

    The child ends with this process even if that is killed.

    Parameters
    ----------
    data : Path
        Data folder; made if absent.
    settings : mapping, optional
        Tree of settings other than the defaults; a port is chosen by the system.
    ready_s : float
        How long the start may take, in seconds.

    Raises
    ------
    SettingsError
        A setting is wrong.
    ServiceUnavailableError
        The child did not start; the message ends with the last lines of its log.
    """
    folder = data.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    given = dict(settings or {})
    service = {"port": 0, **given.get("service", {})}
    chosen = load_settings(flags={**given, "service": service, "data": folder})
    log = folder / LOG_FILE
    with log.open("a") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "tomoservice.service"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            # A copy: in a session, Channel Access may just be writing to the environment of this process,
            # and what is being moved then cannot be handed on ("Bad address").
            env=dict(os.environ),
            # Ctrl-C belongs to the parent, which stops its child in order.
            start_new_session=True,
        )
    try:
        _send(child, chosen.model_dump_json())
        yield _wait_until_ready(child, chosen, log, ready_s)
    finally:
        _stop(child)


def _send(child: subprocess.Popen[str], text: str) -> None:
    if child.stdin is None:
        raise ServiceUnavailableError("the service has no standard input")
    try:
        child.stdin.write(text + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        # It died at once; waiting for it tells why.
        return


def _wait_until_ready(
    child: subprocess.Popen[str], settings: Settings, log: Path, ready_s: float
) -> RunningService:
    folder = settings.data_folder
    deadline = time.monotonic() + ready_s
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise ServiceUnavailableError(
                f"the service ended with status {child.returncode}; the end of {log}:\n{_tail(log)}"
            )
        info = read_info(folder)
        if info is not None and info.pid == child.pid:
            given = settings.service.api_key
            api_key = given.get_secret_value() if given else stored_api_key(folder)
            if api_key is None:
                raise SettingsError(f"the service made no API key in {folder}")
            return RunningService(info.uri, api_key, info.pid, folder, log)
        time.sleep(0.05)
    raise ServiceUnavailableError(
        f"the service did not answer within {ready_s:g} s; the end of {log}:\n{_tail(log)}"
    )


def _stop(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdin is not None:
        child.stdin.close()


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
