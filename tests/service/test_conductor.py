"""The conductor: from a queued node to a volume that any Tiled client reads."""

from __future__ import annotations

import io
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiled.client import from_uri
from tiled.structures.core import Spec

from tests.service.conftest import pace, wait_for
from tests.service.scans import SLOW, SLOW_RECIPE, SmallScan, reconstructed
from tomoservice.catalog.claims import latest_lease
from tomoservice.catalog.nodes import ensure_container
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import disconnect
from tomoservice.client import Job, Tomo
from tomoservice.conductor.job import store_folder
from tomoservice.conductor.loop import Conductor
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.logs import start_logging
from tomoservice.recipe import parse_recipe
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings, load_settings
from tomoservice.store import SlabMarker, SlabStore

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


def run_in_thread(conductor: Conductor) -> threading.Thread:
    thread = threading.Thread(target=conductor.run)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.conductor.watch.LOOK_S", 0.1)


@dataclass(frozen=True)
class Logged:
    """What the process of a conductor logs, and this one meanwhile."""

    file: Path
    terminal: io.StringIO


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    root, file, terminal = logging.getLogger(), tmp_path / "conductor.log", io.StringIO()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "warning")
    start_logging(file)
    ours = root.handlers[:]
    for handler in ours:
        if type(handler) is logging.StreamHandler:
            handler.setStream(terminal)
    yield Logged(file, terminal)
    root.setLevel(level)
    for handler in ours:
        handler.close()


def markers(job: Job, settings: Settings) -> dict[int, SlabMarker]:
    return SlabStore.open(store_folder(settings, job.record)).markers()


def wait_for_a_slab(job: Job, settings: Settings) -> None:
    slabs = store_folder(settings, job.record) / "slabs"
    wait_for(lambda: any(slabs.glob("*.json")))


def test_the_whole_way(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, quiet_service: RunningService
) -> None:
    uid = publish_run()
    job = tomo.reconstruct(uid, AT_15_5)
    assert job.state is State.QUEUED
    # Before anybody works on it, and without having to wait for it.
    assert job.volume.shape == (16, 32, 32)
    assert conductor.step()
    assert job.wait(1).state is State.DONE

    # By somebody who has nothing but Tiled, and no key.
    plain = from_uri(quiet_service.uri)
    node = plain["processed", uid, job.record.reconstruction_id]
    volume = node["volume"][:]
    assert volume.dtype == np.float32
    assert np.array_equal(volume, reconstructed(SmallScan(), AT_15_5))
    # A third of a disc's radius away from its edges, the grey value is its attenuation.
    assert abs(volume[8, 15:18, 16:19].mean() / SmallScan().attenuation - 1) < 0.03
    assert node["volume"].dims == ("z", "y", "x")
    disconnect(plain)


def test_the_record_says_what_was_done(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, settings: Settings
) -> None:
    uid = publish_run()
    job = tomo.reconstruct(uid)
    assert conductor.step()
    job.wait(5, show_progress=True)
    metadata = job.node.refresh().metadata
    asked, resolved = parse_recipe(metadata["recipe"]), parse_recipe(metadata["resolved_recipe"])
    assert asked.rotation_axis.method == "auto"
    assert resolved.rotation_axis.method == "value"
    assert metadata["recipe_hash"] == asked.hash
    assert metadata["resolved_recipe_hash"] == resolved.hash
    provenance = metadata["provenance"]
    assert provenance["raw_uid"] == uid
    assert {Path(file["path"]).name for file in provenance["raw_files"]} == {
        f"{uid}_{stream}.h5" for stream in ("primary", "flat", "dark")
    }
    assert all(len(file["sha256"]) == 64 for file in provenance["raw_files"])
    assert provenance["software"]["tiled"]
    assert provenance["started"] < provenance["finished"]
    assert set(provenance["timings_s"]) >= {"read", "reconstruct", "write"}
    store = SlabStore.open(store_folder(settings, job.record))
    assert job.volume.metadata["checksum"] == provenance["volume_checksum"] == store.checksum()
    assert list(job.volume.metadata["voxel_size_um"]) == [1.5, 1.5, 1.5]
    axis = job.node["quality", "axis"]
    curve = axis.read()
    assert curve["rotation_axis"].between(0, 31).all()
    assert axis.metadata["rotation_axis"] == resolved.rotation_axis.value
    references = job.node["quality", "references"]
    assert dict(references.metadata) == {"flats": 3, "darks": 3, "dead_pixels": 0}
    assert list(references.read()["kind"]) == ["flat"] * 3 + ["dark"] * 3
    assert job.progress["percent"] == 100


