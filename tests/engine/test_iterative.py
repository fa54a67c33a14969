"""The iterative methods: their projector, their solutions, and how they are steered."""

from __future__ import annotations

from collections import defaultdict

import astra
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.ellipses import Ellipse, phantom, project, psnr, radius_map, rasterise
from tomoservice.errors import CancelledError, EngineError, GeometryError
from tomoservice.recon import ReconstructionOptions, get_reconstructor
from tomoservice.recon.iterative import (
    CglsReconstructor,
    EmReconstructor,
    Initial,
    IterationControl,
    IterativeOptions,
    SartReconstructor,
    SirtReconstructor,
    TvReconstructor,
    astra_projector,
    joseph,
    problem,
)
from tomoservice.recon.iterative.astra_projector import AstraProjector
from tomoservice.recon.iterative.joseph import JosephProjector
from tomoservice.recon.iterative.projector import SliceGeometry
from tomoservice.recon.iterative.solvers import uniform_order
from tomoservice.recon.iterative.total_variation import TotalVariation, divergence, gradient, total_variation

COLUMNS = 64
AXIS = 33.3
ALL = [SirtReconstructor, CglsReconstructor, SartReconstructor, EmReconstructor, TvReconstructor]
# Iterations after which each is near what it can reach on slices of this size.
ENOUGH = {"sirt": 70, "cgls": 12, "sart": 6, "em": 50, "tv": 80}


def equal_angles(count: int, span: float = 180.0) -> NDArray[np.float64]:
    return np.linspace(0, span, count, endpoint=False)


def sinogram_of(
    angles: NDArray[np.float64], noise: float = 0.0, columns: int = COLUMNS, axis: float = AXIS
) -> NDArray[np.float32]:
    sinogram = project(phantom(COLUMNS, scale=0.9), angles, columns, axis)
    return sinogram + np.random.default_rng(0).normal(0, noise, sinogram.shape).astype(np.float32)


def solve(
    reconstructor, sinogram, angles, axis=AXIS, *, start=None, **options
) -> tuple[NDArray[np.float32], list[float]]:
    residuals: list[float] = []
    control = IterationControl(on_iteration=lambda _row, _iteration, residual: residuals.append(residual))
    plan = reconstructor.plan(angles, sinogram.shape[1], IterativeOptions(**options))
    initial = None if start is None else start[None]
    return plan.execute(sinogram[None], axis, initial=initial, control=control)[0], residuals


def cut_into_pieces(monkeypatch: pytest.MonkeyPatch, updates: int) -> None:
    monkeypatch.setattr(astra_projector, "UPDATES_PER_CALL", updates)
    monkeypatch.setattr(joseph, "UPDATES_PER_PIECE", updates)


