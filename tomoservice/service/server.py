"""Running the service until it is told to stop."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tomoservice import __version__
from tomoservice.errors import SettingsError
from tomoservice.freed_memory import share_heaps
from tomoservice.service.folder import ServiceInfo, ensure_api_key, locked, remove_info, write_info
from tomoservice.service.running import RunningService, running_service
from tomoservice.settings import Settings, read_api_key

if TYPE_CHECKING:
    from tomoservice.service.supervisor import ProcessSupervisor

__all__ = ["RunningService", "running_service", "serve"]

logger = logging.getLogger(__name__)

BACKLOG = 2048
"""Connections that may wait; those that come while the server is still being imported do."""
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def serve(settings: Settings, on_ready: Callable[[ServiceInfo], None] | None = None) -> None:
    """Run the service in this process until SIGINT or SIGTERM.

    Parameters
    ----------
    settings : Settings
        Data folder, address, conductor.
    on_ready : callable, optional
        Called once, from another thread, when the service answers.

    Raises
    ------
    SettingsError
        Another service works in the data folder, or the address cannot be listened on.
    """
    share_heaps()
    folder = settings.data_folder
    # Without the key nobody may read anything, so neither may other users of this machine.
    private = not settings.service.anonymous_read
    with (
        locked(folder, private=private),
        _listen(settings.service.host, settings.service.port) as listener,
    ):
        given = settings.service.api_key
        api_key = ensure_api_key(folder, given.get_secret_value() if given else None)
        for place in (folder / "storage", settings.volumes_folder):
            place.mkdir(parents=True, exist_ok=True)
        info = ServiceInfo(_uri(settings.service.host, listener), os.getpid(), __version__)
        try:
            _run(settings, api_key, info, listener, on_ready)
        finally:
            remove_info(folder)


def _run(
    settings: Settings,
    api_key: str,
    info: ServiceInfo,
    listener: socket.socket,
    on_ready: Callable[[ServiceInfo], None] | None,
) -> None:
    conductor, live = _start_children(settings, api_key, info.uri)

    def ready() -> None:
        write_info(settings.data_folder, info)
        logger.info("serving %s at %s", settings.data_folder, info.uri)
        if on_ready is not None:
            on_ready(info)

    def stop() -> None:
        # While the server still answers, so that the conductor can give its claim back.
        ending = [threading.Thread(target=child.stop) for child in (conductor, live) if child is not None]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()

    try:
        if settings.service.workers > 1:
            from tomoservice.service.workers import run_workers

            run_workers(settings, api_key, listener, info.uri, ready, stop)
            return
        # Tiled's server takes seconds to import; what can be wrong before that has been said by now.
        from tomoservice.service.app import make_app
        from tomoservice.service.http import run

        nudge = None if conductor is None else conductor.nudge
        run(make_app(settings, api_key, lambda: info.uri, nudge), listener, ready, stop)
    finally:
        stop()


def _start_children(
    settings: Settings, api_key: str, uri: str
) -> tuple[ProcessSupervisor | None, ProcessSupervisor | None]:
    """Start the conductor and the live reconstruction, as far as the settings want them."""
    from tomoservice.service.supervisor import ConductorSupervisor, LiveSupervisor

    file = settings.conductor.api_key_file

    def started(supervisor: type[ConductorSupervisor | LiveSupervisor]) -> ProcessSupervisor:
        # With accounts of its own, Tiled knows no key of the service.
        child = supervisor(uri, read_api_key(file) if file else api_key, settings)
        # It imports what it needs while the server does the same, and waits until the server answers.
        child.start()
        return child

    return (
        started(ConductorSupervisor) if settings.conductor.embedded else None,
        started(LiveSupervisor) if settings.live.enabled else None,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # Binding alone does not reserve the port: two sockets may do so, and the second to listen fails.
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error}); choose another service.port, or 0 for a free one"
        ) from error
    return listener


def _uri(host: str, listener: socket.socket) -> str:
    reachable = WILDCARDS.get(host, host)
    bracketed = f"[{reachable}]" if ":" in reachable else reachable
    return f"http://{bracketed}:{listener.getsockname()[1]}"
