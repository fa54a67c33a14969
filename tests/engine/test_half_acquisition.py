"""Weights of half-acquisition, and that they leave no seam."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.ellipses import Ellipse, phantom, project, radius_map, rasterise
from tomoservice.errors import GeometryError
from tomoservice.recon import ReconstructionOptions, get_reconstructor, reconstruct
from tomoservice.recon.half_acquisition import check_whole_turn, default_size, overlap_weights
from tomoservice.recon.weights import angular_weights


@given(columns=st.integers(2, 300), part=st.floats(0, 1))
@settings(deadline=None)
def test_a_line_and_its_opposite_count_two_together(columns, part):
    axis = round(2 * part * (columns - 1)) / 2
    weights = overlap_weights(columns, axis)
    assert weights.dtype == np.float32
    for column, weight in enumerate(weights):
        opposite = 2 * axis - column
        seen = 0 <= opposite <= columns - 1
        assert weight + (weights[int(opposite)] if seen else 0) == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize(("columns", "axis"), [(128, 20.3), (128, 107.2), (301, 150.0)])
def test_weights_rise_without_jump_or_kink(columns, axis):
    weights = overlap_weights(columns, axis).astype(float)
    rising = weights if axis < columns / 2 else weights[::-1]
    assert rising[0] < 0.01
    assert (np.diff(rising) >= 0).all()
    overlap = 2 * min(axis, columns - 1 - axis)
    assert np.abs(np.diff(rising)).max() < 1.05 * np.pi / overlap
    assert np.abs(np.diff(rising, 2)).max() < 1.05 * np.pi**2 / overlap**2


def test_size_reaches_the_farther_edge():
    assert default_size(128, 63.5) == 128
    assert default_size(127, 63) == 127
    assert default_size(128, 0) == 255
    assert default_size(128, 107.4) == 215


def test_whole_turns_pass_and_others_are_told_what_is_missing():
    turn = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    check_whole_turn(turn)
    check_whole_turn(turn - 7)
    check_whole_turn(np.linspace(0, 2 * np.pi, 361))
    check_whole_turn(np.linspace(0, 4 * np.pi, 720, endpoint=False))
    check_whole_turn(np.delete(turn, [30, 31, 32, 200]))
    check_whole_turn(np.random.default_rng(0).permutation(turn))
    for angles in (turn[:180], turn[:300], np.array([1.0]), np.zeros(4)):
        with pytest.raises(GeometryError, match=r"360 degrees; \d+"):
            check_whole_turn(angles)


def test_each_view_stands_for_its_own_part_of_the_turn():
    # Twice as dense on one side: what counts is the direction, not the line.
    angles = np.deg2rad(np.concatenate([np.arange(0, 180), np.arange(180, 360, 2)]))
    weights = angular_weights(angles, whole_turn=True)
    assert weights.sum() == pytest.approx(np.pi)
    assert weights[90] == pytest.approx(np.deg2rad(0.5))
    assert weights[-45] == pytest.approx(np.deg2rad(1.0))


@pytest.mark.parametrize("axis", [18.3, 141.6])
def test_no_seam_at_the_edges_of_the_overlap(axis):
    columns, angles = 160, np.linspace(0, 360, 900, endpoint=False)
    size, overlap = default_size(columns, axis), min(axis, columns - 1 - axis)
    sample = [Ellipse(0, 0, 128, 128, 0, 1.0)]
    sinogram = project(sample, angles, columns, axis)[None]
    options = ReconstructionOptions(half_acquisition=True, size=size)
    image = reconstruct(get_reconstructor("fourier"), sinogram, angles, axis, options)[0]
    radius = radius_map(size)
    profile = np.array([image[(radius >= r) & (radius < r + 6)].mean() for r in range(0, 114, 6)])
    assert np.abs(profile - 1).max() < 0.002
    near = int(overlap / 6)
    assert np.abs(np.diff(profile[max(near - 3, 0) : near + 4])).max() < 0.0007


def test_one_angle_in_ten_lost_and_uneven_turns_keep_grey_values():
    rng, columns, axis = np.random.default_rng(0), 128, 25.0
    angles = np.sort(np.delete(np.linspace(0, 360, 1000, endpoint=False), rng.choice(1000, 100, False)))
    size = default_size(columns, axis)
    ellipses = phantom(size, scale=0.9)
    sinogram = project(ellipses, angles, columns, axis)[None]
    options = ReconstructionOptions(half_acquisition=True, size=size)
    image = reconstruct(get_reconstructor("fourier"), sinogram, angles, axis, options)[0]
    truth, inside = rasterise(ellipses, size), radius_map(size) < 0.45 * size
    assert (image - truth)[inside].mean() == pytest.approx(0, abs=0.002)


def test_preview_and_the_axis_of_each_slice_take_part():
    columns, angles = 96, np.linspace(0, 360, 300, endpoint=False)
    axes = np.array([14.0, 15.5, 17.2])
    ellipses = [Ellipse(5, -4, 60, 50, 0.4, 1.0)]
    sinograms = np.stack([project(ellipses, angles, columns, axis) for axis in axes])
    options = ReconstructionOptions(half_acquisition=True, size=150)
    plan = get_reconstructor("fourier").plan(angles, columns, options)
    together = plan.execute(sinograms, axes)
    for row, axis in enumerate(axes):
        alone = plan.execute(sinograms[row : row + 1], axis)
        assert np.abs(alone[0] - together[row]).max() < 2e-3
    assert np.abs(plan.preview(sinograms, axes) - together).max() < 2e-3
