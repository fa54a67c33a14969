"""The trigger: never in the RunEngine's way, and nothing asked for is lost."""

from __future__ import annotations

import copy
import http.server
import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from callbacks import ReconstructionTrigger, Rule, Rules
from callbacks.spool import ReconstructionRequest, Spool
from tests.service.conftest import wait_for
from tests.service.scans import Document, SmallScan, documents, publish
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.states import State
from tomoservice.client import Tomo
from tomoservice.errors import RecipeError
from tomoservice.recipe import shipped_recipe
from tomoservice.service.running import RunningService

MEASURED = {"pixel_size_um": 1.5, "energy_kev": 20.0, "distance_mm": 100.0}
NOBODY = "http://127.0.0.1:1"
AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5, "tilt_deg": 0.0}}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def trigger(quiet_service: RunningService, spool: Path) -> Iterator[ReconstructionTrigger]:
    with ReconstructionTrigger(quiet_service.uri, quiet_service.api_key, spool=spool) as made:
        yield made


def bare_run(uid: str | None = None, *, exit_status: str = "success", **start: Any) -> list[Document]:
    uid = uid or str(uuid.uuid4())
    content = {"uid": uid, "time": 0.0, "plan_name": "tomo_scan", "tomo": {}, **start}
    stop = {"uid": str(uuid.uuid4()), "run_start": uid, "time": 1.0, "exit_status": exit_status}
    return [("start", content), ("stop", stop)]


def send(trigger: ReconstructionTrigger, docs: list[Document]) -> str:
    for name, doc in docs:
        trigger(name, doc)
    return str(docs[0][1]["uid"])


def store(tomo: Tomo, docs: list[Document]) -> None:
    """Put a run into Tiled as TiledWriter leaves it."""
    metadata = dict(docs)
    tomo.raw.create_container(docs[0][1]["uid"], metadata=metadata)


def test_a_scan_that_ends_is_queued(trigger: ReconstructionTrigger, tomo: Tomo, spool: Path) -> None:
    docs = bare_run()
    store(tomo, docs)
    uid = send(trigger, docs)
    assert trigger.wait(10)
    [job] = tomo.reconstructions(uid)
    assert job.state is State.QUEUED
    assert job.record.metadata.recipe == shipped_recipe("default").dump()
    assert job.record.metadata.requested_by == "trigger (tomo_scan)"
    assert list(spool.glob("*.json")) == []


def test_it_works_beside_a_real_run_engine_whichever_is_subscribed_first(
    trigger: ReconstructionTrigger, tomo: Tomo
) -> None:
    from bluesky import RunEngine
    from bluesky import plan_stubs as bps
    from bluesky_tiled_plugins import TiledWriter

    engine = RunEngine({}, call_returns_result=False)
    engine.subscribe(trigger)
    engine.subscribe(TiledWriter(tomo.raw, batch_size=20))

    def plan() -> Iterator[Any]:
        yield from bps.open_run({"tomo": {"pixel_size_um": 1.0}})
        yield from bps.close_run()

    [uid] = engine(plan())
    assert trigger.wait(10)
    jobs = tomo.reconstructions(uid)
    assert len(jobs) == 1


def test_it_waits_until_the_run_is_complete_in_tiled(trigger: ReconstructionTrigger, tomo: Tomo) -> None:
    docs = bare_run()
    uid = send(trigger, docs)
    assert not trigger.wait(0.5)
    node = tomo.raw.create_container(uid, metadata={"start": docs[0][1]})
    assert not trigger.wait(0.7)
    assert tomo.reconstructions(uid) == []
    node.update_metadata({"stop": docs[1][1]})
    assert trigger.wait(10)
    assert len(tomo.reconstructions(uid)) == 1


def test_the_same_stop_document_twice_makes_one_node(
    trigger: ReconstructionTrigger, tomo: Tomo, quiet_service: RunningService, tmp_path: Path
) -> None:
    docs = bare_run()
    store(tomo, docs)
    uid = send(trigger, docs)
    send(trigger, docs)
    with ReconstructionTrigger(quiet_service.uri, quiet_service.api_key, spool=tmp_path / "other") as second:
        send(second, docs)
        assert second.wait(10)
    assert trigger.wait(10)
    jobs = tomo.reconstructions(uid)
    assert len(jobs) == 1


