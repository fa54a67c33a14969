"""One real service for the tests that share it, and runs to reconstruct."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.scans import SLOW, SLOW_RECIPE, SmallScan, documents, publish, reconstructed
from tomoservice.client import Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.service.running import RunningService, running_service
from tomoservice.settings import Settings, load_settings


@pytest.fixture(scope="session")
def quiet_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service without a conductor: nothing moves but what a test moves."""
    folder = tmp_path_factory.mktemp("quiet")
    raw = folder / "raw"
    raw.mkdir()
    with running_service(folder / "data", {**pace(), "service": {"raw_folders": [str(raw)]}}) as service:
        yield service


def pace(*, embedded: bool = False, lease_s: float = 5.0) -> dict[str, Any]:
    """Return settings with which nothing waits longer than a test likes."""
    return {"conductor": {"embedded": embedded, "poll_s": 0.2, "lease_s": lease_s, "memory_bytes": 2**30}}


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def slow_volume() -> np.ndarray:
    """What `SLOW` gives, computed in one go."""
    return reconstructed(SLOW, SLOW_RECIPE)


@pytest.fixture
def tomo(quiet_service: RunningService) -> Iterator[Tomo]:
    with connected(quiet_service) as connection:
        yield connection
        _forget_reconstructions(connection)


def _forget_reconstructions(tomo: Tomo) -> None:
    # Otherwise the next test's conductor finds them in the queue. Volumes stay on disk.
    processed = tomo.root["processed"]
    for key in list(processed):
        # What is no key of a run may be another node's address: `..` would delete `processed` itself.
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", key):
            processed[key].delete(recursive=True, external_only=False)


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


@pytest.fixture
def conductor(quiet_service: RunningService, settings: Settings) -> Iterator[Conductor]:
    made = Conductor(quiet_service.uri, quiet_service.api_key, settings)
    yield made
    made.stop()
    made.close()
