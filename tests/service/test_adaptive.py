"""A plan that asks for a reconstruction and waits: a real RunEngine, a real service."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted

from profiles.feedback import ReconstructionResult, measure, reconstruct_and_wait
from tests.service.conftest import connected
from tests.service.scans import SmallScan, documents, publish
from tests.sources.facility_runs import htss_run
from tomoservice.catalog.states import State
from tomoservice.client import Tomo
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.service.running import RunningService

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


@pytest.fixture(scope="module")
def computing(service: RunningService) -> Iterator[Tomo]:
    with connected(service) as tomo:
        yield tomo


@pytest.fixture(scope="module")
def run_uid(service: RunningService, computing: Tomo) -> str:
    return publish(computing.raw, documents(SmallScan(), service.data.parent / "raw"))


@pytest.fixture(scope="module")
def run_on(computing: Tomo, run_uid: str) -> tuple[Tomo, str]:
    return computing, run_uid


@pytest.fixture
def engine() -> Iterator[RunEngine]:
    loop = asyncio.new_event_loop()
    yield RunEngine({}, loop=loop, context_managers=[])
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running():
        time.sleep(0.01)
    loop.close()


def run(engine: RunEngine, stub: Generator[Any, Any, ReconstructionResult]) -> list[ReconstructionResult]:
    """Run a plan; return what it got."""
    got: list[ReconstructionResult] = []

    def plan() -> Iterator[Any]:
        got.append((yield from stub))

    engine(plan())
    return got


@pytest.mark.parametrize("volume", ["virtual", "full"])
def test_a_plan_gets_a_slice_and_what_is_measured_on_it(
    volume: str, engine: RunEngine, computing: Tomo, run_uid: str
) -> None:
    [result] = run(engine, reconstruct_and_wait(computing, run_uid, AT_15_5, volume=volume))
    assert result.rotation_axis == 15.5
    assert result.image.shape == (32, 32)
    # The ellipse attenuates 0.05 per pixel.
    assert np.median(result.image[result.image > 0.025]) == pytest.approx(0.05, rel=0.05)
    assert result.metrics["snr"] > 1
    job = computing.job(result.path)
    assert job.state is (State.VIRTUAL if volume == "virtual" else State.DONE)
    np.testing.assert_allclose(job.volume[8], result.image, atol=1e-4)
    assert result.change_from(result) == 0.0


def test_streams_that_share_one_file(engine: RunEngine, computing: Tomo, service: RunningService) -> None:
    """What serves cannot tell whose frames are whose, but who computes can: at HTSS a scan is one file."""
    scan, _ = htss_run(service.data.parent / "raw")
    uid = publish(computing.raw, scan.close())
    recipe = {"rotation_axis": {"method": "value", "value": 4.0}}
    [result] = run(engine, reconstruct_and_wait(computing, uid, recipe, volume="full"))
    assert result.image.shape == (9, 9)


def test_it_waits_for_the_same_one_after_a_pause(engine: RunEngine, computing: Tomo, run_uid: str) -> None:
    got: list[ReconstructionResult] = []
    before = len(computing.reconstructions(run_uid))

    def plan() -> Iterator[Any]:
        got.append((yield from reconstruct_and_wait(computing, run_uid, AT_15_5, volume="full")))

    pause = threading.Timer(0.1, engine.request_pause)
    pause.start()
    with pytest.raises(RunEngineInterrupted):
        engine(plan())
    pause.join()
    assert got == []
    engine.resume()
    assert len(got) == 1
    assert len(computing.reconstructions(run_uid)) == before + 1


def test_it_can_be_aborted_while_it_waits(engine: RunEngine, computing: Tomo) -> None:
    pause = threading.Timer(0.2, engine.request_pause)
    pause.start()
    with pytest.raises(RunEngineInterrupted):
        run(engine, reconstruct_and_wait(computing, "never"))
    pause.join()
    began = time.monotonic()
    engine.abort()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("uid", "recipe", "error", "message"),
    [
        ("never", AT_15_5, TimeoutError, "waited 0.5 s in vain for run never to be complete in Tiled"),
        ("", "nonsense", RecipeError, "nonsense"),
        ("", {"filtr": 1}, RecipeError, "filtr"),
        ("", {"frames": {"rows": {"start": 100}}}, CatalogError, "100"),
    ],
)
def test_what_goes_wrong_is_said(
    uid: str, recipe: Any, error: type[Exception], message: str, engine: RunEngine, run_on: tuple[Tomo, str]
) -> None:
    computing, run_uid = run_on
    timeout_s = 0.5 if uid else 30.0
    with pytest.raises(error, match=message):
        run(engine, reconstruct_and_wait(computing, uid or run_uid, recipe, timeout_s=timeout_s))


def test_a_full_one_that_fails_is_said(engine: RunEngine, computing: Tomo, run_uid: str) -> None:
    wrong = {"frames": {"rows": {"start": 100}}}
    with pytest.raises(CatalogError, match=r"is failed: .*100"):
        run(engine, reconstruct_and_wait(computing, run_uid, wrong, volume="full"))


def test_noise_and_contrast_are_those_of_the_picture() -> None:
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:128, :128] - 63.5
    disc = np.where(rows**2 + columns**2 < 30**2, 1.0, 0.0)
    measured = measure((disc + rng.normal(0, 0.05, disc.shape)).astype(np.float32))
    assert measured["noise"] == pytest.approx(0.05, rel=0.05)
    assert measured["contrast"] == pytest.approx(np.std(disc[rows**2 + columns**2 < 60**2]), rel=0.03)
