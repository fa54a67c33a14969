"""Both plans over real Channel Access: documents, files, and what Tiled makes of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from profiles.sim.launch import RunningIOC
from tests.beamline.conftest import OPTIONS, Document
from tomoservice.phantom import SimulatedCamera, default_phantom

if TYPE_CHECKING:
    from bluesky import RunEngine

    from profiles.beamline import Beamline

Record = Callable[[Any], list[Document]]


def of(documents: list[Document], name: str) -> list[dict[str, Any]]:
    return [document for kind, document in documents if kind == name]


def expected_transmission(angles_deg: npt.ArrayLike) -> npt.NDArray[np.float64]:
    integrals = default_phantom(OPTIONS.columns, OPTIONS.rows).line_integrals(
        angles_deg, rotation_axis=OPTIONS.axis
    )
    return np.exp(-integrals.astype(np.float64))


def check_frames(frames: Any, kind: str, angles_deg: npt.ArrayLike | None = None) -> None:
    """Compare frames with what the camera should have seen, within five standard deviations of its noise."""
    camera = SimulatedCamera(OPTIONS.rows, OPTIONS.columns)
    light = np.asarray(frames, dtype=np.float64) - camera.offset
    if kind == "dark":
        np.testing.assert_allclose(light, 0.0, atol=1)
        return
    expected = np.ones_like(light) if angles_deg is None else expected_transmission(angles_deg)
    spread = OPTIONS.noise * np.sqrt(expected) * camera.open_beam + 1
    score = (light - expected * camera.open_beam) / spread
    assert np.abs(score).max() < 6
    assert 0.8 < score.std() < 1.2


def check_start(document: dict[str, Any], plan_name: str, num_projections: int) -> None:
    assert document["plan_name"] == plan_name
    assert document["scan_layout"] == "tomoservice"
    assert (document["sample_name"], document["proposal"]) == ("bone 7", "20260001")
    tomo = document["tomo"]
    assert tomo["energy_kev"] == pytest.approx(25.0)
    assert tomo["pixel_size_um"] == pytest.approx(3.25)
    assert tomo["distance_mm"] == pytest.approx(50.0)
    assert 290 < tomo["ring_current_ma"] <= 300
    assert (tomo["detector"], tomo["rotation"]) == ("camera", "rotation")
    assert (tomo["start_deg"], tomo["stop_deg"], tomo["num_projections"]) == (0.0, 180.0, num_projections)
    assert (tomo["num_flats"], tomo["num_darks"]) == (3, 2)
    assert "projections" not in document


def check_schemas(documents: list[Document]) -> None:
    from event_model import DocumentNames, schema_validators

    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def tiled_uri(tmp_path_factory: pytest.TempPathFactory, frames_directory: Path) -> Iterator[str]:
    """A real Tiled server in a process of its own, its catalogue in SQLite."""
    folder = tmp_path_factory.mktemp("tiled")
    config = {
        "trees": [
            {
                "path": "/",
                "tree": "catalog",
                "args": {
                    "uri": f"sqlite:///{folder}/catalog.db",
                    "init_if_not_exists": True,
                    "writable_storage": [str(folder / "storage"), f"duckdb:///{folder}/tables.duckdb"],
                    "readable_storage": [str(frames_directory)],
                },
            }
        ],
        "authentication": {"single_user_api_key": "secret"},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    command = ["--factory", "tiled.server.app:app_factory", "--host=127.0.0.1", f"--port={port}"]
    environment = os.environ | {"TILED_CONFIG": str(folder / "config.yml")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *command], env=environment, stdout=log, stderr=log
        )
    deadline = time.monotonic() + 45
    while not answers(port):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/api/v1"
    process.terminate()
    process.wait(timeout=10)


@pytest.fixture
def tiled_raw(tiled_uri: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty container for runs."""
    from tiled.client import from_uri

    client = from_uri(tiled_uri, api_key="secret")
    yield client.create_container(f"raw-{request.node.callspec.id}", specs=["CatalogOfBlueskyRuns"])
    client.context.close()


def publish(run_engine: RunEngine, raw: Any, plan: Any) -> Any:
    from bluesky_tiled_plugins import TiledWriter

    token = run_engine.subscribe(TiledWriter(raw, batch_size=20))
    try:
        (uid,) = run_engine(plan)
    finally:
        run_engine.unsubscribe(token)
    return raw[uid]


