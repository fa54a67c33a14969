"""Watching Tiled for runs: each is told once when it begins and once when it ends, whatever happens."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.service.conftest import wait_for
from tests.service.tcp_gate import gate_to
from tomoservice.catalog.node_news import stream_address
from tomoservice.catalog.run_watch import RunChange, RunEvent, RunMarker, RunWatch
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService

NEVER_S = 600.0
"""Between two looks, where announcements are to make the difference."""
BEGUN, ENDED = RunEvent.BEGUN, RunEvent.ENDED


def begin(raw: Any, *, began: float | None = None) -> Any:
    uid = str(uuid.uuid4())
    start = {"uid": uid, "time": time.time() if began is None else began, "plan_name": "tomo_scan"}
    return raw.create_container(uid, metadata={"start": start})


def end(run: Any) -> str:
    uid = str(run.path_parts[-1])
    run.update_metadata({"stop": {"run_start": uid, "exit_status": "success", "time": time.time()}})
    return uid


def told(watch: RunWatch, count: int, timeout_s: float = 10.0) -> list[tuple[str, RunEvent]]:
    changes = [watch.get(timeout_s) for _ in range(count)]
    assert watch.get(0.3) is None
    return [(change.uid, change.kind) for change in changes if change is not None]


def ready(watch: RunWatch) -> RunMarker:
    wait_for(lambda: watch.marker is not None)
    marker = watch.marker
    assert marker is not None
    return marker


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many runs are looked at at once: fewer than usual, as making runs takes time."""
    monkeypatch.setattr("tomoservice.catalog.run_watch.LOOK_BACK", 8)
    monkeypatch.setattr("tomoservice.catalog.run_watch.PAGE", 5)
    return 8


@pytest.fixture
def empty(tomo: Tomo) -> str:
    """Path of a container of runs with nothing in it."""
    key = f"runs-{uuid.uuid4().hex[:8]}"
    tomo.root.create_container(key)
    return key


@pytest.fixture
def watching(quiet_service: RunningService, empty: str) -> Callable[..., RunWatch]:
    def watch(since: RunMarker | None = None, poll_s: float = 0.1) -> RunWatch:
        return RunWatch(quiet_service.uri, quiet_service.api_key, since=since, poll_s=poll_s, path=empty)

    return watch


