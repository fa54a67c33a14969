"""What lies between the stages of previews is kept: a change costs its own stage and what follows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.phantom_scans import phantom_scan
from tomoservice.pipeline.coarse import Across
from tomoservice.pipeline.kept_blocks import BlockStore
from tomoservice.pipeline.previews import CACHE_SHARE, Previewer
from tomoservice.pipeline.stages import Block
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.scan import TomoScan

COLUMNS, ROWS, ANGLES, Z = 48, 320, 60, 160
SINOGRAM = ANGLES * COLUMNS * 4


def phase(delta_beta: float) -> dict[str, Any]:
    return {
        "method": "paganin",
        "material": {"method": "delta_beta", "delta_beta": delta_beta},
        "energy_kev": 20.0,
        "distance_mm": 20.0,
        "pixel_size_um": 1.0,
    }


def axis(value: float, tilt_deg: float = 0.0) -> dict[str, Any]:
    return {"method": "value", "value": value, "tilt_deg": tilt_deg}


EVERY: dict[str, Any] = {
    "flat_field": {"method": "standard", "double_flat_field": 2.0},
    "outliers": {"method": "zingers", "dimension": "both", "stuck_pixels": True},
    "stripes": {"method": "sorting", "size": 5},
    "phase": phase(100.0),
    "beam_hardening": {"method": "polynomial", "coefficients": [1.0, 0.05]},
    "rotation_axis": axis(25.0),
    "rings": {"method": "polar"},
}
ALWAYS = {"plan", "finish"}
SINCE_HARDENING = {*ALWAYS, "reconstruct", "beam_hardening"}
SINCE_PHASE = {*SINCE_HARDENING, "phase", "minus_log"}
SINCE_STRIPES = {*SINCE_PHASE, "stripes"}
SINCE_OUTLIERS = {*SINCE_STRIPES, "outliers", "flat_field"}
"""The double flat field is booked under the flat field, and follows the outliers."""
CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "outliers": ({"outliers": {**EVERY["outliers"], "threshold": 5.0}}, SINCE_OUTLIERS),
    "neighbours": ({"outliers": {**EVERY["outliers"], "size": 5}}, SINCE_OUTLIERS),
    "stripes": ({"stripes": {"method": "sorting", "size": 9}}, SINCE_STRIPES),
    "other stripes": ({"stripes": {"method": "filtering"}}, SINCE_STRIPES),
    "no stripes": ({"stripes": {"method": "none"}}, SINCE_PHASE),
    "phase": ({"phase": phase(110.0)}, SINCE_PHASE),
    "no phase": ({"phase": {"method": "none"}}, SINCE_HARDENING),
    "beam hardening": (
        {"beam_hardening": {"method": "polynomial", "coefficients": [1.0, 0.1]}},
        SINCE_HARDENING,
    ),
    "no beam hardening": ({"beam_hardening": {"method": "none"}}, {*ALWAYS, "reconstruct"}),
    "axis": ({"rotation_axis": axis(24.0)}, {*ALWAYS, "reconstruct"}),
    "filter": ({"reconstruction": {"method": "fourier", "filter": "hann"}}, {*ALWAYS, "reconstruct"}),
    "rings": ({"rings": {"method": "polar", "width": 9}}, ALWAYS),
    "no rings": ({"rings": {"method": "none"}}, ALWAYS),
    "units": ({"output": {"units": "per_cm", "crop": {"rows": {"start": 9, "stop": 30}}}}, ALWAYS),
}


@pytest.fixture(scope="module")
def scan() -> TomoScan:
    return phantom_scan(COLUMNS, ROWS, ANGLES, rotation_axis=25.0).scan(pixel_size_um=1.0)


@pytest.fixture(scope="module")
def used(scan: TomoScan) -> Previewer:
    """What has shown a slice with every stage; each change is made from there, after all changes before."""
    previewer = Previewer(scan)
    first = previewer.slice(parse_recipe(EVERY), Z)
    assert {"read", "reconstruct"} | SINCE_OUTLIERS <= first.timings_s.keys()
    return previewer


@pytest.mark.parametrize(("change", "stages"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_costs_its_stage_and_what_follows(
    scan: TomoScan, used: Previewer, change: dict[str, Any], stages: set[str]
) -> None:
    recipe = parse_recipe({**EVERY, **change})
    found = used.slice(recipe, Z)
    assert found.timings_s.keys() == stages
    assert np.array_equal(found.image, Previewer(scan).slice(recipe, Z).image)
    # Undo costs nothing, and gives what was there.
    again = used.slice(parse_recipe(EVERY), Z)
    assert again.timings_s.keys() == ALWAYS
    assert np.array_equal(again.image, Previewer(scan).slice(parse_recipe(EVERY), Z).image)
    assert not np.array_equal(again.image, found.image)


@pytest.mark.parametrize(
    "values",
    [
        [{"stripes": {"method": "sorting", "size": size}} for size in (3, 5, 7, 9)],
        [{"phase": phase(value)} for value in (80.0, 100.0, 120.0, 140.0)],
        [{"beam_hardening": {"method": "polynomial", "coefficients": [1.0, b]}} for b in (0.02, 0.04, 0.06)],
        [{"rotation_axis": axis(value, 0.5)} for value in (24.0, 24.5, 25.0)],
    ],
    ids=["stripes", "phase", "beam hardening", "tilted axis"],
)
def test_a_sweep_computes_the_stages_before_it_once(scan: TomoScan, values: list[dict[str, Any]]) -> None:
    previewer = Previewer(scan)
    recipes = [parse_recipe({**EVERY, **value}) for value in values]
    found = [previewer.slice(recipe, Z) for recipe in recipes]
    swept = next(iter(values[0])).replace("rotation_axis", "tilt")
    order = ("read", "outliers", "stripes", "phase", "beam_hardening", "tilt", "reconstruct")
    before, after = order[: order.index(swept)], order[order.index(swept) :]
    assert set(before) <= found[0].timings_s.keys()
    for one in found[1:]:
        assert one.timings_s.keys().isdisjoint(before)
        assert {*after} - {"tilt"} <= one.timings_s.keys()
    for recipe, one in zip(recipes, found, strict=True):
        assert np.array_equal(one.image, Previewer(scan).slice(recipe, Z).image)


@pytest.mark.parametrize("values", [(100.0, 2.0, 1000.0, 20.0), (1000.0, 20.0, 2.0, 100.0)])
def test_a_phase_that_reaches_farther_finds_its_rows(scan: TomoScan, values: tuple[float, ...]) -> None:
    previewer = Previewer(scan)
    without = {**EVERY, "rings": {"method": "none"}}
    recipes = [parse_recipe({**without, "phase": phase(value)}) for value in values]
    margins = {previewer.plan(recipe).chain.margin for recipe in recipes}
    assert max(margins) > 2 * min(margins)
    for z in (Z, 3):
        for recipe in recipes:
            image = previewer.slice(recipe, z).image
            assert np.array_equal(image, Previewer(scan).slice(recipe, z).image)


def test_little_memory_changes_no_picture_and_is_not_exceeded(scan: TomoScan) -> None:
    # A block before the phase has more than 100 rows.
    budget = CACHE_SHARE * 2 * 150 * SINOGRAM
    previewer, roomy = Previewer(scan, memory_bytes=budget), Previewer(scan)
    tilted = {**EVERY, "rotation_axis": axis(25.0, 0.5)}
    recipes = [
        parse_recipe({**tilted, "stripes": {"method": "sorting", "size": size}}) for size in (3, 5, 7, 9)
    ]
    for number, recipe in enumerate(recipes):
        found = previewer.slice(recipe, Z)
        assert np.array_equal(found.image, roomy.slice(recipe, Z).image)
        assert 0 < previewer._between.store.nbytes <= budget // CACHE_SHARE // 2
        # Once it is seen which stage is turned at, the block before it is what is kept.
        assert ("outliers" in found.timings_s) == (number < 2)


def test_planes_keep_what_comes_out_and_one_block_before(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    few = {"frames": {"rows": {"start": Z, "stop": Z + 12}}, "outliers": EVERY["outliers"]}
    recipes = [
        parse_recipe({**few, "rotation_axis": axis(25.0), "stripes": {"method": "sorting", "size": size}})
        for size in (3, 5, 7, 9)
    ]
    for number, (recipe, blocks) in enumerate(zip(recipes, (1, 3, 4, 5), strict=True)):
        found = previewer.plane(recipe, Across.Y, 20, max_width=COLUMNS)
        assert found.binning == 1
        assert ("outliers" in found.timings_s) == (number < 2)
        assert ("read" in found.timings_s) == (number == 0)
        assert previewer._between.store.nbytes == blocks * 12 * SINOGRAM
        other = Previewer(scan).plane(recipe, Across.Y, 20, max_width=COLUMNS)
        assert np.array_equal(found.image, other.image)


def test_a_sweep_by_several_threads(scan: TomoScan) -> None:
    previewer = Previewer(scan)
    recipes = [
        parse_recipe({**EVERY, "stripes": {"method": "sorting", "size": size}}) for size in (3, 5, 7, 9)
    ]

    def show(recipe: Recipe) -> Any:
        return previewer.slice(recipe, Z)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(show, recipes))
    assert sum("outliers" in one.timings_s for one in found) == 1
    for recipe, one in zip(recipes, found, strict=True):
        assert np.array_equal(one.image, Previewer(scan).slice(recipe, Z).image)


def block(rows: int, start: int = 0) -> Block:
    return Block(np.zeros((rows, 2, 2), np.float32), start)


def test_a_store_gives_what_covers_and_forgets_what_is_not_used() -> None:
    store = BlockStore(10 * 16)
    assert store.put("first", block(4, start=-2)) is not None
    part = store.find("first", (-1, 1))
    assert part is not None
    assert (part.start, part.stop) == (-1, 1)
    assert store.find("first", (-1, 3)) is None
    assert store.find("first", (-3, 1)) is None
    assert store.put("second", block(4)) is not None
    assert store.find("first", (0, 1)) is not None
    assert store.put("third", block(4)) is not None
    found = [store.find(key, (0, 1)) for key in ("first", "second", "third")]
    assert [one is not None for one in found] == [True, False, True]
    # In the place of what did not cover
    assert store.put("third", block(6)) is not None
    assert store.nbytes == 10 * 16


def test_a_store_keeps_no_more_than_it_may_save_what_must_be_kept() -> None:
    store = BlockStore(10 * 16)
    assert store.put("spared", block(6)) is not None
    assert store.put("other", block(6), spared="spared") is None
    assert store.put("other", block(11)) is None
    assert store.find("spared", (0, 6)) is not None
    assert store.put("other", block(11), always=True) is not None
    assert store.find("spared", (0, 6)) is None
    assert store.nbytes == 11 * 16
    assert store.put("small", block(1)) is not None
    assert store.nbytes == 16


def test_what_is_kept_holds_no_more_memory_than_its_own() -> None:
    store = BlockStore(10 * 16)
    kept = store.put("part", block(9).part(4, 5))
    assert kept is not None
    assert kept.sinograms.base is None
