"""One real service for the tests that share it, and runs to reconstruct."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiled.client.utils import ClientError

from tests.service.backends import documented_settings, own_database, own_redis
from tests.service.dask_processes import documented_process, free_port
from tests.service.scans import FOURIER, SLOW, SLOW_RECIPE, SmallScan, documents, publish, reconstructed
from tomoservice.client import Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.service.running import RunningService, running_service
from tomoservice.settings import Settings, load_settings
from tomoservice.store import SlabStore


@pytest.fixture(scope="package")
def quiet_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service without a conductor: nothing moves but what a test moves."""
    folder = tmp_path_factory.mktemp("quiet")
    raw = folder / "raw"
    raw.mkdir()
    with running_service(folder / "data", {**pace(), "service": {"raw_folders": [str(raw)]}}) as service:
        yield service


@pytest.fixture(scope="package")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of two processes on PostgreSQL and Redis, and a Dask scheduler; no conductor, no workers."""
    folder = tmp_path_factory.mktemp("production")
    raw = folder / "raw"
    raw.mkdir()
    port = free_port()
    with (
        own_database() as database,
        own_redis() as streaming,
        documented_process("dask scheduler", port, folder),
    ):
        here = {
            "host": "127.0.0.1",
            "port": 0,
            "database": database,
            "streaming": streaming,
            "raw_folders": [str(raw)],
        }
        settings = documented_settings(
            "server settings",
            service=here,
            housekeeping={"reserve_bytes": 0},
            live={"enabled": False},
            compute={"scheduler": f"tcp://127.0.0.1:{port}"},
        )
        file = folder / "tomoservice.yml"
        file.write_text(yaml.safe_dump({**settings, "data": str(folder / "data")}))
        with running_service(folder / "data", settings) as running:
            yield running


def pace(*, embedded: bool = False, lease_s: float = 5.0) -> dict[str, Any]:
    """Return settings with which nothing waits longer than a test likes."""
    return {
        # A service's own conductor looks at the catalogue all the time, beside everybody's tests.
        "conductor": {"embedded": embedded, "poll_s": 0.5 if embedded else 0.2, "lease_s": lease_s},
        "compute": {"memory_bytes": 2**30},
        # A process of its own for every service: tests/live starts those that are wanted.
        "live": {"enabled": False},
    }


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="package")
def slow_volume() -> np.ndarray:
    """What `SLOW` gives, computed in one go."""
    return reconstructed(SLOW, SLOW_RECIPE)


@pytest.fixture
def tomo(quiet_service: RunningService) -> Iterator[Tomo]:
    with connected(quiet_service) as connection:
        yield connection
        _forget_what_was_asked_for(connection)


def _forget_what_was_asked_for(tomo: Tomo) -> None:
    # Otherwise the next test's conductor finds it in the queue. Batches first, whose items would be made
    # anew; volumes stay on disk.
    for container in (tomo.root["batches"], tomo.root["processed"]):
        for key in list(container):
            # What is no key may be another node's address: `..` would delete `processed` itself.
            if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", key):
                _delete(container, key)


def _delete(container: Any, key: str, tries: int = 5) -> None:
    try:
        container[key].delete(recursive=True, external_only=False)
    except KeyError:
        return
    except ClientError:
        # The service was describing something in it.
        if tries == 1:
            raise
        time.sleep(0.2)
        _delete(container, key, tries - 1)


def connected(service: RunningService) -> Tomo:
    import tomoservice

    return tomoservice.connect(service.uri, service.api_key)


@pytest.fixture
def raw_folder(quiet_service: RunningService) -> Path:
    return quiet_service.data.parent / "raw"


@pytest.fixture
def publish_run(tomo: Tomo, raw_folder: Path) -> Callable[..., str]:
    def run(scan: SmallScan | None = None, **options: Any) -> str:
        return publish(tomo.raw, documents(scan or SmallScan(), raw_folder, **options))

    return run


@pytest.fixture
def settings(quiet_service: RunningService) -> Settings:
    return load_settings(flags={"data": quiet_service.data, **pace()})


@dataclass
class Pace:
    """How long a slab takes at least."""

    seconds: float = 1.5


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Pace:
    """Let every slab that this process computes take a while, however quick the machine is."""
    commit, pace = SlabStore.commit, Pace()

    def take_time(*arguments: Any, **options: Any) -> Any:
        time.sleep(pace.seconds)
        return commit(*arguments, **options)

    monkeypatch.setattr(SlabStore, "commit", take_time)
    return pace


@pytest.fixture
def conductor(quiet_service: RunningService, settings: Settings) -> Iterator[Conductor]:
    made = Conductor(quiet_service.uri, quiet_service.api_key, settings)
    yield made
    made.stop()
    made.close()


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A whole service: server, conductor, Dask scheduler and worker."""
    folder = tmp_path_factory.mktemp("computing")
    raw = folder / "raw"
    raw.mkdir()
    settings = {**pace(embedded=True), "service": {"raw_folders": [str(raw)]}}
    settings["compute"]["interactive_s"] = 5.0
    with running_service(folder / "data", settings) as running:
        wait_for((running.data / "compute.json").exists, 60)
        yield running


@pytest.fixture(scope="package")
def slow_run(service: RunningService) -> str:
    with connected(service) as tomo:
        return publish(tomo.raw, documents(SLOW, service.data.parent / "raw"))


@pytest.fixture(scope="package")
def truth() -> np.ndarray:
    return reconstructed(SLOW, FOURIER)
