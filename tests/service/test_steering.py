"""Pause, resume, stop and keep, cancel, priorities; and who gives way to whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from tiled.client import from_uri

from tests.service.conftest import Pace, wait_for
from tests.service.scans import FOURIER, SLOW
from tomoservice.catalog import steering
from tomoservice.catalog.claims import Claim, Worker, latest_lease, try_claim
from tomoservice.catalog.controls import Verb, Wishes, ask, verbs_of
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.queue import find_more_urgent, find_waiting
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import ConflictError, disconnect, translated
from tomoservice.catalog.writer import ReconstructionWriter
from tomoservice.client import Job, Tomo
from tomoservice.conductor import loop
from tomoservice.conductor.job import store_folder
from tomoservice.conductor.listening import Heard, Listener
from tomoservice.conductor.loop import Conductor
from tomoservice.conductor.watch import JobWatch
from tomoservice.errors import CatalogError
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings
from tomoservice.store import SlabStore

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}
DEPTH = 64


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.conductor.watch.LOOK_S", 0.05)


@contextmanager
def at_work(conductor: Conductor) -> Iterator[None]:
    thread = threading.Thread(target=conductor.run)
    thread.start()
    try:
        yield
    finally:
        conductor.stop()
        thread.join(30)


def slabs(job: Job, settings: Settings) -> set[int]:
    folder = store_folder(settings, job.record)
    return SlabStore.open(folder).present() if (folder / "volume.zarr").exists() else set()


def wait_for_slabs(job: Job, settings: Settings, count: int) -> None:
    wait_for(lambda: len(slabs(job, settings)) >= count, 60)


def controls(job: Job) -> frozenset[Verb]:
    return verbs_of(list(job.node))


def test_paused_before_anybody_began(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    job.pause()
    job.pause()
    # Nobody works on it, so nobody has to be waited for.
    assert (job.state, job.status.message) == (State.PAUSED, "paused by a user")
    assert not conductor.step()
    with pytest.raises(CatalogError, match="is paused; only finished and virtual ones are queued; resume it"):
        job.queue_again()
    job.resume()
    assert (job.state, controls(job)) == (State.QUEUED, frozenset())
    assert conductor.step()
    assert job.state is State.DONE
    for verb, action in (("pause", job.pause), ("resume", job.resume)):
        with pytest.raises(CatalogError, match=f"is done; there is nothing to {verb}"):
            action()


def test_a_paused_one_is_cancelled(tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    job.pause()
    job.cancel()
    assert (job.state, controls(job)) == (State.CANCELLED, frozenset())
    # By somebody who has nothing but Tiled, and leaves it to the conductor.
    job.queue_again()
    job.pause()
    job.node.create_container("control-cancel")
    assert conductor.step()
    assert (job.state, controls(job)) == (State.CANCELLED, frozenset())
    assert not conductor.step()


def test_a_pause_that_comes_between_search_and_claim(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)

    def late(node: Any, worker: Worker, lease_s: float) -> Any:
        claim = try_claim(node, worker, lease_s)
        # Whoever pauses now sees that somebody has it, and leaves it to them.
        job.pause()
        return claim

    with monkeypatch.context() as patch:
        patch.setattr(loop, "try_claim", late)
        assert conductor.step()
    assert job.state is State.PAUSED
    # Resumed by somebody who dies before the state follows: the wish alone counts.
    job.node["control-pause"].delete()
    assert conductor.step()
    assert job.state is State.DONE


def test_paused_in_the_middle_stopped_and_kept_then_finished(  # noqa: PLR0917
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    settings: Settings,
    quiet_service: RunningService,
    truth: np.ndarray,
    slowly: Pace,
) -> None:
    job = tomo.reconstruct(publish_run(SLOW), FOURIER)
    with at_work(conductor):
        wait_for_slabs(job, settings, 1)
        job.pause()
        wait_for(lambda: job.state is State.PAUSED, 60)
        before = slabs(job, settings)
        assert 0 < len(before) < 6
        # Others may still look at it, and nothing more is computed.
        assert np.array_equal(job.volume[min(before) * DEPTH], truth[min(before) * DEPTH])
        time.sleep(1.0)
        assert slabs(job, settings) == before
        job.resume()
        wait_for_slabs(job, settings, len(before) + 1)
        job.stop()
        with pytest.raises(CatalogError, match=r"stopped by a user; \d+ of 384 slices are kept, all others"):
            job.wait(60)
        _check_what_is_kept(job, settings, quiet_service, truth)
        job.queue_again()
        assert job.kept is None
        slowly.seconds = 0.0
        job.wait(60)
    assert "partial" not in job.node.metadata
    assert np.array_equal(job.volume[:], truth)


def _check_what_is_kept(job: Job, settings: Settings, service: RunningService, truth: np.ndarray) -> None:
    present, kept = slabs(job, settings), job.kept
    assert kept is not None
    assert (kept.slabs, kept.slabs_total) == (len(present), 6)
    assert present < set(range(6))
    store = SlabStore.open(store_folder(settings, job.record), attempt=99)
    # What a writer left there that died before its marker is nobody's data.
    store.array[(max(set(range(6)) - present)) * DEPTH] = 1.0
    expected = np.full_like(truth, np.nan)
    for index in present:
        expected[index * DEPTH : (index + 1) * DEPTH] = truth[index * DEPTH : (index + 1) * DEPTH]
    assert np.array_equal(np.isfinite(expected).any(axis=(1, 2)), _rows(kept.slices))
    plain = from_uri(service.uri)
    volume = plain["/".join(job.node.path_parts)]["volume"]
    assert np.array_equal(volume[:], expected, equal_nan=True)
    assert np.array_equal(volume[::-50, 40, 3:60], expected[::-50, 40, 3:60], equal_nan=True)
    assert np.isnan(volume[(max(set(range(6)) - present)) * DEPTH]).all()
    disconnect(plain)
    # The next attempt must be able to write again.
    (store.folder / "attempts" / "000099").unlink()
    said = job.node.metadata["partial"]["provenance"]
    assert said["raw_uid"] == job.record.run_uid
    assert said["rotation_axis"] is None or said["rotation_axis"]
    assert set(said["slab_checksums"]) == {str(index) for index in present}


def _rows(slices: list[tuple[int, int]]) -> np.ndarray:
    rows = np.zeros(384, bool)
    for start, stop in slices:
        rows[start:stop] = True
    return rows


def test_stopped_before_anybody_began(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    job.stop()
    assert conductor.step()
    assert job.state is State.CANCELLED
    assert job.status.message == "stopped by a user; nothing had been computed"
    assert job.kept is None
    with pytest.raises(CatalogError, match="is cancelled; there is nothing to stop"):
        job.stop()
    # Nobody would hear of it: a conductor does not look at what is virtual.
    virtual = tomo.root["processed", job.record.run_uid].create_container(
        "virtual", metadata={"recipe": {}, "status": {"state": "virtual"}}, specs=["TomoReconstruction"]
    )
    with pytest.raises(CatalogError, match=r"is virtual: .*; cancel it instead"):
        Job(virtual).stop()
    assert "control-stop" not in virtual


def test_stopped_when_its_end_was_stored_already(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    claim = try_claim(job.node, Worker(), 30)
    assert claim is not None
    writer = ReconstructionWriter(claim)
    writer.enter(State.RUNNING)
    stale = job.record
    writer.end(State.DONE)
    conductor._stop(writer, stale, Wishes(frozenset({Verb.STOP})))
    assert job.state is State.DONE
    lease = latest_lease(job.node)
    assert lease is not None
    assert lease.released


def test_two_who_queue_the_same_one_again(
    tomo: Tomo, publish_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    job.cancel()
    begun: list[Claim] = []

    def late(node: Any, worker: Worker, lease_s: float) -> Any:
        # Meanwhile somebody else has queued it again and paused it, or a conductor has begun.
        monkeypatch.undo()
        job.queue_again()
        job.pause()
        return try_claim(node, worker, lease_s)

    monkeypatch.setattr(steering, "try_claim", late)
    with pytest.raises(CatalogError, match="is paused; only finished and virtual ones are queued"):
        steering.requeue(job.node)
    assert (job.state, controls(job)) == (State.PAUSED, frozenset({Verb.PAUSE}))

    job.cancel()

    def begins(node: Any, worker: Worker, lease_s: float) -> Any:
        monkeypatch.undo()
        job.queue_again()
        claim = try_claim(job.node, Worker(), 30)
        assert claim is not None
        ReconstructionWriter(claim).enter(State.RUNNING)
        begun.append(claim)
        return try_claim(node, worker, lease_s)

    monkeypatch.setattr(steering, "try_claim", begins)
    with pytest.raises(ConflictError, match="somebody is at work on it; try again in a moment"):
        steering.requeue(job.node)
    assert job.state is State.RUNNING
    begun[0].check()


def test_a_priority_is_forgotten_with_the_end(tomo: Tomo, publish_run: Callable[..., str]) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5, priority="background")
    job.set_priority("normal")
    job.cancel()
    assert "control-priority" not in job.node
    assert job.priority is JobPriority.BACKGROUND
    with pytest.raises(CatalogError, match="is cancelled; there is nothing to make more or less urgent"):
        job.set_priority("normal")


def test_whoever_became_more_urgent_is_found_by_one_search(
    tomo: Tomo, publish_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = publish_run()
    jobs = [tomo.reconstruct(uid, AT_15_5, priority="background") for _ in range(4)]
    for job in jobs[:3]:
        job.set_priority("normal")
    jobs[0].pause()
    # Somebody who has nothing but Tiled, and wants to come before everybody.
    jobs[3].node.create_container("control-priority", metadata={"priority": "live"})
    asked: list[str] = []
    send = tomo.root.context.http_client.send
    monkeypatch.setattr(
        tomo.root.context.http_client,
        "send",
        lambda request, **options: asked.append(str(request.url)) or send(request, **options),
    )
    found = find_more_urgent(tomo.root, JobPriority.BACKGROUND)
    assert [waiting.path for waiting in found] == [jobs[1].path, jobs[2].path]
    own = [url for url in asked if any(f"/{job.path}" in url for job in jobs)]
    assert own == []


def test_the_claim_is_kept_while_the_service_is_slow_to_say_what_is_wanted(
    tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    claim = try_claim(job.node, Worker(), 0.3)
    assert claim is not None
    hearing, answered = threading.Event(), threading.Event()

    class Slow(Listener):
        def hear(self) -> Heard:
            hearing.set()
            answered.wait(30)
            return super().hear()

    def expires() -> float:
        lease = latest_lease(job.node)
        assert lease is not None
        return lease.expires

    listener = Slow(tomo.root, job.node, job.record, 1.0, lambda _: False)
    with JobWatch(ReconstructionWriter(claim), threading.Event(), listener) as watch:
        try:
            assert hearing.wait(30)
            before = expires()
            wait_for(lambda: expires() > before)
        finally:
            answered.set()
        assert not watch.should_stop()


def order(tomo: Tomo) -> list[str]:
    return [waiting.path for waiting in find_waiting(tomo.root)]


def test_the_more_urgent_comes_first(tomo: Tomo, publish_run: Callable[..., str]) -> None:
    uid = publish_run()
    later, first, second = (
        tomo.reconstruct(uid, AT_15_5, priority=priority) for priority in ("background", "normal", "normal")
    )
    assert order(tomo) == [first.path, second.path, later.path]
    first.set_priority("background")
    later.set_priority("normal")
    assert order(tomo) == [later.path, second.path, first.path]
    assert first.priority is JobPriority.BACKGROUND
    # Who only has to be ended costs nothing, and a paused one is not there.
    ask(first.node, Verb.CANCEL)
    second.pause()
    assert order(tomo) == [first.path, later.path]
    for wrong in ("live", "urgent"):
        with pytest.raises(
            CatalogError, match=f"'{wrong}' cannot be asked for; 'normal' and 'background' can"
        ):
            second.set_priority(wrong)
    # Nonsense of somebody who has nothing but Tiled counts as nothing.
    second.node.create_container("control-priority", metadata={"priority": ["nonsense"]})
    second.resume()
    assert order(tomo)[-1] == second.path


def test_what_is_in_the_background_gives_way(
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    settings: Settings,
    truth: np.ndarray,
    slowly: Pace,
) -> None:
    slow = tomo.reconstruct(publish_run(SLOW), FOURIER, priority="background")
    uid = publish_run()
    with at_work(conductor):
        wait_for_slabs(slow, settings, 1)
        urgent = tomo.reconstruct(uid, AT_15_5)
        urgent.wait(60)
        assert slow.state is not State.DONE
        slowly.seconds = 0.0
        slow.wait(60)
    revisions = [old["attributes"]["metadata"]["status"] for old in slow.node.metadata_revisions[:]]
    messages = [status["message"] for status in revisions if status["message"]]
    assert messages == [f"given back: {urgent.path} is more urgent"]
    assert (
        len(
            {
                marker.attempt
                for marker in SlabStore.open(store_folder(settings, slow.record)).markers().values()
            }
        )
        == 2
    )
    assert np.array_equal(slow.volume[:], truth)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"priority": "urgent"}, "priority: .*'live', 'normal' or 'background', got 'urgent'"),
        ({"priority": "live"}, "priority: 'live' cannot be asked for, only normal or background"),
        ({"batch": {"id": "x", "number": 0}}, "batch.number: .*greater than or equal to 1, got 0"),
    ],
)
def test_a_wrong_priority_is_refused(
    tomo: Tomo, publish_run: Callable[..., str], metadata: dict[str, Any], message: str
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    room = tomo.root["processed", job.record.run_uid]
    said = {"recipe": {}, "status": {"state": "queued"}, **metadata}
    with pytest.raises(CatalogError, match=message), translated("creating"):
        room.create_container("wrong", metadata=said, specs=["TomoReconstruction"])
    changed = "priority: cannot be changed; create a child control-priority"
    with pytest.raises(ConflictError, match=changed), translated("changing"):
        job.node.update_metadata({"priority": "background"})
