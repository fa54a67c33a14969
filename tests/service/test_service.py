"""The service as people start it: one folder, one port, everything in child processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import psutil
import pytest
from tiled.structures.array import ArrayStructure
from tiled.structures.data_source import Asset, DataSource, Management

from callbacks import ReconstructionTrigger
from tests.service.conftest import connected, pace, wait_for
from tests.service.scans import SLOW, SLOW_RECIPE, SmallScan, documents, publish
from tomoservice.catalog.nodes import ensure_container
from tomoservice.catalog.states import State
from tomoservice.client import Tomo
from tomoservice.errors import ServiceUnavailableError, SettingsError
from tomoservice.service.app import tiled_configuration
from tomoservice.service.running import RunningService, running_service
from tomoservice.service.server import serve
from tomoservice.settings import load_settings


def conductors(service: RunningService) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(service.pid).children()
        if "tomoservice.conductor" in child.cmdline()
    ]


def test_from_a_trigger_to_a_volume_over_a_killed_conductor(tmp_path: Path, slow_volume: np.ndarray) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    settings = {**pace(embedded=True, lease_s=1.0), "service": {"raw_folders": [str(raw)]}}
    with running_service(tmp_path / "data", settings) as service, connected(service) as tomo:
        uid = publish(tomo.raw, documents(SLOW, raw))
        with ReconstructionTrigger(service.uri, service.api_key, spool=tmp_path / "spool") as trigger:
            for name, doc in _start_and_stop(tomo.raw[uid].metadata, SLOW_RECIPE):
                trigger(name, doc)
            assert trigger.wait(20)
        [job] = tomo.reconstructions(uid)
        slabs = tmp_path / "data" / "volumes" / uid / job.record.reconstruction_id / "slabs"
        wait_for(lambda: any(slabs.glob("*.json")))
        [conductor] = conductors(service)
        os.kill(conductor.pid, signal.SIGKILL)
        conductor.wait(5)
        before = {path.name: path.read_bytes() for path in slabs.glob("*.json")}
        assert 0 < len(before) < 6

        # The service starts another conductor, which finds the lease expired and goes on.
        job.wait(40)
        after = {path.name: path.read_bytes() for path in slabs.glob("*.json")}
        assert {name: after[name] for name in before} == before
        assert {json.loads(text)["attempt"] for text in after.values()} == {1, 2}
        assert np.array_equal(job.volume[:], slow_volume)


def _start_and_stop(metadata: Any, recipe: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    start = {**metadata["start"], "tomo": {**metadata["start"]["tomo"], "recipe": recipe}}
    return [("start", start), ("stop", dict(metadata["stop"]))]


def test_a_killed_service_leaves_nothing_running_and_loses_nothing(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    folders = {"service": {"raw_folders": [str(raw)]}}
    with running_service(tmp_path / "data", {**pace(embedded=True), **folders}) as service:
        with connected(service) as tomo:
            uid = publish(tomo.raw, documents(SmallScan(), raw))
            job = tomo.reconstruct(uid).wait(40)
            volume, path = job.volume[:], job.path
        [conductor] = conductors(service)
        os.kill(service.pid, signal.SIGKILL)
        conductor.wait(20)
    # Its lock died with it, though not the file that says where it was.
    assert (tmp_path / "data" / "service.json").exists()

    with running_service(tmp_path / "data", {**pace(), **folders}) as again, connected(again) as tomo:
        assert again.api_key == service.api_key
        assert list(tomo.root) == ["raw", "processed"]
        assert tomo.runs == [uid]
        assert tomo.root[path].metadata["status"]["state"] == State.DONE
        assert np.array_equal(tomo.root[path]["volume"][:], volume)
        assert len(tomo.raw[uid]["primary"]["rotation"].read()) == SmallScan().angles


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
    inside, outside = quiet_service.data / "inside.h5", tmp_path / "outside.h5"
    for path in (inside, outside):
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(3.0)
    with connected(quiet_service) as tomo:
        assert list(_registered(tomo, inside).read()) == [0, 1, 2]
        with pytest.raises(httpx.HTTPStatusError):
            _registered(tomo, outside).read()


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
    arguments = filled["trees"][0]["args"]
    assert arguments["uri"] == f"sqlite:///{tmp_path}/catalog.db"
    assert arguments["readable_storage"] == [str(tmp_path), "/v", "/a", "/b"]
    assert filled["authentication"] == {"single_user_api_key": "key", "allow_anonymous_access": False}


def test_ctrl_c_is_an_orderly_end(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tomoservice.service.server import serve; "
        "from tomoservice.settings import load_settings; "
        f"serve(load_settings(flags={{'data': Path({str(tmp_path)!r}), 'service': {{'port': 0}}}}), "
        "lambda info: print('ready', flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
    assert not (tmp_path / "service.json").exists()
