"""The simulated beamline of the beamline's own tests, and one service, for what people and plans do there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# sets the addresses of Channel Access before any test module of this folder imports ophyd
from profiles.sim.launch import CONFIG_FILE, RunningIOC
from tests.beamline.conftest import ioc, run_engine
from tomoservice.client import Tomo, connect
from tomoservice.service.running import RunningService, running_service

__all__ = ["frames", "ioc", "run_engine", "service"]
SLICE = np.arange(24 * 40, dtype=np.float32).reshape(24, 40)


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


@pytest.fixture(scope="module")
def tomo(service: RunningService) -> Iterator[Tomo]:
    with connect(service.uri, service.api_key) as client:
        yield client


def make_live(tomo: Tomo, run_uid: str, **metadata: Any) -> Any:
    """Make a live reconstruction as the live process does."""
    said = {
        "raw_uid": run_uid,
        "state": "accumulating",
        "message": "a slice of half a turn",
        "frames_expected": 200,
        "frames_seen": 60,
        "frames_used": 50,
        "frames_invalid": 3,
        "frames_skipped": 0,
        "rotation_axis": {"value": 19.25, "confidence": 0.75, "provisional": True, "source": "half a turn"},
        "flat": {"provisional": True, "source": "an estimate"},
        "slices": {"z": 8, "y": 12, "x": 20},
        "update": 5,
        "updated": "2026-01-01T00:00:00+00:00",
        "rate_hz": 2.5,
        **metadata,
    }
    root = tomo.root
    container = root["live"] if "live" in list(root) else root.create_container("live")
    node = container.create_container(run_uid, metadata=said)
    node.create_container("wishes", metadata={"stop": False, "rotation_axis": None, "slices": {}})
    node.write_array(SLICE, key="xy")
    return node


@pytest.fixture
def live(tomo: Tomo) -> Iterator[Any]:
    node = make_live(tomo, "11111111-live")
    yield node
    node.delete(recursive=True, external_only=False)
