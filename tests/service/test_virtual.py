"""Virtual reconstructions: made by all three ways, computed where somebody reads, and queued later."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import numpy as np
import pytest

from tests.service.conftest import connected
from tests.service.http_api import api_of, ok
from tests.service.scans import FOURIER
from tomoservice.catalog.claims import Worker, try_claim
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import ConflictError
from tomoservice.cli import run
from tomoservice.client import Job, Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.errors import CatalogError
from tomoservice.service.running import RunningService
from tomoservice.store import SlabStore, folder_of

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}
DEPTH, SLABS = 64, 6
USAGE = 2


class Way(Protocol):
    """One way to ask for a virtual reconstruction by `FOURIER`, and to queue it."""

    def make(self, run_uid: str) -> str:
        """Return the path of a new one."""

    def queue(self, path: str) -> None:
        """Have all of it computed."""


class ByClient:
    def __init__(self, tomo: Tomo) -> None:
        self._tomo = tomo

    def make(self, run_uid: str) -> str:
        return self._tomo.scans[run_uid].reconstruct(FOURIER, priority="background", virtual=True).path

    def queue(self, path: str) -> None:
        self._tomo.job(path).queue_again()


class ByRest:
    def __init__(self, api: httpx.Client) -> None:
        self._api = api

    def make(self, run_uid: str) -> str:
        wanted = {"recipe": FOURIER, "priority": "background", "virtual": True}
        made = ok(self._api.post(f"scans/{run_uid}/reconstructions", json=wanted), 201)
        assert made["state"] == "virtual"
        return str(made["path"])

    def queue(self, path: str) -> None:
        answer = ok(self._api.post(f"reconstructions/{path.partition('/')[2]}/retry"))
        assert answer["state"] in ("queued", "running", "done")


class ByCommand:
    def __init__(self, service: RunningService, capsys: pytest.CaptureFixture[str]) -> None:
        self._place = ("--data", str(service.data))
        self._capsys = capsys

    def make(self, run_uid: str) -> str:
        options = ("--rotation-axis", "47.5", "--priority", "background", "--virtual")
        return self._typed("submit", run_uid, *options).strip()

    def queue(self, path: str) -> None:
        assert self._typed("retry", path) == f"{path}: queued again\n"

    def _typed(self, *arguments: str) -> str:
        status = run([*arguments, *self._place])
        shown = self._capsys.readouterr()
        assert status == 0, shown.err
        return shown.out


@pytest.fixture
def computing(service: RunningService) -> Iterator[Tomo]:
    with connected(service) as tomo:
        yield tomo


@pytest.fixture(params=["client", "REST", "command line"])
def way(
    request: pytest.FixtureRequest,
    service: RunningService,
    computing: Tomo,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Way]:
    if request.param == "client":
        yield ByClient(computing)
    elif request.param == "REST":
        with api_of(service, service.api_key) as api:
            yield ByRest(api)
    else:
        yield ByCommand(service, capsys)


def markers(service: RunningService, job: Job) -> dict[int, tuple[int, int]]:
    """Return the attempt in whose name each slab was written, and when its marker was."""
    folder: Path = folder_of(service.data / "volumes", *job.path.split("/")[1:])
    if not (folder / "volume.zarr").exists():
        return {}
    written = SlabStore.open(folder).markers()
    return {
        index: (marker.attempt, (folder / "slabs" / f"{index:06d}.json").stat().st_mtime_ns)
        for index, marker in written.items()
    }


def test_it_is_read_then_queued_and_what_was_read_is_kept(
    service: RunningService, computing: Tomo, way: Way, slow_run: str, truth: np.ndarray
) -> None:
    job = computing.job(way.make(slow_run))
    assert (job.state, job.priority) == (State.VIRTUAL, JobPriority.BACKGROUND)
    # The conductor passes it over: one that was asked for later is done, and nothing of this one computed.
    queued = computing.reconstruct(slow_run, FOURIER).wait(60)
    assert (job.state, job.progress, markers(service, job)) == (State.VIRTUAL, {}, {})
    assert not [key for key in job.node if key.startswith("claim-")]
    assert np.array_equal(job.volume[200], truth[200])
    read = markers(service, job)
    assert {index: attempt for index, (attempt, _) in read.items()} == {200 // DEPTH: 0}
    assert job.state is State.VIRTUAL

    way.queue(job.path)
    job.wait(60)
    written = markers(service, job)
    assert len(written) == SLABS
    assert written[200 // DEPTH] == read[200 // DEPTH]
    assert all(attempt > 0 for index, (attempt, _) in written.items() if index not in read)
    # What was done last is told once more, after the state.
    deadline = time.monotonic() + 10
    while job.progress.get("slabs_done") != SLABS and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (job.progress["slabs_done"], job.progress["slabs_total"]) == (SLABS, SLABS)
    assert np.array_equal(job.volume[:], queued.volume[:])
    assert np.array_equal(job.volume[:], truth)
    with pytest.raises(CatalogError, match="is done and cannot become queued"):
        job.queue_again()
    provenance = job.node.refresh().metadata["provenance"]
    assert provenance["machine"]["host"] == platform.node()
    assert "machines" not in provenance
    # The reader's slab and the others were computed by tasks of their own.
    noted = list((folder_of(service.data / "volumes", *job.path.split("/")[1:]) / "work").iterdir())
    assert len(noted) >= 2
    spent = sum(json.loads(path.read_text("ascii"))["reconstruct"] for path in noted)
    assert provenance["timings_s"]["reconstruct"] == pytest.approx(spent, abs=1e-3)


def test_what_a_reader_is_told_can_be_done(
    service: RunningService, computing: Tomo, slow_run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = computing.reconstruct(slow_run, FOURIER, virtual=True)
    assert job.volume.shape == (384, 96, 96)
    answer = httpx.get(
        f"{service.uri}/api/v1/array/full/{job.path}/volume",
        params={"slice": ":,48"},
        headers={"Authorization": f"Apikey {service.api_key}"},
        timeout=60,
    )
    assert answer.status_code == 422
    said = answer.json()["detail"]
    command = said.partition("Queue the reconstruction (`tomoservice ")[2].partition("`")[0]
    assert command == f"retry {job.path}"
    assert run([*command.split(), "--data", str(service.data)]) == 0, capsys.readouterr().err
    assert job.wait(60).state is State.DONE


@pytest.mark.parametrize("show_progress", [False, True])
def test_waiting_for_it_says_what_to_do(
    tomo: Tomo, publish_run: Callable[..., str], *, show_progress: bool
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5, virtual=True)
    with pytest.raises(CatalogError, match=r"is virtual: .* read its `volume` .* `queue_again` \(`tomo"):
        job.wait(20, show_progress=show_progress)
    job.queue_again()
    # Now there is something to wait for.
    with pytest.raises(TimeoutError):
        job.wait(0.1, show_progress=show_progress)


def test_submitting_it_and_waiting_is_refused(
    quiet_service: RunningService,
    tomo: Tomo,
    publish_run: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    uid = publish_run()
    assert run(["submit", uid, "--virtual", "--wait", "--data", str(quiet_service.data)]) == USAGE
    assert "--virtual and --wait: give one of them" in capsys.readouterr().err
    assert not tomo.reconstructions(uid)


def test_it_is_not_queued_while_somebody_has_it(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5, virtual=True)
    # Housekeeping, say, that removes its slabs.
    claim = try_claim(job.node, Worker(), 30)
    assert claim is not None
    with pytest.raises(
        ConflictError, match="is not queued: somebody is at work on it; try again in a moment"
    ):
        job.queue_again()
    assert job.state is State.VIRTUAL
    claim.release()
    assert not conductor.step()
    job.queue_again()
    assert conductor.step()
    assert job.state is State.DONE


def test_who_may_only_look_queues_nothing(
    quiet_service: RunningService, tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    uid = publish_run()
    job = tomo.reconstruct(uid, AT_15_5, virtual=True)
    with api_of(quiet_service, None) as anybody:
        place = f"reconstructions/{job.path.partition('/')[2]}"
        assert anybody.post(f"{place}/retry").status_code in (401, 403)
        asked = anybody.post(f"scans/{uid}/reconstructions", json={"virtual": True})
        assert asked.status_code in (401, 403)
    assert [each.state for each in tomo.reconstructions(uid)] == [State.VIRTUAL]
