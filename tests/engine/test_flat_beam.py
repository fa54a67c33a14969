"""A beam that changes: flats over time, brightness, components, fixed patterns; flats that are none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep.flat_brightness import air_brightness, level_borders, monitor_brightness
from tomoservice.prep.flat_components import ComponentOptions, component_weights, flat_components
from tomoservice.prep.flat_double import fixed_pattern, row_margin, subtract_pattern
from tomoservice.prep.flat_field import correct, line_integrals, open_beam, reduce_frames
from tomoservice.prep.flat_frames import judge_frames
from tomoservice.prep.flat_time import (
    FlatGroup,
    groups_at,
    groups_in_sequence,
    time_weights,
    without_frames,
)
from tomoservice.recipe.stages.flat_field import DynamicFlatField


class TestTime:
    def test_nearest_flats_agree_with_tomopys_normalize_nf(self, data_dir):
        vectors = data_dir / "tomopy_vectors"
        tomo, flats, darks, wanted = (
            np.load(vectors / f"{n}.npy") for n in ("tomo", "flat_1", "dark", "normalize_nf")
        )
        groups = groups_at(len(flats), (0, 4, 8, 12, 16))
        beams = np.stack([reduce_frames(flats[list(group.frames)], "median") for group in groups])
        weights = time_weights(np.arange(len(tomo)), [group.position for group in groups], "nearest")
        beam = open_beam(beams, reduce_frames(darks, "median"))
        result = line_integrals(tomo, beam, minimum_transmission=None, weights=weights)
        assert np.allclose(result, wanted, atol=1e-6)

    def test_groups_are_found_in_the_order_of_acquisition(self):
        keys = np.array([2, 1, 1, 0, 0, 0, 3, 1, 2, 1, 0, 0, 1, 1])
        positions, groups = groups_in_sequence(keys)
        assert positions.tolist() == [3, 4, 5, 10, 11]
        assert groups == [FlatGroup(1.5, (0, 1)), FlatGroup(8.0, (2, 3)), FlatGroup(12.5, (4, 5))]
        for lacking in ([0, 0], [1, 1, 2]):
            with pytest.raises(EngineError, match="order of acquisition"):
                groups_in_sequence(np.array(lacking))

    def test_flats_are_divided_evenly(self):
        assert [group.frames for group in groups_at(5, (0, 90))] == [(0, 1, 2), (3, 4)]
        with pytest.raises(EngineError, match="cannot be divided"):
            groups_at(1, (0, 90))
        with pytest.raises(EngineError, match="ascend"):
            groups_at(4, (90, 0))

    def test_bad_flats_leave_their_group(self):
        groups = [FlatGroup(0, (0, 1)), FlatGroup(9, (2,))]
        assert without_frames(groups, [1, 2]) == [FlatGroup(0, (0,))]
        with pytest.raises(EngineError, match="no flat is left"):
            without_frames(groups, [0, 1, 2])

    def test_linear_in_between_and_constant_beyond(self):
        weights = time_weights(np.array([-5, 0, 25, 60, 100, 130]), (0, 100), "linear")
        assert np.allclose(weights[:, 1], [0, 0, 0.25, 0.6, 1, 1])
        assert np.allclose(weights.sum(axis=1), 1)
        three = time_weights(np.array([0, 15, 30]), (0, 10, 30), "linear")
        assert np.allclose(three, [[1, 0, 0], [0, 0.75, 0.25], [0, 0, 1]])
        assert np.allclose(time_weights(np.arange(3), (7,), "linear"), 1)
        assert np.allclose(time_weights(np.arange(3), (0, 4), "none"), 0.5)

    def test_a_beam_that_drifts_evenly_is_undone(self):
        random = np.random.default_rng(0)
        first, last = random.uniform(2e4, 3e4, (2, 4, 50))
        part = np.linspace(0, 1, 9)
        truth = random.uniform(0.2, 1, (9, 4, 50))
        frames = truth * (first + part[:, None, None] * (last - first)) + 100
        beam = open_beam(np.stack([first, last]) + 100, np.full((4, 50), 100.0))
        for how, error in (("linear", 1e-4), ("none", 1)):
            weights = time_weights(part * 8, (0, 8), how)
            result = line_integrals(frames, beam, minimum_transmission=None, weights=weights)
            assert (np.abs(result - truth).max() < 1e-4) == (error == 1e-4)

    def test_nonsense_is_refused(self):
        with pytest.raises(EngineError, match="'cubic'"):
            time_weights(np.arange(3), (0, 1), "cubic")
        with pytest.raises(EngineError, match="ascend"):
            time_weights(np.arange(3), (1, 1), "linear")
        with pytest.raises(EngineError, match="finite"):
            time_weights(np.array([0, np.nan]), (0, 1), "linear")


class TestBrightness:
    def test_borders_agree_with_tomopys_normalize_bg(self, data_dir):
        vectors = data_dir / "tomopy_vectors"
        tomo = np.load(vectors / "tomo.npy").astype(np.float32)
        level_borders(tomo, 1)
        assert np.allclose(tomo, np.load(vectors / "normalize_bg.npy"), atol=1e-6)

    def test_borders_become_one(self):
        random = np.random.default_rng(0)
        truth = np.ones((6, 5, 80), np.float32)
        truth[:, :, 20:60] = random.uniform(0.2, 0.8, (6, 5, 40))
        slope = np.linspace(0, 1, 80) * random.uniform(-0.2, 0.2, (6, 5, 1)) + random.uniform(
            0.7, 1.4, (6, 5, 1)
        )
        result = (truth * slope).astype(np.float32)
        level_borders(result.transpose(1, 0, 2), 1)
        assert np.allclose(result, truth, rtol=1e-5)
        blocked = np.zeros((1, 1, 30), np.float32)
        level_borders(blocked, 5)
        assert not blocked.any()

    def test_the_air_tells_how_bright_the_beam_is(self):
        random = np.random.default_rng(1)
        flat, dark = random.uniform(2e4, 3e4, (12, 40)), np.full((12, 40), 50.0)
        bright = random.uniform(0.5, 1.5, 7)
        frames = (flat - dark) * bright[:, None, None] * random.normal(1, 0.01, (7, 12, 40)) + dark
        flat[3, 5] = 0
        beam = open_beam(flat, dark)
        found = air_brightness(frames, beam)
        assert np.allclose(found, bright, rtol=2e-3)
        result = line_integrals(frames, beam, minimum_transmission=None, brightness=found)
        assert np.allclose(result.mean(axis=(1, 2)), 1, atol=2e-3)

    def test_a_monitor_is_relative_to_the_flats(self):
        assert monitor_brightness(np.array([10, 20]), 40).tolist() == [0.25, 0.5]
        with pytest.raises(EngineError, match=r"reads 0.0 at projection 1 \(2 such\)"):
            monitor_brightness(np.array([1, 0, -1]), 1)
        with pytest.raises(EngineError, match="at the flats"):
            monitor_brightness(np.array([1]), 0)

    def test_nonsense_is_refused(self):
        with pytest.raises(GeometryError, match="6 columns of air"):
            level_borders(np.ones((1, 2, 10), np.float32), 6)
        with pytest.raises(GeometryError, match="float32"):
            level_borders(np.ones((1, 2, 10)), 1)
        with pytest.raises(EngineError, match="none of the 6 pixels"):
            air_brightness(np.ones((1, 2, 3)), open_beam(np.zeros((2, 3))))
        with pytest.raises(GeometryError, match="empty"):
            air_brightness(np.ones((1, 0, 3)), open_beam(np.ones((0, 3))))


ROWS, COLUMNS = 96, 128
STATES = np.random.default_rng(7).normal(0, 2, (60, 2)) * [1, 0.3]


def beam_at(state):
    """Return a beam with two sets of fringes that move, in counts (row, column)."""
    row, column = np.mgrid[:ROWS, :COLUMNS]
    fringes = 0.15 * np.sin(2 * np.pi * (row + state[0]) / 31)
    fringes += 0.1 * np.cos(2 * np.pi * (column + row / 2) / 44 + state[1])
    return 8000 * (1 - ((row - ROWS / 2) / ROWS) ** 2) * (1 + fringes)


@pytest.fixture(scope="module")
def moving():
    """Return flats, dark, projections of a ball, the ball's transmission, and the true beams."""
    random = np.random.default_rng(8)
    row, column = np.mgrid[:ROWS, :COLUMNS]
    radius = np.hypot(row - 48, column - 64)
    truth = np.exp(
        -1.2 * np.sqrt(np.clip(1 - (radius / 34) ** 2, 0, None)) - 0.5 * (np.hypot(row - 40, column - 60) < 7)
    )
    beams = np.stack([beam_at(state) for state in STATES[40:50]])
    flats = random.poisson(
        np.stack([beam_at(state) for state in STATES[:40]]) * random.uniform(0.9, 1.1, (40, 1, 1))
    )
    flats = (flats + 100).astype(np.uint16)
    flats[:, 30, 40] = 0
    projections = (random.poisson(beams * truth) + 100).astype(np.uint16)
    return flats, np.full((ROWS, COLUMNS), 100.0), projections, truth, beams


