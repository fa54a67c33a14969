"""Volumes that are read before they are computed: a real server, a real Dask cluster, plain Tiled clients."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import psutil
import pytest
import zarr
from obstore.store import HTTPStore
from tiled.client import from_uri
from tiled.structures.core import Spec
from zarr.storage import ObjectStore

from tests.service.conftest import connected, wait_for
from tests.service.scans import FOURIER, SLOW, SmallScan, documents, publish, reconstructed
from tomoservice.catalog.claims import Worker, try_claim
from tomoservice.catalog.transport import disconnect
from tomoservice.service.running import RunningService
from tomoservice.store import SlabMarker, SlabStore, folder_of

DEPTH = 64


@pytest.fixture
def root(service: RunningService) -> Iterator[Any]:
    client = from_uri(service.uri, api_key=service.api_key)
    yield client
    disconnect(client)


@pytest.fixture
def create(root: Any, slow_run: str, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Create a reconstruction as a client does that has nothing but Tiled."""

    def run(
        state: str, recipe: dict[str, Any] = FOURIER, key: str | None = None, run_uid: str = slow_run
    ) -> Any:
        if run_uid not in root["processed"]:
            root["processed"].create_container(run_uid)
        return root["processed", run_uid].create_container(
            key or request.node.name.replace("test_", "")[:60],
            metadata={"recipe": recipe, "status": {"state": state}},
            specs=[Spec("TomoReconstruction", version="1")],
        )

    return run


def volume_of(node: Any, seconds: float = 30.0) -> Any:
    wait_for(lambda: "volume" in list(node), seconds)
    return node["volume"]


def markers(service: RunningService, node: Any) -> dict[int, SlabMarker]:
    store = folder_of(service.data / "volumes", *node.path_parts[-2:])
    return SlabStore.open(store).markers() if (store / "volume.zarr").exists() else {}


def ask(service: RunningService, node: Any, slice_: str, **options: Any) -> httpx.Response:
    address = f"{service.uri}/api/v1/array/full/{'/'.join(node.path_parts)}/volume"
    headers = {"Authorization": f"Apikey {service.api_key}"}
    return httpx.get(address, params={"slice": slice_, **options}, headers=headers, timeout=60)


def test_a_queued_node_is_readable_before_it_is_done(create: Callable[..., Any], truth: np.ndarray) -> None:
    node = create("queued")
    early = volume_of(node)[130]
    assert np.array_equal(early, truth[130])
    wait_for(lambda: node.refresh().metadata["status"]["state"] == "done", 60)
    assert np.array_equal(node["volume"][:], truth)
    assert np.array_equal(early, node["volume"][130])
    assert node["volume"].metadata["checksum"] == node.metadata["provenance"]["volume_checksum"]
    assert node["volume"].dims == ("z", "y", "x")


