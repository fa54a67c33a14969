"""The conductor among odd nodes, lost answers, dying colleagues and a service that errs."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.conftest import pace, wait_for
from tests.service.scans import SmallScan, documents, publish
from tomoservice.catalog.claims import Worker, latest_lease, try_claim
from tomoservice.catalog.names import attempt_of, claim_key
from tomoservice.catalog.nodes import ensure_container, find_in_state, reconstruction_spec
from tomoservice.catalog.queue import find_waiting
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotAllowedError
from tomoservice.catalog.writer import ReconstructionWriter
from tomoservice.cli import run
from tomoservice.client import Job, Tomo
from tomoservice.conductor import loop
from tomoservice.conductor.job import store_folder
from tomoservice.conductor.loop import Conductor
from tomoservice.conductor.patience import persistently
from tomoservice.conductor.process import reserve_log
from tomoservice.errors import CancelledError, FaultError, ServiceUnavailableError
from tomoservice.pipeline import Slab
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings, load_settings
from tomoservice.store import SlabStore

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}
QUEUED = {"recipe": AT_15_5, "status": {"state": "queued"}}
NO_RUN = "run-of-troubles"
"""Nothing is published under this uid, so its reconstructions fail at once."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.conductor.watch.LOOK_S", 0.1)
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_TIMEOUT", 0.5)


@pytest.fixture(autouse=True)
def _nothing_else_to_do(tomo: Tomo) -> Iterator[None]:
    """Start without anything queued, and leave nothing queued behind."""
    for node in find_in_state(tomo.root, State.QUEUED, State.RUNNING):
        node.delete(recursive=True)
    yield
    if NO_RUN in tomo.root["processed"]:
        tomo.root["processed", NO_RUN].delete(recursive=True, external_only=False)


@pytest.fixture
def folder(tomo: Tomo) -> Any:
    return ensure_container(tomo.root["processed"], NO_RUN)


def ask(folder: Any, key: str, **metadata: Any) -> Job:
    return Job(folder.create_container(key, metadata={**QUEUED, **metadata}, specs=[reconstruction_spec()]))


def run_in_thread(conductor: Conductor) -> threading.Thread:
    thread = threading.Thread(target=conductor.run)
    thread.start()
    return thread


def lease(attempt: int, **changes: Any) -> dict[str, Any]:
    content = {"attempt": attempt, "host": "gone", "pid": 1, "identity": "x", "expires": 0.0, "lease_s": 30.0}
    return {**content, **changes}


def test_nodes_that_cannot_be_claimed_keep_nobody_waiting(
    tomo: Tomo, folder: Any, conductor: Conductor, quiet_service: RunningService
) -> None:
    headers = {"Authorization": f"Apikey {quiet_service.api_key}"}
    body = {"structure_family": "container", "metadata": {**QUEUED, "requested_at": 1.0}, "data_sources": []}
    for key in ("x%2F..%2Fy", "..", "."):
        content = {**body, "id": key, "specs": [{"name": "TomoReconstruction", "version": "1"}]}
        answer = httpx.post(
            f"{quiet_service.uri}/api/v1/metadata/processed/{NO_RUN}", headers=headers, json=content
        )
        assert answer.status_code == 200
    folder.write_array(np.zeros(3), key="array", metadata={"status": {"state": "queued"}})
    strange = ask(folder, "strange", requested_at=2.0)
    strange.node.create_container("claim-" + "1" * 5000)
    good = ask(folder, "good", requested_at=3.0)
    assert [conductor.step() for _ in range(3)] == [True, True, False]
    assert strange.state is good.state is State.FAILED
    assert [key for key in strange.node if attempt_of(key) is not None] == ["claim-1"]
    # A key with dots leads to a container above.
    assert not any(key.startswith("claim-") for node in (folder, tomo.root["processed"]) for key in node)


