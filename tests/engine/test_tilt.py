"""A tilted rotation axis: found from rows and from strips of views, and corrected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from tests.engine.ellipses import psnr
from tomoservice import axis
from tomoservice.errors import EngineError, GeometryError
from tomoservice.phantom import Ellipsoid, Imperfections, Phantom, SimulatedCamera, default_phantom
from tomoservice.prep.tilt import REACH, TiltedAxis, shear_rows
from tomoservice.recon import get_reconstructor

COLUMNS, ROWS = 160, 128
ANGLES = np.arange(180.0)


def grains(seed: int = 1) -> Phantom:
    """Return a phantom of small grains: unlike the usual one, it changes quickly from row to row."""
    random = np.random.default_rng(seed)
    bodies = []
    for _ in range(60):
        radius, phi = 0.4 * COLUMNS * np.sqrt(random.uniform()), random.uniform(0, 2 * np.pi)
        place = (radius * np.cos(phi), radius * np.sin(phi), random.uniform(0, ROWS - 1))
        axes = (*random.uniform(4, 10, 2), random.uniform(8, 16))
        bodies.append(Ellipsoid(*place, *axes, random.uniform(0, 180), 0.01))
    return Phantom(COLUMNS, ROWS, tuple(bodies))


def sinograms(phantom, true_axis, tilt_deg, rows=None):
    projections = phantom.line_integrals(ANGLES, rows, rotation_axis=true_axis, tilt_deg=tilt_deg)
    return np.ascontiguousarray(projections.swapaxes(0, 1))


@pytest.fixture(scope="module")
def phantom():
    return grains()


def test_the_tilted_phantom_is_the_straight_one_turned():
    # Smooth enough for cubic interpolation, which stands in for turning the camera.
    smooth = default_phantom(COLUMNS, ROWS, features=4)
    straight, tilted = (smooth.line_integrals([0, 50], rotation_axis=82.3, tilt_deg=tilt) for tilt in (0, 3))
    sine, cosine = np.sin(np.deg2rad(3)), np.cos(np.deg2rad(3))
    turn, centre = np.array([[cosine, sine], [-sine, cosine]]), np.array([(ROWS - 1) / 2, 82.3])
    for before, after in zip(straight, tilted, strict=True):
        turned = affine_transform(before, turn, centre - turn @ centre, order=3, mode="nearest")
        inner = (slice(12, -12), slice(12, -12))
        assert np.abs(turned - after)[inner].mean() < 2e-3 * after.max()
        assert np.abs(before - after)[inner].mean() > 1e-2 * after.max()


@pytest.mark.parametrize("tilt_deg", [0.4, -2.0])
def test_a_corrected_tilt_is_as_good_as_none(phantom, tilt_deg):
    true_axis, rows = 82.3, (16, 22)
    line = TiltedAxis(true_axis, tilt_deg, (ROWS - 1) / 2)
    plan = get_reconstructor("fourier").plan(ANGLES, COLUMNS)
    tilted = sinograms(phantom, true_axis, tilt_deg)
    truth = phantom.volume(range(*rows))
    everywhere = np.ones(truth.shape, bool)
    straight = plan.execute(sinograms(phantom, true_axis, 0.0, range(*rows)), true_axis)
    corrected = plan.execute(shear_rows(tilted, line, rows), line.at(range(*rows)))
    only_axes = plan.execute(tilted[slice(*rows)], line.at(range(*rows)))
    nothing = plan.execute(tilted[slice(*rows)], true_axis)
    best = psnr(straight, truth, everywhere)
    assert psnr(corrected, truth, everywhere) > best - 1
    assert psnr(only_axes, truth, everywhere) < best - 1.5
    assert psnr(nothing, truth, everywhere) < best - 6


def test_both_parts_of_the_correction_have_the_sign_that_they_say(phantom):
    line = TiltedAxis(82.3, 1.0, (ROWS - 1) / 2)
    assert line.at(0) < 82.3 < line.at(ROWS - 1)
    assert line.at((ROWS - 1) / 2) == pytest.approx(82.3)
    tilted = sinograms(phantom, 82.3, 1.0)
    expected = sinograms(phantom, 82.3, 0.0, range(60, 68))
    # Near the middle the axis is where it was; what is left is the shift along the rows.
    right = np.abs(shear_rows(tilted, line, (60, 68)) - expected).mean()
    wrong = np.abs(shear_rows(tilted, TiltedAxis(82.3, -1.0, (ROWS - 1) / 2), (60, 68)) - expected).mean()
    assert right < 0.2 * wrong


@pytest.mark.parametrize("size", [1, 5, 16, 31])
@pytest.mark.parametrize("tilt_deg", [0.4, -3.0])
def test_slabs_with_their_margin_give_the_same_bits(size, tilt_deg):
    data = np.random.default_rng(0).standard_normal((64, 11, 97)).astype(np.float32)
    line = TiltedAxis(30.2, tilt_deg, 31.5)
    whole = shear_rows(data, line, (0, 64))
    margin = line.row_margin(97, 64)
    for first in range(0, 64, size):
        last = min(first + size, 64)
        low, high = max(first - margin, 0), min(last + margin, 64)
        part = shear_rows(data[low:high], line, (first, last), first_row=low, frame_rows=64)
        assert np.array_equal(part, whole[first:last])


def test_threads_make_no_difference(monkeypatch):
    data = np.random.default_rng(0).standard_normal((32, 37, 64)).astype(np.float32)
    line = TiltedAxis(30.2, 1.0, 15.5)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr("tomoservice.prep.tilt.available_threads", lambda threads=threads: threads)
        results.append(shear_rows(data, line, (0, 32)))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_the_margin_is_enough_and_hardly_more_than_that():
    line = TiltedAxis(20.0, 1.0, 50.0)
    margin = line.row_margin(200, 101)
    assert np.ceil(179 * line.slope) + REACH <= margin <= np.ceil(182 * line.slope) + REACH
    data = np.ones((2 * margin + 1, 3, 200), np.float32)
    shear_rows(data, line, (50, 51), first_row=50 - margin, frame_rows=101)
    with pytest.raises(GeometryError, match="more on either side"):
        shear_rows(data[2 * REACH :], line, (50, 51), first_row=50 - margin + 2 * REACH, frame_rows=101)
    assert TiltedAxis(20.0, 0.0, 50.0).row_margin(200, 101) == 0


def test_constants_stay_and_whole_rows_are_copied():
    line = TiltedAxis(10.0, 2.0, 8.0)
    assert np.allclose(shear_rows(np.full((17, 2, 33), 3.25, np.float32), line, (0, 17)), 3.25, rtol=1e-6)
    data = np.random.default_rng(0).standard_normal((5, 4, 16)).astype(np.float32)
    before = data.copy()
    assert np.array_equal(shear_rows(data, TiltedAxis(8.0, 0.0, 2.0), (1, 4)), data[1:4])
    shear_rows(data, line, (0, 5))
    assert np.array_equal(data, before)
    # A single row of a single view, and a single column.
    one = shear_rows(np.full((1, 1, 1), 2.0, np.float32), TiltedAxis(0.0, 5.0, 0.0), (0, 1))
    assert one.shape == (1, 1, 1)
    assert one[0, 0, 0] == pytest.approx(2.0, rel=1e-6)


def test_what_is_not_finite_stays_visible():
    data = np.zeros((21, 2, 16), np.float32)
    data[10, 1, 5] = np.nan
    spoilt = np.isnan(shear_rows(data, TiltedAxis(8.0, 1.0, 10.0), (0, 21)))
    assert spoilt[:, 1, 5].sum() in (2 * REACH, 2 * REACH - 1)
    assert spoilt.sum() == spoilt[:, 1, 5].sum()


def test_wrong_input_is_refused():
    data = np.zeros((8, 3, 16), np.float32)
    line = TiltedAxis(8.0, 1.0, 3.5)
    with pytest.raises(GeometryError, match="11 degrees"):
        TiltedAxis(8.0, 11, 3.5)
    with pytest.raises(GeometryError, match="nan degrees"):
        TiltedAxis(8.0, float("nan"), 3.5)
    with pytest.raises(GeometryError, match="not among the sinograms"):
        shear_rows(data, line, (4, 9))
    with pytest.raises(GeometryError, match="row, angle, column"):
        shear_rows(data[0], line, (0, 1))
    with pytest.raises(EngineError, match="out must be"):
        shear_rows(data, line, (0, 8), out=np.empty((8, 3, 15), np.float32))
    with pytest.raises(EngineError, match="themselves"):
        shear_rows(data, line, (0, 8), out=data)


HEIGHT = 160
FLAWS = Imperfections(noise=0.005, stripes=0.02)


def flawed(tilt_deg, angles=(0.0, 180.0), *, rows=None, true_axis=83.7, sample=COLUMNS):
    """Return line integrals (angle, row, column) of the usual phantom through a noisy camera."""
    chosen = range(HEIGHT) if rows is None else rows
    phantom = default_phantom(sample, HEIGHT)
    clean = phantom.line_integrals(
        angles, [int(row) for row in chosen], columns=COLUMNS, rotation_axis=true_axis, tilt_deg=tilt_deg
    )
    camera = SimulatedCamera(len(chosen), COLUMNS, FLAWS, offset=0)
    frames = np.stack([camera.projection(view, number) for number, view in enumerate(clean)])
    return -np.log(np.maximum(frames.astype(np.float32), 1) / np.float32(camera.open_beam))


@pytest.mark.parametrize("tilt_deg", [0.4, -1.2])
def test_strips_of_opposite_views(tilt_deg):
    first, second = flawed(tilt_deg)
    found = axis.by_strips(first, second)
    assert found.tilt_deg == pytest.approx(tilt_deg, abs=0.04)
    assert found.rotation_axis == pytest.approx(83.7, abs=0.1)
    assert found.confidence > 0.7
    assert len(found.heights) == len(found.values) == len(found.residuals)
    assert "tilted by" in found.note


def test_a_straight_axis_is_not_tilted():
    first, second = flawed(0.0)
    found = axis.by_strips(first, second)
    assert found.tilt_deg == 0
    assert found.rotation_axis == pytest.approx(83.7, abs=0.1)
    assert "not noticeably tilted" in found.note


def test_part_of_the_height_tells_the_axis_in_the_middle_of_all():
    first, second = flawed(0.8)
    found = axis.by_strips(first[80:], second[80:], first_row=80, reference_row=(HEIGHT - 1) / 2)
    assert found.rotation_axis == pytest.approx(83.7, abs=0.25)
    assert found.tilt_deg == pytest.approx(0.8, abs=0.1)


def test_rows_of_a_whole_turn_with_the_axis_near_the_side():
    angles, heights = np.arange(180) * 2.0, np.arange(10, HEIGHT, 20)
    options = {"true_axis": 45.3, "sample": 250}
    rows = np.ascontiguousarray(flawed(0.4, angles, rows=heights, **options).swapaxes(0, 1))
    found = axis.with_tilt(
        axis.auto(rows, angles),
        lambda row: axis.overlap(row, angles),
        rows,
        heights,
        reference_row=(HEIGHT - 1) / 2,
        opposite=axis.OppositeViews(*flawed(0.4, **options)),
    )
    assert found.rotation_axis == pytest.approx(45.3, abs=0.25)
    assert found.tilt_deg == pytest.approx(0.4, abs=0.08)
    assert found.side == "left"
    assert found.confidence > 0.5


def test_outliers_do_not_bend_the_line():
    heights = np.arange(0, 200, 20.0)
    values = 80 + 0.01 * (heights - 100)
    places = iter(values + np.where(heights == 40, 30.0, 0.0) + 0.01 * np.resize([1, -1], len(heights)))
    curve = np.arange(3.0)

    def find(_rows):
        return axis.AxisResult(next(places), 0.9, "fourier", curve, curve, False, "")

    found = axis.by_height(find, np.zeros((10, 2, 4), np.float32), heights, reference_row=100)
    assert found.rotation_axis == pytest.approx(80, abs=0.02)
    assert found.tilt_deg == pytest.approx(np.degrees(np.arctan(0.01)), abs=0.01)
    assert found.residuals[2] == pytest.approx(30, abs=0.1)
    assert "9 of 10 heights" in found.note


def test_values_without_a_line_are_not_trusted():
    places = iter(np.random.default_rng(0).uniform(60, 100, 10))
    curve = np.arange(3.0)

    def find(_rows):
        return axis.AxisResult(next(places), 0.9, "fourier", curve, curve, False, "")

    found = axis.by_height(find, np.zeros((10, 2, 4), np.float32), np.arange(10) * 20, reference_row=100)
    assert found.confidence < 0.1


def test_too_little_height_is_refused():
    with pytest.raises(GeometryError, match="at least 3 rows"):
        axis.by_height(axis.fourier, np.zeros((2, 20, 64), np.float32), [1, 2], reference_row=1)
    with pytest.raises(GeometryError, match="at least 24 rows"):
        axis.by_strips(np.zeros((20, 64), np.float32), np.zeros((20, 64), np.float32))