def test_reading_a_slice_computes_one_slab(
    service: RunningService, create: Callable[..., Any], truth: np.ndarray
) -> None:
    node = create("virtual")
    volume = volume_of(node)
    assert volume.shape == truth.shape
    assert markers(service, node) == {}
    assert np.array_equal(volume[200], truth[200])
    assert list(markers(service, node)) == [200 // DEPTH]
    # Another slice of the same slab, through blocks and through Zarr, costs nothing more.
    assert np.array_equal(volume[201:203, 5:60], truth[201:203, 5:60])
    assert np.array_equal(volume.read_block((3, 0, 1)), truth[192:256, :64, 64:])
    assert list(markers(service, node)) == [3]
    assert node.refresh().metadata["status"]["state"] == "virtual"


SLICES = (
    np.s_[10],
    np.s_[-1],
    np.s_[10, 20],
    np.s_[10, 20, 30],
    np.s_[10:40:7, ::-1, 95:3:-9],
    np.s_[63:65],
    np.s_[30:3:-9, 4],
    np.s_[20:30, ..., 5],
    np.s_[5:5],
    np.s_[0:1, 50:40],
)


def test_slices_mean_what_they_mean_to_numpy(create: Callable[..., Any], truth: np.ndarray) -> None:
    volume = volume_of(create("virtual"))
    for index in SLICES:
        part = volume[index]
        assert np.array_equal(part, truth[index]), index
        assert np.shape(part) == truth[index].shape, index


def test_a_node_that_is_created_again_shows_nothing_of_the_one_before(
    service: RunningService, create: Callable[..., Any], truth: np.ndarray, slow_run: str
) -> None:
    first = create("virtual", key="again")
    assert np.array_equal(volume_of(first)[130], truth[130])
    first.delete(recursive=True, external_only=False)
    moved = {"rotation_axis": {"method": "value", "value": 46.0}}
    second = create("virtual", moved, key="again")
    image = volume_of(second)[130]
    assert not np.array_equal(image, truth[130])
    rows = {"frames": {"rows": {"start": 128, "stop": 144}}}
    assert np.array_equal(image, reconstructed(SLOW, {**moved, **rows})[2])
    # Nor does the attempt count of an earlier one keep a later one from being computed.
    store = SlabStore.open(folder_of(service.data / "volumes", slow_run, "again"), attempt=7)
    del store
    second.update_metadata({"status": {"state": "queued"}})
    wait_for(lambda: second.refresh().metadata["status"]["state"] in ("done", "failed"), 60)
    assert second.metadata["status"]["message"] == ""
    assert np.array_equal(second["volume"][130], image)


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_clients_read_it_too(
    service: RunningService, create: Callable[..., Any], truth: np.ndarray, version: Literal[2, 3]
) -> None:
    node = create("virtual", key=f"zarr-{version}")
    volume_of(node)
    address = f"{service.uri}/zarr/v{version}/{'/'.join(node.path_parts)}/volume"
    plain = HTTPStore.from_url(address, client_options={"allow_http": True})
    array = zarr.open_array(ObjectStore(plain, read_only=True), mode="r", zarr_format=version)
    assert (array.shape, array.dtype) == (truth.shape, truth.dtype)
    assert np.array_equal(array[65], truth[65])
    assert list(markers(service, node)) == [1]
    # Across slabs, and in the parts that a chunk leaves at the far edge, as the other route has it.
    answer = ask(service, node, "60:70,30:,:90", format="application/octet-stream")
    assert answer.content == np.ascontiguousarray(array[60:70, 30:, :90]).tobytes()
    assert answer.content == truth[60:70, 30:, :90].tobytes()
    assert sorted(markers(service, node)) == [0, 1]


def test_a_picture_of_a_slice(service: RunningService, create: Callable[..., Any]) -> None:
    node = create("virtual")
    volume_of(node)
    answer = ask(service, node, "300", format="image/png")
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", ["384", "-385", "0,96", "0,0,0,0"])
def test_wrong_slices_are_refused_before_anything_is_computed(
    service: RunningService, create: Callable[..., Any], wrong: str
) -> None:
    node = create("virtual", key=f"wrong-{wrong.replace(',', '.')}".replace("--", "-"))
    volume_of(node)
    answer = ask(service, node, wrong)
    assert answer.status_code == 400
    assert "does not fit a volume of shape (384, 96, 96)" in answer.json()["detail"]
    assert markers(service, node) == {}


def test_what_one_answer_cannot_hold_is_refused_before_anything_is_computed(
    service: RunningService, create: Callable[..., Any]
) -> None:
    with connected(service) as tomo:
        large = SmallScan(columns=512, rows=320, angles=8, rotation_axis=255.5)
        uid = publish(tomo.raw, documents(large, service.data.parent / "raw"))
    node = create("virtual", {"rotation_axis": {"method": "value", "value": 255.5}}, run_uid=uid)
    assert volume_of(node).shape == (320, 512, 512)
    for part in ("", ":,:,:", ":,::-1"):
        answer = ask(service, node, part)
        assert answer.status_code == 400
        detail = answer.json()["detail"]
        assert "is 336 MB, more than the 300 MB that one answer may hold; ask for it in parts" in detail
    assert markers(service, node) == {}
    assert ask(service, node, "300:302").status_code == 200
    assert list(markers(service, node)) == [4]


def test_eight_readers_of_one_slice_have_it_computed_once(
    service: RunningService, create: Callable[..., Any], truth: np.ndarray
) -> None:
    node = create("virtual")
    volume_of(node)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: ask(service, node, "70", format="application/octet-stream"), range(8))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.content for answer in answers} == {truth[70].tobytes()}
    assert list(markers(service, node)) == [1]


def test_a_plane_of_a_virtual_volume_says_what_it_would_take(
    service: RunningService, create: Callable[..., Any]
) -> None:
    node = create("virtual")
    volume_of(node)
    answer = ask(service, node, ":,48")
    assert answer.status_code == 422
    assert "6 of the 6 slabs that this needs are missing" in answer.json()["detail"]
    assert "Queue the reconstruction" in answer.json()["detail"]
    assert markers(service, node) == {}