def test_one_deleted_between_search_and_claim(
    tomo: Tomo, folder: Any, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(folder, "doomed", requested_at=1.0)
    good = ask(folder, "good", requested_at=2.0)

    def late(node: Any, worker: Worker, lease_s: float) -> Any:
        if node.path_parts[-1] == "doomed":
            tomo.root["/".join(node.path_parts)].delete(recursive=True)
        return try_claim(node, worker, lease_s)

    monkeypatch.setattr(loop, "try_claim", late)
    assert conductor.step()
    assert good.state is State.FAILED


def test_a_run_that_is_not_there_fails_its_reconstruction(folder: Any, conductor: Conductor) -> None:
    job = ask(folder, "orphan")
    assert conductor.step()
    assert job.state is State.FAILED
    assert job.status.message == f"raw/{NO_RUN}: there is no such run"
    found = latest_lease(job.node)
    assert found is not None
    assert found.released


@pytest.mark.parametrize(
    ("recipe", "message"),
    [(AT_15_5, "lacks the spec TomoReconstruction"), ("nonsense", "recipe.*dictionary, got 'nonsense'")],
)
def test_a_node_that_escaped_validation_is_failed(
    folder: Any, conductor: Conductor, recipe: object, message: str
) -> None:
    node = ask(folder, "bare").node
    node.update_metadata({}, specs=[])
    node.update_metadata({"recipe": recipe})
    assert conductor.step()
    status = node.refresh().metadata["status"]
    assert status["state"] == "failed"
    assert re.search(message, status["message"])
    assert not conductor.step()


def test_a_volume_that_the_service_cannot_read_is_not_done(
    tomo: Tomo,
    publish_run: Callable[..., str],
    quiet_service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tomoservice.conductor.job.READ_BACK_S", 0.0)
    job = tomo.reconstruct(publish_run(), AT_15_5)
    elsewhere = load_settings(flags={"data": quiet_service.data, "volumes": tmp_path / "else", **pace()})
    conductor = Conductor(quiet_service.uri, quiet_service.api_key, elsewhere)
    assert conductor.step()
    conductor.close()
    assert job.state is State.FAILED
    assert f"the service cannot read {tmp_path / 'else'}" in job.status.message
    assert "readable folders" in job.status.message
    assert "volume" not in list(job.node)


def test_a_conductor_must_be_told_where_volumes_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TILED_API_KEY", "secret")
    assert run(["conductor", "--uri", "http://127.0.0.1:1"]) == 2
    assert "say where volumes go with --volumes" in capsys.readouterr().err


def faulty(*_: object, **__: object) -> None:
    raise FaultError("writing: the service answered 500: Internal Server Error")


def test_tables_cannot_hold_up_a_volume(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.conductor.job.TABLES_S", 0.1)
    monkeypatch.setattr(ReconstructionWriter, "table", faulty)
    job = tomo.reconstruct(publish_run(), AT_15_5)
    assert conductor.step()
    assert job.state is State.DONE
    assert job.progress["percent"] == 100


def test_cancelled_while_the_service_answers_with_errors(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = threading.Event()

    def describe(*_: object) -> None:
        met.set()
        faulty()

    monkeypatch.setattr(ReconstructionWriter, "describe", describe)
    job = tomo.reconstruct(publish_run(), AT_15_5)
    thread = run_in_thread(conductor)
    assert met.wait(20)
    job.cancel()
    wait_for(lambda: job.state is State.CANCELLED, 10)
    conductor.stop()
    thread.join()


def test_errors_of_the_service_that_do_not_pass_fail_the_reconstruction(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.conductor.patience.FAULTS_S", 0.3)
    monkeypatch.setattr(ReconstructionWriter, "describe", faulty)
    job = tomo.reconstruct(publish_run(), AT_15_5)
    assert conductor.step()
    assert job.state is State.FAILED
    assert "answered 500: Internal Server Error; given up after 0.3 s" in job.status.message


def test_a_service_that_does_not_answer_is_waited_for_and_errors_are_counted_anew_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tomoservice.conductor.patience.LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr("tomoservice.conductor.patience.FIRST_PAUSE_S", 0.05)
    answers = iter([FaultError("500"), ServiceUnavailableError("gone"), FaultError("500"), None])

    def action() -> str:
        error = next(answers)
        if error is not None:
            raise error
        return "done"

    assert persistently(action, lambda: False, faults_s=0.09) == "done"
    with pytest.raises(FaultError):
        persistently(faulty, lambda: True)


def test_conductors_that_got_somewhere_have_not_died_of_it(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, settings: Settings
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    for attempt in (1, 2, 3):
        job.node.create_container(claim_key(attempt), metadata=lease(attempt))
    store = SlabStore.create(store_folder(settings, job.record), (16, 32, 32), (16, 32, 32), attempt=3)
    store.commit(Slab(0, 0, 16), np.zeros((16, 32, 32), np.float32))
    assert conductor.step()
    assert job.state is State.DONE


def waiting(*_: object, cancelled: Callable[[], bool], **__: object) -> None:
    """Stand for a preparation that takes long."""
    wait_for(cancelled, 20)
    raise CancelledError("stopped while preparing")


def test_a_worker_that_was_overtaken_does_not_count_as_dead(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.compute.workbench.prepare", waiting)
    job = tomo.reconstruct(publish_run(), AT_15_5)
    thread = run_in_thread(conductor)
    wait_for(lambda: job.state is State.RUNNING)
    later = lease(2, expires=time.time() + 30)
    job.node.create_container(claim_key(2), metadata=later)
    wait_for(lambda: job.node[claim_key(1)].metadata["released"], 10)
    conductor.stop()
    thread.join()
    assert job.state is State.RUNNING


def test_stopped_while_preparing(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.compute.workbench.prepare", waiting)
    job = tomo.reconstruct(publish_run(), AT_15_5)
    thread = run_in_thread(conductor)
    wait_for(lambda: job.state is State.RUNNING)
    conductor.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert job.state is State.QUEUED


def test_what_was_interrupted_comes_before_what_was_asked_for_later(
    folder: Any, conductor: Conductor
) -> None:
    jobs = [ask(folder, f"job-{number}", requested_at=float(number)) for number in range(3)]
    claim = try_claim(jobs[0].node, Worker(), 30.0)
    assert claim is not None
    ReconstructionWriter(claim).enter(State.RUNNING)
    claim.release()
    assert conductor.step()
    assert [job.state for job in jobs] == [State.FAILED, State.QUEUED, State.QUEUED]


@pytest.mark.parametrize("served", [True, False])
def test_files_outside_the_readable_folders_are_left_to_the_service(
    tomo: Tomo,
    quiet_service: RunningService,
    settings: Settings,
    raw_folder: Path,
    tmp_path: Path,
    served: bool,
) -> None:
    folder = raw_folder if served else tmp_path
    job = tomo.reconstruct(publish(tomo.raw, documents(SmallScan(), folder)), AT_15_5)
    confined = Conductor(quiet_service.uri, quiet_service.api_key, settings, readable=[tmp_path / "nothing"])
    assert confined.step()
    confined.close()
    metadata = job.node.refresh().metadata
    assert metadata["status"]["state"] == ("done" if served else "failed")
    provenance = metadata.get("provenance", {})
    assert not provenance.get("raw_files")
    # Nobody may take them for unchanged.
    assert len(provenance.get("raw_files_unseen", ())) == (3 if served else 0)


def test_a_wrong_key_ends_the_conductor_with_a_reason(
    quiet_service: RunningService, settings: Settings
) -> None:
    conductor = Conductor(quiet_service.uri, "wrong", settings)
    with pytest.raises(NotAllowedError, match="does not accept this API key"):
        conductor.run()


def test_an_unexpected_error_in_the_search_does_not_end_the_conductor(
    folder: Any, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def search(*arguments: Any) -> list[Any]:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("oops")
        return find_waiting(*arguments)

    monkeypatch.setattr(loop, "find_waiting", search)
    job = ask(folder, "after-all")
    thread = run_in_thread(conductor)
    wait_for(lambda: job.state is State.FAILED, 20)
    conductor.stop()
    thread.join()


def test_two_conductors_do_not_share_a_log_file(tmp_path: Path) -> None:
    first, held = reserve_log(tmp_path)
    second, held_too = reserve_log(tmp_path)
    assert [first.name, second.name] == ["conductor.log", "conductor-2.log"]
    held.close()
    again, held = reserve_log(tmp_path)
    assert again == first
    held.close()
    held_too.close()
