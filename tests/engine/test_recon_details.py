"""Angular weights, filters, the registry; both methods against each other; the real scans."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from tests.engine.ellipses import flat_regions, phantom, project, radius_map, rasterise
from tests.engine.real_scans import savu, tooth
from tomoservice.errors import EngineError
from tomoservice.pipeline.options import slice_options
from tomoservice.recipe.stages.reconstruction import FourierFbp
from tomoservice.recon import (
    FilterName,
    ReconstructionOptions,
    get_reconstructor,
    reconstruct,
)
from tomoservice.recon.filters import ramp, transfer_function
from tomoservice.recon.weights import angular_weights

FOURIER, ASTRA = get_reconstructor("fourier"), get_reconstructor("astra_fbp")
FINUFFT = get_reconstructor("finufft")


@pytest.mark.parametrize("count", [1, 2, 7, 180])
@pytest.mark.parametrize("start", [0.0, 1.3, -40.0])
def test_equal_steps_have_equal_weights(count, start):
    angles = start + np.linspace(0, np.pi, count, endpoint=False)
    assert np.allclose(angular_weights(angles), np.pi / count)


def test_whole_turn_and_included_end_share():
    assert np.allclose(angular_weights(np.linspace(0, 2 * np.pi, 200, endpoint=False)), np.pi / 200)
    weights = angular_weights(np.linspace(0, np.pi, 91))
    assert np.allclose(weights[1:-1], np.pi / 90)
    assert np.allclose(weights[[0, -1]], np.pi / 180)


def test_repeated_angles_share_and_order_does_not_matter():
    angles = np.array([0.0, 0.5, 0.5, 0.5, 1.5, 2.5])
    weights = angular_weights(angles)
    assert np.allclose(weights[1:4], 0.75 / 3)
    assert weights.sum() == pytest.approx(np.pi)
    order = np.array([3, 0, 5, 1, 4, 2])
    assert np.allclose(angular_weights(angles[order]), weights[order])


def test_missing_wedge_is_not_charged_to_its_borders():
    weights = angular_weights(np.deg2rad(np.arange(0, 120)))
    assert weights.max() <= 4.51 * np.median(weights)
    lost = angular_weights(np.deg2rad(np.delete(np.arange(180.0), [50, 51])))
    assert lost.sum() == pytest.approx(np.pi)


@given(
    span=st.sampled_from([180, 360, 540, 720, 1080]),
    steps=st.integers(20, 400),
    repeats=st.integers(1, 6),
    jitter=st.floats(0, 0.05),
    included_end=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_several_turns_and_frames_with_an_encoder_that_jitters(
    span, steps, repeats, jitter, included_end, seed
):
    rng = np.random.default_rng(seed)
    angles = np.repeat(np.linspace(0, span, steps * span // 180, endpoint=included_end), repeats)
    weights = angular_weights(np.deg2rad(angles + jitter * rng.standard_normal(angles.size)))
    assert weights.sum() == pytest.approx(np.pi, rel=0.01)


@pytest.mark.parametrize("repeats", [3, 10])
def test_repeated_views_count_alike_for_a_good_noise(repeats):
    jitter = 0.002 * np.random.default_rng(0).standard_normal(180 * repeats)
    weights = angular_weights(np.deg2rad(np.repeat(np.arange(180.0), repeats) + jitter))
    assert np.allclose(weights, np.pi / weights.size, rtol=0.02)


def test_dense_and_sparse_parts_of_a_scan_both_count():
    weights = angular_weights(np.deg2rad(np.concatenate([np.arange(0, 90, 0.02), np.arange(90.0, 180)])))
    assert weights[:4500].sum() == pytest.approx(np.pi / 2, rel=0.01)
    assert weights.sum() == pytest.approx(np.pi)


@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("covered", [60, 120, 150])
def test_missing_wedge_is_left_out_of_repeated_views_too(covered, repeats):
    jitter = 0.002 * np.random.default_rng(0).standard_normal(covered * repeats)
    weights = angular_weights(np.deg2rad(np.repeat(np.arange(float(covered)), repeats) + jitter))
    assert weights.sum() == pytest.approx(np.deg2rad(covered - 1 + 8), rel=0.01)


def test_irregular_angles_integrate_a_smooth_function():
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, np.pi, 500))
    assert angular_weights(angles) @ (1 + np.cos(2 * angles - 0.7) ** 2) == pytest.approx(
        1.5 * np.pi, rel=0.01
    )


def test_ramp_is_the_transform_of_the_sampled_kernel():
    transfer = ramp(64)
    kernel = np.fft.irfft(transfer)
    assert kernel[0] == pytest.approx(0.25)
    assert kernel[1] == pytest.approx(-1 / np.pi**2)
    assert kernel[2] == pytest.approx(0, abs=1e-12)
    assert np.allclose(transfer[1:], np.arange(1, 33) / 64, rtol=0.03)
    # What a ramp sampled in frequency lacks: the mean.
    assert 0 < transfer[0] < 0.01


@pytest.mark.parametrize("name", list(FilterName))
def test_windows_leave_the_mean_and_end_at_their_cutoff(name):
    plain = ramp(256)
    full, half = (transfer_function(name, cutoff, 4, 256) for cutoff in (1.0, 0.5))
    assert full[0] == pytest.approx(plain[0])
    assert np.all(full <= plain + 1e-12)
    if name is FilterName.BUTTERWORTH:
        assert half[64] == pytest.approx(plain[64] / 2)
    else:
        assert not half[65:].any()
        assert np.allclose(half[:65] / plain[:65], (full / plain)[::2], atol=1e-9)


def test_wrong_options_are_refused():
    with pytest.raises(EngineError, match="Nyquist"):
        ReconstructionOptions(filter_cutoff=0)
    with pytest.raises(EngineError, match="Nyquist"):
        ReconstructionOptions(filter_cutoff=1.5)
    with pytest.raises(EngineError, match="butterworth_order"):
        ReconstructionOptions(butterworth_order=0)
    with pytest.raises(EngineError, match="even"):
        transfer_function(FilterName.RAMP, 1, 1, 63)


def test_options_that_nobody_gives_are_those_of_a_recipe():
    assert slice_options(FourierFbp(), 64) == ReconstructionOptions(size=64)


def test_unknown_method_names_the_known_ones():
    with pytest.raises(EngineError, match=r"'gridrec'.*astra_fbp.* finufft, fourier"):
        get_reconstructor("gridrec")


def test_backends_are_loaded_only_when_used():
    code = (
        "import sys, tomoservice.recon, tomoservice.axis, tomoservice.prep.flat_field as f;"
        "tomoservice.recon.get_reconstructor('astra_fbp').plan([0, 1], 8);"
        "print(sorted({'astra', 'finufft', 'numba', 'h5py', 'tiled', 'bluesky'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("columns", "axis"), [(256, 127.5), (255, 140.3)])
def test_the_two_methods_overlay(columns, axis):
    angles = np.linspace(0, 180, 400, endpoint=False)
    sinogram = project(phantom(columns), angles, columns, axis)[None]
    # Without the highest frequencies, which the two interpolate differently by design.
    options = ReconstructionOptions(filter_name=FilterName.HANN, filter_cutoff=0.5)
    ours, theirs = (reconstruct(method, sinogram, angles, axis, options)[0] for method in (FOURIER, ASTRA))
    inside = radius_map(columns) < columns / 2 - 2
    assert np.corrcoef(ours[inside], theirs[inside])[0, 1] > 0.9995
    assert np.abs(ours - theirs)[inside].max() < 0.05
    # A shift of a tenth of a pixel would show as a slope against the gradient.
    difference, gradients = (ours - theirs)[inside], [g[inside] for g in np.gradient(theirs)]
    for gradient in gradients:
        assert abs(difference @ gradient / (gradient @ gradient)) < 0.01


def astra_own_fbp(sinogram, angles_deg):
    """Return the slice by ASTRA's own filtered back-projection, filter and all, the axis in the middle."""
    import astra

    columns = sinogram.shape[1]
    geometry = astra.create_proj_geom("parallel", 1.0, columns, np.deg2rad(angles_deg))
    projector = astra.create_projector("linear", geometry, astra.create_vol_geom(columns, columns))
    data = astra.data2d.create("-sino", geometry, sinogram)
    image = astra.data2d.create("-vol", astra.create_vol_geom(columns, columns))
    config = astra.astra_dict("FBP")
    config |= {"ProjectorId": projector, "ProjectionDataId": data, "ReconstructionDataId": image}
    config["FilterType"] = "Ram-Lak"
    algorithm = astra.algorithm.create(config)
    try:
        astra.algorithm.run(algorithm)
        return astra.data2d.get(image)
    finally:
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([data, image])
        astra.projector.delete(projector)