def test_announcements_make_it_quick(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    with watching(poll_s=NEVER_S) as watch:
        ready(watch)
        time.sleep(0.5)  # until it is connected to what announces
        began = time.monotonic()
        run = begin(tomo.root[empty])
        change = watch.get(5)
        assert change is not None
        assert (change.kind, change.start["plan_name"], change.stop) == (BEGUN, "tomo_scan", None)
        uid = end(run)
        change = watch.get(5)
        assert change is not None
        assert (change.uid, change.kind) == (uid, ENDED)
        assert change.stop is not None
        assert change.stop["exit_status"] == "success"
        assert time.monotonic() - began < 3
    assert caplog.text == ""


def test_a_real_run_of_real_documents(quiet_service: RunningService, publish_run: Callable[..., str]) -> None:
    with RunWatch(quiet_service.uri, quiet_service.api_key, poll_s=0.2) as watch:
        ready(watch)
        uid = publish_run()
        changes: list[RunChange] = []

        def has_ended() -> bool:
            change = watch.get(1)
            # Other tests may have left runs that go on.
            if change is not None and change.uid == uid:
                changes.append(change)
            return len(changes) == 2

        wait_for(has_ended)
    assert [(change.uid, change.kind) for change in changes] == [(uid, BEGUN), (uid, ENDED)]
    assert changes[0].start["scan_layout"] == "tomoservice"


def test_each_is_told_once_also_by_looking_alone(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server without a streaming cache refuses whoever wants to listen.
    monkeypatch.setattr("tomoservice.catalog.node_news.connect", _refuse)
    raw = tomo.root[empty]
    with watching() as watch:
        ready(watch)
        first, second = begin(raw), begin(raw)
        one, two = first.path_parts[-1], second.path_parts[-1]
        assert told(watch, 2) == [(one, BEGUN), (two, BEGUN)]
        end(second)
        assert told(watch, 1) == [(two, ENDED)]
        end(first)
        assert told(watch, 1) == [(one, ENDED)]
        quick = end(begin(raw))
        assert told(watch, 2) == [(quick, BEGUN), (quick, ENDED)]


def _refuse(*_: object, **__: object) -> None:
    raise ConnectionRefusedError


def test_history_is_not_told_but_what_goes_on_is(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str
) -> None:
    raw = tomo.root[empty]
    end(begin(raw))
    begin(raw, began=time.time() - 7 * 86400)  # killed a week ago
    going_on = begin(raw)
    with watching() as watch:
        uid = going_on.path_parts[-1]
        assert told(watch, 1) == [(uid, BEGUN)]
        end(going_on)
        assert told(watch, 1) == [(uid, ENDED)]


def test_who_was_away_catches_up(watching: Callable[..., RunWatch], tomo: Tomo, empty: str) -> None:
    raw = tomo.root[empty]
    end(begin(raw))
    with watching() as watch:
        ready(watch)
        running = begin(raw)
        assert told(watch, 1) == [(running.path_parts[-1], BEGUN)]
        marker = RunMarker.model_validate_json(ready(watch).model_dump_json())
    # Made long ago on a machine without network, and published only now.
    late = end(begin(raw, began=time.time() - 30 * 86400))
    end(running)
    with watching(since=marker) as watch:
        assert told(watch, 3) == [(running.path_parts[-1], ENDED), (late, BEGUN), (late, ENDED)]


def test_more_than_a_page_is_caught_up_on(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str, page: int
) -> None:
    raw = tomo.root[empty]
    with watching() as watch:
        marker = ready(watch)
    uids = [end(begin(raw)) for _ in range(page + 3)]
    with watching(since=marker) as watch:
        changes = told(watch, 2 * len(uids))
        assert [uid for uid, kind in changes if kind is ENDED] == uids


def test_what_was_not_handed_out_is_told_again(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str
) -> None:
    raw = tomo.root[empty]
    with watching() as watch:
        ready(watch)
        first, second = end(begin(raw)), end(begin(raw))
        assert watch.get(10) is not None
        wait_for(lambda: watch._found.qsize() == 3)
        marker = ready(watch)
    with watching(since=marker) as watch:
        assert told(watch, 3) == [(first, ENDED), (second, BEGUN), (second, ENDED)]


def test_old_runs_that_come_into_sight_are_not_new(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str, page: int
) -> None:
    raw = tomo.root[empty]
    for _ in range(page + 2):
        end(begin(raw))
    with watching() as watch:
        ready(watch)
        for uid in list(raw.keys().tail(3)):
            raw[uid].delete()
        new = end(begin(raw))
        assert told(watch, 2) == [(new, BEGUN), (new, ENDED)]


def test_another_catalogue_under_the_same_address_is_no_news(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw = tomo.root[empty]
    end(begin(raw, began=time.time() - 3600))
    with watching(since=RunMarker(recent=("gone",), looked_at=time.time())) as watch:
        new = end(begin(raw, began=time.time() + 1))
        assert told(watch, 2) == [(new, BEGUN), (new, ENDED)]
    assert "runs that were told of last are gone" in caplog.text


def test_a_run_that_is_published_anew_is_no_other_one(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str
) -> None:
    raw = tomo.root[empty]
    with watching() as watch:
        ready(watch)
        run = begin(raw)
        uid, metadata = run.path_parts[-1], dict(run.metadata)
        assert told(watch, 1) == [(uid, BEGUN)]
        run.delete()
        end(raw.create_container(uid, metadata=metadata))
        assert told(watch, 1) == [(uid, ENDED)]


def test_runs_that_are_gone_or_never_end_are_followed_no_longer(
    watching: Callable[..., RunWatch], tomo: Tomo, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.catalog.run_watch.GONE_S", 0.5)
    monkeypatch.setattr("tomoservice.catalog.run_watch.FOLLOWED_S", 3.0)
    raw = tomo.root[empty]
    with watching() as watch:
        ready(watch)
        killed, deleted = begin(raw), begin(raw)
        assert len(told(watch, 2)) == 2
        assert len(ready(watch).open) == 2
        deleted.delete()
        uid = killed.path_parts[-1]
        wait_for(lambda: ready(watch).open == (uid,))
        wait_for(lambda: ready(watch).open == ())
        end(killed)
        assert watch.get(0.5) is None


@pytest.mark.parametrize(
    ("uri", "path", "address"),
    [
        ("http://host:8000", "raw", "ws://host:8000/api/v1/stream/single/raw"),
        ("https://host/tiled/", "a b/c#?", "wss://host/tiled/api/v1/stream/single/a%20b/c%23%3F"),
        ("https://host/tiled/api/v1", "raw", "wss://host/tiled/api/v1/stream/single/raw"),
    ],
)
def test_where_news_come_from(uri: str, path: str, address: str) -> None:
    assert stream_address(uri, path) == f"{address}?envelope_format=msgpack"


def test_what_is_no_run_is_left_alone(watching: Callable[..., RunWatch], tomo: Tomo, empty: str) -> None:
    raw = tomo.root[empty]
    with watching() as watch:
        ready(watch)
        raw.create_container("notes", metadata={"start": "tomorrow"})
        raw.create_container("nothing")
        uid = end(begin(raw))
        assert told(watch, 2) == [(uid, BEGUN), (uid, ENDED)]


def test_it_comes_back_with_the_service(
    quiet_service: RunningService, tomo: Tomo, empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw = tomo.root[empty]
    with gate_to(httpx.URL(quiet_service.uri).port or 0) as gate:
        gate.shut()
        uri = f"http://127.0.0.1:{gate.port}"
        with RunWatch(uri, quiet_service.api_key, poll_s=0.2, path=empty) as watch:
            assert watch.get(0.7) is None
            assert watch.marker is None
            gate.open()
            ready(watch)
            run = begin(raw)
            assert told(watch, 1) == [(run.path_parts[-1], BEGUN)]
            gate.shut()
            uid = end(run)
            assert watch.get(1.0) is None
            gate.open()
            assert told(watch, 1) == [(uid, ENDED)]
    assert caplog.text.count("trying again") == 2


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "quiet"])
def test_stopping_does_not_wait_for_the_next_look(
    uri: str, quiet_service: RunningService, empty: str
) -> None:
    uri = quiet_service.uri if uri == "quiet" else uri
    watch = RunWatch(uri, quiet_service.api_key, poll_s=NEVER_S, path=empty)
    got: list[RunChange] = []
    reader = threading.Thread(target=lambda: got.extend(watch))
    reader.start()
    time.sleep(0.7)
    watch.stop()
    # A second where nothing else keeps the machine busy.
    reader.join(10)
    assert not reader.is_alive()
    assert got == []
    watch.close()


def test_a_wrong_key_is_said_once(quiet_service: RunningService, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), RunWatch(quiet_service.uri, "wrong", poll_s=0.1) as watch:
        assert watch.get(1.5) is None
    assert caplog.text.count("does not accept this API key") == 1