def test_a_client_with_nothing_but_tiled_can_ask(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    uid = publish_run()
    run = ensure_container(tomo.root["processed"], uid)
    node = run.create_container(
        "mine",
        metadata={"recipe": AT_15_5, "status": {"state": "queued"}},
        specs=[Spec("TomoReconstruction", version="1")],
    )
    assert conductor.step()
    assert node.refresh().metadata["status"]["state"] == "done"
    assert node["volume"].shape == (16, 32, 32)


# Tiled 0.2.20 opens its websocket in a way that websockets 17.1 deprecates.
@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")
def test_who_has_subscribed_hears_of_the_volume(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    heard: list[str] = []

    def note(update: Any) -> None:
        heard.append(update.key)

    with ThreadPoolExecutor(1) as executor:
        subscription = job.node.subscribe(executor)
        subscription.child_created.add_callback(note)
        with subscription.start_in_thread(0):
            assert conductor.step()
            wait_for(lambda: "quality" in heard, 10)
    # The service may describe the volume before anybody claims it.
    assert max(heard.index("claim-1"), heard.index("volume")) < heard.index("quality")


def test_a_recipe_that_does_not_fit_says_so(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    job = tomo.reconstruct(publish_run(), {"rotation_axis": {"method": "value", "value": 400.0}})
    assert conductor.step()
    with pytest.raises(CatalogError, match=r"is failed: .*400") as caught:
        job.wait(1)
    assert "traceback" not in str(caught.value)
    lease = latest_lease(job.node)
    assert lease is not None
    assert lease.released


def test_a_missing_raw_file_says_so_and_can_be_mended(
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    raw_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_TIMEOUT", 1.0)
    # The service says the same of a file that is missing for good and of a mount that is away for a moment.
    monkeypatch.setattr("tomoservice.conductor.patience.FAULTS_S", 1.0)
    uid = publish_run()
    file, aside = raw_folder / f"{uid}_primary.h5", raw_folder / "aside.h5"
    file.rename(aside)
    job = tomo.reconstruct(uid, AT_15_5)
    assert conductor.step()
    assert job.state is State.FAILED
    assert re.search(
        rf"Tiled answers 500 .*{file.name} is not visible from here.*given up after 1 s", job.status.message
    )
    aside.rename(file)
    job.queue_again()
    assert conductor.step()
    # The second was that of whoever queued it again.
    assert job.wait(1).status.attempt == 3


def test_a_raw_file_that_is_away_for_a_while_is_waited_for(
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    raw_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_TIMEOUT", 0.1)
    uid = publish_run()
    file, aside = raw_folder / f"{uid}_primary.h5", raw_folder / "away.h5"
    file.rename(aside)
    job = tomo.reconstruct(uid, AT_15_5)
    thread = run_in_thread(conductor)
    wait_for(lambda: str(job.progress.get("stage")).startswith("waiting: reading"), 30)
    assert file.name in job.progress["stage"]
    assert job.state is State.RUNNING
    aside.rename(file)
    job.wait(60)
    conductor.stop()
    thread.join()
    assert job.status.attempt == 1


def test_a_bug_fails_the_reconstruction_and_not_the_conductor(
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    logged: Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)

    def buggy(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("tomoservice.compute.workbench.prepare", buggy)
    assert conductor.step()
    assert job.state is State.FAILED
    where = f"the traceback is in the log on {socket.gethostname()}, search for {job.path}"
    assert f"unexpected ZeroDivisionError: oops; {where}" in job.status.message
    written = logged.file.read_text()
    found = written[written.index(job.path) :]
    assert re.search(
        r"unexpected error\nTraceback .*, in buggy\n.*ZeroDivisionError: oops\n", found, re.DOTALL
    )
    assert found.count("ZeroDivisionError: oops\n") == 1


def test_the_log_has_the_traceback_of_what_is_expected_too(
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    logged: Logged,
) -> None:
    job = tomo.reconstruct(publish_run(), {"rotation_axis": {"method": "value", "value": 400.0}})
    assert conductor.step()
    assert job.state is State.FAILED
    failed = f"{job.path}: failed: {job.status.message}\n"
    written, said = logged.file.read_text(), logged.terminal.getvalue()
    cause = written[written.index(failed) + len(failed) :]
    assert cause.startswith("Traceback (most recent call last):\n")
    assert re.search(r", in check_inside\n.*\ntomoservice\.errors\.\w+: .*400", cause, re.DOTALL)
    # The terminal is for people, who have the message.
    assert failed in said
    assert "Traceback" not in said


def test_a_run_that_is_not_there_cannot_be_asked_for(tomo: Tomo) -> None:
    with pytest.raises(CatalogError, match="there is no run 'nonsense'; `scans` lists"):
        tomo.reconstruct("nonsense")


def test_a_wrong_recipe_cannot_be_asked_for(tomo: Tomo, publish_run: Callable[..., str]) -> None:
    with pytest.raises(RecipeError, match="neither a file nor a shipped recipe"):
        tomo.reconstruct(publish_run(), "nonsense")


def test_cancelled_before_anybody_began(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    job.cancel()
    job.cancel()
    # Nobody works on it, so nobody has to be waited for.
    assert job.state is State.CANCELLED
    assert not conductor.step()
    job.queue_again()
    assert conductor.step()
    assert job.state is State.DONE


def test_cancelled_in_the_middle_then_finished(
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    settings: Settings,
    slow_volume: np.ndarray,
) -> None:
    uid = publish_run(SLOW)
    job = tomo.reconstruct(uid, SLOW_RECIPE)
    thread = run_in_thread(conductor)
    wait_for_a_slab(job, settings)
    job.cancel()
    with pytest.raises(CatalogError, match="cancelled by a user"):
        job.wait(20)
    before = markers(job, settings)
    assert 0 < len(before) < 6
    job.queue_again()
    job.wait(30)
    conductor.stop()
    thread.join()
    after = markers(job, settings)
    assert {index: after[index] for index in before} == before
    # The second was that of whoever queued it again.
    assert sorted({marker.attempt for marker in after.values()}) == [1, 3]
    assert np.array_equal(job.volume[:], slow_volume)


def test_a_conductor_that_is_stopped_gives_its_work_back_at_once(
    tomo: Tomo, publish_run: Callable[..., str], quiet_service: RunningService
) -> None:
    settings = load_settings(flags={"data": quiet_service.data, **pace(lease_s=600)})
    first, second = (Conductor(quiet_service.uri, quiet_service.api_key, settings) for _ in range(2))
    job = tomo.reconstruct(publish_run(SLOW), SLOW_RECIPE)
    thread = run_in_thread(first)
    wait_for_a_slab(job, settings)
    first.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert job.state is State.QUEUED
    assert "given back" in job.status.message
    # The lease is ten minutes long: only because it was given back does nobody wait for it.
    assert second.step()
    assert job.wait(1).status.attempt == 2
    second.close()


def test_slabs_with_another_axis_are_not_mixed_in(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, settings: Settings
) -> None:
    uid = publish_run()
    job = tomo.reconstruct(uid, AT_15_5)
    folder = store_folder(settings, job.record)
    store = SlabStore.create(folder, (16, 32, 32), (16, 32, 32), attempt=1)
    store.keep_only("something else")

    class Slab:
        index, start, stop = 0, 0, 16

    store.commit(Slab, np.zeros((16, 32, 32), np.float32))  # type: ignore[arg-type]
    assert conductor.step()
    assert np.array_equal(job.volume[:], reconstructed(SmallScan(), AT_15_5))


def test_a_reconstruction_that_kills_conductors_is_given_up(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    for attempt in (1, 2, 3):
        lease = {"attempt": attempt, "host": "gone", "pid": 1, "identity": "x", "expires": 0.0}
        job.node.create_container(f"claim-{attempt}", metadata=lease)
    assert conductor.step()
    assert job.state is State.FAILED
    assert "3 conductors in a row died" in job.status.message


def test_a_deleted_reconstruction_is_left_alone(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, settings: Settings
) -> None:
    job = tomo.reconstruct(publish_run(SLOW), SLOW_RECIPE)
    thread = run_in_thread(conductor)
    wait_for_a_slab(job, settings)
    job.node.delete(recursive=True)
    follower = tomo.reconstruct(publish_run(), AT_15_5)
    follower.wait(30)
    conductor.stop()
    thread.join()


def test_waiting_has_an_end(tomo: Tomo, publish_run: Callable[..., str]) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    with pytest.raises(TimeoutError, match=r"not finished after 0\.1 s"):
        job.wait(0.1)
    job.node.delete(recursive=True)


def test_runs_at_several_distances_become_one_volume(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    near = publish_run()
    far = publish_run(start={"tomo": {"pixel_size_um": 1.5, "energy_kev": 20.0, "distance_mm": 300.0}})
    phase = {
        "method": "ctf_several",
        "material": {"method": "delta_beta", "delta_beta": 1.0},
        "scans": [{"scan": far, "shift": [0, 0]}],
    }
    job = tomo.reconstruct(near, {**AT_15_5, "phase": phase})
    assert conductor.step()
    assert job.wait(5).state is State.DONE
    metadata = job.node.refresh().metadata
    assert metadata["resolved_recipe"]["phase"]["scans"][0]["distance_mm"] == 300.0
    files = {Path(file["path"]).name.partition("_")[0] for file in metadata["provenance"]["raw_files"]}
    assert files == {near, far}
    elsewhere = tomo.reconstruct(near, {**AT_15_5, "phase": {**phase, "scans": [{"scan": "../elsewhere"}]}})
    assert conductor.step()
    assert elsewhere.state is State.FAILED
    assert "a recipe of the service names runs by their uids" in elsewhere.status.message
