"""Batches: one submission, many reconstructions; a real service, and a conductor that the test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiled.structures.core import Spec

from tests.service.conftest import Pace, connected, wait_for
from tests.service.scans import FOURIER, SLOW, SmallScan, reconstructed
from tests.service.test_steering import at_work, slabs, wait_for_slabs
from tomoservice.catalog import orders, submission
from tomoservice.catalog.batch_records import BatchRecord, checked_batch
from tomoservice.catalog.batch_standing import BatchState, ItemStatus, state_of, summary_of
from tomoservice.catalog.batches import request_batch, strangers
from tomoservice.catalog.claims import Worker, try_claim
from tomoservice.catalog.orders import BatchOrder, change_order
from tomoservice.catalog.queue import find_waiting
from tomoservice.catalog.states import State
from tomoservice.catalog.submission import find_unsubmitted, submit_items
from tomoservice.catalog.transport import ConflictError, NotAllowedError, NotFoundError, translated
from tomoservice.client import Batch, Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.conductor.remains import covered
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.service import lookout, submitter
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings
from tomoservice.store import SlabMarker

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}
AT_400 = {"rotation_axis": {"method": "value", "value": 400.0}}
HANN = {**AT_15_5, "reconstruction": {"method": "fourier", "filter": "hann"}}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.conductor.watch.LOOK_S", 0.05)
    monkeypatch.setattr("tomoservice.client.batches.LOOK_S", 0.1)


@pytest.fixture
def uids(publish_run: Callable[..., str], tomo: Tomo) -> Iterator[list[str]]:
    yield [publish_run() for _ in range(3)]
    for batch in tomo.batches:
        batch.node.delete(recursive=True)


def submitted(batch: Batch) -> Batch:
    wait_for(lambda: batch.state is not BatchState.SUBMITTING)
    return batch


def states(batch: Batch) -> dict[int, str]:
    return {item.item.number: "" if item.state is None else item.state.value for item in batch.items}


def order(batch: Batch) -> list[int]:
    return [item.item.number for item in batch.items]


def test_from_submission_to_summary_past_one_that_fails(
    tomo: Tomo, uids: list[str], conductor: Conductor
) -> None:
    batch = submitted(tomo.batch(uids[:2], [AT_15_5, AT_400], name="night"))
    assert states(batch) == dict.fromkeys((1, 2, 3, 4), "queued")
    assert batch.state is BatchState.QUEUED
    job = batch.job(3)
    assert job.path == f"processed/{uids[1]}/{batch.id}-3"
    assert job.record.metadata.recipe["rotation_axis"]["value"] == 15.5
    assert job.record.metadata.priority == "background"
    # Somebody waits for this one, so it comes first.
    urgent = tomo.reconstruct(uids[2], AT_15_5)
    assert conductor.step()
    assert urgent.state is State.DONE
    assert conductor.step()
    assert states(batch) == {1: "done", 2: "queued", 3: "queued", 4: "queued"}
    assert batch.state is BatchState.RUNNING
    while conductor.step():
        pass
    assert states(batch) == {1: "done", 2: "failed", 3: "done", 4: "failed"}
    summary = batch.wait(1, show_progress=True)
    assert batch.state is BatchState.FINISHED
    assert (summary.items, summary.done, summary.failed, summary.cancelled) == (4, 2, 2, 0)
    assert set(summary.messages) == {2, 4}
    assert "400" in summary.messages[2]
    assert summary.slices == 32
    assert summary.seconds is not None
    assert 0 < summary.computing_s <= summary.seconds
    assert str(summary).startswith("4 items: 2 done, 2 failed; ")
    assert np.array_equal(batch.job(1).volume[:], reconstructed(SmallScan(), AT_15_5))
    assert repr(batch).startswith(f"<Batch {batch.id} 'night': finished; 4 items: 2 done, 2 failed; ")
    assert batch._repr_html_().count("<td>failed</td>") == 2
    assert [found.id for found in tomo.batches] == [batch.id]
    assert "<td>night</td><td>finished</td><td>4</td><td>2</td><td>2</td>" in tomo.batches._repr_html_()
    assert [tomo.find_batch(name).id for name in ("last", "night", "nig", batch.id)] == [batch.id] * 4

    # Only what failed is tried again, and fails again.
    assert batch.retry() == [batch.job(2).path, batch.job(4).path]
    assert states(batch) == {1: "done", 2: "queued", 3: "done", 4: "queued"}
    while conductor.step():
        pass
    assert states(batch) == {1: "done", 2: "failed", 3: "done", 4: "failed"}


def test_a_client_that_has_nothing_but_tiled(tomo: Tomo, uids: list[str]) -> None:
    node = tomo.root["batches"].create_container(
        "mine", metadata={"runs": uids, "recipes": [AT_15_5]}, specs=[Spec("TomoBatch", version="1")]
    )
    wait_for(lambda: node.refresh().metadata["submitted"])
    for number, uid in enumerate(uids, 1):
        item = tomo.root["processed", uid, f"mine-{number}"]
        assert item.metadata["batch"] == {"id": "mine", "number": number}
        assert item.metadata["status"]["state"] == "queued"
        assert item.metadata["requested_at"] == node.metadata["requested_at"] > 1.7e9
    changed = "runs: cannot be changed; ask for another batch"
    with pytest.raises(ConflictError, match=changed), translated("changing"):
        node.update_metadata({"runs": uids[:1]})
    with pytest.raises(ConflictError, match="submitted: stays true"), translated("changing"):
        node.update_metadata({"submitted": False})


def test_items_that_somebody_began_to_make_are_completed(
    tomo: Tomo, uids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The service does not hear of what is no batch yet.
    wanted = checked_batch({"runs": uids, "recipes": [AT_15_5, HANN]})
    metadata = {**wanted.model_dump(mode="json"), "requested_at": 5.0}
    node = tomo.root["batches"].create_container("half", metadata=metadata)
    asked: list[bool] = []

    def dies_after_two() -> bool:
        asked.append(True)
        return len(asked) > 2

    assert submit_items(tomo.root, node, dies_after_two) == 2
    assert sum("half-" in key for uid in uids[:1] for key in tomo.root["processed", uid]) == 2
    assert not node.refresh().metadata["submitted"]
    # Two at once, and each of them twice.
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: submit_items(tomo.root, node, lambda: False), range(2)))
    assert sum(made) == 4
    assert node.refresh().metadata["submitted"]
    batch = Batch(tomo.root, node)
    assert states(batch) == dict.fromkeys(range(1, 7), "queued")
    assert find_unsubmitted(tomo.root) == []
    # The same submission once more is the same batch.
    assert request_batch(tomo.root, wanted, "half").path_parts == node.path_parts
    assert len({waiting.path for waiting in find_waiting(tomo.root)}) == 6


def test_the_order_is_that_of_whoever_changes_it(
    tomo: Tomo, uids: list[str], conductor: Conductor, quiet_service: RunningService
) -> None:
    batch = submitted(tomo.batch(uids, [AT_15_5, HANN]))
    other = connected(quiet_service)
    theirs = other.find_batch(batch.id)
    assert order(batch) == [1, 2, 3, 4, 5, 6]
    barrier = threading.Barrier(2)

    def move(mine: Batch, item: int) -> None:
        barrier.wait()
        mine.move(item, 1)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(move, (batch, theirs), (6, 4)))
    # Whoever was later is first, and nobody's wish is lost.
    assert order(batch) in ([4, 6, 1, 2, 3, 5], [6, 4, 1, 2, 3, 5])
    batch.reorder([5, 2])
    assert order(theirs)[:2] == [5, 2]
    assert sorted(order(theirs)) == [1, 2, 3, 4, 5, 6]
    waiting = [found.path for found in find_waiting(tomo.root)]
    assert waiting[0] == f"processed/{uids[2]}/{batch.id}-5"
    assert conductor.step()
    assert states(batch)[5] == "done"
    for item, place in ((0, 1), (1, 7), ("1", 1)):
        with pytest.raises(CatalogError, match="both are 1 to 6"):
            batch.move(item, place)  # type: ignore[arg-type]
    with pytest.raises(CatalogError, match="has no item 9; there are 1 to 6"):
        batch.reorder([9])
    other.close()


def test_paused_cancelled_and_retried_as_a_whole(  # noqa: PLR0917
    tomo: Tomo,
    uids: list[str],
    conductor: Conductor,
    settings: Settings,
    publish_run: Callable[..., str],
    truth: np.ndarray,
    slowly: Pace,
) -> None:
    slow = publish_run(SLOW)
    batch = submitted(tomo.batch([slow, uids[0]], FOURIER, priority="normal"))
    with at_work(conductor):
        job = batch.job(1)
        wait_for_slabs(job, settings, 1)
        batch.pause()
        wait_for(lambda: job.state is State.QUEUED)
        assert job.status.message == f"given back: its batch {batch.id} is paused"
        assert batch.state is BatchState.PAUSED
        before = slabs(job, settings)
        # Others go on, and nothing of the batch does.
        tomo.reconstruct(uids[2], AT_15_5).wait(100)
        assert slabs(job, settings) == before
        assert set(states(batch).values()) == {"queued"}
        batch.resume()
        wait_for_slabs(job, settings, len(before) + 1)
        batch.stop()
        summary = batch.wait(100)
        assert (summary.cancelled, batch.state) == (2, BatchState.FINISHED)
        assert "stopped with its batch" in summary.messages[1]
        assert "slices are kept" in summary.messages[1]
        assert "nothing had been computed" in summary.messages[2]
        with pytest.raises(CatalogError, match=f"`tomoservice batch retry {batch.id}`"):
            job.queue_again()
        # Both were ended by the batch; axis 47.5 lies outside of small scans.
        slowly.seconds = 0.0
        assert len(batch.retry()) == 2
        summary = batch.wait(120)
    assert (summary.done, summary.failed) == (1, 1)
    assert np.array_equal(job.volume[:], truth)


def half_made(tomo: Tomo, uids: list[str], key: str) -> Any:
    """Return a batch of which one item is there; the service does not hear of it."""
    wanted = checked_batch({"runs": uids, "recipes": [AT_15_5]})
    node = tomo.root["batches"].create_container(key, metadata=wanted.model_dump(mode="json"))
    assert submit_items(tomo.root, node, lambda: False, 1) == 1
    assert not node.refresh().metadata["submitted"]
    return node


def test_no_item_is_made_of_a_batch_that_was_cancelled_meanwhile(tomo: Tomo, uids: list[str]) -> None:
    node = half_made(tomo, uids, "ended")
    Batch(tomo.root, node).cancel()
    assert submit_items(tomo.root, node, lambda: False) == 0
    batch = Batch(tomo.root, node.refresh())
    assert states(batch) == {1: "queued", 2: "cancelled", 3: "cancelled"}
    assert "was not made (the batch was ended, or" in batch.summary.messages[2]


def test_a_batch_that_cannot_be_completed_can_be_steered(
    tomo: Tomo, uids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> bool:
        raise NotAllowedError("creating it: no")

    node = half_made(tomo, uids, "partly")
    nothing = tomo.root["batches"].create_container("nothing", metadata=dict(node.metadata))
    monkeypatch.setattr(submission, "_submit", refuse)
    assert [submit_items(tomo.root, found, lambda: False) for found in (node, nothing)] == [0, 0]
    assert node.refresh().metadata["submitted"]
    refused = Batch(tomo.root, nothing.refresh())
    assert (refused.state, refused.record.metadata.message) == (
        BatchState.REFUSED,
        "refused: creating it: no",
    )
    batch = Batch(tomo.root, node)
    assert states(batch) == {1: "queued", 2: "cancelled", 3: "cancelled"}
    batch.pause()
    assert batch.state is BatchState.PAUSED


def test_no_batch_waits_for_a_large_one(
    quiet_service: RunningService, tomo: Tomo, uids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitter, "AT_ONCE", 1)
    monkeypatch.setattr(lookout, "ALWAYS_S", 60.0)
    monkeypatch.setattr(lookout, "AFTER_S", (0.0,))
    found = []
    for key in ("large", "small"):
        wanted = checked_batch({"runs": uids, "recipes": [AT_15_5]})
        found.append(tomo.root["batches"].create_container(key, metadata=wanted.model_dump(mode="json")))
    made: list[str] = []

    def find(root: Any) -> list[Any]:
        # Those that the service's own thread does not look for.
        return [node for node in found if not node.refresh().metadata["submitted"]]

    def submit(root: Any, node: Any, *options: Any) -> int:
        made.append(node.path_parts[-1])
        return submit_items(root, node, *options)

    monkeypatch.setattr(submitter, "find_unsubmitted", find)
    monkeypatch.setattr(submitter, "submit_items", submit)
    thread = submitter.Submitter(lambda: quiet_service.uri, lambda: quiet_service.api_key)
    thread.start()
    thread.poke()
    try:
        wait_for(lambda: not find(tomo.root))
    finally:
        thread.stop()
    assert made == ["large", "small"] * 3


def test_runs_that_have_not_all_tags_of_the_batch_are_strangers() -> None:
    runs = {"r": SimpleNamespace(access_tags=[])}
    for run, batch in (([], ["secret"]), (["secret"], None), (["a"], ["a", "secret"]), (["secret"], ["a"])):
        runs["r"].access_tags = run
        assert strangers(batch, runs) == {"r": run}
    for run, batch in (([], None), (["a", "b"], ["a"])):
        runs["r"].access_tags = run
        assert strangers(batch, runs) == {}


def test_what_people_cancelled_one_by_one_is_not_retried_with_the_batch(
    tomo: Tomo, uids: list[str], conductor: Conductor
) -> None:
    batch = submitted(tomo.batch(uids, AT_15_5))
    batch.job(1).cancel()
    batch.cancel()
    assert conductor.step()
    assert states(batch) == dict.fromkeys((1, 2, 3), "cancelled")
    claim = try_claim(batch.job(2).node, Worker(), 30)
    assert claim is not None
    # One that cannot be queued now keeps nobody from being queued, and nothing of this is forgotten.
    with pytest.raises(
        CatalogError, match=r"1 items were queued again, 1 were not: item 2: .*try again in a"
    ):
        batch.retry()
    assert states(batch) == {1: "cancelled", 2: "cancelled", 3: "queued"}
    claim.release()
    assert batch.retry() == [batch.job(2).path]
    assert batch.job(2).record.metadata.status.ended_by == ""
    batch.job(2).cancel()
    assert batch.retry() == []


def test_a_whole_batch_is_ended_by_one_look(tomo: Tomo, uids: list[str], conductor: Conductor) -> None:
    batch = submitted(tomo.batch(uids, AT_15_5))
    other = tomo.reconstruct(uids[0], AT_15_5)
    with pytest.raises(CatalogError, match=f"batches/{batch.id} is not paused; there is nothing to resume"):
        batch.resume()
    batch.cancel()
    assert conductor.step()
    assert states(batch) == dict.fromkeys((1, 2, 3), "cancelled")
    # What is to be computed waits for the next look.
    assert other.state is State.QUEUED
    with pytest.raises(CatalogError, match="is finished; there is nothing to pause"):
        batch.pause()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": []}, "runs: .*at least 1 item"),
        ({"runs": ["a", "a"]}, "runs: .*a stands there twice"),
        ({"runs": ["../x"]}, r"runs: .*'\.\./x' is no uid of a run"),
        ({"recipes": [{"filtr": 1}]}, "recipes: .*0: filtr"),
        ({"recipes": [{}, {}]}, "recipes: .*two of them are the same"),
        ({"priority": "live"}, "priority: .*'live' cannot be asked for"),
        ({"runs": [f"r{n}" for n in range(10_001)]}, "runs: .*at most 10000 items"),
        (
            {
                "runs": [f"r{n}" for n in range(5001)],
                "recipes": [AT_15_5, HANN],
            },
            "10002 reconstructions are more than 10000",
        ),
    ],
)
def test_what_is_wrong_in_itself_is_refused(tomo: Tomo, changes: dict[str, Any], message: str) -> None:
    said = {"runs": ["a"], "recipes": [{}], **changes}
    with pytest.raises(CatalogError, match=message) as caught, translated("creating"):
        tomo.root["batches"].create_container("wrong", metadata=said, specs=["TomoBatch"])
    assert caught.value.__cause__.response.status_code == 422  # type: ignore[union-attr]
    with pytest.raises(CatalogError, match=message):
        checked_batch(said)


def test_runs_that_are_not_there(tomo: Tomo, uids: list[str]) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'nonsense' and 1 more, or this"):
        tomo.batch([uids[0], "nonsense", "more"])
    with pytest.raises(RecipeError, match="neither a file nor"):
        tomo.batch(uids, "nonsense")
    # The service looks for itself, and makes no item of a batch that is half somebody else's.
    said = {"runs": [uids[0], "nonsense"], "recipes": [{}]}
    node = tomo.root["batches"].create_container("odd", metadata=said, specs=["TomoBatch"])
    batch = Batch(tomo.root, node)
    with pytest.raises(CatalogError, match="batches/odd was refused: there is no run 'nonsense'"):
        batch.wait(20)
    assert batch.state is BatchState.REFUSED
    assert uids[0] not in tomo.root["processed"] or "odd-1" not in tomo.root["processed", uids[0]]
    with pytest.raises(CatalogError, match="there is nothing to pause"):
        batch.pause()


def test_a_batch_that_is_deleted_leaves_its_items(tomo: Tomo, uids: list[str], conductor: Conductor) -> None:
    batch = submitted(tomo.batch(uids[:1], AT_15_5))
    job = batch.job(1)
    batch.pause()
    assert not conductor.step()
    batch.node.delete(recursive=True)
    assert conductor.step()
    assert job.state is State.DONE


def test_another_reconstruction_under_an_items_key_is_none(tomo: Tomo, uids: list[str]) -> None:
    room = tomo.root["processed"].create_container(uids[0])
    room.create_container(
        "odd-1", metadata={"recipe": {}, "status": {"state": "virtual"}}, specs=["TomoReconstruction"]
    )
    node = tomo.root["batches"].create_container(
        "odd", metadata={"runs": uids[:2], "recipes": [AT_15_5]}, specs=["TomoBatch"]
    )
    batch = submitted(Batch(tomo.root, node))
    assert states(batch) == {1: "cancelled", 2: "queued"}
    assert "is another reconstruction and not of this batch" in batch.summary.messages[1]
    # One that was deleted keeps nobody waiting, and is not made again.
    batch.job(2).delete()
    assert batch.wait(1).cancelled == 2


def test_an_order_that_somebody_spoilt_counts_as_none(tomo: Tomo, uids: list[str]) -> None:
    batch = submitted(tomo.batch(uids, AT_15_5))
    batch.node.create_container("order-1", metadata={"numbers": ["x", 3, True, 3, None]})
    assert order(batch) == [3, 1, 2]
    assert change_order(batch.node, lambda before: [*before.numbers, 2]).numbers == (3, 2)
    assert order(batch) == [3, 2, 1]


def test_a_slow_change_of_the_order_is_not_lost(
    tomo: Tomo, uids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = submitted(tomo.batch(uids, AT_15_5))
    calls: list[tuple[int, ...]] = []

    def slow(before: BatchOrder) -> list[int]:
        calls.append(before.numbers)
        if len(calls) == 1:
            for numbers in ([2], [2, 1], [2, 3], [3, 2]):
                change_order(batch.node, lambda _, numbers=numbers: numbers)
        return [1, *(number for number in before.numbers if number != 1)]

    assert change_order(batch.node, slow).numbers == (1, 3, 2)
    assert calls == [(), (3, 2)]
    assert order(batch) == [1, 3, 2]
    # Those that nobody can be about to follow any more are forgotten.
    monkeypatch.setattr(orders, "TAIL", 3)
    for numbers in ([3], [2], [1]):
        change_order(batch.node, lambda _, numbers=numbers: numbers)
    kept = {key for key in batch.node if key.startswith("order-")}
    assert {"order-6", "order-7", "order-8"} <= kept
    assert not kept & {"order-3", "order-4", "order-5"}


def test_a_foreign_order_of_a_large_number_changes_nothing(
    tomo: Tomo, uids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = submitted(tomo.batch(uids, AT_15_5))
    for key in ("order-2", "order-999999999"):
        batch.node.create_container(key, metadata={"numbers": [3]})
    assert order(batch) == [1, 2, 3]
    batch.reorder([2])
    batch.reorder([2, 3])
    assert order(batch) == [2, 3, 1]
    # Whoever is overtaken again and again is told, in the end.
    monkeypatch.setattr(orders, "TRIES", 3)

    def overtaken(before: BatchOrder) -> list[int]:
        change_order(batch.node, lambda now: [*now.numbers[1:], now.numbers[0]])
        return [*before.numbers, 9]

    with pytest.raises(ConflictError, match="3 times somebody else was quicker; try again in a moment"):
        change_order(batch.node, overtaken)


def test_places_and_generations() -> None:
    assert BatchOrder((3, 1)).sort([1, 2, 3, 4]) == [3, 1, 2, 4]
    assert BatchOrder().sort([2, 1]) == [1, 2]
    assert [BatchOrder((3, 1)).place(number) for number in (3, 1, 2)] == [0, 1, 4]


def test_items_are_numbered_by_run_and_recipe() -> None:
    record = BatchRecord("b", checked_batch({"runs": ["r", "s"], "recipes": [{"name": "x"}, HANN]}))
    assert [(item.path, item.recipe) for item in record.items] == [
        ("processed/r/b-1", 0),
        ("processed/r/b-2", 1),
        ("processed/s/b-3", 0),
        ("processed/s/b-4", 1),
    ]
    assert record.recipe_names[0] == "x"
    assert len(record.recipe_names[1]) == 8


@pytest.mark.parametrize(
    ("found", "said", "expected"),
    [
        ([None, None], {}, BatchState.SUBMITTING),
        ([State.QUEUED, None], {}, BatchState.SUBMITTING),
        ([State.QUEUED, State.QUEUED], {"submitted": True}, BatchState.QUEUED),
        ([State.DONE, State.QUEUED], {"submitted": True}, BatchState.RUNNING),
        ([State.RUNNING, State.PAUSED], {"submitted": True, "is_paused": True}, BatchState.PAUSED),
        ([State.RUNNING], {"submitted": True, "is_paused": True, "is_ending": True}, BatchState.ENDING),
        ([State.DONE, State.FAILED, State.CANCELLED], {"submitted": True}, BatchState.FINISHED),
        ([State.DONE], {"submitted": True, "is_ending": True}, BatchState.FINISHED),
        ([None], {"submitted": True, "message": "refused: no"}, BatchState.REFUSED),
    ],
)
def test_where_a_batch_stands(found: list[State | None], said: dict[str, Any], expected: BatchState) -> None:
    wanted = {key: said.pop(key, False) for key in ("is_paused", "is_ending")}
    runs = [f"r{number}" for number in range(len(found))]
    record = BatchRecord("b", checked_batch({"runs": runs, "recipes": [{}], **said}))
    assert state_of(record, found, **wanted) is expected


def test_a_summary_counts_what_is_done() -> None:
    record = BatchRecord("b", checked_batch({"runs": ["r", "s", "t", "u"], "recipes": [{}]}))
    done = [
        ItemStatus(item, State.DONE, "", 10.0, 50, 100.0 * start, 100.0 * start + 10.0)
        for item, start in zip(record.items, (1, 2), strict=False)
    ]
    failed = ItemStatus(record.items[2], State.FAILED, "the flats are all zero")
    summary = summary_of([*done, failed, ItemStatus(record.items[3], State.QUEUED)])
    assert (summary.seconds, summary.computing_s, summary.slices) == (110.0, 20.0, 100)
    assert summary.slices_per_s == pytest.approx(100 / 110)
    assert summary.seconds_left == 10.0
    assert summary.messages == {3: "the flats are all zero"}
    assert str(summary) == "4 items: 2 done, 1 failed, 1 queued; 110 s, 0.9 slices/s"
    assert summary_of([]).seconds_left is None


def test_ranges_of_slices_are_joined() -> None:
    slabs = [SlabMarker(index, 8 * index, 8 * index + 8, 1, "x") for index in (4, 0, 1)]
    assert covered(slabs) == [(0, 16), (32, 40)]
    assert covered([]) == []
