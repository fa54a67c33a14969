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
from tomoservice.pipeline.coarse import Across, coarser
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
    # Undo costs nothing, and gives the same picture.
    again = previewer.slice(recipe, 10)
    assert again.timings_s.keys() == {"plan", "finish"}
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


@pytest.mark.parametrize("stages", BY_STAGE.values(), ids=BY_STAGE.keys())
@pytest.mark.parametrize("across", Across)
def test_a_plane_is_that_of_the_volume(scan: TomoScan, stages: dict[str, Any], across: Across) -> None:
    recipe = parse_recipe({**AXIS, **stages})
    expected = volume(scan, recipe)
    previewer = Previewer(scan)
    step = float(np.ptp(expected)) / 65535 if recipe.output.dtype == "uint16" else 0.0
    for place in (0, 11, expected.shape[across.dimension] - 1):
        found = previewer.plane(recipe, across, place, max_width=COLUMNS)
        image, wanted = found.image, expected.take(place, across.dimension)
        assert found.binning == 1
        assert image.shape == wanted.shape
        assert image.dtype == np.float32
        if step:
            image = np.clip(image, expected.min(), expected.max())
        assert np.abs(image - wanted).max() <= 1e-3 * np.abs(expected).max() + step


@pytest.mark.parametrize("units", ["per_pixel", "per_cm"])
@pytest.mark.parametrize("across", Across)
def test_a_coarse_plane_shows_the_same_at_the_same_place(
    phantom: PhantomScan, units: str, across: Across
) -> None:
    recipe = parse_recipe({**AXIS, "output": {"units": units, "crop": {"rows": {"start": 8, "stop": 44}}}})
    scan = phantom.scan(pixel_size_um=1.0)
    exact = volume(scan, recipe)
    binned = exact.reshape(ROWS // 2, 2, 18, 2, COLUMNS // 2, 2).mean((1, 3, 5))
    found = Previewer(scan).plane(recipe, across, 17, max_width=COLUMNS // 2)
    expected = binned.take(17 // 2, across.dimension)
    assert found.binning == 2
    assert found.image.shape == expected.shape
    assert np.sqrt(np.mean((found.image - expected) ** 2)) < 0.1 * np.ptp(expected)
    assert abs(found.image.mean() - expected.mean()) < 0.05 * np.abs(expected).mean()
    # and nowhere else
    likeness = [
        np.corrcoef(found.image.ravel(), np.roll(expected, shift, (0, 1)).ravel())[0, 1]
        for shift in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    assert int(np.argmax(likeness)) == 0


def test_another_plane_costs_nothing_and_another_axis_no_reading(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    recipe = parse_recipe({**AXIS, "stripes": {"method": "sorting"}})
    first = previewer.plane(recipe, Across.Y, 20, max_width=24)
    assert {"read", "flat_field", "stripes", "reconstruct"} <= first.timings_s.keys()
    assert previewer.plane(recipe, Across.X, 30, max_width=24).timings_s.keys() == {"plan"}
    moved = recipe.changed(rotation_axis={"method": "value", "value": 24.0})
    second = previewer.plane(moved, Across.Y, 20, max_width=24)
    assert second.timings_s.keys() == {"plan", "reconstruct", "finish"}
    assert not np.array_equal(first.image, second.image)
    assert np.array_equal(previewer.plane(recipe, Across.Y, 20, max_width=24).image, first.image)


def test_a_plane_needs_no_more_projections_than_its_pixels(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    plan = previewer.plan(parse_recipe({**AXIS, "frames": {"angles": {"start": 2}, "exclude": [7]}}))
    finer, coarse = (coarser(plan, width, 2**40)[0] for width in (24, 12))
    assert (finer.frames.binning, finer.frames.angles.step) == (2, 1)
    assert (coarse.frames.binning, coarse.frames.angles.step) == (4, 3)
    assert (coarse.frames.angles.start, coarse.frames.exclude) == (2, (7,))


def test_projections_that_are_excluded_are_not_all_that_is_left(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    recipe = parse_recipe({**AXIS, "frames": {"exclude": list(range(0, ANGLES, 3))}})
    assert coarser(previewer.plan(recipe), 12, 2**40)[0].frames.angles.step == 2
    assert previewer.plane(recipe, Across.Y, 5, max_width=12).image.shape == (ROWS // 4, COLUMNS // 4)


def test_a_crop_at_the_end_is_inside_the_coarse_slice_too(scan: TomoScan) -> None:
    crop = {"rows": {"start": 47}, "columns": {"start": 0, "stop": 48}}
    recipe = parse_recipe({**AXIS, "frames": {"columns": {"stop": 48}}, "output": {"crop": crop}})
    plan = Previewer(scan).plan(recipe)
    coarse, binning = coarser(plan, 13, 2**40)
    kept = coarse.output.crop
    assert (binning, kept.rows.start, kept.columns.stop) == (4, 11, 12)
    found = Previewer(scan).plane(recipe, Across.X, 30, max_width=13)
    assert found.image.shape == (ROWS // 4, 1)


def test_little_of_a_slice_does_not_take_all_of_it(scan: TomoScan) -> None:
    crop = {"rows": {"start": 20, "stop": 28}, "columns": {"start": 20, "stop": 28}}
    plan = Previewer(scan).plan(parse_recipe({**AXIS, "output": {"crop": crop}}))
    assert [coarser(plan, width, 2**40)[1] for width in (24, 12, 8)] == [1, 2, 3]


def test_planes_fit_the_memory(scan: TomoScan) -> None:
    plan = Previewer(scan).plan(parse_recipe(AXIS))
    assert [coarser(plan, COLUMNS, memory)[1] for memory in (2**40, 200_000, 1)] == [1, 3, ROWS]


def test_a_scan_of_one_row_has_planes(phantom: PhantomScan) -> None:
    recipe = parse_recipe({**AXIS, "frames": {"rows": {"start": 9, "stop": 10}}})
    found = Previewer(phantom.scan()).plane(recipe, Across.Y, 5, max_width=12)
    assert (found.binning, found.image.shape) == (1, (1, COLUMNS))


def test_a_plane_beside_the_volume_is_refused_and_one_nobody_wants_given_up(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    with pytest.raises(RecipeError, match="y: got 48, but this recipe gives 0 to 47"):
        previewer.plane(parse_recipe(AXIS), Across.Y, COLUMNS, max_width=24)
    with pytest.raises(CancelledError):
        previewer.plane(parse_recipe(AXIS), Across.Y, 3, max_width=24, cancelled=lambda: True)