def test_a_plane_of_a_queued_volume_says_when_to_ask_again(
    service: RunningService, create: Callable[..., Any]
) -> None:
    # Iterations take long enough for the question to come first.
    node = create("queued", {**FOURIER, "reconstruction": {"method": "sirt", "iterations": 20}})
    volume_of(node)
    answer = ask(service, node, ":,48")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert "slices along z" in answer.json()["detail"]
    node.create_container("control-cancel")
    wait_for(lambda: node.refresh().metadata["status"]["state"] == "cancelled", 60)
    # What was not computed will not be, and whoever asks hears why.
    answer = ask(service, node, "380")
    if answer.status_code != 200:
        assert answer.status_code == 422
        assert "is cancelled (cancelled by a user)" in answer.json()["detail"]


def test_what_was_put_off_is_computed_in_the_order_in_which_it_was_asked_for(
    service: RunningService, create: Callable[..., Any]
) -> None:
    # Iterations take long enough for the second question to come before the first slab is done.
    node = create(
        "virtual", {**FOURIER, "reconstruction": {"method": "sirt", "iterations": 2}}, key="put-off"
    )
    volume_of(node)
    # No conductor takes it, so whatever there is of it has been computed for readers.
    claim = try_claim(node, Worker(), 300.0)
    assert claim is not None
    node.update_metadata({"status": {"state": "queued"}})
    for part in ("192:,48", ":192,48"):
        assert ask(service, node, part).status_code == 429, part
    wait_for(lambda: len(markers(service, node)) == 6, 120)
    assert {marker.attempt for marker in markers(service, node).values()} == {0}
    files = (folder_of(service.data / "volumes", *node.path_parts[-2:]) / "slabs").glob("*.json")
    written = sorted(files, key=lambda file: file.stat().st_mtime_ns)
    assert [json.loads(file.read_text())["index"] for file in written] == [3, 4, 5, 0, 1, 2]
    assert ask(service, node, ":,48").status_code == 200
    node.delete(recursive=True, external_only=False)


def test_a_recipe_that_does_not_fit_the_scan_fails(root: Any, create: Callable[..., Any]) -> None:
    node = create("virtual", {"rotation_axis": {"method": "value", "value": 400.0}})
    wait_for(lambda: node.refresh().metadata["status"]["state"] == "failed", 30)
    assert "400" in node.metadata["status"]["message"]


def test_the_axis_is_found_once_for_readers_and_conductor(
    service: RunningService, create: Callable[..., Any]
) -> None:
    node = create("virtual", {})
    early = volume_of(node)[0]
    node.update_metadata({"status": {"state": "queued"}})
    wait_for(lambda: node.refresh().metadata["status"]["state"] == "done", 60)
    assert np.array_equal(node["volume"][0], early)
    assert markers(service, node)[0].attempt == 0
    assert node.metadata["provenance"]["rotation_axis"]["method"] == "auto"
    assert abs(node.metadata["provenance"]["rotation_axis"]["value"] - 47.5) < 0.25
    wait_for(lambda: node.refresh().metadata["quality"]["state"] == "complete", 30)
    assert len(node["quality", "axis"].read()) > 10


def test_a_worker_that_is_killed_costs_the_slabs_in_flight(
    service: RunningService, create: Callable[..., Any], truth: np.ndarray
) -> None:
    recipe = {**FOURIER, "reconstruction": {"method": "astra_fbp"}}
    node = create("queued", recipe)
    wait_for(lambda: len(markers(service, node)) >= 1, 60)
    before = markers(service, node)
    server = psutil.Process(service.pid)
    workers = [
        process for process in server.children(recursive=True) if "spawn_main" in " ".join(process.cmdline())
    ]
    assert workers
    for process in workers:
        process.kill()
    wait_for(lambda: node.refresh().metadata["status"]["state"] in ("done", "failed"), 60)
    assert node.metadata["status"]["message"] == ""
    after = markers(service, node)
    assert {index: after[index] for index in before} == before
    assert np.array_equal(node["volume"][:], reconstructed(SLOW, recipe))


def test_nobody_computes(
    quiet_service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_TIMEOUT", 1.0)
    with connected(quiet_service) as tomo:
        uid = publish(tomo.raw, documents(SmallScan(), quiet_service.data.parent / "raw"))
        run = tomo.root["processed"].create_container(uid)
        node = run.create_container(
            "lonely",
            metadata={
                "recipe": {"rotation_axis": {"method": "value", "value": 15.5}},
                "status": {"state": "virtual"},
            },
            specs=[Spec("TomoReconstruction", version="1")],
        )
        began = time.monotonic()
        volume_of(node)
        assert time.monotonic() - began < 20
        answer = ask(quiet_service, node, "0")
        assert answer.status_code == 503
        assert "nobody computes at present" in answer.json()["detail"]
        run.delete(recursive=True)
