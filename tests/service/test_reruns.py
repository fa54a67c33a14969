"""A reconstruction done again: the same bits, or a reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import connected
from tests.service.scans import FOURIER, SmallScan, documents, publish
from tomoservice.catalog.record import RerunOf
from tomoservice.catalog.reruns import compare
from tomoservice.catalog.transport import translated
from tomoservice.cli import run
from tomoservice.client import Job, Tomo
from tomoservice.errors import CatalogError, InputError
from tomoservice.service.running import RunningService


@pytest.fixture
def tomo(service: RunningService) -> Iterator[Tomo]:
    with connected(service) as connection:
        yield connection


@pytest.fixture(scope="module")
def first(service: RunningService) -> Iterator[Job]:
    """What is repeated: the axis was found, not given."""
    with connected(service) as tomo:
        scan = SmallScan(columns=96, rows=32, rotation_axis=46.8, half_axes=(30.0, 20.0), attenuation=0.01)
        uid = publish(tomo.raw, documents(scan, service.data.parent / "raw"))
        yield tomo.reconstruct(uid).wait(120)


@pytest.fixture
def raw_file(first: Job) -> Iterator[Path]:
    """The file with the projections, which is put back as it was."""
    files = first.record.metadata.model_extra["provenance"]["raw_files"]
    [path] = [Path(file["path"]) for file in files if "primary" in file["path"]]
    content, state = path.read_bytes(), path.stat()
    yield path
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_the_same_bits(
    service: RunningService, tomo: Tomo, first: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert first.comparison is None
    assert run(["rerun", first.path, "--wait", "--data", str(service.data)]) == 0
    told = capsys.readouterr()
    again = tomo.job(told.out.strip())
    assert told.err.strip() == f"{again.path} is bit-identical to {first.path}"
    assert again.comparison is not None
    assert again.comparison.identical
    assert np.array_equal(again.volume[:], first.volume[:])
    asked = again.record.metadata.recipe["rotation_axis"]
    assert asked["method"] == "value"
    assert abs(asked["value"] - 46.8) < 0.5
    # And of that one, too.
    assert tomo.rerun(again).wait(60).comparison.identical
    assert "<td>done</td>" in again._repr_html_()
    with pytest.raises(CatalogError, match="rerun_of: cannot be changed"), translated("lying"):
        again.node.update_metadata({"rerun_of": {"volume_checksum": "0"}})


def test_other_versions_explain_other_bits(first: Job) -> None:
    record = first.record
    provenance = record.metadata.model_extra["provenance"]

    def compared(**changes: Any) -> Any:
        earlier = RerunOf.model_validate({"path": "processed/a/b", **provenance, **changes})
        metadata = record.metadata.model_copy(update={"rerun_of": earlier})
        return compare(record.model_copy(update={"metadata": metadata}))

    software = {**provenance["software"], "numpy": "1.26.0"}
    machine = {**provenance["machine"], "device": "NVIDIA H200"}
    same = compared()
    assert (same.identical, str(same)) == (True, "bit-identical to processed/a/b")
    lucky = compared(software=software)
    assert str(lucky).startswith("bit-identical to processed/a/b, although numpy was 1.26.0 and is ")
    other = compared(software=software, machine=machine, volume_checksum="0" * 64)
    assert not other.identical
    assert "device was NVIDIA H200 and is " in str(other)
    assert str(other).endswith("agreement to 1e-5 of the largest value is to be expected")
    both = compared(machines=[provenance["machine"], machine], volume_checksum="0" * 64)
    assert f"device was {' and '.join(sorted([provenance['machine']['device'], 'NVIDIA H200']))}" in str(both)
    unknown = compared(machine={}, volume_checksum="0" * 64)
    assert "because the processor or device that computed one of them was not recorded" in str(unknown)
    assert str(compared(machine={})) == "bit-identical to processed/a/b"
    spoilt = compared(volume_checksum="0" * 64)
    assert spoilt.is_unexplained
    assert "although processor, device and versions are the same" in str(spoilt)


def test_files_that_were_only_copied_are_the_same(tomo: Tomo, first: Job, raw_file: Path) -> None:
    content = raw_file.read_bytes()
    raw_file.unlink()
    raw_file.write_bytes(content)
    assert tomo.rerun(first.path).wait(60).comparison.identical


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-10, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def test_another_content_is_refused(tomo: Tomo, first: Job, raw_file: Path) -> None:
    flip(raw_file)
    with pytest.raises(InputError, match=rf"{raw_file.name}: has changed since {first.path} was"):
        tomo.rerun(first.path)
    with raw_file.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=r"its size was \d+ bytes and is \d+, .* Bring back the raw data"):
        tomo.rerun(first.path)


def test_another_content_with_the_old_time_is_refused_before_anything_is_computed(
    tomo: Tomo, first: Job, raw_file: Path
) -> None:
    state = raw_file.stat()
    flip(raw_file)
    os.utime(raw_file, ns=(state.st_atime_ns, state.st_mtime_ns))
    again = tomo.rerun(first.path)
    with pytest.raises(CatalogError, match=r"is failed: .*its SHA-256 was \w{16}... and is \w{16}"):
        again.wait(60)
    assert "provenance" not in again.record.metadata.model_extra
    # It may be over before anything is said of its progress.
    assert again.progress.get("slabs_done", 0) == 0


def test_what_is_not_done_cannot_be_repeated(
    tomo: Tomo, service: RunningService, publish_here: Callable[[], str]
) -> None:
    job = tomo.reconstruct(publish_here(), {**FOURIER, "rotation_axis": {"method": "value", "value": 900.0}})
    with pytest.raises(CatalogError, match="is failed"):
        job.wait(60)
    with pytest.raises(CatalogError, match=r"has no volume: it is failed \(.*rotation_axis: got 900"):
        _ = job.volume
    with pytest.raises(CatalogError, match="is failed; only what is done can be compared or done again"):
        tomo.rerun(job)


@pytest.fixture
def publish_here(tomo: Tomo, service: RunningService) -> Callable[[], str]:
    return lambda: publish(tomo.raw, documents(SmallScan(), service.data.parent / "raw"))