@pytest.mark.parametrize("kind", [JosephProjector, AstraProjector])
class TestProjectors:
    @pytest.mark.parametrize(
        ("size", "columns", "axis"), [(48, 48, 23.5), (47, 48, 20.2), (70, 48, 3.7), (9, 31, 30)]
    )
    def test_back_projection_is_the_adjoint(self, kind, size, columns, axis):
        rng = np.random.default_rng(1)
        image = rng.standard_normal((size, size)).astype(np.float32)
        sinogram = rng.standard_normal((23, columns)).astype(np.float32)
        projected, spread = np.empty_like(sinogram), np.empty_like(image)
        geometry = SliceGeometry(np.deg2rad(rng.uniform(0, 360, 23)), columns, size, axis)
        with kind(geometry, groups=[0, 5, 6]) as projector:
            projector.forward(image, projected)
            projector.back(sinogram, spread)
        there, back = np.vdot(projected.astype(float), sinogram), np.vdot(image, spread.astype(float))
        assert there == pytest.approx(back, rel=1e-4)
        assert abs(there) > 1

    def test_lines_through_an_ellipse_are_as_long_as_they_are(self, kind):
        angles = equal_angles(40, 360)
        ellipses = [Ellipse(5, -4, 20, 12, 0.4, 0.01)]
        projected = np.empty((40, COLUMNS), np.float32)
        with kind(SliceGeometry(np.deg2rad(angles), COLUMNS, 80, 22.6)) as projector:
            projector.forward(rasterise(ellipses, 80), projected)
        exact = project(ellipses, angles, COLUMNS, 22.6)
        assert np.sqrt(np.mean((projected - exact) ** 2)) < 0.01 * exact.max()
        assert projected.sum() == pytest.approx(exact.sum(), rel=1e-3)

    def test_pieces_and_groups_add_up_to_the_whole(self, kind, monkeypatch):
        rng = np.random.default_rng(2)
        image = rng.random((COLUMNS, COLUMNS)).astype(np.float32)
        geometry = SliceGeometry(np.deg2rad(equal_angles(30)), COLUMNS, COLUMNS, AXIS)
        results = []
        for updates, groups in ((10**9, [0]), (7 * COLUMNS**2, [0]), (2 * COLUMNS**2, [0, 11, 12])):
            cut_into_pieces(monkeypatch, updates)
            projected, spread = np.empty((30, COLUMNS), np.float32), np.empty_like(image)
            with kind(geometry, groups=groups) as projector:
                for group in projector.groups:
                    projector.forward(image, projected, group)
                projector.back(projected, spread)
                again = sum_over_groups(projector, projected)
            assert np.abs(again - spread).max() < 1e-5 * spread.max()
            results.append((projected, spread))
        for projected, spread in results[1:]:
            assert np.array_equal(projected, results[0][0])
            assert np.abs(spread - results[0][1]).max() < 1e-5 * spread.max()


class TestOurProjector:
    @pytest.mark.parametrize(
        ("size", "columns", "axis"), [(200, 130, 64.7), (65, 64, 2.2), (40, 90, 89), (2, 2, 0.5)]
    )
    def test_it_is_exact_to_single_precision(self, size, columns, axis):
        rng = np.random.default_rng(8)
        # With the angles at which lines run along rows, columns and diagonals.
        degrees = np.concatenate([np.arange(0, 361, 45), rng.uniform(-400, 400, 9)])
        geometry = SliceGeometry(np.deg2rad(degrees), columns, size, axis)
        image = rng.random((size, size)).astype(np.float32)
        projected = np.empty((len(degrees), columns), np.float32)
        with JosephProjector(geometry) as projector:
            projector.forward(image, projected)
        assert np.abs(projected - project_in_double_precision(image, geometry)).max() < 1e-5 * projected.max()

    @pytest.mark.parametrize(("size", "columns", "axis"), [(64, 64, 33.3), (97, 64, 5.2), (31, 80, 39.5)])
    def test_astra_projects_the_same(self, size, columns, axis):
        rng = np.random.default_rng(9)
        geometry = SliceGeometry(rng.uniform(-4, 4, 30), columns, size, axis)
        image = rng.random((size, size)).astype(np.float32)
        sinogram = rng.random((30, columns)).astype(np.float32)
        results = []
        for kind in (JosephProjector, AstraProjector):
            projected, spread = np.empty_like(sinogram), np.empty_like(image)
            with kind(geometry) as projector:
                projector.forward(image, projected)
                projector.back(sinogram, spread)
            results.append((projected, spread))
        for ours, astras in zip(*results, strict=True):
            assert np.abs(ours - astras).max() < 1e-3 * astras.max()


class TestAstraProjector:
    def test_nothing_is_left_in_the_tables_of_astra(self, capfd):
        def held() -> str:
            astra.data2d.info()
            astra.projector.info()
            astra.algorithm.info()
            return capfd.readouterr().out

        def stop() -> None:
            raise CancelledError("stopped")

        before = held()
        geometry = SliceGeometry(np.deg2rad(equal_angles(12)), COLUMNS, COLUMNS, AXIS)
        image, sinogram = np.ones((COLUMNS, COLUMNS), np.float32), np.ones((12, COLUMNS), np.float32)
        with AstraProjector(geometry, groups=[0, 3]) as projector:
            projector.forward(image, sinogram)
            assert held() != before
        with pytest.raises(CancelledError), AstraProjector(geometry, between=stop) as projector:
            projector.back(sinogram, image)
        assert held() == before


