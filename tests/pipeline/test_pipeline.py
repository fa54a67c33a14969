"""The pipeline against the truth, and against itself however it is cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.errors import (
    CancelledError,
    GeometryError,
    InputError,
    MemoryBudgetError,
    MissingDataError,
    RecipeError,
)
from tomoservice.phantom import Imperfections
from tomoservice.pipeline import Plan, Slab, compute, prepare
from tomoservice.pipeline.layout import chunk_shape, cut_into_slabs
from tomoservice.pipeline.memory import MemoryPlan
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.recon import get_reconstructor
from tomoservice.scan import ArrayFrames, TomoScan


def volume_of(
    scan: TomoScan, recipe: Recipe | dict[str, Any], **options: Any
) -> tuple[Plan, NDArray[np.float32]]:
    plan = prepare(scan, recipe if isinstance(recipe, Recipe) else parse_recipe(recipe))
    volume = np.full(plan.shape, np.nan, np.float32)

    def keep(slab: Slab, slices: NDArray[np.float32]) -> None:
        volume[slab.start : slab.stop] = slices

    compute(plan, scan, on_slab=keep, **options)
    return plan, volume


def known_axis(value: float, **stages: Any) -> dict[str, Any]:
    return {"rotation_axis": {"method": "value", "value": value}, **stages}


def inner_psnr_db(volume: NDArray[np.float32], truth: NDArray[np.float32], radius: float) -> float:
    offset = np.arange(truth.shape[2]) - (truth.shape[2] - 1) / 2
    inside = offset[:, None] ** 2 + offset**2 <= radius**2
    error = (volume - truth)[:, inside].astype(np.float64)
    return float(20 * np.log10((truth.max() - truth.min()) / np.sqrt(np.mean(error**2))))


@pytest.fixture(scope="module")
def small() -> PhantomScan:
    return phantom_scan(64, 21, 90, rotation_axis=33.3)


@pytest.fixture(scope="module")
def exact() -> PhantomScan:
    return phantom_scan(512, [100, 128, 160, 161], 800)


class TestAgainstTheTruth:
    def test_noise_free_axis_psnr_and_grey_values(self, exact: PhantomScan) -> None:
        plan, volume = volume_of(exact.scan(), Recipe())
        assert abs(plan.rotation_axis - exact.rotation_axis) <= 0.05
        assert inner_psnr_db(volume, exact.truth, 256) >= 35
        for z, row in enumerate(exact.rows):
            for region in exact.phantom.flat_regions(row):
                grey = volume[z][region.mask].mean()
                scale = exact.truth.max()
                assert abs(grey - region.attenuation) <= 0.01 * max(region.attenuation, 0.1 * scale)

    def test_automatic_axis_with_noise_stripes_and_offset(self) -> None:
        flawed = phantom_scan(
            512,
            [100, 128, 160, 161],
            800,
            rotation_axis=255.5 + 17.3,
            imperfections=Imperfections(noise=0.01, stripes=0.03),
        )
        plan = prepare(flawed.scan(), Recipe())
        assert abs(plan.rotation_axis - flawed.rotation_axis) <= 0.25
        assert plan.axis is not None
        assert plan.axis.confidence > 0.5

    def test_flaws_of_the_detector_never_make_a_value_that_is_not_finite(self) -> None:
        flaws = Imperfections(noise=0.02, dead_pixels=0.02, zingers=3, beam_profile=0.3, stripes=0.05)
        _, volume = volume_of(phantom_scan(96, 8, 60, imperfections=flaws).scan(), known_axis(47.5))
        assert np.isfinite(volume).all()

    def test_astra_agrees(self, small: PhantomScan) -> None:
        recipe = known_axis(33.3)
        _, fourier = volume_of(small.scan(), recipe)
        _, astra = volume_of(small.scan(), {**recipe, "reconstruction": {"method": "astra_fbp"}})
        inside = np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 28
        assert np.corrcoef(fourier[:, inside].ravel(), astra[:, inside].ravel())[0, 1] > 0.99

    def test_per_cm_needs_the_pixel_size_and_scales_by_it(self, small: PhantomScan) -> None:
        # What the phase is told, the units know.
        told = {"method": "paganin", "material": {"method": "delta_beta", "delta_beta": 100.0}}
        experiment = {"energy_kev": 20.0, "distance_mm": 10.0, "pixel_size_um": 3.0}
        both = known_axis(33.3, phase={**told, **experiment}, output={"units": "per_cm"})
        assert prepare(small.scan(), parse_recipe(both)).voxel_size_um == 3.0
        wish = known_axis(33.3, output={"units": "per_cm"})
        with pytest.raises(RecipeError, match=r"output\.units: got 'per_cm', but neither the scan nor"):
            prepare(small.scan(), parse_recipe(wish))
        plan, per_cm = volume_of(small.scan(pixel_size_um=5.0), wish)
        _, per_pixel = volume_of(small.scan(), known_axis(33.3))
        assert plan.units == "1/cm"
        np.testing.assert_allclose(per_cm, per_pixel * 2000, rtol=1e-5, atol=1e-3)

    def test_binning_keeps_axis_and_grey_values(self) -> None:
        fine = phantom_scan(256, [64, 65, 66, 67], 200, rotation_axis=125.2)
        plan, volume = volume_of(fine.scan(pixel_size_um=1.5), known_axis(125.2, frames={"binning": 2}))
        assert plan.voxel_size_um == 3.0
        truth = fine.truth.reshape(2, 2, 128, 2, 128, 2).mean(axis=(1, 3, 5)) * 2
        assert inner_psnr_db(volume, truth, 60) > 24

    def test_cropping_columns_keeps_the_axis_in_the_full_frame(self, small: PhantomScan) -> None:
        columns = {"start": 3, "stop": 63}
        plan, cropped = volume_of(small.scan(), known_axis(33.3, frames={"columns": columns}))
        _, whole = volume_of(small.scan(), known_axis(33.3))
        assert plan.rotation_axis == 33.3
        # Both have the axis in the middle, so one lies in the middle of the other.
        inside = np.hypot(*np.mgrid[-29.5:30, -29.5:30]) < 26
        difference = (whole[:, 2:62, 2:62] - cropped)[:, inside]
        assert np.abs(difference).max() < 0.01 * whole.max()

    def test_projections_in_any_order(self, small: PhantomScan) -> None:
        order = np.random.default_rng(5).permutation(90)
        shuffled = PhantomScan(
            small.phantom,
            small.rows,
            small.rotation_axis,
            small.angles_deg[order],
            small.projections[order],
            small.flats,
            small.darks,
        )
        _, ordered = volume_of(small.scan(), known_axis(33.3))
        _, volume = volume_of(shuffled.scan(), known_axis(33.3))
        np.testing.assert_allclose(volume, ordered, atol=1e-5 * float(ordered.max()))


class TestHoweverItIsCut:
    @pytest.mark.parametrize("method", ["fourier", "astra_fbp"])
    def test_memory_budget_and_order_of_slabs_change_no_bit(self, small: PhantomScan, method: str) -> None:
        recipe = parse_recipe(known_axis(33.3, reconstruction={"method": method}))
        plan = prepare(small.scan(), recipe)
        shallow = Plan(
            **{
                **{name: getattr(plan, name) for name in Plan.__slots__},
                "chunks": (3, 64, 64),
                "slabs": cut_into_slabs(21, 3),
            }
        )
        _, reference = volume_of(small.scan(), recipe)
        rng = np.random.default_rng(1)
        for budget in (None, 40 * 2**20, 10 * 2**20):
            volume = np.full(plan.shape, np.nan, np.float32)
            for slab in rng.permutation(np.array(shallow.slabs, dtype=object)):
                compute(
                    shallow,
                    small.scan(),
                    slabs=[slab],
                    on_slab=lambda s, a, v=volume: v.__setitem__(slice(s.start, s.stop), a),
                    memory_bytes=budget,
                )
            np.testing.assert_array_equal(volume, reference)

    def test_a_slab_larger_than_the_budget_is_computed_in_parts(
        self, small: PhantomScan, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = parse_recipe(known_axis(33.3))
        _, reference = volume_of(small.scan(), recipe)
        monkeypatch.setattr("tomoservice.pipeline.slabs.plan_memory", lambda *_: MemoryPlan(5, False, 2**20))
        _, volume = volume_of(small.scan(), recipe)
        np.testing.assert_array_equal(volume, reference)

    @pytest.mark.parametrize("method", ["fourier", "finufft"])
    def test_selected_rows_are_those_of_the_whole(self, small: PhantomScan, method: str) -> None:
        stage = {"reconstruction": {"method": method}}
        _, whole = volume_of(small.scan(), known_axis(33.3, **stage))
        plan, part = volume_of(
            small.scan(), known_axis(33.3, frames={"rows": {"start": 5, "stop": 12}}, **stage)
        )
        assert plan.geometry["detector_rows"] == [5, 12]
        np.testing.assert_allclose(part, whole[5:12], atol=1e-5 * float(whole.max()))
        # To the bit from where a group of rows begins.
        first = get_reconstructor(method).row_group
        _, part = volume_of(small.scan(), known_axis(33.3, frames={"rows": {"start": first}}, **stage))
        np.testing.assert_array_equal(part, whole[first:])

    def test_a_resolved_recipe_gives_the_same_bits(self, small: PhantomScan) -> None:
        plan, volume = volume_of(small.scan(), Recipe())
        again, repeated = volume_of(small.scan(), plan.resolved)
        assert plan.resolved.rotation_axis.method == "value"
        assert again.axis is None
        np.testing.assert_array_equal(volume, repeated)

    @given(slices=st.integers(1, 5000), columns=st.integers(2, 5000), angles=st.integers(2, 8000))
    def test_slabs_cover_the_volume_once(self, slices: int, columns: int, angles: int) -> None:
        depth, *_ = chunk_shape((slices, columns, columns), angles)
        slabs = cut_into_slabs(slices, depth)
        assert [z for slab in slabs for z in range(slab.start, slab.stop)] == list(range(slices))
        assert min(8, slices) <= depth <= 64


class TestWhatTheRecipeLeavesOut:
    def test_lost_frames_outside_the_selection_do_not_matter(self, small: PhantomScan) -> None:
        lost = replace(small, projections=small.projections.copy())
        lost.projections[80] = 0
        with pytest.raises(InputError, match="projection 80 is all zero"):
            prepare(lost.scan(), parse_recipe(known_axis(33.3, frames={"lost": "error"})))
        angles = {"stop": 60}
        plan = prepare(
            lost.scan(), parse_recipe(known_axis(33.3, frames={"angles": angles, "lost": "error"}))
        )
        assert plan.selection.angles_deg.size == 60

    def test_lost_frames_are_left_out_and_mentioned(self, small: PhantomScan) -> None:
        lost = replace(small, projections=small.projections.copy())
        lost.projections[[7, 80]] = 0
        plan, volume = volume_of(lost.scan(), known_axis(33.3))
        assert any("projections 7, 80 are all zero: lost" in note for note in plan.notes)
        assert plan.resolved.frames.exclude == (7, 80)
        assert plan.selection.angles_deg.size == 88
        _, excluded = volume_of(small.scan(), known_axis(33.3, frames={"exclude": [80, 7]}))
        np.testing.assert_array_equal(volume, excluded)
        _, repeated = volume_of(lost.scan(), plan.resolved)
        np.testing.assert_array_equal(volume, repeated)

    def test_frames_without_beam_are_left_out_and_mentioned(self, small: PhantomScan) -> None:
        # What the camera sees then are darks, which are not zero.
        lost = replace(small, projections=small.projections.copy())
        lost.projections[[7, 80]] = small.darks[:2]
        plan, volume = volume_of(lost.scan(), known_axis(33.3))
        assert any("projections 7, 80 are without beam: lost" in note for note in plan.notes)
        excluded = known_axis(33.3, frames={"exclude": [7, 80]})
        np.testing.assert_array_equal(volume, volume_of(small.scan(), excluded)[1])
        with pytest.raises(InputError, match=r"projections 7, 80 .2 in all. are without beam"):
            prepare(lost.scan(), parse_recipe(known_axis(33.3, frames={"lost": "error"})))

    def test_a_scan_that_lost_half_of_its_projections_is_refused(self, small: PhantomScan) -> None:
        lost = replace(small, projections=small.projections.copy())
        lost.projections[::2] = 0
        with pytest.raises(InputError, match=r"projections 0, 2, .* \(45 in all\) are all zero"):
            prepare(lost.scan(), Recipe())

    def test_flats_that_are_not_used_do_not_matter(self, small: PhantomScan) -> None:
        dark = replace(small, flats=np.zeros_like(small.flats))
        with pytest.raises(InputError, match="flats"):
            prepare(dark.scan(), parse_recipe(known_axis(33.3)))
        prepare(dark.scan(), parse_recipe(known_axis(33.3, flat_field={"method": "none"})))


class TestSaysNo:
    @pytest.mark.parametrize(
        ("stages", "said"),
        [
            (known_axis(64.0), r"rotation_axis: got 64, which is not on the columns that are kept, 0 to 63"),
            (known_axis(-1.0), r"rotation_axis: got -1"),
            (
                known_axis(5.0, frames={"columns": {"start": 10}}),
                "not on the columns that are kept, 10 to 63",
            ),
            ({"frames": {"rows": {"stop": 22}}}, r"frames\.rows: got 0 to 22, but the scan has 21 rows"),
            ({"frames": {"rows": {"start": 21}}}, r"frames\.rows: got 21 to 21"),
            ({"frames": {"angles": {"stop": 1}}}, r"frames\.angles: 1 projection\(s\) kept of 90"),
            ({"frames": {"exclude": [3, 90]}}, r"frames\.exclude: got 90, but the scan has 90 projections"),
            ({"frames": {"binning": 22}}, r"frames\.binning: got 22, but only 21 rows are kept"),
            (
                {"frames": {"binning": 20, "columns": {"stop": 30}}},
                r"frames\.binning: got 20, but only 30 columns are kept, of which 1 would be left; 2 or more",
            ),
            (
                {"rotation_axis": {"method": "auto", "search": [600, 700]}},
                r"rotation_axis\.search: got 600 to 700, but the detector has columns 0 to 63",
            ),
        ],
    )
    def test_to_a_recipe_that_does_not_fit(
        self, small: PhantomScan, stages: dict[str, Any], said: str
    ) -> None:
        looked_at: list[str] = []
        with pytest.raises(RecipeError, match=said):
            prepare(small.scan(), parse_recipe(stages), progress=looked_at.append)
        # Before anything is read.
        assert looked_at == []

    def test_views_that_are_missing_inside_the_turn_are_mentioned(self, small: PhantomScan) -> None:
        def notes(kept: NDArray[np.bool_], times: float = 1.0) -> list[str]:
            part = replace(
                small, angles_deg=times * small.angles_deg[kept], projections=small.projections[kept]
            )
            plan = prepare(part.scan(), parse_recipe(known_axis(33.3)))
            return [note for note in plan.notes if "no projection shows the sample between" in note]

        angles = small.angles_deg
        assert notes(np.ones(90, bool)) == []
        (said,) = notes((angles < 70) | (angles >= 114))
        assert "between 68 and 114 degrees, nor from behind" in said
        # Of a whole turn the other half has seen it from behind.
        assert notes((angles < 35) | (angles >= 57), times=2.0) == []

    def test_to_missing_flats_unless_the_recipe_says_so(self) -> None:
        uniform = phantom_scan(128, 4, 120)
        with pytest.raises(MissingDataError, match=r"has no flats.*missing_flats to 'ignore'"):
            prepare(uniform.scan(flats=False), Recipe())
        stage = {"method": "standard", "missing_flats": "ignore"}
        plan, volume = volume_of(uniform.scan(flats=False), known_axis(63.5, flat_field=stage))
        assert any("no flats" in note for note in plan.notes)
        _, reference = volume_of(uniform.scan(), known_axis(63.5))
        assert np.abs(volume - reference).max() < 0.02 * reference.max()

    def test_to_missing_darks_if_the_recipe_says_so(self, small: PhantomScan) -> None:
        plan = prepare(small.scan(darks=False), Recipe())
        assert any("no darks" in note for note in plan.notes)
        strict = parse_recipe({"flat_field": {"method": "standard", "missing_darks": "error"}})
        with pytest.raises(MissingDataError, match="has no darks"):
            prepare(small.scan(darks=False), strict)

    def test_to_a_budget_that_holds_not_even_the_smallest_piece(self, small: PhantomScan) -> None:
        with pytest.raises(MemoryBudgetError, match="raise the budget"):
            prepare(small.scan(), Recipe(), memory_bytes=100_000)

    def test_to_angles_that_allow_no_axis_search(self) -> None:
        wedge = phantom_scan(64, 4, 40, range_deg=60.0)
        with pytest.raises(GeometryError):
            prepare(wedge.scan(), Recipe())
        with pytest.raises(GeometryError, match="180 degrees apart"):
            prepare(wedge.scan(), parse_recipe({"rotation_axis": {"method": "phase_correlation"}}))

    def test_to_angles_that_are_all_the_same(self, small: PhantomScan) -> None:
        still = replace(small, angles_deg=np.full(90, 12.5))
        with pytest.raises(GeometryError, match=r"all 90 projections have the same angle, 12\.5 degrees"):
            prepare(still.scan(), parse_recipe(known_axis(33.3)))

    def test_to_angles_in_radians(self, small: PhantomScan) -> None:
        radians = replace(small, angles_deg=np.deg2rad(small.angles_deg))
        with pytest.raises(GeometryError, match="are their angles in radians"):
            prepare(radians.scan(), Recipe())

    def test_to_a_scan_without_light(self, small: PhantomScan) -> None:
        closed = replace(small, projections=np.repeat(small.darks[:1], 90, axis=0))
        with pytest.raises(
            InputError, match="100% of the pixels of a few projections are no brighter than the da"
        ):
            prepare(closed.scan(), parse_recipe(known_axis(33.3)))

    def test_to_flats_that_are_all_useless(self, small: PhantomScan) -> None:
        white = replace(small, flats=np.full_like(small.flats, 65535))
        with pytest.raises(InputError, match=r"none of the flats is of use: flat 0 .*saturated"):
            prepare(white.scan(), parse_recipe(known_axis(33.3)))

    def test_a_flat_that_is_not_finite_is_left_out(self, small: PhantomScan) -> None:
        flats = small.flats.astype(np.float32)
        flats[3] = np.nan
        lost = replace(small, flats=flats)
        plan, volume = volume_of(lost.scan(), known_axis(33.3))
        assert any(note.startswith("flat 3 is not finite") for note in plan.notes)
        assert np.isfinite(volume).all()

    def test_saturated_projections_and_too_much_light_are_mentioned(self, small: PhantomScan) -> None:
        partly = small.projections.copy()
        partly[:, :, :40] = 65535
        notes = prepare(replace(small, projections=partly).scan(), parse_recipe(known_axis(33.3))).notes
        assert any("62% of the pixels of a projection are saturated (65535)" in note for note in notes)
        bright = replace(small, projections=np.full_like(small.projections, 65535))
        with pytest.raises(InputError, match=r"projections 0 to 89 \(90 in all\) are saturated"):
            prepare(bright.scan(), parse_recipe(known_axis(33.3)))
        one = small.projections.copy()
        one[37] = 65535
        plan = prepare(replace(small, projections=one).scan(), parse_recipe(known_axis(33.3)))
        assert "projection 37 is saturated: lost" in plan.notes
        assert plan.resolved.frames.exclude == (37,)
        dim = replace(small, flats=(small.flats // 10).astype(np.uint16))
        notes = prepare(dim.scan(), parse_recipe(known_axis(33.3))).notes
        assert any("times as bright as the flats" in note for note in notes)

    def test_to_a_tilted_axis_that_leaves_the_detector(self, small: PhantomScan) -> None:
        tilted = {"rotation_axis": {"method": "value", "value": 60.0, "tilt_deg": 10.0}}
        whole = small.scan()
        high = replace(
            whole,
            projections=ArrayFrames(np.repeat(small.projections, 3, axis=1)),
            flats=ArrayFrames(np.repeat(small.flats, 3, axis=1)),
            darks=ArrayFrames(np.repeat(small.darks, 3, axis=1)),
        )
        with pytest.raises(RecipeError, match=r"rotation_axis\.tilt_deg: with 10 degrees the axis leaves"):
            prepare(high, parse_recipe(tilted))

    def test_to_flats_without_beam(self, small: PhantomScan) -> None:
        closed = replace(small, flats=small.darks)
        with pytest.raises(InputError, match="nowhere brighter than the darks"):
            prepare(closed.scan(), Recipe())

    def test_a_wedge_that_is_missing_is_mentioned(self) -> None:
        wedge = phantom_scan(64, 4, 40, range_deg=120.0)
        plan = prepare(wedge.scan(), parse_recipe(known_axis(31.5)))
        assert any("cover only 120 degrees" in note for note in plan.notes)

    def test_an_axis_that_is_doubtful_or_not_the_recorded_one_is_mentioned(self, small: PhantomScan) -> None:
        recorded = replace(small.scan(), rotation_axis=30.0)
        assert any("records its rotation axis at 30.00" in note for note in prepare(recorded, Recipe()).notes)
        edge = parse_recipe({"rotation_axis": {"method": "auto", "search": [20, 28]}})
        assert any("doubtful" in note for note in prepare(small.scan(), edge).notes)

    def test_when_asked_to_stop(self, small: PhantomScan) -> None:
        plan = prepare(small.scan(), parse_recipe(known_axis(33.3)))
        with pytest.raises(CancelledError):
            compute(plan, small.scan(), on_slab=lambda *_: None, cancelled=lambda: True)
        with pytest.raises(CancelledError):
            prepare(small.scan(), Recipe(), cancelled=lambda: True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(left=st.integers(0, 5), right=st.integers(0, 1), first=st.integers(0, 18))
def test_any_cropping_of_rows_and_columns_keeps_the_picture(
    small: PhantomScan, left: int, right: int, first: int
) -> None:
    # Only air beside the sample is cropped, on both sides of the same parity, so that the
    # axis is between two pixels as in the whole.
    right = 2 * right if left % 2 == 0 else 1
    frames = {"columns": {"start": left, "stop": 64 - right}, "rows": {"start": first, "stop": first + 2}}
    plan, part = volume_of(small.scan(), known_axis(33.3, frames=frames))
    rows = {"start": first, "stop": first + 2}
    _, whole = volume_of(small.scan(), known_axis(33.3, frames={"rows": rows}))
    assert plan.rotation_axis == 33.3
    assert part.shape[2] == 64 - left - right
    margin = (64 - part.shape[2]) // 2
    overlay = whole[:, margin : 64 - margin, margin : 64 - margin]
    inside = np.hypot(*np.mgrid[-21.5:22, -21.5:22]) < 20
    edge = (part.shape[2] - 44) // 2
    window = slice(edge, edge + 44)
    difference = (part - overlay)[:, window, window][:, inside]
    assert np.abs(difference).max() < 0.05 * whole.max()


class TestRowsThatSawNothing:
    def test_are_named_and_empty(self, small: PhantomScan) -> None:
        frames = small.projections.astype(np.float32)
        frames[:, [4, 9, 10]] = np.nan
        scan = replace(small.scan(), projections=ArrayFrames(frames))
        plan, volume = volume_of(scan, known_axis(33.3))
        assert plan.blind_rows == (4, 9, 10)
        assert any(
            note == "detector rows 4, 9 to 10 hold no usable pixel: their slices are empty"
            for note in plan.notes
        )
        _, whole = volume_of(small.scan(), known_axis(33.3))
        assert np.abs(volume[[4, 9, 10]]).max() < 1e-5 * whole.max()
        np.testing.assert_allclose(volume[5], whole[5], atol=1e-5 * float(whole.max()))

    def test_by_their_flats(self, small: PhantomScan) -> None:
        flats = small.flats.copy()
        flats[:, 6] = small.darks[:, 6]
        plan = prepare(replace(small, flats=flats).scan(), parse_recipe(known_axis(33.3)))
        assert plan.blind_rows == (6,)
        assert any("detector row 6 holds no usable pixel: its slice is empty" in note for note in plan.notes)

    def test_a_row_of_air_is_none(self, small: PhantomScan) -> None:
        integrals = -np.log(small.projections / small.projections.max())
        integrals[:, :2] = 0
        scan = replace(small.scan(), projections=ArrayFrames(integrals.astype(np.float32)))
        stages = {"flat_field": {"method": "none"}, "minus_log": {"method": "none"}}
        assert prepare(scan, parse_recipe(known_axis(33.3, **stages))).blind_rows == ()
