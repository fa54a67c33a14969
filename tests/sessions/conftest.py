"""The simulated beamline of the beamline's own tests, and one service, for what people and plans do there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

# sets the addresses of Channel Access before any test module of this folder imports ophyd
from profiles.sim.launch import CONFIG_FILE, RunningIOC
from tests.beamline.conftest import ioc, run_engine
from tomoservice.service.running import RunningService, running_service

__all__ = ["frames", "ioc", "run_engine", "service"]


@pytest.fixture(scope="package")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory, frames: Path) -> Iterator[RunningService]:
    """A service that reconstructs; live reconstructions are made by the tests."""
    settings = {
        "service": {"raw_folders": [str(frames)]},
        "conductor": {"poll_s": 0.3},
        "compute": {"memory_bytes": 2**30, "workers": 1, "threads_per_worker": 1},
        "live": {"enabled": False},
    }
    with running_service(tmp_path_factory.mktemp("service"), settings) as running:
        yield running


@pytest.fixture(scope="package")
def table(ioc: RunningIOC, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table of the beamline's PVs."""
    text = CONFIG_FILE.read_text("utf-8").replace("{prefix}", ioc.options.prefix)
    file = tmp_path_factory.mktemp("session") / "beamline.yml"
    file.write_text(text.replace("{data_directory}", str(frames)), "utf-8")
    return file
