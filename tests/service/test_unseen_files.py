"""Reruns of what was read through Tiled: nobody may take raw data for unchanged that nobody has seen."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.phantom_scans import phantom_scan
from tests.service.scans import SmallScan, documents, publish
from tomoservice.catalog.ingest import ingest
from tomoservice.catalog.nodes import create_container, ensure_room, reconstruction_spec
from tomoservice.client import Job, Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.errors import CatalogError, InputError
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}
HINT = "Let the workers or the conductor see the raw files"


@pytest.fixture
def confined(quiet_service: RunningService, settings: Settings, tmp_path: Path) -> Iterator[Conductor]:
    """A conductor that sees no raw files, with workers that see none either."""
    made = Conductor(quiet_service.uri, quiet_service.api_key, settings, readable=[tmp_path / "nothing"])
    yield made
    made.stop()
    made.close()


def done(job: Job, conductor: Conductor) -> Job:
    assert conductor.step()
    return job.wait(5)


def provenance(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = job.record.metadata.model_extra["provenance"]
    return found


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip(path: Path) -> None:
    """Change a byte, so that nobody sees it who only looks at size and time."""
    state = path.stat()
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-10, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_what_nobody_saw_cannot_be_repeated(
    tomo: Tomo, publish_run: Callable[..., str], confined: Conductor, raw_folder: Path
) -> None:
    uid = publish_run()
    job = done(tomo.reconstruct(uid, AT_15_5), confined)
    made = provenance(job)
    assert made["raw_files"] == []
    assert sorted(made["raw_files_unseen"]) == [
        f"{stream}/camera_image ({raw_folder / f'{uid}_{stream}.h5'})"
        for stream in ("dark", "flat", "primary")
    ]
    with pytest.raises(
        InputError, match=r"no checksum of .*_primary\.h5.* was recorded.*a new reconstruction"
    ):
        tomo.rerun(job)


@pytest.mark.parametrize("said", [{}, {"raw_files_unseen": ["primary/camera_image"]}])
def test_nor_does_a_conductor_repeat_it_whoever_asks(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, said: dict[str, Any]
) -> None:
    uid = publish_run()
    first = done(tomo.reconstruct(uid, AT_15_5), conductor)
    # As versions asked that recorded nothing, or as anybody may.
    earlier = {"path": first.path, "volume_checksum": provenance(first)["volume_checksum"], **said}
    if said:
        earlier["raw_files"] = provenance(first)["raw_files"]
    metadata = {"recipe": AT_15_5, "status": {"state": "queued"}, "rerun_of": earlier}
    room = ensure_room(tomo.root, uid)
    again = Job(create_container(room, "again", metadata=metadata, specs=(reconstruction_spec(),)))
    with pytest.raises(CatalogError, match=r"is failed: .*its frames came through Tiled, and no checksum"):
        done(again, conductor)
    assert "provenance" not in again.record.metadata.model_extra


def test_who_sees_no_files_repeats_nothing(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, confined: Conductor
) -> None:
    first = done(tomo.reconstruct(publish_run(), AT_15_5), conductor)
    assert len(provenance(first)["raw_files"]) == 3
    assert provenance(first)["raw_files_unseen"] == []
    again = tomo.rerun(first)
    with pytest.raises(CatalogError, match=rf"is failed: .*nor the conductor sees the files of .*{HINT}"):
        done(again, confined)
    assert again.progress.get("slabs_done", 0) == 0
    # It is the place that was wrong, not the data.
    again.queue_again()
    comparison = done(again, conductor).comparison
    assert comparison is not None
    assert comparison.identical


@pytest.fixture
def published(tomo: Tomo, raw_folder: Path) -> Iterator[tuple[str, Path]]:
    """A run that was made of a file, and the file."""
    phantom = phantom_scan(40, 4, 30, rotation_axis=19.3)
    path = phantom.write_dxchange(raw_folder / "ingested and unseen.h5")
    uid = ingest(tomo.root, path).run_uid
    yield uid, path
    tomo.raw[uid].delete(recursive=True, external_only=False)


def test_a_run_made_of_a_file_says_what_it_was(
    tomo: Tomo, published: tuple[str, Path], confined: Conductor, conductor: Conductor
) -> None:
    uid, path = published
    recipe = {"rotation_axis": {"method": "value", "value": 19.3}}
    first = done(tomo.reconstruct(uid, recipe), confined)
    [file] = provenance(first)["raw_files"]
    assert (file["path"], file["sha256"], file["recorded_by"]) == (str(path), checksum(path), "run")
    assert provenance(first)["raw_files_unseen"] == []
    # What the run says is no news of the file.
    with pytest.raises(CatalogError, match=r"nor the conductor sees the files"):
        done(tomo.rerun(first), confined)
    again = done(tomo.rerun(first), conductor)
    assert again.comparison is not None
    assert np.array_equal(again.volume[:], first.volume[:])
    assert "recorded_by" not in provenance(again)["raw_files"][0]
    flip(path)
    with pytest.raises(CatalogError, match=r"has changed since the run was published: its SHA-256 was"):
        done(tomo.rerun(first), conductor)


def test_the_conductor_looks_at_files_that_workers_read_through_tiled(
    tomo: Tomo, raw_folder: Path, conductor: Conductor
) -> None:
    docs = []
    for name, document in documents(SmallScan(), raw_folder):
        if name == "stream_resource":
            # What Tiled cuts out of a file it has to read itself.
            parameters = {**document["parameters"], "slice": ":,:,:"}
            docs.append((name, {**document, "parameters": parameters}))
        else:
            docs.append((name, document))
    uid = publish(tomo.raw, iter(docs))
    first = done(tomo.reconstruct(uid, AT_15_5), conductor)
    assert provenance(first)["scan"]["files"] == []
    paths = [raw_folder / f"{uid}_{stream}.h5" for stream in ("dark", "flat", "primary")]
    known = {file["path"]: file["sha256"] for file in provenance(first)["raw_files"]}
    assert known == {str(path): checksum(path) for path in paths}
    again = done(tomo.rerun(first), conductor)
    assert again.comparison is not None
    assert again.comparison.identical
    flip(paths[-1])
    changed = tomo.rerun(first)
    with pytest.raises(CatalogError, match=rf"is failed: .*{paths[-1].name}: has changed since {first.path}"):
        done(changed, conductor)
    assert changed.progress.get("slabs_done", 0) == 0
