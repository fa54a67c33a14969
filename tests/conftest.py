"""What every test gets: isolation, and a check that nothing is left running."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import dask
import psutil
import pytest
from hypothesis import HealthCheck, settings

# Background threads that belong to libraries and live as long as the process.
LIBRARY_THREADS = re.compile(
    r"asyncio_\d+"  # executor of the loops that zarr and Tiled's test server keep
    r"|AnyIO worker thread"
    r"|bluesky-run-engine"
    r"|metadata|monitor|get_put|util\d+|debug_monitor"  # ophyd's dispatcher
    r"|fsspecIO"
    r"|zarr_io|zarr_pool_\d+"
    r"|Dask-Offload_\d+|Dask-Callback-Thread_\d+"
)
TRACKER = "multiprocessing.resource_tracker"
# How long an example takes depends on what else the machine does.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
HERE = Path(__file__).parent
LONGEST_FIRST = ("service", "web", "sessions", "compute", "docs", "cli", "beamline", "sources", "pipeline")
"""Folders with the tests that take long, by the time of their files."""
REAL_TIME = "beamline"
"""Folder of tests in which motors turn while cameras expose."""
AMONG_OTHERS = "PYTEST_XDIST_WORKER" in os.environ

if AMONG_OTHERS:
    # Those of the process that started the workers; an IOC of each needs ports of its own.
    for port in ("EPICS_CA_SERVER_PORT", "EPICS_CA_REPEATER_PORT"):
        os.environ.pop(port, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: workers take file after file, and short ones fill the end of both."""

    def place(item: pytest.Item) -> int:
        folder = _folder(item)
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test of real time while no other worker runs any; waiting for that is not the test's time."""
    if not AMONG_OTHERS:
        return (yield)
    kind = fcntl.LOCK_EX if _folder(item) == REAL_TIME else fcntl.LOCK_SH
    with (HERE / "conftest.py").open() as running, (HERE / "__init__.py").open() as door:
        # Who wants to be alone keeps the door shut while the others finish.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(running, kind)
        fcntl.flock(door, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real scans; skip where there is none."""
    given = os.environ.get("TOMOSERVICE_TEST_DATA")
    place = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not place.is_dir():
        pytest.skip(f"no folder of real scans at {place} (set TOMOSERVICE_TEST_DATA)")
    return place


@pytest.fixture(scope="session", autouse=True)
def _dask_without_threads() -> Iterator[None]:
    """Keep Tiled's client from starting dask's pool of threads, which nothing ever ends."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TILED_CACHE_DIR"):
        monkeypatch.setenv(name, str(home))
    for name in list(os.environ):
        if name.startswith(("TOMOSERVICE__", "TILED_API_KEY", "TILED_CONFIG", "TILED_PROFILES")):
            monkeypatch.delenv(name)


def _own_threads() -> set[threading.Thread]:
    return {
        thread
        for thread in threading.enumerate()
        if thread.is_alive() and not LIBRARY_THREADS.fullmatch(thread.name)
    }


def _new_children(before: set[psutil.Process]) -> set[psutil.Process]:
    """Return the children that came since, but for those of an older one: a service that tests share."""
    new = set()
    for child in set(psutil.Process().children(recursive=True)) - before:
        with suppress(psutil.NoSuchProcess):
            # Python keeps its tracker of resources until it ends itself.
            if before.isdisjoint(child.parents()) and TRACKER not in " ".join(child.cmdline()):
                new.add(child)
    return new


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    threads, children = _own_threads(), set(psutil.Process().children(recursive=True))
    yield
    deadline = time.monotonic() + 5
    left: set[object] = set()
    while time.monotonic() < deadline:
        left = (_own_threads() - threads) | _new_children(children)
        if not left:
            return
        time.sleep(0.05)
    pytest.fail(f"left running: {left}")