class TestDynamic:
    def test_a_moving_pattern_goes(self, moving):
        flats, dark, projections, truth, beams = moving
        components = flat_components(flats, dark)
        # Two sets of fringes, each a sine and a cosine.
        assert 3 <= components.count <= 5
        weights = component_weights(projections, components)
        dynamic = line_integrals(
            projections, components.beam(flats, dark), minimum_transmission=None, weights=weights
        )
        standard = correct(projections, reduce_frames(flats), dark)
        ideal = (projections - dark) / beams

        def error(transmission):
            transmission = transmission / transmission[:, :, :20].mean(axis=(1, 2), keepdims=True)
            wrong = np.abs(transmission - truth)[:, 8:-8, 8:-8]
            return np.sqrt((wrong**2).mean())

        assert error(dynamic) < 1.15 * error(ideal)
        assert error(dynamic) < 0.5 * error(standard)

    def test_flats_that_differ_by_noise_have_one_component_at_most(self):
        flats = np.random.default_rng(9).poisson(5000, (30, 40, 50)).astype(np.uint16)
        components = flat_components(flats)
        assert components.count == 1
        assert components.variances[0] <= components.chance[0]
        weights = component_weights(flats[:3], components)
        assert np.abs(weights[:, 1:]).max() <= 10

    def test_equal_flats_and_blank_projections_harm_nothing(self):
        flats = np.full((5, 20, 30), 1000, np.uint16)
        components = flat_components(flats)
        for projections in (np.zeros((2, 20, 30)), np.full((2, 20, 30), 500), np.full((2, 20, 30), np.nan)):
            weights = component_weights(projections, components)
            assert np.isfinite(weights).all()
            beam = components.beam(flats)
            assert np.isfinite(
                line_integrals(projections, beam, minimum_transmission=1e-4, weights=weights)
            ).all()

    @pytest.mark.parametrize("smoothing", [0.0, 1.0, 2.5])
    def test_slabs_with_their_margin_give_the_same(self, moving, smoothing):
        flats, dark, projections, _, _ = moving
        components = flat_components(flats, dark, ComponentOptions(components=2, smoothing=smoothing))
        weights = np.random.default_rng(0).normal(size=(10, 3)) * [0, 1, 1] + [1, 0, 0]
        whole = line_integrals(
            projections, components.beam(flats, dark), minimum_transmission=None, weights=weights
        )
        margin = components.row_margin
        for start, stop in ((0, 5), (40, 41), (70, 96)):
            low, high = max(start - margin, 0), min(stop + margin, ROWS)
            beam = components.beam(flats[:, low:high], dark[low:high]).part(slice(start - low, stop - low))
            part = line_integrals(
                projections[:, start:stop], beam, minimum_transmission=None, weights=weights
            )
            assert np.array_equal(part, whole[:, start:stop])

    def test_the_slope_is_that_of_the_total_variation(self, moving):
        from tomoservice.prep._flat_component_kernels import total_variation

        components = flat_components(*moving[:2])
        random = np.random.default_rng(1)
        signal = components.small[0] * random.uniform(0.5, 0.9, components.small[0].shape)
        weights = random.normal(size=components.count)
        slope, unused = np.empty(components.count), np.empty(components.count)
        total_variation(signal, components.small, weights, 1e-3, slope)
        for k, step in enumerate(1e-5 * np.eye(components.count)):
            ahead, behind = (
                total_variation(signal, components.small, weights + sign * step, 1e-3, unused)
                for sign in (1, -1)
            )
            assert slope[k] == pytest.approx((ahead - behind) / 2e-5, rel=1e-4)

    def test_nonsense_is_refused(self):
        with pytest.raises(EngineError, match="at least 3 good flats"):
            flat_components(np.ones((2, 5, 6)))
        with pytest.raises(EngineError, match="flat 1 is on the mean"):
            flat_components(np.array([2.0, 1.0, 2.0])[:, None, None] * np.ones((3, 5, 6)), np.ones((5, 6)))
        with pytest.raises(GeometryError, match="same frame"):
            flat_components(np.ones((3, 5, 6)), np.ones((5, 5)))
        components = flat_components(np.random.default_rng(0).random((3, 5, 6)) + 1)
        with pytest.raises(GeometryError, match="do not fit"):
            component_weights(np.ones((2, 5, 5)), components)
        with pytest.raises(GeometryError, match="3 flats"):
            components.beam(np.ones((4, 5, 6)))
        for wrong in ({"components": 0}, {"smoothing": -1}, {"downsampling": 0}):
            with pytest.raises(EngineError, match=str(next(iter(wrong.values())))):
                ComponentOptions(**wrong)

    def test_options_that_nobody_gives_are_those_of_a_recipe(self):
        stage = DynamicFlatField()
        assert ComponentOptions(stage.components, stage.smoothing, stage.downsampling) == ComponentOptions()