@pytest.mark.parametrize("method", [FOURIER, FINUFFT, ASTRA], ids=lambda method: method.name)
@pytest.mark.parametrize("columns", [256, 255])
def test_astra_with_its_own_filter_says_the_same(method, columns):
    angles, middle = np.linspace(0, 180, 500, endpoint=False), (columns - 1) / 2
    ellipses = phantom(columns)
    sinogram, truth = project(ellipses, angles, columns, middle), rasterise(ellipses, columns)
    ours, theirs = reconstruct(method, sinogram[None], angles, middle)[0], astra_own_fbp(sinogram, angles)
    inside, flat = radius_map(columns) < columns / 2 - 2, flat_regions(truth)
    assert np.corrcoef(ours[inside], theirs[inside])[0, 1] > 0.99
    regions, count = label(flat)
    assert count >= 3
    for number in range(1, count + 1):
        region = regions == number
        if region.sum() > 50:
            assert ours[region].mean() == pytest.approx(theirs[region].mean(), rel=0.015)


def modes(image, where, ranges):
    """Return the grey value at the peak of the histogram in each range."""
    found = []
    for low, high in ranges:
        values = image[where & (image > low) & (image < high)]
        counts, edges = np.histogram(values, bins=60, range=(low, high))
        smooth = np.convolve(counts, np.ones(5) / 5, mode="same")
        peak = int(np.argmax(smooth))
        found.append((edges[peak] + edges[peak + 1]) / 2)
    return found


