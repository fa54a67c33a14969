"""One service without a conductor and without a live process: tests bring their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.growing import GrowingRun
from tomoservice.catalog.transport import connect, disconnect
from tomoservice.live.loop import LiveLoop
from tomoservice.service.running import RunningService, running_service
from tomoservice.settings import LiveSettings

QUICK = LiveSettings(poll_s=0.2, update_s=0.1, patience_s=20.0)


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "raw").mkdir()
    settings = {
        "conductor": {"embedded": False},
        "live": {"enabled": False},
        "service": {"raw_folders": [str(folder / "raw")]},
    }
    with running_service(folder / "data", settings) as running:
        yield running


@pytest.fixture
def root(service: RunningService) -> Iterator[Any]:
    connected = connect(service.uri, service.api_key)
    yield connected
    disconnect(connected)


@contextmanager
def living(
    service: RunningService, settings: LiveSettings = QUICK, readable: tuple[Path, ...] | None = None
) -> Iterator[LiveLoop]:
    """Run the live reconstruction in a thread."""
    folders = (service.data.parent / "raw",) if readable is None else readable
    loop = LiveLoop(service.uri, service.api_key, settings, folders)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def live(service: RunningService) -> Iterator[LiveLoop]:
    with living(service) as loop:
        yield loop


@pytest.fixture
def begin(service: RunningService, root: Any) -> Callable[..., GrowingRun]:
    def run(**options: Any) -> GrowingRun:
        return GrowingRun(root["raw"], service.data.parent / "raw", **options)

    return run


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


class Watched:
    """A live reconstruction, looked at again and again."""

    def __init__(self, root: Any, uid: str) -> None:
        self._root, self._uid = root, uid

    @property
    def node(self) -> Any:
        live = self._root["live"]
        return live.get(self._uid)

    @property
    def metadata(self) -> dict[str, Any]:
        node = self.node
        return {} if node is None else dict(node.metadata)

    def until(self, seconds: float = 30.0, **wanted: Any) -> dict[str, Any]:
        """Wait until the metadata are as wanted."""

        def there() -> dict[str, Any] | None:
            found = self.metadata
            return found if all(found.get(key) == value for key, value in wanted.items()) else None

        try:
            return wait_for(there, seconds)
        except AssertionError:
            raise AssertionError(f"wanted {wanted}, there is {self.metadata}") from None
