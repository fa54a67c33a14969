"""Volumes taken home from the service: through it, or straight from its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaozarrs
import zarr

from tests.service.scans import SmallScan
from tomoservice.catalog.nodes import find_reconstruction, request_reconstruction
from tomoservice.cli import run
from tomoservice.client import Tomo
from tomoservice.compute.published import service_volume
from tomoservice.conductor.loop import Conductor
from tomoservice.errors import CatalogError, OutputError
from tomoservice.export import ExportOptions, export_volume
from tomoservice.recipe import parse_recipe
from tomoservice.service.running import RunningService

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


def test_the_whole_way(
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    quiet_service: RunningService,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uid = publish_run(SmallScan(rows=10))
    job = tomo.reconstruct(uid, AT_15_5)
    with pytest.raises(CatalogError, match="is queued; only complete volumes"):
        job.export(tmp_path / "v.h5")
    assert conductor.step()
    expected = job.wait(5).volume[:]

    # From IPython, straight from the files that this machine has.
    assert job.export(tmp_path / "v.ome.zarr") == tmp_path / "v.ome.zarr"
    group = yaozarrs.validate_zarr_store(str(tmp_path / "v.ome.zarr"))
    assert np.array_equal(group["0"].to_zarr_python()[:], expected)
    attributes = dict(zarr.open_group(tmp_path / "v.ome.zarr", mode="r").attrs)
    assert attributes["voxel_size_um"] == 1.5
    record = attributes["tomoservice"]
    assert record["raw_uid"] == uid
    assert record["recipe"]["rotation_axis"]["value"] == 15.5
    assert record["export"]["source"].endswith(job.path)
    with pytest.raises(OutputError, match="exists already"):
        job.export(tmp_path / "v.ome.zarr")

    # From the command line, by key and by path.
    key = job.record.reconstruction_id
    words = ["--uri", quiet_service.uri, "--api-key", quiet_service.api_key, "--z", "2:4"]
    assert run(["export", key, str(tmp_path / "key.zarr"), *words]) == 0
    assert run(["export", f"{uid}/{key}", str(tmp_path / "path.zarr"), *words]) == 0
    for name in ("key.zarr", "path.zarr"):
        assert np.array_equal(zarr.open_array(tmp_path / name, mode="r")[:], expected[2:4])
    capsys.readouterr()
    assert run(["export", "nowhere", str(tmp_path / "no.zarr"), *words]) == 1
    assert "there is no reconstruction 'nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "no.zarr").exists()

    # From a machine that sees none of the files.
    there = service_volume(job.node, direct=False)
    export_volume(there, tmp_path / "far.zarr", ExportOptions(z=(1, 9), y=(3, 30)))
    assert np.array_equal(zarr.open_array(tmp_path / "far.zarr", mode="r")[:], expected[1:9, 3:30])
    assert there.form.voxel_size_um == 1.5


def test_a_key_that_two_runs_have_wants_a_path(tomo: Tomo) -> None:
    recipe = parse_recipe(AT_15_5)
    for run_uid in ("first-run", "second-run"):
        request_reconstruction(tomo.root, run_uid, recipe, reconstruction_id="mine")
    with pytest.raises(CatalogError, match=r"may be any of processed/.*-run/mine, .*; give the path"):
        find_reconstruction(tomo.root, "mine")
    assert find_reconstruction(tomo.root, "processed/second-run/mine").path_parts[1] == "second-run"
    with pytest.raises(CatalogError, match="no node /processed/third-run/mine"):
        find_reconstruction(tomo.root, "third-run/mine")