def test_a_step_scan_describes_every_frame(beamline: Beamline, record: Record) -> None:
    from profiles.plans import tomo_scan

    documents = record(tomo_scan(beamline, 6, num_flats=3, num_darks=2))
    check_schemas(documents)
    (start,) = of(documents, "start")
    check_start(start, "tomo_scan", 6)
    streams = {document["uid"]: document["name"] for document in of(documents, "descriptor")}
    assert sorted(streams.values()) == ["dark", "flat", "primary"]
    events = of(documents, "event")
    assert Counter(streams[event["descriptor"]] for event in events) == {"dark": 2, "flat": 3, "primary": 6}
    angles = [event["data"]["rotation"] for event in events if streams[event["descriptor"]] == "primary"]
    np.testing.assert_allclose(angles, np.arange(6) * 30.0, atol=1e-6)
    for document in of(documents, "descriptor"):
        assert list(document["data_keys"]["camera_image"]["shape"]) == [OPTIONS.rows, OPTIONS.columns]
    for resource in of(documents, "resource"):
        assert resource["spec"] == "AD_HDF5"
        assert resource["resource_kwargs"] == {
            "dataset": "/entry/data/data",
            "chunk_shape": [1, OPTIONS.rows, OPTIONS.columns],
            "swmr": True,
        }
    assert of(documents, "stop")[0]["exit_status"] == "success"


def test_a_fly_scan_publishes_frames_while_it_writes_them(beamline: Beamline, record: Record) -> None:
    from profiles.plans import tomo_fly

    documents = record(tomo_fly(beamline, 60, num_flats=3, num_darks=2))
    check_schemas(documents)
    (start,) = of(documents, "start")
    check_start(start, "tomo_fly", 60)
    streams = {document["uid"]: document for document in of(documents, "descriptor")}
    keys = next(iter(streams.values()))["data_keys"]
    assert list(keys["camera_image"]["shape"]) == [OPTIONS.rows, OPTIONS.columns]
    assert list(keys["camera_angle"]["shape"]) == []
    resources = {document["uid"]: document for document in of(documents, "stream_resource")}
    assert {document["parameters"]["swmr"] for document in resources.values()} == {True}
    ranges: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for document in of(documents, "stream_datum"):
        key = (streams[document["descriptor"]]["name"], resources[document["stream_resource"]]["data_key"])
        ranges.setdefault(key, []).append((document["indices"]["start"], document["indices"]["stop"]))
    for (stream, _), parts in ranges.items():
        assert [part[0] for part in parts] == [0, *(part[1] for part in parts[:-1])]
        assert parts[-1][1] == {"dark": 2, "flat": 3, "primary": 60}[stream]
    assert len(ranges) == 6
    assert len(ranges["primary", "camera_image"]) >= 3
    path = next(
        unquote(urlparse(resource["uri"]).path)
        for uid, resource in resources.items()
        if resource["data_key"] == "camera_angle"
        and any(
            streams[document["descriptor"]]["name"] == "primary" and document["stream_resource"] == uid
            for document in of(documents, "stream_datum")
        )
    )
    with h5py.File(path) as file:
        angles = file["/entry/instrument/NDAttributes/Angle"][:]
        identifiers = file["/entry/instrument/NDAttributes/UniqueId"][:]
        stamps = file["/entry/instrument/NDAttributes/TimeStamp"][:]
        frames = file["/entry/data/data"][:]
    # constant speed, no frame lost, starting where it was told to
    np.testing.assert_allclose(np.diff(angles), 3.0, atol=0.02)
    np.testing.assert_array_equal(np.diff(identifiers), 1)
    np.testing.assert_allclose(np.diff(stamps), 0.02, atol=1e-4)
    assert abs(angles[0]) < 3.0
    check_frames(frames, "primary", angles)