class TestTotalVariation:
    def test_divergence_is_the_negative_adjoint_of_the_gradient(self):
        rng = np.random.default_rng(3)
        image, field = rng.standard_normal((9, 14)), rng.standard_normal((2, 9, 14))
        steps, spread = np.empty((2, 9, 14)), np.empty((9, 14))
        gradient(image, steps)
        divergence(field, spread)
        assert np.vdot(steps, field) == pytest.approx(-np.vdot(image, spread), rel=1e-12)

    def test_a_step_loses_what_theory_says(self):
        # Two halves: each moves by the weight times the length of the border over its area.
        image = np.zeros((32, 40), np.float32)
        image[:, 20:] = 1
        denoise = TotalVariation(2.0, lambda _image: None, image.shape)
        for _ in range(100):
            result = denoise(image)
        assert result[:, :20] == pytest.approx(2.0 / 20, abs=2e-3)
        assert result[:, 20:] == pytest.approx(1 - 2.0 / 20, abs=2e-3)

    def test_no_other_image_costs_less(self):
        rng = np.random.default_rng(4)
        image = rng.random((24, 24)).astype(np.float32)
        denoise = TotalVariation(0.1, lambda array: np.clip(array, 0.2, 0.7, out=array), image.shape)
        for _ in range(40):
            result = denoise(image)
        assert result.min() >= 0.2
        assert result.max() <= 0.7

        def cost(other: NDArray[np.float32]) -> float:
            return 0.5 * float(((other - image) ** 2).sum()) + 0.1 * total_variation(other)

        for size in (1e-3, 1e-2, 1e-1):
            change = size * rng.standard_normal(image.shape).astype(np.float32)
            assert cost(np.clip(result + change, 0.2, 0.7)) > cost(result)


