"""The Fourier method: its accuracy, any size, previews, its parts, and that compiled kernels are kept."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import fft

from tests.engine.ellipses import Ellipse, phantom, project, radius_map, rasterise
from tomoservice.errors import EngineError, GeometryError
from tomoservice.recon import (
    FilterName,
    Padding,
    PreviewPlan,
    ReconstructionOptions,
    get_reconstructor,
    preview,
    reconstruct,
)
from tomoservice.recon.base import aligned_empty
from tomoservice.recon.filters import ramp
from tomoservice.recon.fourier.geometry import factorise, good_length, make_grid, make_transform
from tomoservice.recon.fourier.response import Span, make_response

FOURIER, FINUFFT = get_reconstructor("fourier"), get_reconstructor("finufft")


def evenly(count, span=180.0):
    return np.linspace(0, span, count, endpoint=False)


def gaussians(columns, angles_deg, axis, seed=5):
    """Return the sinogram and the slice of blobs that sampling hurts nowhere."""
    rng, angles = np.random.default_rng(seed), np.deg2rad(angles_deg)[:, None]
    s, x = np.arange(columns) - axis, np.arange(columns) - (columns - 1) / 2
    sinogram, truth = np.zeros((len(angles_deg), columns)), np.zeros((columns, columns))
    for _ in range(30):
        sigma = 1.6 * np.exp(rng.random() * np.log(columns * 0.06 / 1.6))
        distance = max(0.42 * columns - 4 * sigma, 0) * np.sqrt(rng.random())
        turn, value = 2 * np.pi * rng.random(), 0.2 + rng.random()
        a, b = distance * np.cos(turn), distance * np.sin(turn)
        t = s - a * np.cos(angles) - b * np.sin(angles)
        sinogram += value * np.sqrt(2 * np.pi) * sigma * np.exp(-(t**2) / (2 * sigma**2))
        truth += value * np.exp(-((x - a) ** 2 + (-x[:, None] - b) ** 2) / (2 * sigma**2))
    return sinogram.astype(np.float32), truth


def relative(image, truth, inside):
    return np.linalg.norm((image - truth)[inside]) / np.linalg.norm(truth[inside])


@pytest.mark.parametrize(("columns", "axis"), [(256, 127.5), (509, 262.3)])
def test_ellipses_are_as_exact_as_finufft_makes_them(columns, axis, monkeypatch):
    monkeypatch.setattr("tomoservice.recon.finufft_fbp.TOLERANCE", 1e-6)
    angles, ellipses = evenly(3 * columns // 2), phantom(columns, scale=0.9)
    sinogram, truth = project(ellipses, angles, columns, axis)[None], rasterise(ellipses, columns)
    inside = radius_map(columns) < 0.49 * columns
    ours, theirs = (
        relative(reconstruct(method, sinogram, angles, axis)[0], truth, inside)
        for method in (FOURIER, FINUFFT)
    )
    assert ours < 1.02 * theirs


@pytest.mark.parametrize(("columns", "axis"), [(256, 127.5), (360, 190.25), (509, 254.0)])
def test_smooth_samples_are_exact_to_a_thousandth(columns, axis):
    angles = evenly(3 * columns // 2)
    sinogram, truth = gaussians(columns, angles, axis)
    image = reconstruct(FOURIER, sinogram[None], angles, axis)[0]
    assert relative(image, truth, radius_map(columns) < 0.49 * columns) < 1e-3


@pytest.mark.parametrize("columns", [2, 3, 5, 8, 17, 31, 47, 97, 101, 144, 251])
@pytest.mark.parametrize("angles", [1, 7, 61])
def test_any_size_says_what_finufft_says(columns, angles):
    rng = np.random.default_rng(columns)
    turns, axis = np.sort(rng.uniform(-200, 200, angles)), 0.45 * (columns - 1)
    smooth = fft.idct(rng.random((2, angles, columns)) * np.exp(-np.arange(columns) / 2), axis=-1)
    smooth = (smooth * np.hanning(columns + 2)[1:-1]).astype(np.float32)
    # The two treat the highest frequencies in their own ways.
    options = ReconstructionOptions(filter_name=FilterName.HANN, filter_cutoff=0.8)
    ours, theirs = (reconstruct(method, smooth, turns, axis, options) for method in (FOURIER, FINUFFT))
    assert np.isfinite(ours).all()
    inside = radius_map(columns) <= 0.9 * columns / 2
    assert np.abs(ours - theirs)[:, inside].max() < 0.012 * np.abs(theirs).max()


@pytest.mark.parametrize("name", list(FilterName))
@pytest.mark.parametrize("padding", list(Padding))
def test_every_filter_and_padding_says_what_finufft_says(name, padding):
    angles, axis = evenly(150), 55.7
    sinogram = project([Ellipse(0, 0, 60, 66, 0, 1.0)], angles, 128, axis)[None]
    if padding is Padding.ZERO:
        sinogram = project([Ellipse(3, 0, 40, 45, 0, 1.0)], angles, 128, axis)[None]
    options = ReconstructionOptions(filter_name=name, filter_cutoff=0.7, padding=padding, butterworth_order=6)
    ours, theirs = (reconstruct(method, sinogram, angles, axis, options)[0] for method in (FOURIER, FINUFFT))
    assert np.abs(ours - theirs)[radius_map(128) < 60].max() < 4e-3 * theirs.max()


@pytest.mark.parametrize("size", [2, 16, 31, 49, 50, 51, 77])
def test_slices_of_any_size_say_what_a_preview_says(size):
    sinograms = np.random.default_rng(0).standard_normal((2, 40, 50)).astype(np.float32)
    plan = FOURIER.plan(evenly(40), 50, ReconstructionOptions(size=size))
    batch, alone = plan.execute(sinograms, 20.3), plan.preview(sinograms, 20.3)
    assert np.abs(batch - alone).max() < 1e-4 * np.abs(batch).max()


def test_all_slices_of_a_group_are_their_own():
    angles, rng = evenly(90), np.random.default_rng(0)
    sinograms = rng.standard_normal((37, 90, 50)).astype(np.float32)
    plan = FOURIER.plan(angles, 50)
    whole = plan.execute(sinograms, 24.5, first_row=5)
    for row in (0, 10, 11, 25, 36):
        alone = np.zeros_like(sinograms)
        alone[row] = sinograms[row]
        slices = plan.execute(alone, 24.5, first_row=5)
        assert np.abs(slices[row] - whole[row]).max() < 1e-5 * np.abs(whole).max()
        # What is left of a neighbour is rounding, and only of the one that shares its complex numbers.
        slices[row] = 0
        assert np.abs(slices).max() < 1e-6 * np.abs(whole).max()


def test_what_is_not_finite_leaves_the_next_call_alone():
    angles, good = evenly(30), np.ones((20, 30, 40), np.float32)
    plan = FOURIER.plan(angles, 40)
    before = plan.execute(good, 19.5)
    bad = good.copy()
    bad[17, 3, 39] = np.nan
    with pytest.raises(EngineError, match=r"row 17 .*projection 3, column 39"):
        plan.execute(bad, 19.5)
    with pytest.raises(EngineError, match=r"row 17 .*projection 3, column 39"):
        plan.preview(bad, 19.5)
    assert np.array_equal(plan.execute(good, 19.5), before)


@pytest.mark.parametrize("value", [3e38, -2e30])
def test_what_would_overflow_is_refused(value):
    huge = np.zeros((3, 20, 30), np.float32)
    huge[1] = value
    plan = FOURIER.plan(evenly(20), 30)
    for compute in (plan.execute, plan.preview):
        with pytest.raises(EngineError, match=r"row 8 has values up to .*e\+3.*too large"):
            compute(huge, 14.5, first_row=7)
    huge[1] = 9e29
    assert np.isfinite(plan.execute(huge, 14.5)).all()


@pytest.mark.parametrize("columns", [48, 50])
def test_where_the_output_begins_does_not_change_a_bit(columns):
    sinograms = np.random.default_rng(0).standard_normal((17, 20, columns)).astype(np.float32)
    plan = FOURIER.plan(evenly(20), columns)
    wanted = plan.execute(sinograms, 20.5)
    for shift in range(0, 20, 3):
        room = aligned_empty((wanted.size + shift,))
        room[:] = np.nan
        out = room[shift:].reshape(wanted.shape)
        assert np.array_equal(plan.execute(sinograms, 20.5, out=out), wanted)


@pytest.mark.parametrize("padding", list(Padding))
@pytest.mark.parametrize(("start", "step"), [(61.4, -0.052), (61.4, 0.05), (30.0, -0.3), (119.5, 0.3)])
def test_slices_on_a_tilted_axis_do_not_depend_on_their_neighbours(padding, start, step):
    axes, angles = start + step * np.arange(20), evenly(90)
    sinograms = 1 + np.random.default_rng(0).random((20, 90, 128), np.float32)
    plan = FOURIER.plan(angles, 128, ReconstructionOptions(padding=padding))
    whole = plan.execute(sinograms, axes, first_row=5)
    for begin, end in ((0, 1), (3, 7), (10, 12), (11, 20)):
        rows = slice(begin, end)
        cut = plan.execute(sinograms[rows], axes[rows], first_row=5 + begin)
        assert np.abs(cut - whole[rows]).max() < 1e-5 * np.abs(whole).max()
        assert np.abs(plan.preview(sinograms[rows], axes[rows]) - cut).max() < 1e-5 * np.abs(whole).max()


def test_axes_far_apart_share_a_group():
    angles, axes = evenly(120), np.array([3.0, 90.2, 40.0, 63.5])
    ellipses = [Ellipse(0, 0, 2.5, 2.0, 0.3, 1.0)]
    sinograms = np.stack([project(ellipses, angles, 96, axis) for axis in axes])
    images, truth = reconstruct(FOURIER, sinograms, angles, axes), rasterise(ellipses, 96)
    inside = radius_map(96) < 46
    for image in images:
        # Sharp edges of a few pixels ring; the axis at fault by half a pixel would add 0.3.
        assert np.abs(image - truth)[inside].max() < 0.25
        assert image[radius_map(96) < 5].sum() == pytest.approx(truth.sum(), rel=0.02)


@pytest.mark.parametrize("columns", [64, 63])
@pytest.mark.parametrize("padding", list(Padding))
@pytest.mark.parametrize("mask_circle", [True, False])
def test_preview_says_what_a_slab_says(columns, padding, mask_circle):
    angles = np.concatenate([evenly(70, 170) - 40.3, [200.0, 251.0]])
    options = ReconstructionOptions(padding=padding, mask_circle=mask_circle)
    plan = FOURIER.plan(angles, columns, options, threads=2)
    assert isinstance(plan, PreviewPlan)
    axes = np.array([columns / 2, columns / 5])
    sinograms = np.stack([project(phantom(columns, scale=0.5), angles, columns, axis) for axis in axes])
    for row, axis in enumerate(axes):
        sinogram = sinograms[row : row + 1]
        slab, quick = plan.execute(sinogram, axis), preview(plan, sinogram, axis)
        assert np.abs(slab - quick).max() < 2e-4 * slab.max()
        assert np.array_equal(slab == 0, quick == 0) or not mask_circle
    both = preview(plan, sinograms, axes)
    assert np.abs(plan.execute(sinograms, axes) - both).max() < 1e-2 * both.max()


def test_preview_by_a_method_without_one():
    sinograms = np.ones((1, 12, 16), np.float32)
    plan = FINUFFT.plan(evenly(12), 16)
    assert np.array_equal(preview(plan, sinograms, 7.5), plan.execute(sinograms, 7.5))


@given(least=st.integers(1, 5000))
def test_good_lengths_are_near_and_end_with_four_or_eight(least):
    length = good_length(least)
    assert least <= length <= max(1.2 * least, least + 12)
    factors = factorise(length)
    assert np.prod(factors) == length
    assert factors[-1] in (4, 8)
    assert set(factors) <= {3, 4, 5, 8}


@pytest.mark.parametrize("length", [4, 8, 12, 20, 60, 64, 96, 128, 180, 640])
def test_transform_of_cells_is_scipys(length):
    from tomoservice.recon.fourier.kernels.fft import transform

    rng = np.random.default_rng(length)
    numbers = rng.standard_normal((length, 8)) + 1j * rng.standard_normal((length, 8))
    cells, first, second = (aligned_empty((length, 16)) for _ in range(3))
    cells[:, :8], cells[:, 8:] = numbers.real, numbers.imag
    plan = make_transform(length)
    buffers = (first.ctypes.data, second.ctypes.data)
    place = transform(plan, len(plan.factors), cells.ctypes.data, 64, buffers)
    result = first if place == buffers[0] else second
    wanted = fft.fft(numbers, axis=0)
    assert np.abs(result[:, :8] + 1j * result[:, 8:] - wanted).max() < 1e-6 * np.abs(wanted).max()


def test_response_in_the_middle_is_the_ramp():
    span = Span(64, 31.5, 31.5, 31.5)
    response = make_response(span, ReconstructionOptions(), edges=False)
    half = response.length // 2
    assert response.length == 128
    assert np.allclose(np.abs(response.factor[half:]) * 128, ramp(128)[:half], atol=1e-4)
    assert response.factor[0] == 0


@pytest.mark.parametrize("axis", [0.0, 11.25, 50.0, 63.0])
def test_response_convolves_and_does_not_wrap(axis):
    columns, reach = 64, 31.5
    span = Span(columns, reach, axis, axis)
    response = make_response(span, ReconstructionOptions(filter_name=FilterName.HANN), edges=False)
    data = np.random.default_rng(0).standard_normal(columns)
    spectrum = fft.fftshift(fft.fft(data, response.length)) * response.factor * response.length
    filtered = fft.ifft(fft.ifftshift(spectrum)).real
    # The same with far more room.
    far = 1024
    factor = make_response(
        Span(columns, far - 70, axis, axis), ReconstructionOptions(filter_name=FilterName.HANN), edges=False
    )
    wide = fft.fftshift(fft.fft(data, factor.length)) * factor.factor * factor.length
    wanted = fft.ifft(fft.ifftshift(wide)).real
    places = np.arange(-int(reach), int(reach) + 1)
    assert np.allclose(filtered[places % response.length], wanted[places % factor.length], atol=1e-3)


def test_grid_corrects_what_the_kernel_does():
    grid = make_grid(100)
    assert grid.length >= 125
    # A sample on a cell, half a cell from one, and in between: each a wave of height 1.
    for place in (0.25, 0.5, 0.8):
        weights = grid.table[round(place * (len(grid.table) - 1))]
        x = np.arange(100) - 50
        distance = place + np.arange(4) - 2
        wave = (weights * np.exp(2j * np.pi / grid.length * np.outer(x, distance))).sum(
            axis=1
        ) * grid.correction
        middle = np.abs(x) < 35
        assert np.abs(wave - 1)[middle].max() < 0.01


KEPT = """
import time
import numpy as np
from tomoservice.recon import get_reconstructor
plan = get_reconstructor("fourier").plan(np.arange(12) * 15.0, 20)
data = np.ones((2, 12, 20), np.float32)
plan.execute(data, 9.5)
plan.preview(data[:1], 9.5)
from tomoservice.recon.fourier.kernels import columns, filtering, gridding, single
kernels = [filtering.filter_angles, gridding.grid_rows, columns.make_slices, single.respond]
kernels.append(single.spread_rows)
print(sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels), len(kernels))
"""


def test_a_second_process_compiles_nothing():
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    hits, kernels = map(int, done.stdout.split())
    assert hits == kernels


def test_planning_loads_no_compiler():
    code = (
        "import sys, tomoservice.recon as r;"
        "r.get_reconstructor('fourier').plan([0, 1], 8);"
        "print(sorted({'numba', 'llvmlite', 'finufft', 'astra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_half_acquisition_of_half_a_turn_is_refused_by_name():
    with pytest.raises(GeometryError, match="half_acquisition"):
        FOURIER.plan(evenly(90), 32, ReconstructionOptions(half_acquisition=True))