def test_tooth_has_the_known_grey_values_and_agrees_with_astra(data_dir):
    sinograms, angles = tooth(data_dir)
    ours, theirs = (reconstruct(method, sinograms[:1], angles, 296.0)[0] for method in (FOURIER, ASTRA))
    near = radius_map(640) < 200
    air, dentine, enamel = modes(ours, near, [(-0.001, 0.001), (0.003, 0.006), (0.0065, 0.009)])
    assert abs(air) < 0.03 * 0.0046
    assert dentine == pytest.approx(0.0046, rel=0.03)
    assert enamel == pytest.approx(0.0077, rel=0.03)
    assert np.corrcoef(ours[near], theirs[near])[0, 1] > 0.99


def test_savu_agrees_with_astra_and_with_known_values(data_dir):
    sinograms, angles = savu(data_dir)
    ours, theirs = (reconstruct(method, sinograms[90:91], angles, 85.5)[0] for method in (FOURIER, ASTRA))
    near = radius_map(160) < 60
    assert np.corrcoef(ours[near], theirs[near])[0, 1] > 0.99
    assert np.percentile(ours[near], 99.5) == pytest.approx(0.095, rel=0.25)


MEASURE_MEMORY = """
import numpy as np
from tomoservice.recon import get_reconstructor

def peak():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))

method = get_reconstructor("fourier")
method.plan(np.arange(20) * 9.0, 32, threads=1).execute(np.zeros((2, 20, 32), np.float32), 15.5)
rows, angles, columns = 8, 300, 800
before = peak()
data = np.ones((rows, angles, columns), np.float32)
method.plan(np.linspace(0, 179, angles), columns, threads=2).execute(data, 399.5)
held = 4 * (angles * columns + columns**2) + method.memory_per_row(angles, columns)
estimate = rows * held + method.memory_fixed(angles, columns, 2)
print(peak() - before, estimate)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux' /proc")
def test_memory_estimate_bounds_what_a_plan_really_takes():
    done = subprocess.run([sys.executable, "-c", MEASURE_MEMORY], capture_output=True, text=True, check=True)
    taken, estimated = map(int, done.stdout.split())
    assert 0.4 * estimated < taken < 1.15 * estimated
