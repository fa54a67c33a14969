"""One simulated beamline for all tests of this folder: starting it and connecting takes a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from profiles.sim.launch import RunningIOC, simulated_beamline, use_loopback
from profiles.sim.options import SimulationOptions

if TYPE_CHECKING:
    from bluesky import RunEngine

    from profiles.beamline import Beamline

# ophyd reads the addresses when it is imported, so before any test module of this folder does that
use_loopback()

Document = tuple[str, dict[str, Any]]

OPTIONS = SimulationOptions(
    prefix="TEST:",
    rows=6,
    columns=48,
    rotation_axis=25.25,
    noise=0.005,
    rotation_velocity=720.0,
    rotation_acceleration_s=0.02,
    sample_velocity=200.0,
    sample_name="bone 7",
    proposal="20260001",
)


@pytest.fixture(scope="package")
def ioc() -> Iterator[RunningIOC]:
    with simulated_beamline(OPTIONS) as running:
        yield running


@pytest.fixture(scope="package")
def frames_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="package")
def beamline(ioc: RunningIOC, frames_directory: Path) -> Iterator[Beamline]:
    from profiles.beamline import connect

    connected = connect(ioc.config(frames_directory))
    yield connected
    connected.disconnect()


@pytest.fixture
def run_engine() -> Iterator[RunEngine]:
    from bluesky import RunEngine

    loop = asyncio.new_event_loop()
    yield RunEngine({}, loop=loop)
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running():
        time.sleep(0.01)
    loop.close()


@pytest.fixture
def record(run_engine: RunEngine) -> Callable[[Any], list[Document]]:
    """Run a plan and return the documents it made."""

    def run(plan: Any) -> list[Document]:
        documents: list[Document] = []
        token = run_engine.subscribe(lambda name, document: documents.append((name, document)))
        try:
            run_engine(plan)
        finally:
            run_engine.unsubscribe(token)
        return documents

    return run
