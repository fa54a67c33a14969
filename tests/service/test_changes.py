"""What is found to have changed in a catalogue, whatever stands in it and whatever its database does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from tests.service.catalogues import Catalogue, within
from tomoservice.service import changes as changes_module
from tomoservice.service import events as events_module
from tomoservice.service.changes import Change, Changes, Subject
from tomoservice.service.events import Events, ServiceEvent, event_of, events_of


def told(found: list[Change]) -> list[tuple[str, str | None]]:
    return [(event.id, event.state) for _, event in events_of(found)]


def status(state: str) -> dict[str, Any]:
    return {"state": state, "message": "", "attempt": 0}


def test_whatever_was_told_is_told_to_be_deleted() -> None:
    async def work(made: Catalogue) -> None:
        await made.make("processed", "run", "before", status=status("queued"))
        await made.make("batches", "old", runs=[])
        changes = Changes(made.tree)
        assert await changes.look() == []
        await made.make("processed", "run", "job", status=status("done"))
        await made.make("recipes", "bone")
        await made.make("batches", "night", runs=["run"])
        assert told(await changes.look()) == [("job", "done"), ("bone", None), ("night", None)]
        for path in (("processed", "run", "job"), ("processed", "run", "before")):
            await made.remove(*path)
        for path in (("recipes", "bone"), ("batches", "old"), ("batches", "night")):
            await made.remove(*path)
        found = await changes.look()
        assert {(change.subject.value, *told([change])[0]) for change in found} == {
            ("reconstruction", "job", "deleted"),
            ("reconstruction", "before", "deleted"),
            ("recipe", "bone", "deleted"),
            ("batch", "old", "deleted"),
            ("batch", "night", "deleted"),
        }
        assert await changes.look() == []

    within(work)


def test_a_batch_that_is_paused_and_resumed_is_told() -> None:
    async def work(made: Catalogue) -> None:
        await made.make("batches", "night", runs=["run"])
        await made.make("batches", "night", "control-pause")
        changes = Changes(made.tree)
        await changes.look()
        await made.remove("batches", "night", "control-pause")
        assert told(await changes.look()) == [("night", None)]
        await made.make("batches", "night", "control-pause")
        assert told(await changes.look()) == [("night", None)]
        await made.remove("batches", "night", "control-pause")
        assert told(await changes.look()) == [("night", None)]
        await made.change("batches", "night", submitted=True, message="refused: no such run")
        (change,) = await changes.look()
        assert event_of(change).message == "refused: no such run"

    within(work)


def test_a_look_that_fails_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(made: Catalogue) -> None:
        real, left = changes_module.fetch, [0]

        async def failing(tree: Any, statement: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise ConnectionRefusedError("no database")
            return await real(tree, statement)

        monkeypatch.setattr(changes_module, "fetch", failing)
        monkeypatch.setattr("tomoservice.service.catalogue.fetch", failing)
        await made.make("raw", "run", start={})
        await made.make("processed", "run", "job", status=status("running"))
        await made.make("processed", "run", "job", "progress", time=1.0, percent=10.0)
        # Wherever it fails, and however often.
        for number in range(1, 30):
            changes = Changes(made.tree)
            left[0] = number
            with contextlib.suppress(ConnectionRefusedError):
                await changes.look()
            left[0] = 0
            await changes.look()
            await made.make("recipes", f"bone-{number}")
            await made.change("processed", "run", "job", "progress", time=float(number + 1))
            left[0] = number
            try:
                found = await changes.look()
            except ConnectionRefusedError:
                left[0] = 0
                found = await changes.look()
            assert told(found) == [("job", "running"), (f"bone-{number}", None)]

    within(work)


def test_more_than_a_database_takes_at_once_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.service.catalogue.AT_ONCE", 3)
    monkeypatch.setattr(changes_module, "LOOK_BACK", 5)

    async def work(made: Catalogue) -> None:
        changes = Changes(made.tree)
        await changes.look()
        for number in range(10):
            await made.make("processed", "run", f"job-{number}", status=status("queued"))
        assert len(await changes.look()) == 10
        for number in range(10):
            await made.remove("processed", "run", f"job-{number}")
        assert [change.gone for change in await changes.look()] == [True] * 10

    within(work)


@pytest.mark.parametrize(
    ("subject", "metadata", "progress"),
    [
        (Subject.RECONSTRUCTION, {"status": "x", "batch": "b"}, {}),
        (Subject.RECONSTRUCTION, {"status": {"state": 7, "message": []}, "batch": {"id": {}}}, {}),
        (Subject.RECONSTRUCTION, {}, {"percent": "abc"}),
        (Subject.SCAN, {"stop": "x"}, {}),
        (Subject.BATCH, {"message": {}, "status": 1}, {}),
    ],
)
def test_what_somebody_spoilt_is_told_as_far_as_it_goes(
    subject: Subject, metadata: dict[str, Any], progress: dict[str, Any]
) -> None:
    event = event_of(Change(1, subject, ("processed", "run", "job"), metadata, progress))
    assert (event.id, event.percent, event.batch, event.message) == ("job", None, None, "")
    assert event.state == ("running" if subject is Subject.SCAN else None)


def test_spoilt_nodes_silence_nobody() -> None:
    async def work(made: Catalogue) -> None:
        changes = Changes(made.tree)
        await changes.look()
        await made.make("processed", "run", "spoilt", status="x", batch="b")
        await made.make("processed", "run", "spoilt", "progress", percent="abc")
        await made.make("raw", "run", stop="x")
        await made.make("recipes", "bone")
        assert told(await changes.look()) == [("spoilt", None), ("run", "running"), ("bone", None)]

    within(work)


def test_whoever_listens_hears_again_when_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events_module, "LOOK_S", 0.02)
    real, refused = changes_module.fetch, [3]

    async def failing(tree: Any, statement: Any) -> Any:
        if refused[0]:
            refused[0] -= 1
            raise ConnectionRefusedError("no database")
        return await real(tree, statement)

    monkeypatch.setattr(changes_module, "fetch", failing)

    async def work(made: Catalogue) -> None:
        events = Events(made.tree)
        async with asyncio.timeout(30), events.listening() as queue:
            refused[0] = 2
            await made.make("recipes", "bone")
            heard: ServiceEvent = (await queue.get() or [])[0][1]
            assert heard.id == "bone"

    with caplog.at_level(logging.WARNING):
        within(work)
    assert sum(record.exc_info is not None for record in caplog.records) == 2


def test_whoever_waits_to_be_let_in_is_sent_away_when_the_service_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def failing(tree: Any, statement: Any) -> Any:
        raise ConnectionRefusedError("no database")

    async def work(made: Catalogue) -> None:
        events = Events(made.tree)

        async def listen() -> Any:
            async with events.listening() as queue:
                return await queue.get()

        with monkeypatch.context() as patch:
            patch.setattr(changes_module, "fetch", failing)
            listener = asyncio.create_task(listen())
            await asyncio.sleep(0.05)
            await events.close()
            assert await asyncio.wait_for(listener, 5) is None

    within(work)