@pytest.mark.parametrize("plan_name", ["tomo_scan", "tomo_fly"])
def test_tiled_serves_the_frames_that_were_written(
    plan_name: str, beamline: Beamline, run_engine: RunEngine, tiled_raw: Any
) -> None:
    from profiles import plans

    plan = getattr(plans, plan_name)(beamline, 12, num_flats=3, num_darks=2)
    run = publish(run_engine, tiled_raw, plan)
    assert run.metadata["stop"]["exit_status"] == "success"
    for stream, count in (("dark", 2), ("flat", 3), ("primary", 12)):
        node = run[stream]["camera_image"]
        assert node.shape == (count, OPTIONS.rows, OPTIONS.columns)
        assert node.chunks[0] == (1,) * count
        (source,) = node.data_sources()
        with h5py.File(unquote(urlparse(source.assets[0].data_uri).path)) as file:
            written = file[source.parameters["dataset"]][:]
        np.testing.assert_array_equal(node.read(), written)
        np.testing.assert_array_equal(node[1], written[1])
        angles = None
        if stream == "primary":
            key = "rotation" if plan_name == "tomo_scan" else "camera_angle"
            angles = np.asarray(run[stream][key].read(), dtype=np.float64)
            assert angles.shape == (12,)
        check_frames(written, stream, angles)


def test_flats_can_come_last(beamline: Beamline, record: Record) -> None:
    from profiles.plans import tomo_fly

    documents = record(tomo_fly(beamline, 4, num_flats=2, num_darks=0, flats_after=True, exposure_s=0.05))
    assert [document["name"] for document in of(documents, "descriptor")] == ["primary", "flat"]


def test_more_metadata_about_the_scan_adds_to_what_is_known(beamline: Beamline, record: Record) -> None:
    from profiles.plans import tomo_scan

    more = {"tomo": {"rotation_axis": 25.25}, "operator": "me"}
    start = of(record(tomo_scan(beamline, 2, num_flats=1, num_darks=1, md=more)), "start")[0]
    assert start["operator"] == "me"
    assert start["tomo"]["rotation_axis"] == 25.25
    assert start["tomo"]["num_projections"] == 2
    assert start["tomo"]["pixel_size_um"] > 0


def test_a_scan_may_turn_backwards(beamline: Beamline, record: Record) -> None:
    from profiles.plans import tomo_fly

    documents = record(
        tomo_fly(beamline, 20, start_deg=90.0, stop_deg=-90.0, num_flats=0, num_darks=0, exposure_s=0.01)
    )
    (resource,) = [one for one in of(documents, "stream_resource") if one["data_key"] == "camera_angle"]
    with h5py.File(unquote(urlparse(resource["uri"]).path)) as file:
        angles = file["/entry/instrument/NDAttributes/Angle"][:]
    np.testing.assert_allclose(np.diff(angles), -9.0, atol=0.1)
    # On a busy machine the camera starts a frame or so late; what counts is that the angles say so.
    assert abs(angles[0] - 90.0) < 2 * 9.0


class StoppedError(RuntimeError):
    pass


@pytest.mark.parametrize("plan_name", ["tomo_scan", "tomo_fly"])
def test_a_failed_scan_leaves_the_beamline_as_it_was(
    plan_name: str, beamline: Beamline, run_engine: RunEngine
) -> None:
    from profiles import plans

    beamline.shutter.set("open").wait(timeout=5)
    beamline.sample.move(0.5, timeout=5)
    velocity = beamline.rotation.velocity.get()
    documents: list[Document] = []

    def fail_during_flats(name: str, document: dict[str, Any]) -> None:
        documents.append((name, document))
        flat = any(one["name"] == "flat" for one in of(documents, "descriptor"))
        if flat and name in ("event", "stream_datum"):
            raise StoppedError

    run_engine.subscribe(fail_during_flats)
    with pytest.raises(StoppedError):
        run_engine(getattr(plans, plan_name)(beamline, 5, num_flats=3, num_darks=2))
    assert of(documents, "stop")[0]["exit_status"] == "fail"
    assert beamline.shutter.state == "open"
    assert beamline.sample.position == pytest.approx(0.5, abs=1e-6)
    assert beamline.rotation.velocity.get() == velocity
    assert beamline.camera.cam.acquire.get() == 0
    assert beamline.camera.hdf5.capture.get() == 0
    beamline.sample.move(0.0, timeout=5)


def test_what_cannot_be_put_back_does_not_keep_the_rest_from_it(
    beamline: Beamline, run_engine: RunEngine
) -> None:
    from profiles import plans

    velocity = beamline.rotation.velocity.get()
    beamline.rotation.velocity.set(velocity / 2).wait(timeout=5)
    found = plans._Found(shutter="ajar", sample=0.25, velocity=velocity)
    with pytest.raises(ValueError, match="ajar"):
        run_engine(plans._restore(beamline, found))
    assert beamline.rotation.velocity.get() == velocity
    assert beamline.sample.position == pytest.approx(0.25, abs=1e-6)
    beamline.sample.move(0.0, timeout=5)