class TestSolutions:
    @pytest.mark.parametrize("method", ALL)
    @pytest.mark.parametrize("turn", [180.0, 360.0])
    def test_phantom(self, method, turn):
        angles = equal_angles(90, turn)
        reconstructor = method()
        image, _ = solve(reconstructor, sinogram_of(angles), angles, iterations=ENOUGH[reconstructor.name])
        truth, inside = rasterise(phantom(COLUMNS, scale=0.9), COLUMNS), radius_map(COLUMNS) < 31
        assert psnr(image, truth, inside) > 24
        assert image[inside].mean() == pytest.approx(truth[inside].mean(), rel=6e-3)
        assert not image[radius_map(COLUMNS) > 32].any()

    @pytest.mark.parametrize("method", ALL)
    def test_a_disc_of_one_is_one(self, method):
        angles = np.sort(np.random.default_rng(5).uniform(0, 180, 80))
        sinogram = project([Ellipse(3, -2, 22, 22, 0, 1.0)], angles, COLUMNS, 29.6)
        reconstructor = method()
        image, _ = solve(reconstructor, sinogram, angles, 29.6, iterations=ENOUGH[reconstructor.name])
        x, y = np.arange(COLUMNS) - 31.5, 31.5 - np.arange(COLUMNS)[:, None]
        assert image[np.hypot(x - 3, y + 2) < 19].mean() == pytest.approx(1, abs=3e-3)
        assert np.abs(image[np.hypot(x - 3, y + 2) > 25]).mean() < 0.025

    @pytest.mark.parametrize("mask", [True, False])
    def test_sirt_and_cgls_are_those_of_astra(self, mask, monkeypatch):
        # ASTRA counts lines that hardly graze the slice.
        monkeypatch.setattr(problem, "SHORT_LINE", 0.0)
        angles = equal_angles(50)
        sinogram = sinogram_of(angles, noise=0.1)
        # ASTRA's conjugate gradients lose their way in single precision after a few iterations.
        for name, method, iterations in (("SIRT", SirtReconstructor, 25), ("CGLS", CglsReconstructor, 5)):
            image, _ = solve(method(), sinogram, angles, iterations=iterations, mask_circle=mask)
            reference = solve_by_astra(name, sinogram, angles, iterations, mask=mask)
            assert np.abs(image - reference).max() < 1e-3 * np.abs(reference).max()

    @pytest.mark.parametrize("method", [SirtReconstructor, SartReconstructor])
    def test_lines_that_graze_the_circle_leave_no_specks(self, method, monkeypatch):
        angles = equal_angles(60)
        # As a flat field that is a little off: every line is too long by the same.
        sinogram = sinogram_of(angles, noise=0.1, axis=33.5) + np.float32(1)
        rim = radius_map(COLUMNS) > 29
        image, _ = solve(method(), sinogram, angles, 33.5, iterations=20)
        assert np.abs(image[rim]).max() < 0.25
        monkeypatch.setattr(problem, "SHORT_LINE", 0.0)
        image, _ = solve(method(), sinogram, angles, 33.5, iterations=20)
        assert np.abs(image[rim]).max() > 0.7

    def test_cgls_keeps_its_directions_apart_in_single_precision(self):
        angles = equal_angles(60)
        sinogram = sinogram_of(angles, noise=0.1)
        image, _ = solve(CglsReconstructor(), sinogram, angles, iterations=18, mask_circle=False)
        reference = solve_in_double_precision(sinogram, angles, 18)
        assert np.abs(image - reference).max() < 1e-4 * np.abs(reference).max()

    def test_sart_of_one_group_is_sirt_and_many_groups_are_faster(self):
        angles = equal_angles(60)
        sinogram, truth = sinogram_of(angles), rasterise(phantom(COLUMNS, scale=0.9), COLUMNS)
        sirt, _ = solve(SirtReconstructor(), sinogram, angles, iterations=3)
        one, _ = solve(SartReconstructor(), sinogram, angles, iterations=3, subsets=1)
        many, _ = solve(SartReconstructor(), sinogram, angles, iterations=3, subsets=12)
        single, _ = solve(SartReconstructor(), sinogram, angles, iterations=3, subsets=1000)
        assert np.abs(one - sirt).max() < 1e-5
        errors = [np.linalg.norm(image - truth) for image in (sirt, many, single)]
        assert errors[1] < 0.5 * errors[0]
        assert errors[2] < errors[1]

    def test_groups_hold_every_projection_once_and_span_the_half_circle(self):
        angles = np.deg2rad(np.random.default_rng(6).permutation(equal_angles(37, 360)))
        order, starts = uniform_order(angles, 5)
        assert sorted(order) == list(range(37))
        for start, stop in zip(starts, [*starts[1:], 37], strict=True):
            assert 7 <= stop - start <= 8
            assert np.ptp(np.mod(angles[order[start:stop]], np.pi)) > np.deg2rad(180 * 5 / 8)
        assert len(uniform_order(angles, 1000)[1]) == 37

    def test_tv_is_quieter_and_closer_than_the_others_where_projections_are_few_and_noisy(self):
        angles = equal_angles(30)
        sinogram, truth = sinogram_of(angles, noise=0.5), rasterise(phantom(COLUMNS, scale=0.9), COLUMNS)
        errors = {}
        for method, options in (
            (SirtReconstructor, {"iterations": 40}),
            (CglsReconstructor, {"iterations": 6}),
            # As the recipe advises: noise over the root of the number of projections.
            (TvReconstructor, {"iterations": 80, "initial": Initial.FBP, "weight": 0.5 / np.sqrt(30)}),
        ):
            image, _ = solve(method(), sinogram, angles, **options)
            errors[method().name] = np.linalg.norm(image - truth)
        assert errors["tv"] < 0.8 * min(errors["sirt"], errors["cgls"])

    @pytest.mark.parametrize("method", [SirtReconstructor, CglsReconstructor, EmReconstructor])
    def test_half_acquisition_needs_no_weights(self, method):
        # A detector that sees little more than half of the sample, on a whole turn.
        angles, axis, size = equal_angles(120, 360), 8.4, 112
        ellipses = [Ellipse(4, -3, 48, 40, 0.3, 0.5), Ellipse(-15, 10, 9, 6, 0, 0.5)]
        sinogram, truth = project(ellipses, angles, COLUMNS, axis), rasterise(ellipses, size)
        reconstructor = method()
        count = 2 * ENOUGH[reconstructor.name] // 3
        image, _ = solve(reconstructor, sinogram, angles, axis, iterations=count, size=size)
        assert image.shape == (size, size)
        inside = radius_map(size) < 55
        assert psnr(image, truth, inside) > 24
        # No seam where the overlap of opposite views ends, 8.4 pixels from the axis.
        profile = [np.median(image[np.abs(radius_map(size) - r) < 0.5]) for r in range(3, 15)]
        assert np.ptp(profile[-9:]) < 0.1
        assert profile == pytest.approx(
            [np.median(truth[np.abs(radius_map(size) - r) < 0.5]) for r in range(3, 15)], abs=0.05
        )

    def test_half_acquisition_from_filtered_back_projection(self):
        angles, axis, size = equal_angles(120, 360), 55.6, 112
        sinogram = project([Ellipse(4, -3, 48, 40, 0.3, 0.5)], angles, COLUMNS, axis)
        options = {"iterations": 2, "size": size, "initial": Initial.FBP}
        _, right = solve(SirtReconstructor(), sinogram, angles, axis, half_acquisition=True, **options)
        _, wrong = solve(SirtReconstructor(), sinogram, angles, axis, half_acquisition=False, **options)
        _, cold = solve(SirtReconstructor(), sinogram, angles, axis, iterations=30, size=size)
        assert right[-1] < 0.5 * wrong[-1]
        assert right[-1] < cold[-1]

    @pytest.mark.parametrize("count", [1, 2, 5])
    @pytest.mark.parametrize("method", ALL)
    def test_few_angles_give_a_finite_slice_that_explains_them(self, method, count):
        angles = equal_angles(count)
        image, residuals = solve(method(), sinogram_of(angles), angles, iterations=60)
        assert np.isfinite(image).all()
        assert residuals[-1] < 0.1

    @pytest.mark.parametrize("method", ALL)
    @pytest.mark.parametrize("value", [0.0, -1.0, 1e-30, 1e15])
    def test_data_of_any_size_give_finite_slices(self, method, value):
        angles = equal_angles(10)
        sinogram = np.full((10, 32), value, np.float32)
        image, residuals = solve(method(), sinogram, angles, 15.5, iterations=3)
        assert np.isfinite(image).all()
        assert np.isfinite(residuals).all()
        assert image.any() == (value != 0 and not (method is EmReconstructor and value < 0))

    @pytest.mark.parametrize("method", ALL)
    def test_grey_values_scale_with_the_data(self, method):
        angles = equal_angles(20)
        once, thrice = (
            solve(method(), factor * sinogram_of(angles), angles, iterations=5, weight=0)[0]
            for factor in (1, 3)
        )
        assert np.abs(3 * once - thrice).max() < 1e-4 * thrice.max()


