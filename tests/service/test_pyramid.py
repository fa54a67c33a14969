"""The pyramid of a volume: from the conductor through Tiled's Zarr route to other people's readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs

from tests.service.conftest import pace, wait_for
from tests.service.scans import SmallScan
from tomoservice.catalog.states import State
from tomoservice.client import Job, Tomo
from tomoservice.conductor.job import store_folder
from tomoservice.conductor.loop import Conductor
from tomoservice.errors import CancelledError, CatalogError, OutputError
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings, load_settings
from tomoservice.store import SlabStore

WIDE = SmallScan(columns=96, rows=10, angles=30, rotation_axis=47.5, half_axes=(30.0, 20.0))
AT_47_5 = {"rotation_axis": {"method": "value", "value": 47.5}}


@pytest.fixture
def done(tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor) -> Job:
    job = tomo.reconstruct(publish_run(WIDE), AT_47_5)
    assert conductor.step()
    return job.wait(5)


def pyramid_state(job: Job) -> tuple[str, str]:
    status = job.record.metadata.pyramid
    assert status is not None
    return status.state.value, status.message


def test_other_peoples_reader_opens_it_through_the_service(
    done: Job, quiet_service: RunningService, settings: Settings, conductor: Conductor
) -> None:
    assert pyramid_state(done) == ("complete", "")
    # No key: reading is open to everybody.
    group = yaozarrs.validate_zarr_store(f"{quiet_service.uri}/zarr/v3/{done.path}/pyramid")
    (scales,) = group.ome_metadata().multiscales
    assert [dataset.path for dataset in scales.datasets] == ["0", "1"]
    assert scales.datasets[1].scale_transform.scale == [3.0, 3.0, 3.0]
    levels = [group[dataset.path].to_zarr_python() for dataset in scales.datasets]
    assert [level.shape for level in levels] == [(10, 96, 96), (5, 48, 48)]
    assert [level.metadata.dimension_names for level in levels] == [("z", "y", "x")] * 2
    volume = done.volume[:]
    assert np.array_equal(levels[0][:], volume, equal_nan=True)
    expected = volume.reshape(5, 2, 48, 2, 48, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(levels[1][:], expected, rtol=1e-5, atol=1e-7)

    # The same from disk, where the array of the volume is the first level.
    folder = store_folder(settings, done.record)
    on_disk = yaozarrs.validate_zarr_store(str(folder))
    assert on_disk.ome_metadata().multiscales[0].datasets[0].path == "volume.zarr"
    assert np.array_equal(on_disk["1"].to_zarr_python()[:], levels[1][:], equal_nan=True)
    assert on_disk.attrs["tomoservice"]["volume_checksum"] == SlabStore.open(folder).checksum()
    assert not conductor.step()


def test_nodes_go_and_files_stay(done: Job, tomo: Tomo, settings: Settings) -> None:
    assert list(done.pyramid) == ["0", "1"]
    before = done.volume[:]
    done.node["pyramid"].delete(recursive=True)
    # The volume shares its files with the first level.
    assert np.array_equal(done.volume[:], before, equal_nan=True)
    folder = store_folder(settings, done.record)
    done.node.delete(recursive=True, external_only=False)
    assert tomo.reconstructions(done.path.split("/")[1]) == []
    assert (folder / "volume.zarr" / "zarr.json").exists()


def test_none_is_made_if_nobody_wants_one(
    tomo: Tomo, publish_run: Callable[..., str], quiet_service: RunningService
) -> None:
    tree = pace()
    tree["conductor"]["pyramids"] = False
    conductor = Conductor(
        quiet_service.uri, quiet_service.api_key, load_settings(flags={"data": quiet_service.data, **tree})
    )
    job = tomo.reconstruct(publish_run(), {"rotation_axis": {"method": "value", "value": 15.5}})
    assert conductor.step()
    assert not conductor.step()
    conductor.close()
    assert job.state is State.DONE
    assert job.record.metadata.pyramid is None
    assert "pyramid" not in list(job.node)


def test_what_goes_wrong_leaves_the_volume_done(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any) -> None:
        raise OutputError("no space left on device")

    monkeypatch.setattr("tomoservice.conductor.follow_up.publish_pyramid", full)
    job = tomo.reconstruct(publish_run(WIDE), AT_47_5)
    assert conductor.step()
    assert job.wait(5).state is State.DONE
    assert pyramid_state(job) == ("failed", "no space left on device")
    with pytest.raises(CatalogError, match="is done and has no pyramid: failed no space left"):
        _ = job.pyramid
    assert job.volume.shape == (10, 96, 96)
    assert job.progress["percent"] == 100
    assert not conductor.step()


def test_an_interrupted_one_is_finished_by_an_idle_conductor(
    tomo: Tomo,
    publish_run: Callable[..., str],
    conductor: Conductor,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_args: Any) -> None:
        raise CancelledError("the conductor stops")

    job = tomo.reconstruct(publish_run(WIDE), AT_47_5)
    with monkeypatch.context() as patch:
        patch.setattr("tomoservice.conductor.follow_up.publish_pyramid", interrupted)
        assert conductor.step()
    assert job.wait(5).state is State.DONE
    assert pyramid_state(job) == ("pending", "")
    folder: Path = store_folder(settings, job.record)
    assert not (folder / "zarr.json").exists()
    assert conductor.step()
    assert pyramid_state(job) == ("complete", "")
    assert job.state is State.DONE
    assert list(job.node["pyramid"]) == ["0", "1"]
    assert job.progress["stage"] == "done"
    assert not conductor.step()


def test_a_user_may_stop_it(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.conductor.watch.LOOK_S", 0.1)
    job = tomo.reconstruct(publish_run(WIDE), AT_47_5)

    def endless(made: Any, *_args: Any) -> None:
        job.cancel()
        wait_for(made.cancelled, 20)
        raise CancelledError("stopped")

    monkeypatch.setattr("tomoservice.conductor.follow_up.publish_pyramid", endless)
    assert conductor.step()
    assert job.state is State.DONE
    assert pyramid_state(job) == ("failed", "stopped by a user")
