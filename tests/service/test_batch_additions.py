"""Adding to a batch that is there: a real service, and a conductor that the test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tiled.structures.core import Spec

from tests.service.catalogues import Catalogue, anybody, within
from tests.service.conftest import connected, wait_for
from tests.service.http_api import api_of, ok
from tests.service.test_batches import AT_15_5, AT_400, HANN, order, states, submitted
from tomoservice.catalog import additions, names
from tomoservice.catalog.additions import add_to_batch
from tomoservice.catalog.batch_records import BatchRecord, checked_addition, checked_batch
from tomoservice.catalog.batch_standing import BatchState, ItemStatus, summary_of
from tomoservice.catalog.batches import addition_nodes, batch_record
from tomoservice.catalog.queue import find_waiting
from tomoservice.catalog.states import State
from tomoservice.catalog.submission import find_unsubmitted, submit_items
from tomoservice.catalog.transport import ConflictError, NotFoundError, translated
from tomoservice.cli import run as run_command
from tomoservice.client import Batch, Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.errors import CatalogError, IllegalTransitionError, RecipeError
from tomoservice.service.batches_api import list_batches
from tomoservice.service.changes import Changes
from tomoservice.service.running import RunningService


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.client.batches.LOOK_S", 0.1)


@pytest.fixture
def uids(publish_run: Callable[..., str], tomo: Tomo) -> Iterator[list[str]]:
    yield [publish_run() for _ in range(3)]
    for batch in tomo.batches:
        batch.node.delete(recursive=True)


@pytest.fixture
def quiet_batch(tomo: Tomo, uids: list[str]) -> Any:
    """A batch of one item, which is there. The service does not hear of it: it lacks the spec."""
    metadata = {**checked_batch({"runs": uids[:1], "recipes": [AT_15_5]}).model_dump(mode="json")}
    node = tomo.root["batches"].create_container("quiet", metadata={**metadata, "requested_at": 5.0})
    assert submit_items(tomo.root, node, lambda: False) == 1
    return node.refresh()


def made(batch: Batch, items: int) -> Batch:
    wait_for(lambda: list(states(batch).values()).count("") == 0 and len(states(batch)) == items)
    return batch


def finish(conductor: Conductor) -> None:
    while conductor.step():
        pass


def test_a_finished_batch_goes_on_with_what_is_added(
    tomo: Tomo, uids: list[str], conductor: Conductor
) -> None:
    batch = submitted(tomo.batch(uids[:1], [AT_15_5, HANN], name="night"))
    finish(conductor)
    assert batch.state is BatchState.FINISHED
    first = batch.job(1).record.metadata
    # A run by the recipes that the batch began with, and one that is there by another recipe.
    assert batch.add(tomo.scans[uids[1]]) == [3, 4]
    assert batch.add(uids[0], AT_400) == [5]
    made(batch, 5)
    assert states(batch) == {1: "done", 2: "done", 3: "queued", 4: "queued", 5: "queued"}
    assert batch.state is BatchState.RUNNING
    paths = [item.path for item in batch.record.items]
    assert paths[2:] == [
        f"processed/{uids[1]}/{batch.id}-3",
        f"processed/{uids[1]}/{batch.id}-4",
        f"processed/{uids[0]}/{batch.id}-5",
    ]
    said = batch.job(4).record.metadata
    assert said.recipe["reconstruction"]["filter"] == "hann"
    assert said.priority == "background"
    assert said.requested_at == first.requested_at
    assert len(batch.record.recipe_names) == 3
    # One order for all of it, wherever an item came from.
    batch.reorder([5, 4])
    assert order(batch) == [5, 4, 1, 2, 3]
    assert [waiting.path for waiting in find_waiting(tomo.root)] == [paths[4], paths[3], paths[2]]
    batch.move(3, 1)
    finish(conductor)
    summary = batch.wait(1, show_progress=True)
    assert (summary.items, summary.done, summary.failed) == (5, 4, 1)
    assert batch.state is BatchState.FINISHED
    assert batch.retry() == [paths[4]]
    assert "<td>night</td><td>running</td><td>5</td><td>4</td><td>0</td>" in tomo.batches._repr_html_()
    for number in (0, 6):
        with pytest.raises(CatalogError, match=f"has no item {number}; there are 1 to 5"):
            batch.job(number)


def test_of_many_who_add_at_once_nobody_is_lost(
    tomo: Tomo, uids: list[str], quiet_service: RunningService, publish_run: Callable[..., str]
) -> None:
    batch = submitted(tomo.batch(uids[:1], AT_15_5))
    others = [connected(quiet_service) for _ in range(4)]
    more = [publish_run() for _ in others]
    barrier = threading.Barrier(len(others))

    def add(other: Tomo, uid: str) -> list[int]:
        mine = other.find_batch(batch.id)
        barrier.wait()
        return mine.add(uid, [AT_15_5, HANN])

    with ThreadPoolExecutor(len(others)) as pool:
        numbers = list(pool.map(add, others, more))
    assert sorted(number for each in numbers for number in each) == list(range(2, 10))
    made(batch, 9)
    assert sorted(addition_nodes(batch.node)) == ["more-1", "more-2", "more-3", "more-4"]
    for uid, each in zip(more, numbers, strict=True):
        assert [batch.job(number).path for number in each] == [
            f"processed/{uid}/{batch.id}-{number}" for number in each
        ]
    # Of two who add the same, one is told.
    barrier = threading.Barrier(len(others))
    with ThreadPoolExecutor(len(others)) as pool:
        tries = [pool.submit(add, other, uids[1]) for other in others]
    refused = [each.exception() for each in tries if each.exception() is not None]
    assert len(refused) == 3
    assert all("by this recipe already, as item 10, and 1 more likewise" in str(one) for one in refused)
    for other in others:
        other.close()


def test_what_somebody_began_to_make_is_completed(tomo: Tomo, uids: list[str], quiet_batch: Any) -> None:
    added = add_to_batch(tomo.root, quiet_batch, uids[1:], [AT_15_5, HANN])
    assert (added.key, added.metadata.first, added.metadata.size) == ("more-1", 2, 4)
    asked: list[bool] = []

    def dies_after_one() -> bool:
        asked.append(True)
        return len(asked) > 1

    assert submit_items(tomo.root, quiet_batch, dies_after_one) == 1
    batch = Batch(tomo.root, quiet_batch)
    assert states(batch) == {1: "queued", 2: "queued", 3: "", 4: "", 5: ""}
    assert batch.state is BatchState.SUBMITTING
    # What has been made and deleted is not made again, whatever is added.
    batch.job(1).delete()
    with ThreadPoolExecutor(2) as pool:
        numbers = list(pool.map(lambda _: submit_items(tomo.root, quiet_batch, lambda: False), range(2)))
    assert sum(numbers) == 3
    assert states(batch) == {1: "cancelled", 2: "queued", 3: "queued", 4: "queued", 5: "queued"}
    assert batch.node["more-1"].metadata["submitted"]
    # A hundred at a time, over several additions.
    add_to_batch(tomo.root, quiet_batch, uids[1:], [{"rotation_axis": {"method": "value", "value": 14}}])
    add_to_batch(tomo.root, quiet_batch, uids[1:], [{"rotation_axis": {"method": "value", "value": 15}}])
    turns = [submit_items(tomo.root, quiet_batch, lambda: False, 3) for _ in range(3)]
    assert turns == [3, 1, 0]
    assert batch_record(quiet_batch).submitted


def test_the_service_finds_what_nobody_told_it_of(tomo: Tomo, uids: list[str]) -> None:
    batch = submitted(tomo.batch(uids[:1], AT_15_5))
    batch.add(uids[1])
    made(batch, 2)
    assert find_unsubmitted(tomo.root) == []
    # As if the server had died before it said that it was done, and before it made the last one.
    batch.job(2).delete()
    specs = [Spec(names.ADDITION_SPEC, version="1")]
    batch.node["more-1"].replace_metadata(specs=[])
    batch.node["more-1"].update_metadata({"submitted": False})
    batch.node["more-1"].replace_metadata(specs=specs)
    wait_for(lambda: states(batch) == {1: "queued", 2: "queued"}, 30)


def test_added_to_what_is_paused_cancelled_and_retried(
    tomo: Tomo, uids: list[str], conductor: Conductor
) -> None:
    batch = submitted(tomo.batch(uids[:1], AT_15_5))
    batch.pause()
    batch.add(uids[1])
    made(batch, 2)
    assert batch.state is BatchState.PAUSED
    assert not conductor.step()
    batch.resume()
    batch.cancel()
    ended = "cancelled or stopped, so nothing is added to it; ask for another batch"
    with pytest.raises(IllegalTransitionError, match=ended):
        batch.add(uids[2])
    finish(conductor)
    assert states(batch) == {1: "cancelled", 2: "cancelled"}
    with pytest.raises(IllegalTransitionError, match=ended):
        batch.add(uids[2])
    assert list(addition_nodes(batch.node)) == ["more-1"]
    # What was added was ended with the batch, and is queued again with it.
    assert len(batch.retry()) == 2
    assert batch.add(uids[2]) == [3]
    made(batch, 3)
    finish(conductor)
    assert set(states(batch).values()) == {"done"}


def test_nothing_is_made_of_what_was_added_to_a_batch_that_is_ended_meanwhile(
    tomo: Tomo, uids: list[str], quiet_batch: Any
) -> None:
    add_to_batch(tomo.root, quiet_batch, uids[1:])
    batch = Batch(tomo.root, quiet_batch)
    batch.cancel()
    assert submit_items(tomo.root, quiet_batch, lambda: False) == 0
    assert states(batch) == {1: "queued", 2: "cancelled", 3: "cancelled"}
    assert "was not made (the batch was ended" in batch.summary.messages[3]


def test_what_cannot_be_added_is_refused_before_anything_is_made(
    tomo: Tomo, uids: list[str], quiet_batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(tomo.root, quiet_batch)
    for runs, recipes, kind, message in (
        ([uids[1], "nonsense"], None, NotFoundError, "there is no run 'nonsense', or this key"),
        ([uids[1]] * 2, None, CatalogError, "stands there twice"),
        ([], None, CatalogError, "runs: .*at least 1"),
        (uids[:2], None, ConflictError, f"has run {uids[0]} by this recipe already, as item 1; leave it out"),
        (uids[0], {**AT_15_5, "name": "same"}, ConflictError, "already, as item 1"),
        (uids[1], [AT_15_5, AT_15_5], CatalogError, "two of them are the same"),
        (uids[1], "nonsense", RecipeError, "neither a file nor"),
    ):
        with pytest.raises(kind, match=message):
            batch.add(runs, recipes)
    many = [f"r{number}" for number in range(5000)]
    with pytest.raises(CatalogError, match="would have 10001 reconstructions, more than 10000; ask for"):
        add_to_batch(tomo.root, quiet_batch, many, [AT_15_5, HANN])
    assert addition_nodes(quiet_batch) == {}
    monkeypatch.setattr(names, "MOST_ADDITIONS", 1)
    batch.add(uids[1])
    with pytest.raises(CatalogError, match="has been added to 1 times; ask for another batch"):
        batch.add(uids[2])


def test_whoever_is_overtaken_again_and_again_is_told(
    tomo: Tomo, uids: list[str], quiet_batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(node: Any, key: str, **_: Any) -> None:
        raise ConflictError(key)

    monkeypatch.setattr(additions, "TRIES", 3)
    monkeypatch.setattr(additions, "create_container", overtaken)
    with pytest.raises(ConflictError, match="3 times somebody else was quicker; try again in a moment"):
        add_to_batch(tomo.root, quiet_batch, uids[1:])


def test_a_client_that_has_nothing_but_tiled(tomo: Tomo, uids: list[str]) -> None:
    batch = submitted(tomo.batch(uids[:1], AT_15_5))
    spec = [Spec("TomoBatchAddition", version="1")]
    said = {"runs": uids[1:], "recipes": [AT_15_5], "first": 2}
    node = batch.node.create_container("more-1", metadata=said, specs=spec)
    made(batch, 3)
    assert node.refresh().metadata["submitted"]
    with (
        pytest.raises(ConflictError, match="runs: cannot be changed; ask for another"),
        translated("changing"),
    ):
        node.update_metadata({"runs": uids[:1]})
    with pytest.raises(ConflictError, match="submitted: stays true"), translated("changing"):
        node.update_metadata({"submitted": False})
    # What has the numbers of others counts as nothing, and so does what is called otherwise.
    for key, first in (("more-2", 3), ("more-1000", 4), ("else", 4)):
        odd = batch.node.create_container(key, metadata={**said, "first": first}, specs=spec)
        wait_for(lambda odd=odd: odd.refresh().metadata["submitted"])
        assert odd.metadata["message"].startswith("refused: other items have its numbers, or")
    assert len(batch.items) == 3
    # Runs that are not there are nobody's; all else goes on.
    missing = {"runs": ["nonsense"], "recipes": [AT_15_5], "first": 4}
    batch.node.create_container("more-3", metadata=missing, specs=spec)
    made(batch, 4)
    assert states(batch) == {1: "queued", 2: "queued", 3: "queued", 4: "cancelled"}
    assert batch.summary.messages[4].startswith("refused: there is no run 'nonsense'")
    assert batch.state is BatchState.RUNNING
    # Numbers go on after it, and keys after all that are taken.
    assert batch.add(uids[1], HANN) == [5]
    assert "more-4" in addition_nodes(batch.node)
    # Whoever deletes an addition changes no number of what came later.
    batch.node["more-1"].delete()
    assert [item.number for item in batch.record.items] == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": []}, "runs: .*at least 1 item"),
        ({"runs": ["a", "a"]}, "runs: .*a stands there twice"),
        ({"recipes": [{"filtr": 1}]}, "recipes: .*0: filtr"),
        ({"recipes": [{}, {}]}, "recipes: .*two of them are the same"),
        ({"first": None}, "first: "),
        ({"first": 1}, "first: .*greater than or equal to 2"),
        ({"first": 10_000, "runs": ["a", "b"]}, "would have 10001 reconstructions, more than 10000"),
    ],
)
def test_what_is_wrong_in_itself_is_refused(
    tomo: Tomo, quiet_batch: Any, changes: dict[str, Any], message: str
) -> None:
    said = {"runs": ["a"], "recipes": [{}], "first": 2, **changes}
    with pytest.raises(CatalogError, match=message) as caught, translated("creating"):
        quiet_batch.create_container("more-1", metadata=said, specs=["TomoBatchAddition"])
    assert caught.value.__cause__.response.status_code == 422  # type: ignore[union-attr]
    with pytest.raises(CatalogError, match=message):
        checked_addition(said)


def test_added_over_http(tomo: Tomo, uids: list[str], quiet_service: RunningService) -> None:
    batch = submitted(tomo.batch(uids[:1], {**AT_15_5, "name": "fine"}, name="night"))
    with api_of(quiet_service, quiet_service.api_key) as api:
        where = f"batches/{batch.id}"
        added = ok(api.post(f"{where}/items", json={"runs": uids[1:2]}), 201)
        assert [(item["number"], item["recipe"]) for item in added["items"]] == [(1, "fine"), (2, "fine")]
        added = ok(api.post(f"{where}/items", json={"runs": uids[2:], "recipes": [HANN]}), 201)
        assert added["items"][2]["id"] == f"{batch.id}-3"
        assert len(added["recipes"]) == 2
        wait_for(lambda: ok(api.get(where))["summary"]["counts"] == {"queued": 3})
        (listed,) = ok(api.get("batches"))["batches"]
        assert (listed["state"], listed["summary"]["items"], listed["takes_more"]) == ("queued", 3, True)
        ordered = ok(api.put(f"{where}/order", json={"items": [3]}))
        assert [item["number"] for item in ordered["items"]] == [3, 1, 2]
        for body, status, says in (
            ({"runs": ["nonsense"]}, 404, "nonsense"),
            ({"runs": uids[:1]}, 409, "by this recipe already, as item 1"),
            ({"runs": uids[:1], "recipes": [{"filtr": 1}]}, 422, "recipes: "),
            ({"runs": uids[:1], "recipes": []}, 422, "recipes"),
            ({"runs": []}, 422, "runs"),
            ({"runs": uids[:1], "colour": "red"}, 422, "colour"),
        ):
            answer = api.post(f"{where}/items", json=body)
            assert answer.status_code == status, answer.text
            assert says in answer.text
        assert api.post("batches/nonsense/items", json={"runs": uids}).status_code == 404
        ok(api.post(f"{where}/stop"))
        refused = api.post(f"{where}/items", json={"runs": uids[:1], "recipes": [AT_400]})
        assert refused.status_code == 409
        assert "ask for another batch" in refused.json()["detail"]
        assert ok(api.get("batches"))["batches"][0]["takes_more"] is False
    anonymous = httpx.post(f"{quiet_service.uri}/api/v1/tomo/{where}/items", json={"runs": uids}, timeout=20)
    assert anonymous.status_code in (401, 403)
    assert len(addition_nodes(batch.node)) == 2


def test_added_from_the_command_line(
    tomo: Tomo, uids: list[str], quiet_service: RunningService, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = submitted(tomo.batch(uids[:1], AT_15_5, name="night"))

    def typed(*arguments: str) -> tuple[int, str, str]:
        status = run_command(["batch", *arguments, "--data", str(quiet_service.data)])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    status, out, _ = typed("add", "night", uids[1][:12], "--recipe", "default", "--recipe", "smooth")
    assert (status, out.splitlines()) == (
        0,
        [f"{number}  processed/{uids[1]}/{batch.id}-{number}" for number in (2, 3)],
    )
    assert typed("add", batch.id, uids[2])[1] == f"4  processed/{uids[2]}/{batch.id}-4\n"
    made(batch, 4)
    assert typed("show", "night")[1].splitlines()[-1] == f"{batch.id}: queued; 4 items: 4 queued"
    status, _, err = typed("add", "night", uids[2])
    assert status == 1
    assert f"batches/{batch.id} has run {uids[2]} by this recipe already, as item 4" in err


def test_a_list_of_batches_counts_what_was_added() -> None:
    async def work(made_of: Catalogue) -> None:
        said = {"runs": ["run"], "recipes": [{}], "submitted": True}
        await made_of.make("batches", "night", spec=names.BATCH_SPEC, **said)
        await made_of.make("batches", "other", spec=names.BATCH_SPEC, **said)
        more = {"runs": ["a", "b"], "recipes": [AT_15_5], "first": 2}
        await made_of.make("batches", "night", "more-1", spec=names.ADDITION_SPEC, **more, submitted=True)
        await made_of.make("batches", "night", "more-2", spec=names.ADDITION_SPEC, **more)
        await made_of.make("batches", "night", "more-3", spec=names.ADDITION_SPEC, **{**more, "first": 4})
        batch = {"id": "night", "number": 1}
        spec = names.RECONSTRUCTION_SPEC
        await made_of.make("processed", "run", "night-1", spec=spec, batch=batch, status={"state": "done"})
        page = await list_batches(anybody(made_of), 5, 0)
        assert [(each.id, each.state, each.summary.items, each.summary.counts) for each in page.batches] == [
            ("other", BatchState.FINISHED, 1, {"cancelled": 1}),
            ("night", BatchState.SUBMITTING, 5, {"done": 1, "waiting": 4}),
        ]

    within(work)


def test_whoever_watches_a_batch_hears_that_something_was_added() -> None:
    async def work(made_of: Catalogue) -> None:
        await made_of.make("batches", "night", runs=["run"])
        changes = Changes(made_of.tree)
        await changes.look()
        await made_of.make("batches", "night", "more-1", runs=["run"])
        assert [(change.subject, change.path) for change in await changes.look()] == [
            ("batch", ("batches", "night"))
        ]

    within(work)


def added(first: int, **said: Any) -> dict[str, Any]:
    return {"runs": ["r", "s"], "recipes": [{}], "first": first, **said}


def test_recipes_that_are_the_same_are_one() -> None:
    content = {"runs": ["q"], "recipes": [{}, {"name": "x"} | HANN]}
    more = {"more-2": added(5, recipes=[HANN]), "more-1": added(3, recipes=[{"schema_version": 1}])}
    record = BatchRecord.of("b", content, more)
    assert [(item.number, item.recipe, item.part) for item in record.items] == [
        *((1, 0, 0), (2, 1, 0)),
        *((3, 0, 1), (4, 0, 1)),
        *((5, 2, 2), (6, 2, 2)),
    ]
    assert (record.size, record.last) == (6, 6)
    assert record.recipe_names[1] == "x"
    assert len(set(record.recipe_names)) == 3


def test_nobody_is_counted_who_came_by_a_way_that_nothing_checks() -> None:
    content = {"runs": ["q"], "recipes": [{}]}
    odd = {
        "more-1": {"runs": 7},
        "more-2": added(9_999),
        "more-3": added(2),
        "order-1": added(2),
        "more-0": {},
    }
    record = BatchRecord.of("b", content, odd)
    assert [each.key for each in record.additions] == ["more-2"]
    assert (record.size, record.last) == (3, 10_000)


def test_nobody_computed_while_there_was_nothing_to_compute() -> None:
    record = BatchRecord.of("b", {"runs": ["p"], "recipes": [{}]}, {"more-1": added(2), "more-2": added(4)})
    spans = {1: (0.0, 10.0), 2: (5.0, 15.0), 3: (30.0, 35.0), 4: (1000.0, 1010.0), 5: (1000.0, 1005.0)}
    items = [
        ItemStatus(item, State.DONE, "", stop - start, 50, start, stop)
        for item in record.items
        for start, stop in [spans[item.number]]
    ]
    # From 0 to 35 without a break, and ten more when the last ones had been added.
    summary = summary_of(items)
    assert (summary.seconds, summary.slices_per_s) == (45.0, pytest.approx(250 / 45))
    assert summary_of(items[:1]).seconds == 10.0