class TestDouble:
    def sinograms(self):
        random = np.random.default_rng(2)
        swing = np.sin(np.linspace(0, 2 * np.pi, 90, endpoint=False))[:, None]
        column = np.linspace(-1, 1, 120)
        smooth = 1 + np.clip(0.6 - np.abs(column - 0.3 * swing), 0, None)
        truth = np.broadcast_to(smooth, (40, 90, 120)).astype(np.float32)
        return truth, random.normal(0, 0.05, (40, 120)).astype(np.float32)

    def test_a_pattern_that_stands_still_goes(self):
        truth, pattern = self.sinograms()
        result = truth + pattern[:, None]
        subtract_pattern(result, fixed_pattern(result, 6))
        # A Gaussian of 6 pixels keeps 5 % of white noise, and more at the borders.
        assert np.std(result - truth) < 0.2 * np.std(pattern)

    def test_what_is_smooth_stays(self):
        truth, _ = self.sinograms()
        assert np.abs(fixed_pattern(truth, 3)[:, 15:-15]).max() < 0.02

    def test_it_is_the_mean_less_its_gaussian(self):
        truth, pattern = self.sinograms()
        mean = (truth + pattern[:, None]).mean(axis=1, dtype=np.float64)
        wanted = mean - gaussian_filter(mean, 2.0, mode="nearest", truncate=8)
        assert np.abs(fixed_pattern(truth + pattern[:, None], 2.0) - wanted).max() < 1e-5

    def test_slabs_with_their_margin_give_the_same(self):
        truth, pattern = self.sinograms()
        dirty = truth + pattern[:, None]
        whole, margin = fixed_pattern(dirty, 2.3), row_margin(2.3)
        for start, stop in ((0, 3), (17, 18), (30, 40)):
            low, high = max(start - margin, 0), min(stop + margin, 40)
            part = fixed_pattern(dirty[low:high], 2.3)[start - low : stop - low]
            assert np.array_equal(part, whole[start:stop])

    def test_one_row_one_angle(self):
        assert np.isfinite(fixed_pattern(np.ones((1, 1, 5), np.float32), 3)).all()
        for sigma in (0, -1, np.nan):
            with pytest.raises(EngineError, match="above 0"):
                fixed_pattern(np.ones((1, 1, 5), np.float32), sigma)
        with pytest.raises(GeometryError, match="does not fit"):
            subtract_pattern(np.ones((2, 1, 5), np.float32), np.ones((1, 5), np.float32))
        with pytest.raises(GeometryError, match="row, angle, column"):
            fixed_pattern(np.ones((2, 0, 5), np.float32), 3)