def test_an_aborted_sweep_stops_and_keeps_what_there_is(beamline: Beamline, run_engine: RunEngine) -> None:
    from bluesky.utils import RunEngineInterrupted

    from profiles.plans import tomo_fly

    documents: list[Document] = []
    seen = threading.Event()

    def watch(name: str, document: dict[str, Any]) -> None:
        documents.append((name, document))
        if name == "stream_datum":
            seen.set()

    def interrupt() -> None:
        seen.wait(30)
        run_engine.request_pause()

    run_engine.subscribe(watch)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(RunEngineInterrupted):
        run_engine(tomo_fly(beamline, 2000, num_flats=0, num_darks=0))
    thread.join()
    if run_engine.state == "paused":
        run_engine.abort("enough")
    assert of(documents, "stop")[0]["exit_status"] == "abort"
    beamline.shutter.set("closed").wait(timeout=5)
    assert beamline.camera.cam.acquire.get() == 0
    assert not beamline.rotation.moving
    resources = of(documents, "stream_resource")
    published = of(documents, "stream_datum")[-1]["indices"]["stop"]
    with h5py.File(unquote(urlparse(resources[0]["uri"]).path)) as file:
        assert 0 < published <= file["/entry/data/data"].shape[0] < 2000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"num_projections": 0}, "num_projections must be a whole number, at least 1, not 0"),
        ({"num_projections": 2.5}, "not 2.5"),
        ({"num_projections": 5, "num_flats": -1}, "num_flats must be a whole number, at least 0, not -1"),
        ({"num_projections": 5, "exposure_s": 0.0}, "exposure_s must be positive, not 0.0"),
        ({"num_projections": 5, "exposure_s": "a"}, "exposure_s must be a number, not 'a'"),
        ({"num_projections": 5, "start_deg": None}, "start_deg must be a number, not None"),
        ({"num_projections": 5, "stop_deg": 0.0}, "two different angles, not 0.0 and 0.0"),
        ({"num_projections": 5, "stop_deg": 1e6}, r"outside of range: \[-3600"),
    ],
)
@pytest.mark.parametrize("plan_name", ["tomo_scan", "tomo_fly"])
def test_a_scan_that_makes_no_sense_does_not_start(
    plan_name: str, arguments: dict[str, Any], complaint: str, beamline: Beamline, run_engine: RunEngine
) -> None:
    from profiles import plans

    documents: list[Document] = []
    run_engine.subscribe(lambda name, document: documents.append((name, document)))
    with pytest.raises(ValueError, match=complaint):
        run_engine(getattr(plans, plan_name)(beamline, **arguments))
    assert documents == []


def test_a_folder_that_the_camera_cannot_write_is_named(
    ioc: RunningIOC, run_engine: RunEngine, tmp_path: Path
) -> None:
    from profiles.beamline import connect
    from profiles.plans import tomo_fly, tomo_scan
    from tomoservice.errors import BeamlineError

    (tmp_path / "file").write_text("not a folder")
    elsewhere = connect(ioc.config(tmp_path / "file" / "below"))
    try:
        for plan in (tomo_fly, tomo_scan):
            with pytest.raises(
                BeamlineError, match=r"the folder .*file/below does not exist where the camera"
            ):
                run_engine(plan(elsewhere, 5, num_flats=0, num_darks=0))
    finally:
        elsewhere.disconnect()


def test_a_file_that_cannot_be_opened_is_named_with_the_reason(beamline: Beamline, tmp_path: Path) -> None:
    from tomoservice.errors import BeamlineError

    writer = beamline.camera.hdf5
    writer.choose_folder(str(tmp_path))
    template = writer.file_template.get()
    writer.file_template.set("%s%s_%d/missing.h5").wait(timeout=5)
    try:
        with pytest.raises(BeamlineError, match=r"the camera cannot open its file: .*missing\.h5"):
            writer.start_capture()
    finally:
        writer.stop_capture()
        writer.file_template.set(template).wait(timeout=5)
