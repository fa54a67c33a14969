"""What a recipe wants that the scan, or the memory, has not: said before anything is computed."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.errors import MemoryBudgetError, RecipeError
from tomoservice.pipeline import compute, prepare, slabs
from tomoservice.pipeline.beam import look_at_beam
from tomoservice.pipeline.memory import MemoryPlan, Problem, plan_memory
from tomoservice.pipeline.references import choose_references
from tomoservice.pipeline.selection import select
from tomoservice.prep.saturation import detector_limit, saturated_part
from tomoservice.recipe import parse_recipe
from tomoservice.recon import get_reconstructor
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan
from tomoservice.sources.frames import LazyFrames

AXIS = {"rotation_axis": {"method": "value", "value": 15.5}}
MIB = 2**20
GOLDEN = 180 * (np.sqrt(5) - 1)


@pytest.fixture(scope="module")
def small() -> PhantomScan:
    return phantom_scan(32, 6, 60)


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        (
            {"flat_field": {"method": "standard", "normalisation": {"method": "border", "columns": 17}}},
            r"flat_field\.normalisation\.columns: got 17 on either side, but only 32 columns are kept",
        ),
        (
            {
                "outliers": {"method": "zingers", "dimension": "angle", "size": 5},
                "frames": {"angles": {"step": 15}},
            },
            r"outliers\.size: got 5 along the angle, but only 4 projections are kept; set outliers",
        ),
        (
            {"stripes": {"method": "fitting", "order": 3}, "frames": {"angles": {"step": 15}}},
            r"stripes\.order: a polynomial of order 3 needs at least 5 projections, but only 4 are kept",
        ),
    ],
)
def test_stages_that_want_more_than_is_kept_name_their_field(
    small: PhantomScan, stages: dict[str, Any], problem: str
) -> None:
    with pytest.raises(RecipeError, match=problem):
        prepare(small.scan(), parse_recipe({**AXIS, **stages}))


def test_air_is_counted_in_pixels_of_the_detector_whatever_the_binning(small: PhantomScan) -> None:
    border = {"method": "standard", "normalisation": {"method": "border", "columns": 10}}
    for binning in (1, 2, 4, 6):
        stages = {**AXIS, "flat_field": border, "frames": {"binning": binning}}
        assert prepare(small.scan(), parse_recipe(stages)).shape[1] == 32 // binning


def test_margins_end_where_the_detector_does() -> None:
    method = get_reconstructor("finufft")
    problem = Problem(100, 360, 256, 256, 8, margin=450, frame_rows=100)
    one = 360 * 256 * 4 + method.memory_per_row(360, 256, 256)
    fixed = 3 * MIB + method.memory_fixed(360, 256, 2, 256) + 24 * 256 * 256 * 4
    budget = fixed + 140 * one
    assert plan_memory(method, problem, budget).rows == 100
    problems = r"2 slices .* with 450 rows on either side .* takes \d+ MiB"
    with pytest.raises(MemoryBudgetError, match=problems):
        plan_memory(method, problem, fixed + 60 * one)


def test_a_margin_wider_than_the_scan_changes_nothing_but_itself(
    small: PhantomScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse_recipe({**AXIS, "flat_field": {"method": "standard", "double_flat_field": 400}})
    plan = prepare(small.scan(), recipe)
    assert plan.chain.margin > 100
    volumes: list[NDArray[np.float32]] = []
    for rows in (6, 2):
        monkeypatch.setattr(slabs, "plan_memory", lambda *_, rows=rows: MemoryPlan(rows, False, 2**18))
        volume = np.empty(plan.shape, np.float32)
        compute(
            plan,
            small.scan(),
            on_slab=lambda slab, part, volume=volume: volume.__setitem__(slice(slab.start, slab.stop), part),
        )
        volumes.append(volume)
    np.testing.assert_allclose(*volumes, atol=1e-5 * float(volumes[0].max()))


@pytest.mark.parametrize("stage", [{"method": "standard"}, {"method": "standard", "combine": "median"}])
def test_flats_are_looked_at_a_few_rows_at_a_time(stage: dict[str, Any]) -> None:
    random = np.random.default_rng(3)
    count, rows, columns = 60, 200, 256
    flats = random.integers(30000, 34000, (count, rows, columns), dtype=np.uint16)
    flats[:, 20, 30] = 65535
    darks = random.integers(90, 110, (count, rows, columns), dtype=np.uint16)
    scan = TomoScan(
        projections=ArrayFrames(flats[:4]),
        angles_deg=np.arange(4) * 45.0,
        origin=ScanOrigin("memory", "flats"),
        flats=ArrayFrames(flats),
        darks=ArrayFrames(darks),
    )
    recipe = parse_recipe({**AXIS, "flat_field": stage})
    references = choose_references(scan, recipe.flat_field)
    beams, peaks = [], []
    for piece in (MIB, 512 * MIB):
        beam = look_at_beam(scan, recipe, select(scan, recipe), references, piece_bytes=piece)
        tracemalloc.start()
        beams.append(beam.open(slice(0, rows), slice(0, columns)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 12 * MIB < 25 * MIB < peaks[1]
    for name in ("dark", "gain", "bad"):
        np.testing.assert_array_equal(getattr(beams[0], name), getattr(beams[1], name))
    assert beams[0].bad[20, 30]


class Stack:
    """Reads from an array, and notes how many rows at a time."""

    def __init__(self, frames: NDArray[np.uint16]) -> None:
        self.frames, self.read_rows = frames, list[int]()

    def read(self, frames: range, rows: slice, columns: slice) -> NDArray[np.uint16]:
        block = self.frames[frames.start : frames.stop : frames.step, rows, columns]
        self.read_rows.append(block.shape[1])
        return block


@pytest.mark.parametrize("together", [1, 40])
@pytest.mark.parametrize("rows", [slice(0, 40), slice(3, 38, 4)])
def test_bands_of_flats_over_time_are_those_of_the_whole(rows: slice, together: int) -> None:
    sample = phantom_scan(64, 40, 30)
    scale = np.linspace(0.5, 1, len(sample.flats))[:, None, None]
    reader = Stack((sample.flats * scale).astype(np.uint16))
    flats = LazyFrames(reader, reader.frames.shape, reader.frames.dtype, together)
    scan = replace(sample.scan(), flats=flats)
    stage = {"method": "standard", "interpolation": "linear", "flat_positions": [0, 30]}
    recipe = parse_recipe({**AXIS, "flat_field": stage})
    references = choose_references(scan, recipe.flat_field)
    selection = select(scan, recipe)
    reader.read_rows.clear()
    few, all_ = (
        look_at_beam(scan, recipe, selection, references, piece_bytes=piece).open(rows, slice(0, 64))
        for piece in (2**13, 2**26)
    )
    assert few.frames.shape[0] == 2
    # Those that are stored whole are read once for each.
    assert (len(reader.read_rows) == 2) == (together == 40)
    for name in ("dark", "gain", "frames", "bad"):
        np.testing.assert_array_equal(getattr(few, name), getattr(all_, name))


@pytest.mark.parametrize("turns", [1, 0])
def test_views_by_the_golden_ratio_are_put_in_order_however_they_are_counted(turns: int) -> None:
    counted = np.arange(90) * GOLDEN
    angles = counted if turns else np.mod(counted, 360)
    sample = phantom_scan(48, 4, 90, angles_deg=np.mod(counted, 360))
    scan = PhantomScan(
        sample.phantom,
        sample.rows,
        sample.rotation_axis,
        angles,
        sample.projections,
        sample.flats,
        sample.darks,
    ).scan()
    recipe = parse_recipe({"rotation_axis": {"method": "value", "value": 23.5}})
    selection = select(scan, recipe)
    order = np.argsort(np.mod(counted, 360))
    np.testing.assert_array_equal(np.argsort(selection.places), order)
    np.testing.assert_allclose(selection.angles_deg, np.sort(np.mod(counted, 360)))


@pytest.mark.parametrize(
    "angles",
    [
        np.arange(180) * 2.0 - 90,
        np.arange(361) * 1.0,
        np.arange(1440) * 0.5,  # two turns, taken one after the other
        -np.arange(400) * 0.9,
        np.arange(8) * 45.0,
    ],
)
def test_views_that_are_neighbours_stay_in_their_order(angles: NDArray[np.float64]) -> None:
    frames = ArrayFrames(np.ones((len(angles), 1, 8), np.uint16))
    scan = TomoScan(projections=frames, angles_deg=angles, origin=ScanOrigin("memory", "views"))
    selection = select(scan, parse_recipe(AXIS))
    np.testing.assert_array_equal(selection.places, np.arange(len(angles)))
    np.testing.assert_array_equal(selection.angles_deg, angles)


@pytest.mark.parametrize(
    ("greatest", "limit"),
    [(4095, 4095), (16383, 16383), (1023, 1023), (4095 << 4, 4095 << 4), (5000, 65535), (65535, 65535)],
)
def test_converters_of_fewer_bits_saturate_below_their_type(greatest: int, limit: int) -> None:
    counts = np.full((4, 5), 7, np.uint16)
    counts[0] = greatest
    assert detector_limit(counts) == limit
    assert saturated_part(counts) == (0.25 if greatest == limit else 0)
    assert detector_limit(counts.astype(np.float32)) is None
    assert detector_limit(counts[:0]) is None


def test_a_camera_of_twelve_bits_that_saturates_is_mentioned(small: PhantomScan) -> None:
    bright = PhantomScan(
        small.phantom,
        small.rows,
        small.rotation_axis,
        small.angles_deg,
        np.minimum(small.projections // 12, 4095),
        small.flats // 16,
        small.darks // 16,
    )
    notes = prepare(bright.scan(), parse_recipe(AXIS)).notes
    assert any("are saturated (4095): grey values are wrong" in note for note in notes), notes


def test_an_opaque_sample_is_mentioned(small: PhantomScan) -> None:
    opaque = small.projections.copy()
    opaque[:, :, 10:20] = small.darks[0, :, 10:20]
    # Darker than the dark field in places, as noise makes it.
    opaque[:, :, 12] -= 20
    scan = PhantomScan(
        small.phantom, small.rows, small.rotation_axis, small.angles_deg, opaque, small.flats, small.darks
    ).scan()
    plan = prepare(scan, parse_recipe(AXIS))
    assert any("31% of the pixels" in note and "opaque" in note for note in plan.notes), plan.notes
    found: list[NDArray[np.float32]] = []
    compute(plan, scan, on_slab=lambda _, part: found.append(part.copy()))
    assert np.isfinite(np.concatenate(found)).all()
