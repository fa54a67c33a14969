"""What somebody may try who has a key, or none: reading files that are not the service's to give."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest
from tiled.structures.array import ArrayStructure
from tiled.structures.data_source import Asset, DataSource, Management
from tiled.structures.table import TableStructure
from tiled.utils import ensure_uri

from tests.service.scans import SmallScan, documents, publish
from tomoservice.catalog.nodes import ensure_container
from tomoservice.catalog.states import State
from tomoservice.client import Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings
from tomoservice.sources.hdf5 import open_hdf5

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


@pytest.fixture
def secret(quiet_service: RunningService) -> Iterator[Path]:
    """A file beside the raw folder, that is no business of anybody's."""
    path = quiet_service.data.parent / f"secret-{uuid.uuid4().hex}.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3.0)
    yield path
    path.unlink()


def hdf5(uri: str, **asset: Any) -> DataSource[ArrayStructure]:
    return DataSource(
        structure_family="array",
        structure=ArrayStructure.from_array(np.arange(3.0)),
        mimetype="application/x-hdf5",
        management=Management.external,
        parameters={"dataset": "x"},
        assets=[
            Asset(**{"data_uri": uri, "is_directory": False, "parameter": "data_uris", "num": 0, **asset})
        ],
    )


def csv(*uris: str, **parameters: Any) -> DataSource[TableStructure]:
    import pandas as pd

    return DataSource(
        structure_family="table",
        structure=TableStructure.from_pandas(pd.DataFrame({"a": [1.0]})),
        mimetype="text/csv",
        management=Management.external,
        parameters=parameters,
        assets=[Asset(data_uri=uri, is_directory=False, parameter="data_uris", num=0) for uri in uris],
    )


def registered(tomo: Tomo, source: DataSource[Any]) -> Any:
    return ensure_container(tomo.root, "files").new(source.structure_family, [source])


def refused(read: Callable[[], Any]) -> str:
    with pytest.raises(httpx.HTTPStatusError) as caught:
        read()
    assert caught.value.response.status_code == 403, caught.value
    return str(caught.value.response.json()["detail"])


def test_what_lies_in_the_raw_folder_is_read(tomo: Tomo, raw_folder: Path) -> None:
    with h5py.File(raw_folder / "mine.h5", "w") as file:
        file["x"] = np.arange(3.0)
    assert list(registered(tomo, hdf5(ensure_uri(raw_folder / "mine.h5"))).read()) == [0, 1, 2]
    (raw_folder / "mine.csv").write_text("a\n1.0\n")
    assert list(registered(tomo, csv(ensure_uri(raw_folder / "mine.csv"))).read()["a"]) == [1.0]


@pytest.mark.parametrize("num", [0, None])
def test_a_way_out_of_the_raw_folder_is_refused(
    tomo: Tomo, raw_folder: Path, secret: Path, num: int | None
) -> None:
    (raw_folder / "innocent.h5").unlink(missing_ok=True)
    (raw_folder / "innocent.h5").symlink_to(secret)
    (raw_folder / "folder").unlink(missing_ok=True)
    (raw_folder / "folder").symlink_to(secret.parent)
    for path in (
        str(secret),
        f"{raw_folder}/../{secret.name}",
        f"{raw_folder}/./deeper/../../{secret.name}",
        f"{raw_folder}/innocent.h5",
        f"{raw_folder}/folder/{secret.name}",
    ):
        node = registered(tomo, hdf5(f"file://localhost{path}", num=num))
        assert "raw_folders" in refused(node.read)


@pytest.mark.parametrize("scheme", ["file", "duckdb", "sqlite", "DUCKDB", "http"])
def test_etc_passwd_is_not_served(tomo: Tomo, scheme: str) -> None:
    uri = f"{scheme}://{'localhost' if scheme == 'file' else ''}//etc/passwd"
    refused(registered(tomo, csv(uri)).read)


def test_addresses_in_parameters_are_looked_at(tomo: Tomo) -> None:
    # Nothing is registered, so no right to register is needed.
    source = csv(data_uris=["file://localhost/etc/passwd"])
    refused(registered(tomo, source).read)
    nested = csv(storage_options={"target": {"of": ["file:///etc/passwd"]}})
    refused(registered(tomo, nested).read)


def test_nobody_reads_the_key_through_a_folder(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, quiet_service: RunningService
) -> None:
    job = tomo.reconstruct(publish_run(), AT_15_5)
    assert conductor.step()
    [source] = job.wait(5).volume.data_sources()
    [asset] = source.assets
    # As Tiled 0.2.20 comes, this gives the key to people without one.
    for route in ("bytes", "manifest"):
        answer = httpx.get(
            f"{quiet_service.uri}/api/v1/asset/{route}/{job.path}/volume",
            params={"id": asset.id, "relative_path": "../../../../api_key"},
        )
        assert answer.status_code == 403
        assert quiet_service.api_key not in answer.text


@pytest.fixture
def confined(quiet_service: RunningService, settings: Settings, raw_folder: Path) -> Iterator[Conductor]:
    made = Conductor(quiet_service.uri, quiet_service.api_key, settings, readable=[raw_folder])
    yield made
    made.close()


@pytest.mark.parametrize("way", ["plain", "dots", "link"])
def test_a_conductor_opens_no_file_that_the_service_would_not(
    tomo: Tomo,
    confined: Conductor,
    raw_folder: Path,
    tmp_path: Path,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shown = {
        "plain": outside,
        "dots": raw_folder / ".." / Path(*[".."] * len(raw_folder.parent.parts)) / outside.relative_to("/"),
        "link": raw_folder / f"link-{uuid.uuid4().hex}",
    }[way]
    if way == "link":
        shown.symlink_to(outside)
    uid = publish(tomo.raw, documents(SmallScan(), shown))
    opened: list[Path] = []

    def note(path: Path) -> Any:
        opened.append(path)
        return open_hdf5(path)

    monkeypatch.setattr("tomoservice.sources.run_frames.open_hdf5", note)
    job = tomo.reconstruct(uid, AT_15_5)
    assert confined.step()
    assert job.state is State.FAILED
    assert "outside the folders" in job.status.message or "raw_folders" in job.status.message
    assert opened == []
