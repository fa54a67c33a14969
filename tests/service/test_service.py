"""The service as people start it: one folder, one port, everything in child processes."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from tiled.structures.array import ArrayStructure
from tiled.structures.data_source import Asset, DataSource, Management

from callbacks import ReconstructionTrigger
from tests.service.conftest import connected, pace, wait_for
from tests.service.scans import SLOW, SLOW_RECIPE, SmallScan, documents, publish, reconstructed
from tomoservice.catalog.nodes import ensure_container
from tomoservice.catalog.states import State
from tomoservice.client import Tomo
from tomoservice.errors import ServiceUnavailableError, SettingsError
from tomoservice.service.app import tiled_configuration
from tomoservice.service.running import RunningService, _send, running_service
from tomoservice.service.server import _listen, serve
from tomoservice.service.supervisor import ConductorSupervisor
from tomoservice.settings import load_settings

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


def conductors(service: RunningService) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(service.pid).children()
        if "tomoservice.conductor" in child.cmdline()
    ]


LONG = replace(SLOW, rows=640)
"""Ten slabs: after the first of them there is time to do something before the last."""


@dataclass(frozen=True)
class Site:
    """Where a service is to be, and where its raw files are."""

    data: Path
    raw: Path

    @classmethod
    def new(cls, folder: Path) -> Site:
        raw = folder / "raw"
        raw.mkdir()
        return cls(folder / "data", raw)

    def start(self, *, embedded: bool) -> AbstractContextManager[RunningService]:
        folders = {"service": {"raw_folders": [str(self.raw)]}}
        return running_service(self.data, {**pace(embedded=embedded), **folders}, ready_s=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.new(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def whole_service(site: Site) -> Iterator[RunningService]:
    """A service with its conductor, as people start it."""
    with site.start(embedded=True) as service:
        yield service


def test_from_a_trigger_to_a_volume(whole_service: RunningService, site: Site, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with connected(whole_service) as tomo:
        uid = publish(tomo.raw, documents(SmallScan(), site.raw))
        with ReconstructionTrigger(whole_service.uri, whole_service.api_key, spool=spool) as trigger:
            for name, doc in _start_and_stop(tomo.raw[uid].metadata, AT_15_5):
                trigger(name, doc)
            assert trigger.wait(10)
        [job] = tomo.reconstructions(uid)
        job.wait(60)
        assert np.array_equal(job.volume[:], reconstructed(SmallScan(), AT_15_5))


def _start_and_stop(metadata: Any, recipe: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    start = {**metadata["start"], "tomo": {**metadata["start"]["tomo"], "recipe": recipe}}
    return [("start", start), ("stop", dict(metadata["stop"]))]


def test_a_killed_conductor_is_replaced_and_its_slabs_are_kept(
    whole_service: RunningService, site: Site
) -> None:
    with connected(whole_service) as tomo:
        uid, other = (publish(tomo.raw, documents(scan, site.raw)) for scan in (LONG, SmallScan()))
        batch = tomo.batch([uid, other], SLOW_RECIPE)
        wait_for(lambda: "waiting" not in batch.summary.counts)
        job = batch.job(1)
        slabs = site.data / "volumes" / uid / job.record.reconstruction_id / "slabs"
        wait_for(lambda: any(slabs.glob("*.json")), 60)
        [conductor] = conductors(whole_service)
        os.kill(conductor.pid, signal.SIGKILL)
        conductor.wait(5)
        before = {path.name: path.read_bytes() for path in slabs.glob("*.json")}
        assert 0 < len(before) < 10

        # The service starts another conductor, which finds the lease expired and goes on.
        job.wait(60)
        after = {path.name: path.read_bytes() for path in slabs.glob("*.json")}
        assert {name: after[name] for name in before} == before
        assert {json.loads(text)["attempt"] for text in after.values()} == {1, 2}
        assert np.array_equal(job.volume[:], reconstructed(LONG, SLOW_RECIPE))
        # The rest of the batch went on as well; its axis lies beside the smaller detector.
        summary = batch.wait(60)
        assert (summary.done, summary.failed) == (1, 1)


@dataclass(frozen=True)
class Killed:
    """What was known of a service before it was killed."""

    site: Site
    api_key: str
    conductor: psutil.Process
    uid: str
    path: str
    volume: NDArray[np.float32]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """A service that was killed after its first reconstruction."""
    site = Site.new(tmp_path_factory.mktemp("killed"))
    with site.start(embedded=True) as service:
        with connected(service) as tomo:
            uid = publish(tomo.raw, documents(SmallScan(), site.raw))
            job = tomo.reconstruct(uid, AT_15_5).wait(60)
            volume, path = job.volume[:], job.path
        [conductor] = conductors(service)
        os.kill(service.pid, signal.SIGKILL)
    return Killed(site, service.api_key, conductor, uid, path, volume)


def test_a_killed_service_leaves_nothing_running(killed: Killed) -> None:
    # It hears of it at once, but may be in the middle of a request that its client repeats for a while.
    killed.conductor.wait(40)


def test_a_killed_service_loses_nothing(killed: Killed) -> None:
    # Its lock died with it, though not the file that says where it was.
    assert (killed.site.data / "service.json").exists()
    with killed.site.start(embedded=False) as again, connected(again) as tomo:
        assert again.api_key == killed.api_key
        assert list(tomo.root) == ["raw", "processed", "recipes", "batches", "live"]
        assert tomo.runs == [killed.uid]
        node = tomo.root[killed.path]
        assert node.metadata["status"]["state"] == State.DONE
        assert np.array_equal(node["volume"][:], killed.volume)
        assert len(tomo.raw[killed.uid]["primary"]["rotation"].read()) == SmallScan().angles


def test_a_second_service_in_the_same_folder_is_refused(quiet_service: RunningService) -> None:
    with pytest.raises(SettingsError, match=rf"already works in .* at {quiet_service.uri}"):
        serve(load_settings(flags={"data": quiet_service.data, "service": {"port": 0}}))
    with (
        pytest.raises(ServiceUnavailableError, match="already works in"),
        running_service(quiet_service.data, pace()),
    ):
        pass


def test_a_port_that_is_taken_is_named(tmp_path: Path, quiet_service: RunningService) -> None:
    port = int(quiet_service.uri.rpartition(":")[2])
    with pytest.raises(SettingsError, match=rf"cannot listen on 127.0.0.1:{port} .*choose another"):
        serve(load_settings(flags={"data": tmp_path, "service": {"port": port}}))


def test_a_port_is_taken_from_the_moment_it_is_chosen(tmp_path: Path) -> None:
    # A service takes seconds from here to its first answer; meanwhile another one may start.
    with _listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"cannot listen on 127.0.0.1:{port} .*choose another"):
            _listen("127.0.0.1", port).close()


def test_a_service_that_wants_a_key_closes_its_folder(tmp_path: Path, quiet_service: RunningService) -> None:
    # With a port that is taken it ends before it has served anything.
    port = int(quiet_service.uri.rpartition(":")[2])
    for anonymous, mode in ((True, 0o755), (False, 0o700)):
        folder = tmp_path / str(anonymous)
        folder.mkdir(mode=0o755)
        service = {"port": port, "anonymous_read": anonymous}
        with pytest.raises(SettingsError, match="cannot listen"):
            serve(load_settings(flags={"data": folder, "service": service}))
        assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_a_conductor_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program, started = tmp_path / "python", tmp_path / "started"
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr("tomoservice.service.supervisor.FIRST_PAUSE_S", 0.1)
    supervisor = ConductorSupervisor("http://127.0.0.1:1", "key", load_settings())
    supervisor.start()
    try:
        wait_for(lambda: "the conductor cannot be started" in caplog.text, 5)
        draft = tmp_path / "draft"
        draft.write_text(f"#!/bin/sh\ntouch {started}\nexec sleep 60\n")
        draft.chmod(0o700)
        draft.rename(program)
        wait_for(started.exists, 10)
    finally:
        supervisor.stop()


def test_a_run_that_is_not_there_is_not_another_one(tomo: Tomo, publish_run: Callable[..., str]) -> None:
    assert tomo.raw[publish_run()].metadata["stop"]["exit_status"] == "success"
    with pytest.raises(KeyError):
        tomo.raw["no-such-run-at-all"]


def test_where_the_service_is_can_be_read(quiet_service: RunningService) -> None:
    info = json.loads((quiet_service.data / "service.json").read_text())
    assert info["uri"] == quiet_service.uri
    assert info["pid"] == quiet_service.pid
    assert info["version"]
    with urllib.request.urlopen(f"{quiet_service.uri}/healthz", timeout=5) as answer:
        assert answer.status == 200


def test_only_files_in_the_declared_folders_are_served(
    quiet_service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_TIMEOUT", 0.1)
    data = quiet_service.data
    inside = [data / place / "inside.h5" for place in ("raw", "volumes", "storage", "../raw")]
    # The data folder itself holds the catalogue and the key.
    outside = [tmp_path / "outside.h5", data / "beside.h5", data / "logs" / "beside.h5"]
    for path in (*inside, *outside):
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(3.0)
    with connected(quiet_service) as tomo:
        for path in inside:
            assert list(_registered(tomo, path.resolve()).read()) == [0, 1, 2]
        for path in outside:
            with pytest.raises(httpx.HTTPStatusError):
                _registered(tomo, path).read()


def _registered(tomo: Tomo, path: Path) -> Any:
    source = DataSource(
        structure_family="array",
        structure=ArrayStructure.from_array(np.arange(3.0)),
        mimetype="application/x-hdf5",
        management=Management.external,
        parameters={"dataset": "x"},
        assets=[Asset(data_uri=f"file://localhost{path}", is_directory=False, parameter="data_uris", num=0)],
    )
    return ensure_container(tomo.root, "files").new("array", [source])


def test_the_configuration_takes_its_values_from_the_settings(tmp_path: Path) -> None:
    settings = load_settings(
        flags={
            "data": tmp_path,
            "volumes": "/v",
            "service": {"raw_folders": ["/a", "/b"], "anonymous_read": False},
        }
    )
    filled = tiled_configuration(settings, "key")
    arguments = filled["catalog"]
    assert arguments["uri"] == f"sqlite:///{tmp_path}/catalog.db"
    assert arguments["readable_storage"] == [f"{tmp_path}/raw", "/v", "/a", "/b"]
    assert filled["authentication"] == {"single_user_api_key": "key", "allow_anonymous_access": False}


def test_ctrl_c_is_an_orderly_end_without_a_word_too_many(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tomoservice", "serve", "--data", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stderr is not None
            told = [child.stdout.readline()]
            while told[-1] != "Ctrl-C stops the service\n":
                told.append(child.stdout.readline())
                assert told[-1], told
            log = tmp_path / "logs" / "conductor.log"
            wait_for(lambda: log.exists() and " at work" in log.read_text(), 60)
            # By now the server has a connection to the workers, which go before it does.
            time.sleep(2)
            child.send_signal(signal.SIGINT)
            assert child.wait(20) == 0
            said = child.stderr.read().splitlines()
        finally:
            child.kill()
    assert not (tmp_path / "service.json").exists()
    # What a person reads in the terminal is ours, line by line.
    assert [line for line in said if not re.search(r"^starting|INFO tomoservice\.", line)] == []


def test_it_starts_while_a_library_writes_to_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Channel Access does in a session: in C, where Python's lock is not held."""
    library, started = ctypes.CDLL(None), threading.Event()

    def write() -> None:
        while not started.is_set():
            for number in range(200):
                library.setenv(b"TOMOSERVICE_NOISE_%d" % number, b"1", 1)
            for number in range(200):
                library.unsetenv(b"TOMOSERVICE_NOISE_%d" % number)

    writer = threading.Thread(target=write)

    def quietly(*given: Any) -> None:
        # The child runs. Nobody else in this process can read what is written at the same time.
        started.set()
        writer.join()
        _send(*given)

    monkeypatch.setattr("tomoservice.service.running._send", quietly)
    writer.start()
    try:
        with running_service(tmp_path / "data") as service:
            assert httpx.get(f"{service.uri}/api/v1/", timeout=30).status_code == 200
    finally:
        started.set()