class TestSteering:
    @pytest.mark.parametrize("method", [SirtReconstructor, CglsReconstructor, EmReconstructor])
    def test_residuals_decrease_and_are_those_of_the_slice(self, method):
        angles = equal_angles(40)
        sinogram = sinogram_of(angles, noise=0.2)
        image, residuals = solve(method(), sinogram, angles, iterations=15)
        assert len(residuals) == 15
        assert (np.diff(residuals) < 0).all()
        projected = np.empty_like(sinogram)
        with AstraProjector(SliceGeometry(np.deg2rad(angles), COLUMNS, COLUMNS, AXIS)) as projector:
            projector.forward(image, projected)
        counted = np.maximum(sinogram, 0) if method is EmReconstructor else sinogram
        expected = np.linalg.norm(projected - counted) / np.linalg.norm(sinogram)
        assert residuals[-1] == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize("method", [SirtReconstructor, SartReconstructor, TvReconstructor])
    def test_starting_from_filtered_back_projection_is_faster(self, method):
        angles = equal_angles(90)
        sinogram = sinogram_of(angles)
        _, cold = solve(method(), sinogram, angles, iterations=3)
        _, warm = solve(method(), sinogram, angles, iterations=3, initial=Initial.FBP)
        assert warm[-1] < 0.5 * cold[-1]

    @pytest.mark.parametrize("method", ALL)
    def test_going_on_from_given_slices(self, method):
        angles = equal_angles(60)
        sinogram = sinogram_of(angles, noise=0.1)
        begun, residuals = solve(method(), sinogram, angles, iterations=4, initial=Initial.ZERO)
        before = begun.copy()
        more, later = solve(method(), sinogram, angles, start=begun, iterations=4, initial=Initial.VOLUME)
        np.testing.assert_array_equal(begun, before)
        assert later[0] < residuals[-1]
        if method in {SirtReconstructor, SartReconstructor, EmReconstructor}:
            # They remember nothing but the slice.
            whole, _ = solve(method(), sinogram, angles, iterations=8, initial=Initial.ZERO)
            np.testing.assert_allclose(more, whole, atol=1e-5 * whole.max())

    def test_slices_to_start_from_must_fit(self):
        angles = equal_angles(10)
        sinogram, good = sinogram_of(angles), np.zeros((COLUMNS, COLUMNS), np.float32)
        wrong = good.copy()
        wrong[3, 4] = np.nan
        for start, initial, said in (
            (None, Initial.VOLUME, "initial is 'volume', but none was given"),
            (good, Initial.ZERO, "initial is 'zero', but a volume was given"),
            (wrong, Initial.VOLUME, "hold 1 values that are not finite"),
        ):
            with pytest.raises(EngineError, match=said):
                solve(SirtReconstructor(), sinogram, angles, start=start, iterations=1, initial=initial)
        with pytest.raises(GeometryError, match=r"must have the shape \(1, 64, 64\), got \(1, 63, 63\)"):
            solve(
                SirtReconstructor(),
                sinogram,
                angles,
                start=good[1:, 1:],
                iterations=1,
                initial=Initial.VOLUME,
            )

    @pytest.mark.parametrize("method", [SirtReconstructor, SartReconstructor, TvReconstructor])
    @pytest.mark.parametrize("initial", [Initial.ZERO, Initial.FBP])
    def test_limits_hold(self, method, initial):
        angles = equal_angles(30)
        sinogram = sinogram_of(angles, noise=1.0)
        image, _ = solve(method(), sinogram, angles, iterations=4, initial=initial, minimum=0.05, maximum=0.4)
        inside = radius_map(COLUMNS) <= 32
        assert image[inside].min() == np.float32(0.05)
        assert image[inside].max() == np.float32(0.4)
        assert not image[~inside].any()

    def test_em_is_nowhere_negative_and_keeps_to_a_maximum(self):
        angles = equal_angles(30)
        sinogram = sinogram_of(angles, noise=1.0)
        for initial in (Initial.ZERO, Initial.FBP):
            image, _ = solve(EmReconstructor(), sinogram, angles, iterations=6, initial=initial, maximum=0.5)
            assert image.min() >= 0
            assert image.max() == np.float32(0.5)

    def test_tolerance_ends_early(self):
        angles = equal_angles(40)
        _, residuals = solve(
            SirtReconstructor(), sinogram_of(angles, 0.5), angles, iterations=200, tolerance=0.01
        )
        assert 3 < len(residuals) < 100
        changes = -np.diff(residuals) / np.array(residuals[:-1])
        assert changes[-1] < 0.01 <= changes[:-1].min()

    @pytest.mark.parametrize("method", ALL)
    def test_stopping_keeps_what_there_is_and_leaves_no_slice_empty(self, method):
        angles = equal_angles(20)
        sinograms = np.stack([sinogram_of(angles)] * 4)
        told: dict[int, list[int]] = defaultdict(list)
        control = IterationControl(
            stop_and_keep=lambda: sum(map(len, told.values())) >= 5,
            on_iteration=lambda row, iteration, _residual: told[row].append(iteration),
        )
        plan = method().plan(angles, COLUMNS, IterativeOptions(iterations=50), threads=2)
        volume = plan.execute(sinograms, AXIS, first_row=100, control=control)
        assert sorted(told) == [100, 101, 102, 103]
        for row, iterations in told.items():
            assert iterations == list(range(1, len(iterations) + 1))
            alone, _ = solve(method(), sinograms[0], angles, iterations=len(iterations))
            assert np.array_equal(volume[row - 100], alone)
        assert max(map(len, told.values())) < 10

    def test_cancelling_is_heard_within_a_filtered_back_projection(self, monkeypatch):
        cut_into_pieces(monkeypatch, 5 * COLUMNS**2)
        asked: list[int] = []

        def cancelled() -> bool:
            asked.append(1)
            return len(asked) > 7

        angles = equal_angles(60)
        plan = get_reconstructor("astra_fbp").plan(angles, COLUMNS, threads=1)
        with pytest.raises(CancelledError):
            plan.execute(
                np.stack([sinogram_of(angles)] * 3), AXIS, control=IterationControl(cancelled=cancelled)
            )
        # Sixty projections of 1.5 times as many columns in pieces of five: a slice asks 12 times.
        assert len(asked) == 8

    def test_cancelling_is_heard_within_an_iteration(self, monkeypatch):
        cut_into_pieces(monkeypatch, 5 * COLUMNS**2)
        asked: list[int] = []

        def cancelled() -> bool:
            asked.append(1)
            return len(asked) > 30

        angles = equal_angles(60)
        plan = SirtReconstructor().plan(angles, COLUMNS, IterativeOptions(iterations=1000), threads=2)
        with pytest.raises(CancelledError):
            plan.execute(
                np.stack([sinogram_of(angles)] * 6), AXIS, control=IterationControl(cancelled=cancelled)
            )
        # Sixty projections in pieces of five: an iteration asks 24 times.
        assert 31 <= len(asked) <= 40

    @pytest.mark.parametrize("method", ALL)
    def test_slabs_and_threads_do_not_change_a_bit(self, method):
        angles, rows = equal_angles(30), 5
        sinograms = np.random.default_rng(7).random((rows, 30, 40)).astype(np.float32)
        for axes in (np.full(rows, 19.2), np.linspace(18, 20, rows)):
            options = IterativeOptions(iterations=3, initial=Initial.FBP)
            whole = method().plan(angles, 40, options, threads=1).execute(sinograms, axes)
            plan = method().plan(angles, 40, options, threads=3)
            for part in (slice(3, 5), slice(0, 3), slice(1, 2)):
                slab = plan.execute(sinograms[part], axes[part], first_row=part.start)
                assert np.array_equal(slab, whole[part])

    @pytest.mark.parametrize("method", ALL)
    def test_threads_that_share_a_slice_do_not_change_a_bit(self, method, monkeypatch):
        cut_into_pieces(monkeypatch, 7 * COLUMNS**2)
        angles = equal_angles(40)
        sinograms = sinogram_of(angles, noise=0.2)[None]
        one, four = (
            method()
            .plan(angles, COLUMNS, IterativeOptions(iterations=3, subsets=3), threads=threads)
            .execute(sinograms, AXIS)
            for threads in (1, 4)
        )
        assert np.array_equal(one, four)

    @pytest.mark.parametrize(
        ("method", "options", "message"),
        [
            (SirtReconstructor, {"iterations": 0}, "iterations .* 0"),
            (
                SirtReconstructor,
                {"minimum": 1.0, "maximum": 1.0},
                "minimum must be below maximum, got 1 and 1",
            ),
            (SirtReconstructor, {"minimum": np.nan, "maximum": 1.0}, "got nan and 1"),
            (SirtReconstructor, {"tolerance": 1.0}, "tolerance"),
            (SirtReconstructor, {"size": 1}, "size"),
            (SartReconstructor, {"subsets": 0}, "subsets"),
            (SartReconstructor, {"relaxation": 2.0}, "relaxation"),
            (TvReconstructor, {"weight": -1.0}, "weight"),
            (TvReconstructor, {"weight": np.inf}, "weight"),
            (CglsReconstructor, {"minimum": 0.0}, "cgls knows no limits .* minimum 0.0"),
            (EmReconstructor, {"minimum": -0.5}, "minimum -0.5"),
        ],
    )
    def test_wrong_options_are_refused(self, method, options, message):
        with pytest.raises(EngineError, match=message):
            method().plan(equal_angles(5), 32, IterativeOptions(**options))

    def test_options_of_another_method_are_refused(self):
        with pytest.raises(EngineError, match="IterativeOptions"):
            SirtReconstructor().plan(equal_angles(5), 32, ReconstructionOptions())


