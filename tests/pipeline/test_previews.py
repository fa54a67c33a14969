"""Previews: the same pictures as the volume's, and only what a change touches is computed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.errors import CancelledError, RecipeError
from tomoservice.pipeline import compute, prepare
from tomoservice.pipeline.previews import Previewer
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.scan import TomoScan

COLUMNS, ROWS, ANGLES = 48, 24, 60
AXIS = {"rotation_axis": {"method": "value", "value": 25.0}}
BY_STAGE: dict[str, dict[str, Any]] = {
    "plain": {},
    "binned": {"frames": {"binning": 2}},
    "cropped": {"frames": {"rows": {"start": 3, "stop": 21}}, "output": {"crop": {"rows": {"start": 7}}}},
    "stripes": {"stripes": {"method": "sorting"}},
    "zingers": {"outliers": {"method": "zingers"}},
    "double flat": {"flat_field": {"method": "standard", "double_flat_field": 2.0}},
    "phase": {
        "phase": {
            "method": "paganin",
            "material": {"method": "delta_beta", "delta_beta": 100.0},
            "energy_kev": 20.0,
            "distance_mm": 20.0,
            "pixel_size_um": 1.0,
        }
    },
    "rings": {"rings": {"method": "polar"}},
    "whole numbers": {"output": {"dtype": "uint16"}},
    "tilt": {"rotation_axis": {"method": "value", "value": 25.0, "tilt_deg": 1.0}},
    "iterations": {"reconstruction": {"method": "sirt", "iterations": 3}},
}


@pytest.fixture(scope="module")
def phantom() -> PhantomScan:
    return phantom_scan(COLUMNS, ROWS, ANGLES, rotation_axis=25.0)


@pytest.fixture
def scan(phantom: PhantomScan) -> TomoScan:
    return phantom.scan(pixel_size_um=1.0)


def volume(scan: TomoScan, recipe: Recipe) -> NDArray[np.float32]:
    plan = prepare(scan, recipe)
    slices = np.empty(plan.shape, plan.dtype)

    def keep(slab: Any, pixels: NDArray[Any]) -> None:
        slices[slab.start : slab.stop] = pixels

    compute(plan, scan, on_slab=keep)
    if plan.conversion is None:
        return slices
    return (slices * plan.conversion.slope + plan.conversion.offset).astype(np.float32)


@pytest.mark.parametrize("stages", BY_STAGE.values(), ids=BY_STAGE.keys())
def test_a_preview_is_the_slice_of_the_volume(scan: TomoScan, stages: dict[str, Any]) -> None:
    recipe = parse_recipe({**AXIS, **stages})
    expected = volume(scan, recipe)
    previewer = Previewer(scan)
    step = float(np.ptp(expected)) / 65535 if recipe.output.dtype == "uint16" else 0.0
    for z in (0, len(expected) // 2, len(expected) - 1):
        image = previewer.slice(recipe, z).image
        assert image.shape == expected[z].shape
        assert image.dtype == np.float32
        if step:
            image = np.clip(image, expected.min(), expected.max())
        assert np.abs(image - expected[z]).max() <= 1e-3 * np.abs(expected).max() + step


def test_moving_the_axis_costs_one_back_projection(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    recipe = parse_recipe({**AXIS, "stripes": {"method": "sorting"}})
    first = previewer.slice(recipe, 10)
    assert {"read", "flat_field", "stripes", "reconstruct"} <= first.timings_s.keys()
    moved = recipe.changed(rotation_axis={"method": "value", "value": 24.0})
    second = previewer.slice(moved, 10)
    assert second.timings_s.keys() == {"plan", "reconstruct", "finish"}
    assert not np.array_equal(first.image, second.image)
    # Undo costs no more, and gives the same picture.
    again = previewer.slice(recipe, 10)
    assert again.timings_s.keys() == {"plan", "reconstruct", "finish"}
    assert np.array_equal(again.image, first.image)


def test_another_removal_of_stripes_does_not_read_the_scan_again(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    previewer.slice(parse_recipe(AXIS), 10)
    changed = previewer.slice(parse_recipe({**AXIS, "stripes": {"method": "sorting"}}), 10)
    assert changed.timings_s.keys() == {"plan", "stripes", "reconstruct", "finish"}


def test_the_axis_is_searched_once(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    recipe = parse_recipe({})
    first = previewer.slice(recipe, 10)
    filtered = recipe.changed(reconstruction={"method": "fourier", "filter": "hann"})
    second = previewer.slice(filtered, 10)
    assert first.axis is second.axis is not None
    assert abs(first.axis.rotation_axis - 25.0) < 0.25
    assert second.resolved.rotation_axis == first.resolved.rotation_axis
    assert second.timings_s["plan"] < first.timings_s["plan"]


def test_sinograms_and_projections(phantom: PhantomScan, scan: TomoScan) -> None:
    previewer = Previewer(scan)
    recipe = parse_recipe({**AXIS, "stripes": {"method": "sorting"}})
    before = previewer.sinogram(recipe, 10, corrected=False).image
    after = previewer.sinogram(recipe, 10).image
    assert before.shape == after.shape == (ANGLES, COLUMNS)
    assert not np.array_equal(before, after)
    raw = previewer.projection(recipe, 7, corrected=False).image
    assert np.array_equal(raw, phantom.projections[7])
    projection = previewer.projection(recipe, 7).image
    assert projection.shape == (ROWS, COLUMNS)
    assert np.allclose(projection[10], before[7], atol=1e-5)


def test_what_is_kept_is_not_modified(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    recipe = parse_recipe(AXIS)
    image = previewer.slice(recipe, 3).image.copy()
    previewer.sinogram(recipe, 3).image[:] = np.nan
    previewer.sinogram(recipe, 3, corrected=False).image[:] = np.nan
    previewer.slice(parse_recipe({**AXIS, "outliers": {"method": "zingers"}}), 3)
    assert np.array_equal(previewer.slice(recipe, 3).image, image)


def test_several_threads_share_what_is_kept(scan: TomoScan) -> None:
    previewer, single = Previewer(scan), Previewer(scan)
    recipes = [
        parse_recipe({"rotation_axis": {"method": "value", "value": value}}) for value in (23.0, 24.0, 25.0)
    ] * 4
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda recipe: previewer.slice(recipe, 5).image, recipes))
    for recipe, image in zip(recipes, images, strict=True):
        assert np.array_equal(image, single.slice(recipe, 5).image)


@pytest.mark.parametrize("z", [-1, ROWS])
def test_a_slice_that_is_not_there(scan: TomoScan, z: int) -> None:
    with pytest.raises(RecipeError, match=rf"z: got {z}, but this recipe gives 0 to 23"):
        Previewer(scan).slice(parse_recipe(AXIS), z)


def test_superseded_previews_end_early(scan: TomoScan) -> None:
    with pytest.raises(CancelledError):
        Previewer(scan).slice(parse_recipe({}), 5, cancelled=lambda: True)
