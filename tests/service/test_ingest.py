"""Scan files published as runs: what comes out of the run is what is in the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.catalog import ingest as module
from tomoservice.catalog.ingest import ingest
from tomoservice.cli import run
from tomoservice.client import Tomo
from tomoservice.errors import CatalogError, InputError
from tomoservice.scan import TomoScan
from tomoservice.service.running import RunningService
from tomoservice.sources import open_run, open_scan

KEYS = (2, 1, 1, *[0] * 20, 3, *[0] * 10, 1, 2)
"""Flats and darks before and after, and a frame that is left out."""


@pytest.fixture(scope="module")
def phantom() -> PhantomScan:
    return phantom_scan(48, 4, 30, rotation_axis=24.2)


def write_nxtomo(path: Path, phantom: PhantomScan) -> Path:
    stacks = {0: iter(phantom.projections), 1: iter(phantom.flats), 2: iter(phantom.darks)}
    frames = [next(stacks[key]) if key in stacks else np.zeros((4, 48), np.uint16) for key in KEYS]
    angles = iter(phantom.angles_deg)
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry["definition"] = "NXtomo"
        entry["sample/name"] = "tooth"
        entry["sample/rotation_angle"] = [0.0 if key else next(angles) for key in KEYS]
        entry["beam/energy"] = 20.5
        entry["beam/energy"].attrs["units"] = "keV"
        entry["instrument/detector/image_key"] = KEYS
        # Compressed as detectors do it, with a filter that HDF5 does not have of itself.
        data = np.stack(frames)
        entry.create_dataset("instrument/detector/data", data=data, chunks=(1, 4, 48), **hdf5plugin.Blosc())
    return path


WRITERS: dict[str, Callable[[Path, PhantomScan], Path]] = {
    "dxchange": lambda path, phantom: phantom.write_dxchange(path),
    "nxtomo": write_nxtomo,
}


@pytest.fixture
def forget(tomo: Tomo) -> Iterator[None]:
    """Remove what a test publishes: the next one shall publish it anew."""
    before = set(tomo.runs)
    yield
    for uid in set(tomo.runs) - before:
        tomo.raw[uid].delete(recursive=True, external_only=False)


@pytest.fixture(params=sorted(WRITERS))
def file(request: pytest.FixtureRequest, raw_folder: Path, phantom: PhantomScan, forget: None) -> Path:
    return WRITERS[request.param](raw_folder / f"a scan {request.param}.h5", phantom)


@pytest.fixture
def dxchange(raw_folder: Path, phantom: PhantomScan, forget: None) -> Path:
    return phantom.write_dxchange(raw_folder / "scan.h5")


def assert_same(found: TomoScan, wanted: TomoScan) -> None:
    for mine, theirs in (
        (found.projections, wanted.projections),
        (found.flats, wanted.flats),
        (found.darks, wanted.darks),
    ):
        assert mine is not None
        assert theirs is not None
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine[:], theirs[:])
    np.testing.assert_allclose(found.angles_deg, wanted.angles_deg)
    assert (found.energy_kev, found.sample_name) == (wanted.energy_kev, wanted.sample_name)


def test_the_run_is_the_scan(tomo: Tomo, file: Path) -> None:
    done = ingest(tomo.root, file)
    assert (done.created, done.path) == (True, file)
    with open_run(tomo.raw[done.run_uid]) as found, open_scan(file) as wanted:
        assert_same(found, wanted)
        assert found.origin.files == (str(file),)
    start = tomo.raw[done.run_uid].metadata["start"]
    assert (start["plan_name"], start["time"]) == ("ingest", file.stat().st_mtime)
    assert start["ingest"]["files"][0]["size_bytes"] == file.stat().st_size
    assert tomo.recipes.propose(done.run_uid).recipe.name == "default"


def test_the_same_file_is_the_same_run(tomo: Tomo, file: Path, raw_folder: Path) -> None:
    first = ingest(tomo.root, file)
    elsewhere = Path(shutil.copy(file, raw_folder / "elsewhere.h5"))
    again = ingest(tomo.root, elsewhere)
    assert (again.run_uid, again.created, again.path) == (first.run_uid, False, file)
    with h5py.File(elsewhere, "r+") as opened:
        opened.attrs["changed"] = True
    assert ingest(tomo.root, elsewhere).run_uid != first.run_uid


def test_what_somebody_knows_goes_first(tomo: Tomo, dxchange: Path) -> None:
    with pytest.raises(InputError, match=r"energy_kev: got -1.*energy_ev: unknown key; did you mean"):
        tomo.ingest(dxchange, energy_kev=-1, energy_ev=2)
    uid = tomo.ingest(dxchange, sample_name="bone", energy_kev=17.5, pixel_size_um=1.25)
    with open_run(tomo.raw[uid]) as scan:
        assert (scan.sample_name, scan.energy_kev, scan.pixel_size_um) == ("bone", 17.5, 1.25)


def test_a_file_out_of_reach_says_what_to_do(
    tomo: Tomo, phantom: PhantomScan, tmp_path: Path, forget: None
) -> None:
    file = phantom.write_dxchange(tmp_path / "scan.h5")
    before = tomo.runs
    with pytest.raises(CatalogError, match=rf"serve --raw-folder {tmp_path}") as caught:
        ingest(tomo.root, file)
    assert "service.raw_folders" in str(caught.value)
    assert tomo.runs == before


def test_what_is_no_hdf5_scan_is_refused(tomo: Tomo, data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is of the kind tiff, which cannot be published"):
        ingest(tomo.root, next(path.parent for path in data_dir.rglob("*.tif*")))
    (tmp_path / "notes.txt").write_text("hello", "utf-8")
    with pytest.raises(InputError, match="neither an HDF5 file"):
        ingest(tomo.root, tmp_path / "notes.txt")


def test_one_that_was_interrupted_begins_again(
    tomo: Tomo, dxchange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.documents_of

    def half(run: Any) -> Any:
        documents = list(original(run))
        yield from documents[: len(documents) // 2]
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "documents_of", half)
    monkeypatch.setattr(module, "_remove", lambda run: None)
    with pytest.raises(KeyboardInterrupt):
        ingest(tomo.root, dxchange)
    monkeypatch.undo()
    with pytest.raises(CatalogError, match="is being published by somebody; try again in a minute"):
        ingest(tomo.root, dxchange)
    monkeypatch.setattr(module, "ABANDONED_S", 0.0)
    done = ingest(tomo.root, dxchange)
    assert done.created
    with open_run(tomo.raw[done.run_uid]) as found, open_scan(dxchange) as wanted:
        assert_same(found, wanted)


def test_from_the_command_line(
    quiet_service: RunningService,
    tomo: Tomo,
    phantom: PhantomScan,
    tmp_path: Path,
    forget: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_nxtomo(tmp_path / "scan.h5", phantom)
    service = ["--data", str(quiet_service.data)]
    assert run(["ingest", str(file), *service]) == 1
    assert "have the file copied (--copy)" in capsys.readouterr().err
    assert run(["ingest", str(file), "--copy", "--sample", "bone", *service]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"{file}: published\n"
    uid = shown.out.strip()
    copy = quiet_service.data / "raw" / "ingested" / uid / "scan.h5"
    assert copy.read_bytes() == file.read_bytes()
    with open_run(tomo.raw[uid]) as found:
        assert (found.sample_name, found.origin.files) == ("bone", (str(copy),))
        assert found.shape == (30, 4, 48)
    assert run(["ingest", str(file), "--copy", *service]) == 0
    shown = capsys.readouterr()
    assert (shown.out.strip(), "is there already" in shown.err) == (uid, True)
    assert run(["ingest", str(file), str(tmp_path / "none.h5"), *service]) == 1
    assert "no such file" in capsys.readouterr().err
    assert run(["ingest", str(file), "--copy", "--uri", quiet_service.uri]) == 2