def test_without_the_service_nothing_is_lost(
    tomo: Tomo, quiet_service: RunningService, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    docs = bare_run()
    store(tomo, docs)
    began = time.monotonic()
    with ReconstructionTrigger(NOBODY, spool=spool) as trigger:
        uid = send(trigger, docs)
        assert time.monotonic() - began < 1
        assert not trigger.wait(0.5)
    assert "no service answers at http://127.0.0.1:1" in caplog.text
    assert f"requests wait in {spool}" in caplog.text
    assert len(list(spool.glob("*.json"))) == 1
    # Another session, later, with the service up again.
    with ReconstructionTrigger(quiet_service.uri, quiet_service.api_key, spool=spool) as later:
        assert later.wait(10)
    jobs = tomo.reconstructions(uid)
    assert len(jobs) == 1


def test_documents_are_handled_at_once_and_not_changed(trigger: ReconstructionTrigger) -> None:
    docs = bare_run()
    before = copy.deepcopy(docs)
    slowest = 0.0
    for name, doc in docs:
        began = time.perf_counter()
        trigger(name, doc)
        slowest = max(slowest, time.perf_counter() - began)
    assert docs == before
    assert slowest < 0.25


@pytest.mark.parametrize(
    ("rule", "docs", "wanted"),
    [
        (Rule(), bare_run(), True),
        (Rule(), bare_run(exit_status="abort"), False),
        (Rule(plans=("fly_*",)), bare_run(), False),
        (Rule(), bare_run()[1:], False),
        (Rule(), bare_run()[::-1], True),
    ],
)
def test_the_rules_decide(rule: Rule, docs: list[Document], wanted: bool, spool: Path) -> None:
    with ReconstructionTrigger(NOBODY, spool=spool, rules=Rules(rules=(rule,))) as trigger:
        for name, doc in docs:
            trigger(name, doc)
    assert len(list(spool.glob("*.json"))) == wanted


def test_a_plan_can_bring_its_own_recipe(spool: Path) -> None:
    with ReconstructionTrigger(NOBODY, spool=spool) as trigger:
        send(trigger, bare_run(tomo={"recipe": AT_15_5}))
    [request] = Spool(spool).pending()
    assert isinstance(request.recipe, dict)
    assert request.recipe["rotation_axis"] == AT_15_5["rotation_axis"]


def test_a_plan_with_a_wrong_recipe_is_not_reconstructed_with_another(
    trigger: ReconstructionTrigger, tomo: Tomo, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    docs = bare_run(tomo={"recipe": "nonsense"})
    store(tomo, docs)
    uid = send(trigger, docs)
    assert trigger.wait(10)
    assert f"run {uid} is not reconstructed: nonsense:" in caplog.text
    [kept] = (spool / "refused").glob("*.json")
    assert json.loads(kept.read_text())["recipe"] == "nonsense"


def test_a_saved_recipe_is_looked_up_when_the_run_is_there(
    trigger: ReconstructionTrigger, tomo: Tomo
) -> None:
    tomo.recipes.save("limpet", AT_15_5)
    docs = bare_run(tomo={"recipe": "limpet", "volume": "virtual", "priority": "background"})
    store(tomo, docs)
    uid = send(trigger, docs)
    assert trigger.wait(10)
    [job] = tomo.reconstructions(uid)
    asked = job.record.metadata
    assert (job.state, asked.priority, asked.recipe_name) == (State.VIRTUAL, JobPriority.BACKGROUND, "limpet")
    assert asked.recipe["rotation_axis"] == AT_15_5["rotation_axis"]


def test_what_was_accepted_for_scans_like_this_is_proposed(
    trigger: ReconstructionTrigger, tomo: Tomo, publish_run: Callable[..., str], raw_folder: Path
) -> None:
    before = publish_run()
    tomo.recipes.save("cowrie", AT_15_5)
    tomo.recipes.accept("cowrie", before)
    docs = list(documents(SmallScan(), raw_folder, start={"tomo": {**MEASURED, "recipe": "proposal"}}))
    publish(tomo.raw, iter(docs))
    uid = send(trigger, docs)
    assert trigger.wait(20)
    [job] = tomo.reconstructions(uid)
    assert job.record.metadata.recipe["rotation_axis"] == AT_15_5["rotation_axis"]


def test_a_plan_with_a_wrong_recipe_of_its_own_says_so(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ReconstructionTrigger(NOBODY, spool=spool) as trigger:
        uid = send(trigger, bare_run(tomo={"recipe": {"filtr": 1}}))
    assert Spool(spool).pending() == []
    assert (
        f"run {uid} is not reconstructed: its plan asks for what makes no sense: tomo.recipe" in caplog.text
    )


def test_a_file_named_by_a_plan_is_read_at_once_though_nobody_answers(
    spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yml"
    file.write_text(json.dumps(AT_15_5))
    with ReconstructionTrigger(NOBODY, spool=spool) as trigger:
        send(trigger, bare_run(tomo={"recipe": "mine.yml"}))
    file.unlink()
    [request] = Spool(spool).pending()
    assert isinstance(request.recipe, dict)
    assert request.recipe["rotation_axis"] == AT_15_5["rotation_axis"]


def test_documents_from_elsewhere_name_no_files(
    spool: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("rotation_axis: {method: value, value: 15.5}")
    with ReconstructionTrigger(NOBODY, None, file, spool=spool, files=False) as trigger:
        send(trigger, bare_run(tomo={"recipe": str(file)}))
        assert f"its plan names a file, '{file}'" in caplog.text
        assert Spool(spool).pending() == []
        # Who starts the trigger may name one, and a plan anything else.
        send(trigger, bare_run())
        send(trigger, bare_run(tomo={"recipe": "bone"}))
        assert len(Spool(spool).pending()) == 2


def test_a_run_goes_on_in_the_next_process(spool: Path) -> None:
    docs = bare_run(tomo={"recipe": "bone"}, odd=np.float32(0.5))
    killed = ReconstructionTrigger(NOBODY, spool=spool)
    killed.take(*docs[0])
    killed.close()
    with ReconstructionTrigger(NOBODY, spool=spool) as second:
        second.take(*docs[1])
        [request] = Spool(spool).pending()
    assert (request.run_uid, request.recipe) == (docs[0][1]["uid"], "bone")
    assert list(spool.glob("*.start")) == []


def test_start_documents_of_runs_that_never_end_do_not_pile_up(spool: Path) -> None:
    for age_s in (0, 8 * 86400):
        uid = f"old-{age_s}"
        Spool(spool).put_start(uid, {"uid": uid})
        os.utime(spool / f"{uid}.start", (time.time() - age_s,) * 2)
    ReconstructionTrigger(NOBODY, spool=spool).close()
    assert [path.name for path in spool.glob("*.start")] == ["old-0.start"]


def test_what_the_disk_refuses_can_come_again(spool: Path) -> None:
    start, stop = bare_run()
    with ReconstructionTrigger(NOBODY, spool=spool) as trigger:
        trigger.take(*stop)
        shutil.rmtree(spool)
        with pytest.raises(FileNotFoundError):
            trigger.take(*start)
        spool.mkdir()
        trigger.take(*start)
        assert len(Spool(spool).pending()) == 1


def test_a_file_that_does_not_answer_holds_nobody_up(spool: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "recipe.yml"
    # Whoever opens it waits until somebody writes into it, as on network storage that hangs.
    os.mkfifo(pipe)
    with ReconstructionTrigger(NOBODY, spool=spool) as trigger:
        began = time.perf_counter()
        send(trigger, bare_run(tomo={"recipe": str(pipe)}))
        assert time.perf_counter() - began < 0.25
    [kept] = (spool / "refused").glob("*.json")
    assert "is no file" in json.loads(kept.read_text())["reason"]


@pytest.mark.parametrize("key", ["..", ".", "x/../y", "x%2F..%2Fy", "-x", "", "x" * 129, "x\n"])
def test_what_cannot_be_a_key_is_no_request(key: str, spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    for field in ("run_uid", "reconstruction_id"):
        with pytest.raises(ValidationError, match=field):
            ReconstructionRequest(**{"run_uid": "a", "reconstruction_id": "a", "recipe": {}, field: key})
    with ReconstructionTrigger(NOBODY, spool=spool) as trigger:
        send(trigger, [("start", {"uid": key, "tomo": {}}), *bare_run(key or "no uid")[1:]][:1])
        trigger("stop", {"run_start": key, "exit_status": "success"})
    assert [path for path in spool.rglob("*") if path.is_file()] == []
    assert "is not reconstructed" in caplog.text


def test_a_wrong_recipe_is_found_when_the_session_starts(spool: Path) -> None:
    with pytest.raises(RecipeError, match="nonsense"):
        ReconstructionTrigger(NOBODY, recipe="nonsense", spool=spool)


def test_what_the_service_refuses_is_put_aside_with_the_reason(
    quiet_service: RunningService, tomo: Tomo, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    docs = bare_run()
    store(tomo, docs)
    uid = str(docs[0][1]["uid"])
    Spool(spool).put(ReconstructionRequest(reconstruction_id="auto-x", run_uid=uid, recipe={"filtr": 1}))
    (spool / "torn.json").write_text('{"run_uid": ')
    with ReconstructionTrigger(quiet_service.uri, quiet_service.api_key, spool=spool) as trigger:
        assert trigger.wait(10)
    assert "filtr" in json.loads((spool / "refused" / "auto-x.json").read_text())["reason"]
    assert (spool / "refused" / "torn.json").exists()
    assert "is not reconstructed" in caplog.text


def test_a_wrong_key_loses_nothing(
    quiet_service: RunningService, tomo: Tomo, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    docs = bare_run()
    store(tomo, docs)
    with ReconstructionTrigger(quiet_service.uri, "wrong", spool=spool) as trigger:
        send(trigger, docs)
        assert not trigger.wait(0.5)
    assert "does not accept this API key" in caplog.text
    assert len(Spool(spool).pending()) == 1


def test_a_folder_among_the_requests_is_in_nobodys_way(
    trigger: ReconstructionTrigger, tomo: Tomo, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (spool / "x.json").mkdir()
    docs = bare_run()
    store(tomo, docs)
    uid = send(trigger, docs)
    assert trigger.wait(10)
    assert len(tomo.reconstructions(uid)) == 1
    assert caplog.text.count(f"{spool / 'x.json'} cannot be read") == 1


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a service, but answers 500 to those that name the bad run."""

    service = ""
    bad_run = ""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.bad_run in self.path:
            return self._answer(500, {"content-type": "application/json"}, b'{"detail": "disk on fire"}')
        # The service's own links would lead past this server.
        headers = {**dict(self.headers), "accept-encoding": "identity"}
        answer = httpx.request(self.command, f"{self.service}{self.path}", headers=headers, content=body)
        return self._answer(answer.status_code, dict(answer.headers), answer.content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name in ("content-type", "etag", "set-cookie"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = _pass_on  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def trouble(quiet_service: RunningService) -> Iterator[tuple[str, str]]:
    """Address of the service behind a server that fails for one run, and that run's uid."""
    uid = str(uuid.uuid4())
    handler = type("Handler", (_Refusing,), {"service": quiet_service.uri, "bad_run": uid})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", uid
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_request_that_the_service_chokes_on_does_not_stop_the_others(
    trouble: tuple[str, str],
    quiet_service: RunningService,
    tomo: Tomo,
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_TIMEOUT", 0.1)
    uri, bad = trouble
    good = bare_run()
    for docs in (bare_run(bad), good):
        store(tomo, docs)
    with ReconstructionTrigger(uri, quiet_service.api_key, spool=spool) as trigger:
        for docs in (bare_run(bad), good):
            send(trigger, docs)
        wait_for(lambda: len(Spool(spool).pending()) == 1, 10)
        assert len(tomo.reconstructions(str(good[0][1]["uid"]))) == 1
    assert [request.run_uid for request in Spool(spool).pending()] == [bad]
    assert "disk on fire" in caplog.text


def test_an_unexpected_error_with_one_request_does_not_stop_the_others(
    trigger: ReconstructionTrigger, tomo: Tomo, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = bare_run(), bare_run()
    # The client's class for this spec cannot do without its version; the node is made nevertheless.
    with pytest.raises(AttributeError):
        tomo.raw.create_container(bad[0][1]["uid"], metadata={}, specs=["BlueskyRun"])
    store(tomo, good)
    for docs in (bad, good):
        send(trigger, docs)
    wait_for(lambda: len(Spool(spool).pending()) == 1, 10)
    assert len(tomo.reconstructions(str(good[0][1]["uid"]))) == 1
    assert caplog.text.count("the delivery of reconstruction requests failed") == 1


def test_a_trigger_that_has_been_closed_says_that_requests_wait(
    quiet_service: RunningService, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trigger = ReconstructionTrigger(quiet_service.uri, quiet_service.api_key, spool=spool)
    trigger.close()
    assert "stay in" not in caplog.text
    send(trigger, bare_run())
    assert f"reconstruction requests stay in {spool}" in caplog.text
    assert len(Spool(spool).pending()) == 1


def test_a_request_outlives_a_power_cut(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, really = [], os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        really(descriptor)

    monkeypatch.setattr("os.fsync", note)
    Spool(spool).put(ReconstructionRequest(reconstruction_id="a", run_uid="a", recipe={}))
    # First the content, then the name that it was renamed to.
    assert [path.parent == spool for path in synced] == [True, False]
    assert synced[1] == spool


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)
keys = st.sampled_from(["uid", "run_start", "exit_status", "tomo", "plan_name", "scan_layout", "recipe"])


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    docs=st.lists(
        st.tuples(
            st.sampled_from(["start", "stop", "event", "nonsense"]),
            junk | st.dictionaries(keys, junk | st.just("a") | st.just("success"), max_size=6),
        ),
        max_size=4,
    )
)
def test_no_document_whatsoever_raises(
    docs: list[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    logging.getLogger("callbacks").setLevel(logging.CRITICAL)
    try:
        with ReconstructionTrigger(
            NOBODY,
            spool=tmp_path_factory.mktemp("spool"),
            rules=Rules(rules=(Rule(plans=("*",), include_aborted=True),)),
        ) as trigger:
            for name, doc in docs:
                trigger(name, doc)
    finally:
        logging.getLogger("callbacks").setLevel(logging.NOTSET)


def test_runs_that_never_stop_do_not_pile_up(spool: Path) -> None:
    with ReconstructionTrigger(NOBODY, spool=spool) as trigger:
        for index in range(3000):
            trigger("start", {"uid": str(index), "tomo": {}})
        assert len(trigger._starts) <= 1000


def test_closing_ends_the_thread(spool: Path) -> None:
    before = threading.active_count()
    trigger = ReconstructionTrigger(NOBODY, spool=spool)
    assert threading.active_count() == before + 1
    trigger.close()
    trigger.close()
    assert threading.active_count() == before


def test_the_documents_of_a_real_scan_are_understood(
    trigger: ReconstructionTrigger, tomo: Tomo, raw_folder: Path
) -> None:
    from bluesky_tiled_plugins import TiledWriter

    writer = TiledWriter(tomo.raw, batch_size=20)
    uid = ""
    for name, doc in documents(SmallScan(), raw_folder):
        uid = doc["uid"] if name == "start" else uid
        trigger(name, doc)
        writer(name, doc)
    assert trigger.wait(10)
    jobs = tomo.reconstructions(uid)
    assert len(jobs) == 1