def sum_over_groups(projector, sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
    parts = []
    for group in projector.groups:
        part = np.empty((COLUMNS, COLUMNS), np.float32)
        projector.back(sinogram, part, group)
        parts.append(part)
    return np.sum(parts, axis=0)


def project_in_double_precision(image: NDArray[np.float32], geometry: SliceGeometry) -> NDArray[np.float64]:
    """Interpolate where a line meets each row, or each column if it is flatter; 0 beyond the slice."""
    size, middle = geometry.size, (geometry.size - 1) / 2
    padded = np.pad(image.astype(np.float64), 1)
    result = np.zeros((len(geometry.angles), geometry.columns))
    for number, angle in enumerate(geometry.angles):
        cos, sin = np.cos(angle), np.sin(angle)
        for j in range(geometry.columns):
            for step in range(size):
                if abs(cos) >= abs(sin):
                    place = middle + (j - geometry.axis - (middle - step) * sin) / cos
                    values = padded[step + 1]
                else:
                    place = middle - (j - geometry.axis - (step - middle) * cos) / sin
                    values = padded[:, step + 1]
                if -1 < place < size:
                    low = int(np.floor(place))
                    value = values[low + 1] * (low + 1 - place) + values[low + 2] * (place - low)
                    result[number, j] += value / max(abs(cos), abs(sin))
    return result


def astra_geometry(angles: NDArray[np.float64]) -> tuple[int, dict, dict]:
    """Return projector and geometries made without the code under test: the slice moves, not the detector."""
    shift = AXIS - (COLUMNS - 1) / 2
    radians = np.deg2rad(angles)
    cos, sin = np.cos(radians), np.sin(radians)
    vectors = np.stack([sin, -cos, -shift * cos, -shift * sin, cos, sin], axis=1)
    projections = astra.create_proj_geom("parallel_vec", COLUMNS, vectors)
    volume = astra.create_vol_geom(COLUMNS, COLUMNS)
    return astra.create_projector("linear", projections, volume), projections, volume


def solve_by_astra(
    name: str, sinogram: NDArray[np.float32], angles: NDArray[np.float64], iterations: int, *, mask: bool
) -> NDArray[np.float32]:
    projector, projections, volume = astra_geometry(angles)
    config = astra.astra_dict(name)
    config["ProjectorId"] = projector
    config["ProjectionDataId"] = astra.data2d.create("-sino", projections, sinogram)
    config["ReconstructionDataId"] = astra.data2d.create("-vol", volume, 0)
    if mask:
        inside = (radius_map(COLUMNS) <= COLUMNS / 2).astype(np.float32)
        config["option"] = {"ReconstructionMaskId": astra.data2d.create("-vol", volume, inside)}
    algorithm = astra.algorithm.create(config)
    try:
        astra.algorithm.run(algorithm, iterations)
        return astra.data2d.get(config["ReconstructionDataId"])
    finally:
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([config["ProjectionDataId"], config["ReconstructionDataId"]])
        if mask:
            astra.data2d.delete(config["option"]["ReconstructionMaskId"])
        astra.projector.delete(projector)


def solve_in_double_precision(
    sinogram: NDArray[np.float32], angles: NDArray[np.float64], iterations: int
) -> NDArray[np.float64]:
    """Minimise |A x - b| over the span of as many gradients, made orthogonal one by one."""
    projector, _, _ = astra_geometry(angles)
    number = astra.projector.matrix(projector)
    matrix = astra.matrix.get(number).tocsr().astype(np.float64)
    astra.matrix.delete(number)
    astra.projector.delete(projector)
    data = sinogram.ravel().astype(np.float64)
    image, basis = np.zeros(COLUMNS**2), np.zeros((COLUMNS**2, 0))
    for _ in range(iterations):
        direction = matrix.T @ (data - matrix @ image)
        for _twice in range(2):
            direction -= basis @ (basis.T @ direction)
        basis = np.column_stack([basis, direction / np.linalg.norm(direction)])
        image = basis @ np.linalg.lstsq(matrix @ basis, data, rcond=None)[0]
    return image.reshape(COLUMNS, COLUMNS)
