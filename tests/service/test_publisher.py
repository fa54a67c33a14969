"""The publisher: a scan never waits for Tiled, and every run arrives there whole."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import event_model
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from callbacks import ReconstructionTrigger, Rule, Rules, RunPublisher
from callbacks.encoding import decode, encode
from callbacks.journal import Journal
from callbacks.publication import Publication
from callbacks.raw_runs import RawRuns
from tests.service.conftest import connected, pace, wait_for
from tests.service.scans import Document, SmallScan, documents, publish
from tomoservice.catalog.transport import ConflictError
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService, running_service

NOBODY = "http://127.0.0.1:1"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def publisher(quiet_service: RunningService, spool: Path) -> Iterator[RunPublisher]:
    with RunPublisher(quiet_service.uri, quiet_service.api_key, spool=spool) as made:
        yield made


def plain_run(events: int = 5, **start: Any) -> list[Document]:
    """Return a run of numbers."""
    run = event_model.compose_run(uid=start.pop("uid", None), metadata=start)
    keys = {"x": {"source": "test", "dtype": "number", "shape": []}}
    bundle = run.compose_descriptor(name="primary", data_keys=keys)
    docs: list[Document] = [("start", dict(run.start_doc)), ("descriptor", dict(bundle.descriptor_doc))]
    for index in range(events):
        event = bundle.compose_event(data={"x": float(index)}, timestamps={"x": 0.0}, seq_num=index + 1)
        docs.append(("event", dict(event)))
    return [*docs, ("stop", dict(run.compose_stop()))]


def send(callback: Any, docs: list[Document]) -> str:
    for name, doc in docs:
        callback(name, doc)
    return str(docs[0][1]["uid"])


def stored(tomo: Tomo, uid: str) -> Any:
    # From the root: the client of the raw runs takes a uid that is absent for a part of another.
    return tomo.root["raw", uid]


def arrived(tomo: Tomo, uid: str, *keys: str) -> bool:
    try:
        tomo.root[("raw", uid, *keys)]
    except KeyError:
        return False
    return True


def journals(spool: Path) -> list[Path]:
    return sorted(spool.glob("*.jsonl"))


def assert_same_run(ours: Any, theirs: Any) -> None:
    assert ours.metadata["start"].keys() == theirs.metadata["start"].keys()
    for key in set(ours.metadata["start"]) - {"uid", "time"}:
        assert ours.metadata["start"][key] == theirs.metadata["start"][key]
    assert ours.metadata["stop"]["num_events"] == theirs.metadata["stop"]["num_events"]
    assert ours.metadata.get("notes") == theirs.metadata.get("notes")
    assert ours.specs == theirs.specs
    assert list(ours) == list(theirs)
    for stream in theirs:
        assert list(ours[stream]) == list(theirs[stream])
        assert ours[stream].metadata["data_keys"] == theirs[stream].metadata["data_keys"]
        for key in theirs[stream]:
            mine, other = np.asarray(ours[stream][key].read()), np.asarray(theirs[stream][key].read())
            assert mine.dtype == other.dtype
            if key not in ("time", "ts_rotation"):
                np.testing.assert_array_equal(mine, other)


def test_a_run_is_what_tiled_writer_makes_of_it(
    publisher: RunPublisher, tomo: Tomo, raw_folder: Path, spool: Path
) -> None:
    start = {"offsets": np.array([1.5, 2.5]), "gain": np.float32(0.1), "odd": float("nan"), "shape": (3, 4)}
    uid = send(publisher, list(documents(SmallScan(), raw_folder, start=start)))
    assert publisher.wait(20)
    reference = publish(tomo.raw, documents(SmallScan(), raw_folder, start=start))
    assert_same_run(stored(tomo, uid), stored(tomo, reference))
    frames = stored(tomo, uid)["primary"]["camera_image"].read()
    assert np.array_equal(frames, SmallScan().frames()["primary"])
    assert journals(spool) == []


def test_frames_appear_while_the_run_goes_on(
    quiet_service: RunningService, tomo: Tomo, raw_folder: Path, spool: Path
) -> None:
    docs = list(documents(SmallScan(angles=20), raw_folder))
    with RunPublisher(quiet_service.uri, quiet_service.api_key, spool=spool) as publisher:
        uid = send(publisher, docs[:-3])
        wait_for(lambda: arrived(tomo, uid, "primary", "internal"))
        assert stored(tomo, uid)["flat"]["camera_image"].shape == (3, 16, 32)
        assert stored(tomo, uid)["primary"]["camera_image"][19].shape == (16, 32)
        assert publisher.wait(0), "it waits for runs that have ended only"
        assert len(journals(spool)) == 1
        send(publisher, docs[-3:])
        assert publisher.wait(20)
    assert "stop" in stored(tomo, uid).metadata
    assert len(stored(tomo, uid)["primary"]["rotation"].read()) == 20


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


class Meter:
    """Passes documents on and remembers how long the slowest took."""

    def __init__(self, callback: Any) -> None:
        self.slowest_s = 0.0
        self._callback = callback

    def __call__(self, name: str, doc: Any) -> None:
        began = time.perf_counter()
        self._callback(name, doc)
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began)


class Number:
    """The least that a RunEngine can read."""

    name = "x"
    parent = None

    def read(self) -> dict[str, Any]:
        return {"x": {"value": 1.0, "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        return {"x": {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


def scan_in_which_the_service_is_killed(service: RunningService, events: int) -> Iterator[Any]:
    from bluesky import plan_stubs as bps

    number = Number()
    yield from bps.open_run()
    for index in range(events):
        if index == events // 2:
            os.kill(service.pid, signal.SIGKILL)
        yield from bps.create()
        yield from bps.read(number)
        yield from bps.save()
    yield from bps.close_run()


def test_a_service_killed_during_scans_gets_them_whole_when_it_is_back(
    tmp_path: Path, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from bluesky import RunEngine

    raw = tmp_path / "raw"
    raw.mkdir()
    settings = {**pace(), "service": {"raw_folders": [str(raw)], "port": free_port()}}
    docs = list(documents(SmallScan(), raw))
    engine = RunEngine({}, call_returns_result=False)
    with running_service(tmp_path / "data", settings) as service:
        trigger = ReconstructionTrigger(service.uri, service.api_key, spool=spool)
        publisher = RunPublisher(service.uri, service.api_key, spool=spool)
        try:
            meter = Meter(publisher)
            engine.subscribe(meter)
            # Two runs interleaved: one of frames, half of which is in Tiled when the service dies.
            uid = send(meter, docs[:40])
            with connected(service) as tomo:
                wait_for(lambda: arrived(tomo, uid, "primary", "internal"))
            [other] = engine(scan_in_which_the_service_is_killed(service, 50))
            for name, doc in docs[40:]:
                meter(name, doc)
            send(trigger, [docs[0], docs[-1]])
            assert meter.slowest_s < 0.5
            assert not publisher.wait(1)
            assert {path.stem for path in journals(spool)} == {uid, other}
            assert caplog.text.count("does not answer") + caplog.text.count("no service answers") <= 2
            assert f"runs wait in {spool}" in caplog.text
            with running_service(tmp_path / "data", settings) as again:
                assert again.uri == service.uri
                assert publisher.wait(20)
                assert trigger.wait(40)
                with connected(again) as tomo:
                    check_both(tomo, uid, other)
        finally:
            publisher.close()
            trigger.close()
    assert journals(spool) == []
    assert len(list(raw.iterdir())) == 3


def check_both(tomo: Tomo, uid: str, other: str) -> None:
    run = stored(tomo, uid)
    assert run.metadata["stop"]["exit_status"] == "success"
    for stream, frames in SmallScan().frames().items():
        assert np.array_equal(run[stream]["camera_image"].read(), frames)
    assert np.array_equal(run["primary"]["rotation"].read(), SmallScan().angles_deg)
    assert list(stored(tomo, other)["primary"]["seq_num"].read()) == list(range(1, 51))
    assert "stop" in stored(tomo, other).metadata
    assert len(tomo.reconstructions(uid)) == 1


def test_without_the_service_no_document_takes_long_and_none_is_lost_or_changed(
    tomo: Tomo,
    quiet_service: RunningService,
    raw_folder: Path,
    spool: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = [list(documents(SmallScan(), raw_folder)) for _ in range(3)]
    before = pickle.dumps(runs)
    took = np.zeros((len(runs), len(runs[0])))
    with RunPublisher(NOBODY, spool=spool) as publisher:
        for number, docs in enumerate(runs):
            for index, (name, doc) in enumerate(docs):
                began = time.perf_counter()
                publisher(name, doc)
                took[number, index] = time.perf_counter() - began
        assert not publisher.wait(0.5)
    assert pickle.dumps(runs) == before
    # Whatever the machine does beside it, no document is slow three times.
    assert took.min(axis=0).max() < 0.05
    warnings = [record.message for record in caplog.records if "no service answers" in record.message]
    assert len(warnings) == 1
    assert len(journals(spool)) == 3
    # Another session, later, with the service up.
    with RunPublisher(quiet_service.uri, quiet_service.api_key, spool=spool) as later:
        assert later.wait(40)
    for docs in runs:
        assert "stop" in stored(tomo, docs[0][1]["uid"]).metadata
    assert journals(spool) == []


def in_a_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )


HALF_A_RUN = """
import sys, time
from callbacks import RunPublisher
from tests.service.test_publisher import plain_run, send
uri, key, spool, uid = sys.argv[1:]
publisher = RunPublisher(uri, key, spool=spool)
send(publisher, plain_run(25, uid=uid)[:-1])
print("sent", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_leaves_is_published_as_it_is(
    tomo: Tomo, quiet_service: RunningService, spool: Path
) -> None:
    uid = str(uuid.uuid4())
    where = (quiet_service.uri, quiet_service.api_key)
    with in_a_process(HALF_A_RUN, *where, spool, uid) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "sent\n"
        wait_for(lambda: arrived(tomo, uid, "primary", "internal"))
        with RunPublisher(*where, spool=spool) as early:
            assert early.wait(2)
            assert len(journals(spool)) == 1, "its writer lives"
        psutil.Process(child.pid).kill()
    [journal] = journals(spool)
    with journal.open("ab") as file:
        file.write(b'{"name": "event", "doc": {"se')
    with RunPublisher(*where, spool=spool) as later:
        assert later.wait(20)
    run = stored(tomo, uid)
    assert list(run["primary"]["x"].read()) == [float(index) for index in range(25)]
    assert "stop" not in run.metadata
    assert journals(spool) == []


def test_where_documents_come_from_elsewhere_a_run_goes_on_in_the_next_process(
    tomo: Tomo, quiet_service: RunningService, spool: Path
) -> None:
    docs, ended = plain_run(25), plain_run()
    where = (quiet_service.uri, quiet_service.api_key)
    with RunPublisher(*where, spool=spool, go_on=True) as first:
        for name, doc in docs[:10]:
            first.take(name, doc)
        uid = str(docs[0][1]["uid"])
        wait_for(lambda: arrived(tomo, uid))
    killed = Journal(spool / f"{ended[0][1]['uid']}.jsonl")
    send(killed.append, ended)
    killed.close()
    with RunPublisher(*where, spool=spool, go_on=True) as second:
        # The last was not acknowledged.
        for name, doc in [*docs[9:], docs[-1]]:
            second.take(name, doc)
        assert second.wait(20)
    assert "stop" in stored(tomo, str(ended[0][1]["uid"])).metadata
    assert list(stored(tomo, uid)["primary"]["seq_num"].read()) == list(range(1, 26))
    assert "stop" in stored(tomo, uid).metadata
    assert journals(spool) == []


def test_what_the_disk_refuses_can_come_again(spool: Path) -> None:
    docs = plain_run()
    with RunPublisher(NOBODY, spool=spool, go_on=True) as publisher:
        shutil.rmtree(spool)
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                publisher.take(*docs[0])
        spool.mkdir()
        for name, doc in docs[:-1]:
            publisher.take(name, doc)
        publisher.take(*docs[-1])
        publisher.take(*docs[-1])
        [journal] = journals(spool)
        kept = [decode(line) for line in journal.read_bytes().splitlines()]
    assert [entry for entry in kept if entry[0] != "sending"] == docs


def test_nothing_is_remembered_of_runs_that_are_not_published(spool: Path) -> None:
    docs = plain_run()
    with RunPublisher(NOBODY, spool=spool) as publisher, RunPublisher(NOBODY, spool=spool) as second:
        send(publisher, docs[:3])
        send(second, docs)
        send(second, plain_run(uid="../x"))
        assert second._repeats._open == second._open == {}


WHOLE_RUN = """
import sys
from callbacks import RunPublisher
from tests.service.test_publisher import plain_run, send
uri, key, spool, uid = sys.argv[1:]
send(RunPublisher(uri, key, spool=spool), plain_run(5, uid=uid))
"""


def test_a_script_that_ends_right_after_its_scan_has_published_it(
    tomo: Tomo, quiet_service: RunningService, spool: Path
) -> None:
    uid = str(uuid.uuid4())
    with in_a_process(WHOLE_RUN, quiet_service.uri, quiet_service.api_key, spool, uid) as child:
        assert child.wait(40) == 0
    assert "stop" in stored(tomo, uid).metadata
    assert journals(spool) == []


def test_the_same_run_twice_is_harmless(
    publisher: RunPublisher, tomo: Tomo, quiet_service: RunningService, tmp_path: Path, spool: Path
) -> None:
    docs = plain_run()
    uid = send(publisher, docs)
    assert publisher.wait(20)
    created = stored(tomo, uid).item["links"], stored(tomo, uid).item["attributes"]["metadata"]
    send(publisher, docs)
    with RunPublisher(quiet_service.uri, quiet_service.api_key, spool=tmp_path / "other") as second:
        send(second, docs)
        assert second.wait(20)
    assert publisher.wait(20)
    assert (stored(tomo, uid).item["links"], stored(tomo, uid).item["attributes"]["metadata"]) == created
    assert len(stored(tomo, uid)["primary"]["x"].read()) == 5
    assert journals(spool) == journals(tmp_path / "other") == []


def test_two_publishers_at_the_same_time_make_one_run(
    publisher: RunPublisher, tomo: Tomo, quiet_service: RunningService, tmp_path: Path, spool: Path
) -> None:
    docs = plain_run(60)
    with RunPublisher(quiet_service.uri, quiet_service.api_key, spool=tmp_path / "other") as second:
        for name, doc in docs:
            publisher(name, doc)
            second(name, doc)
        assert publisher.wait(20)
        assert second.wait(20)
    assert list(stored(tomo, docs[0][1]["uid"])["primary"]["seq_num"].read()) == list(range(1, 61))
    assert journals(spool) == journals(tmp_path / "other") == []


def test_a_run_that_somebody_else_writes_is_left_alone(
    publisher: RunPublisher, tomo: Tomo, caplog: pytest.LogCaptureFixture
) -> None:
    docs = plain_run()
    uid = str(docs[0][1]["uid"])
    node = tomo.raw.create_container(uid, metadata={"start": docs[0][1], "writer": "somebody"})
    send(publisher, docs)
    assert not publisher.wait(1.5)
    assert f"somebody else is writing run {uid}" in caplog.text
    node.update_metadata({"stop": docs[-1][1]})
    assert publisher.wait(20)
    assert stored(tomo, uid).metadata["writer"] == "somebody"


class Blind(RawRuns):
    """Does not see a run that somebody creates at this very moment."""

    def find(self, uid: str) -> Any:
        return None


def test_who_loses_the_race_for_a_run_does_not_remove_it(
    tomo: Tomo, quiet_service: RunningService, tmp_path: Path
) -> None:
    docs = plain_run()
    uid = str(docs[0][1]["uid"])
    tomo.raw.create_container(uid, metadata={"start": docs[0][1]})
    journal = Journal(tmp_path / f"{uid}.jsonl")
    send(journal.append, docs)
    where = (quiet_service.uri, quiet_service.api_key, "raw")
    for raw in (Blind(*where), RawRuns(*where)):
        # Bluesky warns of the conflict, here as an error, which shall not hide it.
        with pytest.raises(ConflictError):
            Publication(journal, 20).advance(raw)
        raw.disconnect()
    journal.close()
    later = Journal.take_up(journal.path)
    assert later is not None
    assert later.stopped
    assert not later.marked
    later.close()
    assert arrived(tomo, uid)


def test_a_malformed_document_is_left_out_and_kept(
    publisher: RunPublisher, tomo: Tomo, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    docs = plain_run(5)
    broken = {**docs[3][1]}
    del broken["data"]
    uid = send(publisher, [*docs[:3], ("event", broken), *docs[4:]])
    assert publisher.wait(20)
    assert list(stored(tomo, uid)["primary"]["seq_num"].read()) == [1, 3, 4, 5]
    assert "a document cannot be published and is left out: event: KeyError" in caplog.text
    lines = (spool / "refused" / f"{uid}.jsonl").read_text().splitlines()
    assert "KeyError" in json.loads(lines[-1])["doc"]["reason"]
    assert journals(spool) == []


def test_a_wrong_key_loses_nothing(
    quiet_service: RunningService, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RunPublisher(quiet_service.uri, "wrong", spool=spool) as publisher:
        send(publisher, plain_run())
        assert not publisher.wait(0.5)
    assert "does not accept this API key" in caplog.text
    assert len(journals(spool)) == 1


def test_a_spool_that_cannot_be_written_does_not_stop_a_run(
    publisher: RunPublisher, tomo: Tomo, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(spool)
    uid = send(publisher, plain_run())
    assert publisher.wait(20)
    assert "stop" in stored(tomo, uid).metadata
    assert caplog.text.count("documents stay in memory until they can be written") == 1


def test_what_could_not_be_written_is_written_later_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "absent" / "run.jsonl")
    docs = plain_run()
    for name, doc in docs[:3]:
        with pytest.raises(FileNotFoundError):
            journal.append(name, doc)
    first = journal.read(0)
    (tmp_path / "absent").mkdir()
    for name, doc in docs[3:]:
        journal.append(name, doc)
    rest = journal.read(sum(map(len, first)))
    assert [decode(line) for line in [*first, *rest]] == docs
    journal.close()
    assert journal.path.read_bytes() == b"".join([*first, *rest])


def test_a_journal_of_many_long_lines_is_read_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    rng = np.random.default_rng(3)
    sizes = [10, 3_000_000, 5, 700_000, 700_000, 20]
    docs = [("event", {"image": rng.random(size // 8), "index": size}) for size in sizes]
    for name, doc in docs:
        journal.append(name, doc)
    position, found = 0, []
    while lines := journal.read(position):
        position += sum(map(len, lines))
        found += [decode(line) for line in lines]
    journal.remove()
    assert len(found) == len(docs)
    assert all(
        np.array_equal(mine["image"], doc["image"]) for (_, mine), (_, doc) in zip(found, docs, strict=True)
    )


@given(npst.arrays(st.one_of(npst.scalar_dtypes()), npst.array_shapes(min_side=0)))
def test_arrays_come_back_as_they_were(array: np.ndarray) -> None:
    _, doc = decode(encode("event", {"data": {"a": array}}))
    assert np.asarray(doc["data"]["a"]).dtype == array.dtype
    assert np.asarray(doc["data"]["a"]).tobytes() == array.tobytes()


def test_what_json_does_not_know_becomes_text_or_the_like() -> None:
    doc = {1: {"a", "b"}, "path": Path("/x"), "bytes": b"\xff", ("t", 2): None, "nan": float("inf")}
    _, back = decode(encode("start", doc))
    assert sorted(back.pop("1")) == ["a", "b"]
    assert back == {"path": "/x", "bytes": b"\xff", "('t', 2)": None, "nan": float("inf")}


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)
references = st.sampled_from(["uid", "run_start", "descriptor", "resource", "data", "exit_status"])
kinds = [
    "start",
    "stop",
    "descriptor",
    "event",
    "event_page",
    "resource",
    "datum",
    "stream_datum",
    "nonsense",
]


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    docs=st.lists(
        st.tuples(
            st.sampled_from(kinds),
            junk | st.dictionaries(references, junk | st.sampled_from(["a", "b", "../c"]), max_size=6),
        ),
        max_size=6,
    )
)
def test_no_document_whatsoever_raises(
    docs: list[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    logging.getLogger("callbacks").setLevel(logging.CRITICAL)
    folder = tmp_path_factory.mktemp("publisher")
    try:
        with RunPublisher(NOBODY, spool=folder / "spool") as publisher:
            for name, doc in docs:
                publisher(name, doc)
    finally:
        logging.getLogger("callbacks").setLevel(logging.NOTSET)
    assert [path.name for path in folder.iterdir()] == ["spool"]


def test_closing_ends_the_thread_and_documents_are_kept_afterwards(
    spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = threading.active_count()
    publisher = RunPublisher(NOBODY, spool=spool)
    assert threading.active_count() == before + 1
    docs = plain_run()
    send(publisher, docs[:4])
    publisher.close()
    publisher.close()
    assert threading.active_count() == before
    send(publisher, docs[4:])
    [journal] = journals(spool)
    kept = [decode(line) for line in journal.read_bytes().splitlines()]
    assert [entry for entry in kept if entry[0] != "sending"] == docs
    assert "stays in" in caplog.text
    taken = Journal.take_up(journal)
    assert taken is not None
    assert taken.stopped
    taken.close()


def test_trigger_and_publisher_share_a_spool(
    publisher: RunPublisher, tomo: Tomo, quiet_service: RunningService, spool: Path, raw_folder: Path
) -> None:
    rules = Rules(rules=(Rule(plans=("tomo_*",)),))
    with ReconstructionTrigger(quiet_service.uri, quiet_service.api_key, spool=spool, rules=rules) as trigger:
        docs = list(documents(SmallScan(), raw_folder))
        for name, doc in docs:
            trigger(name, doc)
            publisher(name, doc)
        assert publisher.wait(20)
        assert trigger.wait(20)
    [job] = tomo.reconstructions(str(docs[0][1]["uid"]))
    # Otherwise the tests of the conductor find it in the queue.
    job.node.delete(recursive=True)
