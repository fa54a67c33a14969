"""Linearisation against a beam of known spectrum, and against polynomials by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep.beam_hardening import Spectrum, fit_coefficients, linearise, turning_point
from tomoservice.recipe.stages.beam_hardening import BeamHardening
from tomoservice.recon import get_reconstructor, reconstruct

ENERGIES = np.array([20.0, 30.0, 40.0, 60.0])
WEIGHTS = np.array([1.0, 4.0, 3.0, 1.0])
ATTENUATION = np.array([0.81, 0.376, 0.268, 0.206])
"""Of water, 1/cm."""
BEAM = Spectrum(energies_kev=ENERGIES, weights=WEIGHTS)


def shown(thickness_cm: np.ndarray) -> np.ndarray:
    """Return the line integrals that the beam shows of water."""
    transmitted = np.exp(-np.multiply.outer(thickness_cm, ATTENUATION)) @ WEIGHTS / WEIGHTS.sum()
    return -np.log(transmitted).astype(np.float32)


def test_the_polynomial_is_numpys():
    values = np.random.default_rng(0).uniform(-1, 5, (7, 5, 300)).astype(np.float32)
    coefficients = (0.9, 0.05, -0.01, 2e-3)
    wanted = np.polynomial.Polynomial((0, *coefficients))(values.astype(np.float64))
    result = linearise(values, coefficients)
    assert result.dtype == np.float32
    assert np.allclose(result, wanted, rtol=1e-5, atol=1e-6)
    assert np.array_equal(linearise(values, (1.0,)), values)
    assert np.array_equal(
        linearise(values, coefficients, threads=3), linearise(values, coefficients, threads=1)
    )
    part = np.concatenate(
        [linearise(values[:, :2], coefficients), linearise(values[:, 2:], coefficients)], axis=1
    )
    assert np.array_equal(part, result)
    assert linearise(np.array(2.0), (1, 1)) == 6
    assert linearise(np.empty((0, 4), np.float32), (1, 1)).shape == (0, 4)


def test_input_stays_and_out_is_used():
    values = np.ones((3, 4), np.float32)
    out = np.empty((3, 4), np.float32)
    assert linearise(values, (2, 1), out=out) is out
    assert (values == 1).all()
    assert (out == 3).all()
    assert linearise(values.T, (2, 1), out=values.T).base is values
    assert (values == 3).all()
    with pytest.raises(GeometryError, match="out must be float32"):
        linearise(values, (1.0,), out=np.empty((4, 3), np.float32))


def test_water_is_proportional_to_its_thickness_again():
    thickness = np.linspace(0, 12, 500)
    mean = WEIGHTS @ ATTENUATION / WEIGHTS.sum()
    assert shown(thickness)[-1] < 0.85 * mean * 12
    coefficients = fit_coefficients(BEAM, ATTENUATION, 12)
    assert coefficients[0] == 1
    assert len(coefficients) == 4
    corrected = linearise(shown(thickness), coefficients)
    assert np.allclose(corrected, mean * thickness, rtol=0.003, atol=1e-4)
    assert turning_point(coefficients, float(shown(thickness).max())) is None


def test_a_beam_of_one_energy_needs_no_correction():
    coefficients = fit_coefficients(Spectrum(energies_kev=[30.0, 90.0], weights=[2.0, 0.0]), [0.4, 1e-6], 20)
    assert coefficients == pytest.approx((1, 0, 0, 0), abs=1e-9)


def test_the_cup_goes_out_of_a_disc():
    columns = 129
    s = np.arange(columns) - 64.0
    chord = 2 * np.sqrt(np.clip(50.0**2 - s**2, 0, None))
    pixel_cm = 0.08
    angles = np.arange(180.0)
    sinogram = np.broadcast_to(shown(chord * pixel_cm), (1, 180, columns))
    corrected = linearise(sinogram, fit_coefficients(BEAM, ATTENUATION, 8))
    x, y = np.meshgrid(s, s)
    middle, rim = np.hypot(x, y) < 10, np.abs(np.hypot(x, y) - 44) < 2
    method = get_reconstructor("fourier")
    cups = []
    for data in (sinogram, corrected):
        image = reconstruct(method, np.ascontiguousarray(data), angles, 64.0)[0]
        cups.append(1 - image[middle].mean() / image[rim].mean())
    assert cups[0] > 0.05
    assert abs(cups[1]) < 0.01
    assert image[middle].mean() == pytest.approx(WEIGHTS @ ATTENUATION / WEIGHTS.sum() * pixel_cm, rel=0.005)


@pytest.mark.parametrize("coefficients", [(), (1.0,) * 9, (0.0, 0.0), (1.0, math.nan), (math.inf,), (1e300,)])
def test_coefficients_that_correct_nothing_are_refused(coefficients):
    with pytest.raises(EngineError, match=r"beam_hardening\.coefficients"):
        linearise(np.ones(3), coefficients)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_what_is_not_finite_is_named(value):
    values = np.ones((2, 3, 4))
    values[1, 2, 3] = value
    with pytest.raises(EngineError, match=r"a line integral of .* gives no finite value"):
        linearise(values, (1.0, 0.1))


def test_a_polynomial_that_falls_is_told():
    assert turning_point((1.0, -0.1)) == pytest.approx(5.0, abs=0.02)
    assert turning_point((1.0, 0.1)) is None
    assert turning_point((1.0, -0.1), largest=4.0) is None


@pytest.mark.parametrize(
    ("spectrum", "attenuation", "thickness"),
    [
        (Spectrum(energies_kev=[1.0, 2.0], weights=[1.0]), [1.0, 1.0], 1.0),
        (Spectrum(energies_kev=[], weights=[]), [], 1.0),
        (Spectrum(energies_kev=[1.0], weights=[0.0]), [1.0], 1.0),
        (Spectrum(energies_kev=[1.0, 2.0], weights=[2.0, -1.0]), [1.0, 1.0], 1.0),
        (Spectrum(energies_kev=[1.0], weights=[1.0]), [0.0], 1.0),
        (Spectrum(energies_kev=[1.0], weights=[1.0]), [math.nan], 1.0),
        (Spectrum(energies_kev=[1.0], weights=[1.0]), [1.0, 2.0], 1.0),
        (Spectrum(energies_kev=[1.0], weights=[1.0]), [1.0], 0.0),
    ],
)
def test_a_beam_that_cannot_be_is_refused(spectrum, attenuation, thickness):
    with pytest.raises(EngineError):
        fit_coefficients(spectrum, attenuation, thickness)


def test_an_opaque_part_of_the_beam_does_no_harm():
    coefficients = fit_coefficients(Spectrum(energies_kev=[5.0, 60.0], weights=[1.0, 9.0]), [5e3, 0.2], 10)
    assert np.isfinite(coefficients).all()


def test_the_stage_of_a_recipe():
    stage = TypeAdapter(BeamHardening)
    given = stage.validate_python({"method": "polynomial", "coefficients": [1, 0.05]})
    assert given.coefficients == (1.0, 0.05)
    for wrong in ([], [True], ["1"], [math.inf], 1.0):
        with pytest.raises(ValidationError):
            stage.validate_python({"method": "polynomial", "coefficients": wrong})
