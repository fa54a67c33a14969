"""Propagation against analytic truth, and phase retrieval against what was propagated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tomoservice.errors import EngineError, GeometryError
from tomoservice.phantom import default_phantom
from tomoservice.prep.minus_log import minus_log
from tomoservice.prep.phase import (
    Method,
    PhasePlan,
    Retrieval,
    SeveralDistances,
    SeveralPlan,
    row_margin,
    row_margin_of_several,
)
from tomoservice.propagation import FreeSpace, propagate
from tomoservice.recon import get_reconstructor, reconstruct

SAMPLES = 2
"""Of the wave, per detector pixel and direction."""


def space(fresnel_number: float) -> FreeSpace:
    """Return an experiment of this Fresnel number, with pixels of 1 um at 20 keV."""
    wavelength_um = FreeSpace(energy_kev=20, distance_mm=1, pixel_size_um=1).wavelength_um
    return FreeSpace(energy_kev=20, distance_mm=1e-3 / (wavelength_um * fresnel_number), pixel_size_um=1.0)


def line_integrals_left(
    intensity: np.ndarray, method: Method, delta_beta: float, where: FreeSpace
) -> np.ndarray:
    how = Retrieval(method=method, delta_beta=delta_beta, space=where)
    retrieved = PhasePlan(how, *intensity.shape[1:]).execute(intensity)
    return minus_log(retrieved, minimum_transmission=1e-4)


def from_several(frames: np.ndarray, delta_beta: float, spaces: list[FreeSpace]) -> np.ndarray:
    how = SeveralDistances(delta_beta=delta_beta, spaces=tuple(spaces))
    return SeveralPlan(how, *frames.shape[-2:]).execute(list(frames))


def margin_of(delta_beta: float, spaces: list[FreeSpace]) -> int:
    return row_margin_of_several(SeveralDistances(delta_beta=delta_beta, spaces=tuple(spaces)))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def test_the_wavelength_of_a_photon():
    # 12.398 keV has 1 angstrom.
    assert FreeSpace(energy_kev=12.39841984, distance_mm=1, pixel_size_um=1).wavelength_um == pytest.approx(
        1e-4
    )
    assert space(0.7).fresnel_number == pytest.approx(0.7)
    assert space(0.25).fringe_pixels == pytest.approx(2)


@pytest.mark.parametrize(("fresnel", "period"), [(1.0, 8), (0.1, 16), (0.05, 8), (0.3, 5)])
@pytest.mark.parametrize("delta_beta", [0.0, 1.0, 40.0])
def test_a_weak_grating_has_the_contrast_of_the_transfer_function(fresnel, period, delta_beta):
    x = np.arange(40 * period)
    weak = 1e-5 * np.cos(2 * np.pi * x / period)
    intensity = propagate(np.broadcast_to(weak, (4, x.size)), delta_beta, space(fresnel))
    chi = np.pi / fresnel / period**2
    wanted = 1 - weak * (np.cos(chi) + delta_beta * np.sin(chi))
    # Beside the grating's ends, beyond which it does not go on.
    middle = slice(15 * period, 25 * period)
    error = np.abs(intensity[:, middle] - wanted[middle]).max()
    assert error < 0.02 * 1e-5 * math.hypot(1, delta_beta) + 2e-7


def test_a_wave_of_gaussian_amplitude_spreads_as_in_textbooks():
    # Amplitude exp(-r^2 / w^2): at distance z its radius is w sqrt(1 + (z / zr)^2), zr = pi w^2 / wavelength.
    n, width = 256, 12.0
    r = np.arange(n) - (n - 1) / 2
    square = r[:, None] ** 2 + r**2
    where = space(0.004)
    grown = width * math.sqrt(1 + (1 / (where.fresnel_number * math.pi * width**2)) ** 2)
    assert grown > 1.1 * width
    intensity = propagate(2 * square / width**2, 0.0, where)
    wanted = (width / grown) ** 2 * np.exp(-2 * square / grown**2)
    assert np.abs(intensity - wanted).max() < 1e-4


def test_propagation_loses_no_light():
    phantom = default_phantom(96, 64)
    projection = 5e-6 * phantom.line_integrals([30.0])
    projection -= projection[:, :, :1]
    intensity = propagate(projection, 1e6, space(0.5))
    assert intensity.std() > 0.05
    # No light is absorbed; none leaves sideways, where there is no sample.
    assert intensity.mean() == pytest.approx(1.0, abs=1e-3)


def test_frames_are_propagated_one_by_one_and_pixels_averaged():
    phantom = default_phantom(64, 48)
    stack = phantom.line_integrals([0.0, 40.0])
    both = propagate(stack, 20, space(1.0))
    assert both.shape == stack.shape
    assert np.array_equal(both[1], propagate(stack[1], 20, space(1.0)))
    finer = propagate(np.repeat(np.repeat(stack, 2, axis=1), 2, axis=2), 20, space(1.0), oversampling=2)
    assert finer.shape == stack.shape
    nothing = propagate(np.zeros((5, 7)), 1000, space(0.01))
    assert np.allclose(nothing, 1, atol=1e-6)


def test_what_cannot_be_propagated_is_refused():
    with pytest.raises(GeometryError, match="oversampling of 2"):
        propagate(np.zeros((4, 5)), 1, space(1.0), oversampling=2)
    with pytest.raises(GeometryError, match="frames"):
        propagate(np.zeros(5), 1, space(1.0))
    with pytest.raises(EngineError, match="delta_beta"):
        propagate(np.zeros((4, 4)), -1, space(1.0))
    with pytest.raises(EngineError, match="1 line integrals are not finite"):
        propagate(np.array([[0.0, np.nan]]), 1, space(1.0))


def propagated(
    delta_beta: float, fresnel: float, strength: float
) -> tuple[np.ndarray, np.ndarray, FreeSpace]:
    """Return true line integrals, intensities and experiment of the phantom's projection at 20 degrees."""
    n, samples = 192, 4
    fine = default_phantom(n * samples, n * samples // 2).line_integrals([20.0]) * np.float32(strength)
    truth = fine.reshape(1, n // 2, samples, n, samples).mean((2, 4))
    where = space(fresnel)
    return truth, propagate(fine, delta_beta, where, oversampling=samples), where


@pytest.mark.parametrize("method", Method)
def test_the_thickness_comes_back_in_the_near_field(method):
    truth, intensity, where = propagated(50, 1.5, 1.0)
    untreated = rms(minus_log(intensity, minimum_transmission=1e-4) - truth)
    left = rms(line_integrals_left(intensity, method, 50, where) - truth)
    assert untreated > 0.04 * truth.max()
    assert left < 0.008 * truth.max()


def test_the_ctf_serves_a_weak_object_in_the_far_field_better_than_paganin():
    truth, intensity, where = propagated(20, 0.05, 0.02)
    errors = {m: rms(line_integrals_left(intensity, m, 20, where) - truth) for m in Method}
    untreated = rms(minus_log(intensity, minimum_transmission=1e-4) - truth)
    assert untreated > 0.2 * truth.max()
    assert errors[Method.CTF] < 0.005 * truth.max()
    assert errors[Method.CTF] < 0.75 * errors[Method.PAGANIN]


def test_several_distances_tell_more_than_one_under_noise():
    delta_beta, rng = 2.0, np.random.default_rng(3)
    spaces = [space(number) for number in (0.3, 0.12, 0.06)]
    fine = default_phantom(4 * 192, 2 * 192).line_integrals([20.0]) * np.float32(0.05)
    truth = fine.reshape(1, 96, 4, 192, 4).mean((2, 4))
    frames = np.stack([propagate(fine, delta_beta, where, oversampling=4) for where in spaces])
    frames += 0.002 * rng.standard_normal(frames.shape).astype(np.float32)
    together = from_several(frames, delta_beta, spaces)
    error = rms(minus_log(together, minimum_transmission=1e-4) - truth)
    alone = [
        rms(line_integrals_left(frame, Method.CTF, delta_beta, where) - truth)
        for frame, where in zip(frames, spaces, strict=True)
    ]
    assert error < 0.75 * min(alone)
    assert error < 0.02 * truth.max()


def test_several_distances_with_one_are_the_one():
    _, intensity, where = propagated(20, 0.05, 0.02)
    single = PhasePlan(Retrieval(method=Method.CTF, delta_beta=20, space=where), *intensity.shape[1:])
    several = from_several(intensity[None], 20, [where])
    assert np.allclose(several, single.execute(intensity), atol=1e-6)
    assert margin_of(20, [where]) == row_margin(single.retrieval)
    three = np.stack([intensity] * 3)
    assert np.allclose(from_several(three, 20, [where] * 3), several, atol=1e-6)


def test_a_slab_with_the_margin_of_several_distances_is_the_whole_frame():
    spaces = [space(number) for number in (1.0, 0.4)]
    rng = np.random.default_rng(0)
    frames = (1 + 0.02 * rng.standard_normal((2, 1, 300, 40))).astype(np.float32)
    frames[:, :, 90:120] -= 0.9
    margin = margin_of(30, spaces)
    assert margin < 90
    whole = from_several(frames, 30, spaces)
    part = from_several(frames[:, :, 130 - margin : 140 + margin], 30, spaces)
    assert np.abs(part[:, margin:-margin] - whole[:, 130:140]).max() < 1e-5


def test_several_distances_that_do_not_fit_are_refused():
    frames = np.ones((2, 1, 8, 9), np.float32)
    near, far = space(1.0), space(0.1)
    other = FreeSpace(energy_kev=30, distance_mm=1, pixel_size_um=1)
    with pytest.raises(EngineError, match="nothing but their distance"):
        from_several(frames, 20, [near, other])
    with pytest.raises(EngineError, match="nothing but their distance"):
        from_several(frames, 20, [])
    with pytest.raises(EngineError, match="delta/beta"):
        from_several(frames, 0, [near, far])
    with pytest.raises(GeometryError, match="do not fit 2 distances"):
        from_several(frames[:1], 20, [near, far])
    with pytest.raises(GeometryError, match="do not fit frames of 8 x 9"):
        SeveralPlan(SeveralDistances(delta_beta=20, spaces=(near,)), 8, 9).execute([frames[0, :, :7]])
    frames[1, 0, 3, 4] = np.nan
    with pytest.raises(EngineError, match="projection 0 at distance 1 is nan at row 3, column 4"):
        from_several(frames, 20, [near, far])


def test_a_wrong_ratio_blurs_or_leaves_fringes():
    truth, intensity, where = propagated(50, 1.5, 1.0)
    right, less, more = (
        rms(line_integrals_left(intensity, Method.PAGANIN, ratio, where) - truth) for ratio in (50, 10, 250)
    )
    assert min(less, more) > 2 * right


@pytest.mark.parametrize("method", Method)
def test_grey_values_of_the_reconstruction_are_right_to_a_percent(method):
    columns, rows, delta_beta, where = 160, 24, 20, space(0.32)
    angles = np.arange(160) * 180 / 160
    fine = default_phantom(columns * SAMPLES, rows * SAMPLES, features=0).line_integrals(angles)
    intensity = propagate(fine, delta_beta, where, oversampling=SAMPLES)
    integrals = line_integrals_left(intensity, method, delta_beta, where)
    sinogram = np.ascontiguousarray(integrals[:, 12:13].swapaxes(0, 1))
    image = reconstruct(get_reconstructor("fourier"), sinogram, angles, (columns - 1) / 2)[0]
    phantom = default_phantom(columns, rows, features=0)
    densest = float(phantom.volume([12]).max())
    regions = phantom.flat_regions(12)
    assert len(regions) >= 4
    for region in regions:
        assert image[region.mask].mean() == pytest.approx(region.attenuation, abs=0.01 * densest)
