"""Sweeps: one slice by several recipes, computed when somebody looks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tiled.structures.core import Spec

from tests.service.conftest import connected, wait_for
from tests.service.scans import FOURIER, SLOW, reconstructed
from tomoservice.catalog.transport import translated
from tomoservice.client import SweepView, Tomo, spread
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.housekeeping.sweep import sweep
from tomoservice.recon.rings import ring_score
from tomoservice.service.running import RunningService
from tomoservice.settings import load_settings
from tomoservice.store import SlabStore, folder_of

Z = 70


@pytest.fixture
def tomo(service: RunningService) -> Iterator[Tomo]:
    with connected(service) as connection:
        yield connection


def made(service: RunningService, sweep: SweepView) -> set[int]:
    folder = folder_of(service.data / "volumes", *sweep.node.path_parts[-2:])
    return SlabStore.open(folder).present() if (folder / "volume.zarr").exists() else set()


def test_the_axis_moves(service: RunningService, tomo: Tomo, slow_run: str, truth: np.ndarray) -> None:
    sweep = tomo.sweep(slow_run, "rotation_axis", spread(46.5, 48.5, 0.5), recipe=FOURIER, z=Z)
    assert sweep.values == [46.5, 47.0, 47.5, 48.0, 48.5]
    images = sweep.images
    assert images.shape == (5, *truth.shape[1:])
    assert images.dims == ("value", "y", "x")
    assert list(images.metadata["labels"]) == sweep.values
    # Looking at one makes one.
    assert np.abs(sweep[2] - truth[Z]).max() < 1e-3 * np.abs(truth[Z]).max()
    assert made(service, sweep) == {2}
    every = images[:]
    assert made(service, sweep) == {0, 1, 2, 3, 4}
    assert np.array_equal(every[2], sweep[2])
    other = {"rotation_axis": {"method": "value", "value": 48.5}}
    expected = reconstructed(SLOW, {**other, "frames": {"rows": {"start": 64, "stop": 80}}})[Z - 64]
    assert np.abs(every[4] - expected).max() < 1e-3 * np.abs(expected).max()
    # "Use this one": its recipe is an ordinary one.
    job = tomo.reconstruct(slow_run, sweep.recipe(2))
    assert job.record.metadata.recipe["rotation_axis"]["value"] == 47.5
    job.cancel()


def test_the_best_axis_is_marked_and_accepted(
    service: RunningService, tomo: Tomo, slow_run: str, truth: np.ndarray
) -> None:
    scan = tomo.scans[slow_run]
    sweep = scan.sweep("rotation_axis", 44.5, 50.5, 1.0, recipe=FOURIER, z=Z)
    assert sweep[5].shape == truth.shape[1:]
    # To measure one, the one that all are compared with is looked at, too, but no other.
    assert made(service, sweep) == {5}
    plain = tomo.root[sweep.path]["metric"]
    assert (plain.shape, plain.dims, plain.metadata["metric"]) == ((7,), ("value",), "entropy")
    assert np.isfinite(plain[5])
    assert made(service, sweep) == {5}
    values = tomo.root[sweep.path]["values"]
    assert values[:].tolist() == [44.5, 45.5, 46.5, 47.5, 48.5, 49.5, 50.5]
    assert (values.dims, values.metadata["parameter"]) == (("value",), "rotation_axis")
    scores = sweep.scores
    assert scores is not None
    assert made(service, sweep) == set(range(7))
    assert np.array_equal(scores, plain[:])
    # The same number, whatever is computed in which order.
    again = scan.sweep("rotation_axis", 44.5, 50.5, 1.0, recipe=FOURIER, z=Z)
    assert again.scores is not None
    assert np.array_equal(again.scores, scores)
    assert sweep.values[scores.best] == 47.5
    assert repr(sweep).endswith("z = 70, best 47.5>")
    page = sweep._repr_html_()
    assert page.count("<img") == 7
    assert page.count("best</figcaption>") == 1
    assert "Best: 47.5" in page
    saved = sweep.accept(scores.best, tags=["ellipses"])
    assert (saved.name, saved.tags) == ("recipe-rotation_axis-47.5", ("ellipses",))
    assert saved.note == f"picture 3 of sweep {slow_run[:8]}/{sweep.path.split('/')[-1]}: rotation_axis 47.5"
    assert saved.recipe.rotation_axis.value == 47.5
    assert scan.proposal.recipe.name == saved.name
    assert [found.run_uid for found in tomo.recipes.accepted(saved.name)] == [slow_run]
    named = sweep.accept(-1, "last-of-all", note="to have one")
    assert (named.name, named.note, named.recipe.rotation_axis.value) == ("last-of-all", "to have one", 50.5)
    with pytest.raises(RecipeError, match="there is no picture 7: the sweep has 0 to 6"):
        sweep.accept(7)
    for name in (saved.name, named.name):
        tomo.recipes.delete(name)


def test_rings_are_scored_and_filters_are_not(tomo: Tomo, slow_run: str) -> None:
    scan = tomo.scans[slow_run]
    stripes = scan.sweep("stripes", [{"method": "none"}, {"method": "sorting"}], recipe=FOURIER, z=Z)
    scores = stripes.scores
    assert scores is not None
    assert scores.metric == "ring_score"
    whole = np.array([ring_score(image) for image in stripes.images[:]])
    assert np.allclose(scores, whole, rtol=1e-5)
    # What is measured is the whole slice, whatever part of it is shown.
    part = {"crop": {"rows": {"start": 10, "stop": 60}}}
    cropped = scan.sweep(
        "stripes", [{"method": "none"}, {"method": "sorting"}], recipe={**FOURIER, "output": part}, z=Z
    )
    assert np.array_equal(cropped.scores, scores)
    assert np.array_equal(cropped.images[:], stripes.images[:, 10:60])
    # Stages have names and no values.
    assert "values" not in tomo.root[cropped.path]
    smooth = scan.sweep("reconstruction.filter_cutoff", [0.5, 1.0], recipe=FOURIER, z=Z)
    assert smooth.images.shape[0] == 2
    assert smooth.scores is None
    assert "metric" not in tomo.root[smooth.path]
    assert "best" not in smooth._repr_html_()


def test_pictures_go_by_the_quota_and_the_folder_with_the_node(
    service: RunningService, tomo: Tomo, slow_run: str
) -> None:
    settings = load_settings(flags={"data": service.data, "housekeeping": {"virtual_quota_bytes": 0}})
    views = [
        tomo.sweep(slow_run, "rotation_axis", [first, first + 1], recipe=FOURIER, z=Z)
        for first in (46.0, 47.0)
    ]
    before = [view.images[:] for view in views]
    folders = [folder_of(service.data / "volumes", *view.node.path_parts[-2:]) for view in views]
    for folder, seconds in zip(folders, (3600, 7200), strict=True):
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (time.time() - seconds,) * 2)
    swept = [item.path for item in sweep(tomo.root, settings, age_s=0) if item.path in folders]
    assert swept == folders[::-1]
    assert [made(service, view) for view in views] == [set(), set()]
    assert all(np.array_equal(view.images[:], images) for view, images in zip(views, before, strict=True))
    views[0].node.delete(recursive=True, external_only=False)
    [orphan] = [item for item in sweep(tomo.root, settings, age_s=0) if item.path in folders]
    assert (orphan.path, orphan.reason) == (folders[0], "no node belongs to it")
    assert [folder.exists() for folder in folders] == [False, True]
    assert made(service, views[1]) == {0, 1}


def test_a_part_of_the_slice(tomo: Tomo, slow_run: str, truth: np.ndarray) -> None:
    scan = tomo.scans[slow_run]
    part = tomo.sweep(
        *(slow_run, "rotation_axis", [47.0, 47.5]), recipe=FOURIER, z=Z, rows=(20, 60), columns=(30, None)
    )
    assert part.images.shape == (2, 40, 66)
    assert np.abs(part[1] - truth[Z, 20:60, 30:]).max() < 1e-3 * np.abs(truth[Z]).max()
    likewise = scan.sweep("rotation_axis", [47.5], recipe=FOURIER, z=Z, columns=(np.int64(30), 40))
    assert np.array_equal(likewise.images[0, 20:60], part[1][:, :10])
    with pytest.raises(RecipeError, match=r"rows: got 20, want the first and .* \(\(20, 60\)\)"):
        scan.sweep("rotation_axis", [47.5], rows=20)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"columns: .*stop \(20\) must be greater than start \(60\)"):
        scan.sweep("rotation_axis", [47.5], columns=(60, 20))


def test_ring_filters_side_by_side(tomo: Tomo, slow_run: str) -> None:
    stages = [{"method": "none"}, {"method": "sorting"}]
    sweep = tomo.sweep(slow_run, "stripes", stages, recipe=FOURIER, z=Z)
    assert sweep.values == ["none", "sorting"]
    first, second = sweep.images[:]
    assert not np.array_equal(first, second)


def test_a_client_with_nothing_but_tiled(tomo: Tomo, slow_run: str, truth: np.ndarray) -> None:
    content: dict[str, Any] = {
        "recipe": FOURIER,
        "parameter": "reconstruction.filter",
        "values": ["ramp", "hann"],
        "z": Z,
        "rows": {"start": 20, "stop": 60},
    }
    run = tomo.root["processed", slow_run] if slow_run in tomo.root["processed"] else None
    run = run or tomo.root["processed"].create_container(slow_run)
    node = run.create_container(
        "by-hand", metadata={"sweep": content}, specs=[Spec("TomoSweep", version="1")]
    )
    wait_for(lambda: "images" in list(node), 30)
    assert node["images"].shape == (2, 40, 96)
    assert np.abs(node["images"][0] - truth[Z, 20:60]).max() < 1e-3 * np.abs(truth[Z]).max()
    assert list(node.refresh().metadata["labels"]) == ["ramp", "hann"]
    with pytest.raises(CatalogError, match="sweep: cannot be changed"), translated("changing"):
        node.update_metadata({"sweep": {"z": 3}})
    with pytest.raises(CatalogError, match="a sweep is virtual"), translated("queueing"):
        node.update_metadata({"status": {"state": "queued"}})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"parameter": "filter", "values": [1.0]}, "TomoSweep: sweep: parameter: there is no filter"),
        ({"parameter": "rotation_axis", "values": []}, "TomoSweep: sweep: values"),
    ],
)
def test_what_is_wrong_in_itself_is_refused(
    tomo: Tomo, slow_run: str, content: dict[str, Any], says: str
) -> None:
    if slow_run not in tomo.root["processed"]:
        tomo.root["processed"].create_container(slow_run)
    with pytest.raises(CatalogError, match=says), translated("creating"):
        tomo.root["processed", slow_run].create_container(
            "wrong", metadata={"sweep": content}, specs=[Spec("TomoSweep", version="1")]
        )


def test_what_only_the_scan_can_show(tomo: Tomo, slow_run: str) -> None:
    far = tomo.sweep(slow_run, "rotation_axis", [47.0, 400.0], recipe=FOURIER, z=Z)
    with pytest.raises(CatalogError, match=r"is failed: .*rotation_axis: got 400"):
        _ = far.images
    deep = tomo.sweep(slow_run, "rotation_axis", [47.0, 48.0], recipe=FOURIER, z=384)
    with pytest.raises(CatalogError, match=r"is failed: .*z: got 384, but this recipe gives 0 to 383"):
        _ = deep.images


def test_values() -> None:
    assert spread(1, 2, 0.25) == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert spread(2, 1, -0.5) == [2.0, 1.5, 1.0]
    with pytest.raises(RecipeError, match="no values from 1 to 2 in steps of -1"):
        spread(1, 2, -1)