def flats_and_darks():
    random = np.random.default_rng(3)
    profile = 20000 * (1 - np.linspace(-0.7, 0.7, 100) ** 2)
    flats = random.poisson(np.broadcast_to(profile, (10, 80, 100)) * random.uniform(0.97, 1.03, (10, 1, 1)))
    darks = random.normal(100, 3, (10, 80, 100)).round()
    return (flats + 100).astype(np.uint16), darks.astype(np.uint16)


BALL = np.hypot(*(np.mgrid[:80, :100] - 40)) < 20


class TestJudgement:
    def test_good_frames_are_good(self):
        for frames in flats_and_darks():
            judged = judge_frames(frames)
            assert not judged.bad.any()
            assert not judged.reasons
            assert judged.kept.tolist() == list(range(10))
            assert np.allclose(judged.levels, np.median(frames, axis=(1, 2)))

    def test_a_sequence_of_equal_frames_is_good(self):
        assert not judge_frames(np.full((5, 8, 9), 100, np.uint16)).bad.any()
        assert not judge_frames(np.zeros((5, 8, 9), np.uint16)).bad.any()

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda flats, darks: darks[4], "level"),
            (lambda flats, darks: flats[4] // 2, "level"),
            (lambda flats, darks: np.zeros_like(flats[4]), "all zero"),
            (lambda flats, darks: np.full_like(flats[4], 65535), "saturated in 100%"),
            (lambda flats, darks: np.where(np.arange(80)[:, None] < 50, flats[4], 0), "partly lost"),
            (
                lambda flats, darks: np.where(
                    np.hypot(*(np.mgrid[:80, :100] - 40)) < 20, flats[4] // 2, flats[4]
                ),
                "sample",
            ),
        ],
        ids=["shutter closed", "half as bright", "lost", "saturated", "partly lost", "sample in the beam"],
    )
    def test_bad_flats_are_found(self, spoil, reason):
        flats, darks = flats_and_darks()
        flats[4] = spoil(flats, darks)
        judged = judge_frames(flats)
        assert np.flatnonzero(judged.bad).tolist() == [4]
        assert reason in judged.reasons[4]

    def test_an_open_dark_is_found(self):
        flats, darks = flats_and_darks()
        darks[0], darks[9] = flats[0], flats[1] // 20
        assert np.flatnonzero(judge_frames(darks).bad).tolist() == [0, 9]
        # What is little beside the flats makes no difference.
        darks[0], darks[9] = darks[1], darks[1] + 30
        assert judge_frames(darks).bad[9]
        assert not judge_frames(darks, tolerance=100).bad.any()

    def test_frames_that_are_not_finite_are_found(self):
        flats = flats_and_darks()[0].astype(np.float32)
        flats[2] = np.nan
        flats[5, 3, 4] = np.inf
        judged = judge_frames(flats)
        assert np.flatnonzero(judged.bad).tolist() == [2]
        assert "not finite in 100%" in judged.reasons[2]

    def test_a_fading_beam_is_a_beam(self):
        flats, _ = flats_and_darks()
        fading = (flats * np.linspace(1, 0.88, 10)[:, None, None]).astype(np.uint16)
        assert not judge_frames(fading).bad.any()

    def test_of_two_frames_only_nonsense_is_bad(self):
        flats, darks = flats_and_darks()
        assert not judge_frames(np.stack([flats[0], darks[0]])).bad.any()
        judged = judge_frames(np.stack([flats[0], 0 * flats[0]]))
        assert judged.bad.tolist() == [False, True]

    def test_never_are_all_left_out(self):
        judged = judge_frames(np.full((3, 4, 5), 65535, np.uint16))
        assert not judged.bad.any()
        assert len(judged.reasons) == 3
        assert not judge_frames(np.zeros((1, 4, 5))).bad.any()

    def test_a_detector_can_saturate_below_its_type(self):
        flats, _ = flats_and_darks()
        flats[4] = 4095
        assert "saturated" in judge_frames(flats[:5] // 8, saturation=511).reasons[4]

    def test_what_is_no_stack_is_refused(self):
        with pytest.raises(GeometryError, match="stack"):
            judge_frames(np.ones((3, 4)))
