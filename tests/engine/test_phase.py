"""Phase retrieval as a filter: against formulas, TomoPy's vector, algotom, and the padding done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tomoservice.errors import EngineError, GeometryError, RecipeError
from tomoservice.prep.phase import (
    Method,
    Padding,
    PhasePlan,
    Retrieval,
    alpha_from_delta_beta,
    delta_beta_from_alpha,
    doubts,
    free_space,
    refractive_index,
    row_margin,
    transfer,
)
from tomoservice.propagation import FreeSpace
from tomoservice.recipe.stages.phase import Phase

SPACE = FreeSpace(energy_kev=20, distance_mm=50, pixel_size_um=1.0)


def retrieval(method: Method | str = Method.PAGANIN, blur: float = 5.0, **changes) -> Retrieval:
    """Return a retrieval whose Paganin filter averages over `blur` pixels."""
    delta_beta = 4 * math.pi * SPACE.fresnel_number * blur**2
    given = {"method": Method(method), "delta_beta": delta_beta, "space": SPACE, **changes}
    return Retrieval(**given)


def transmissions(*shape: int, seed: int = 0) -> np.ndarray:
    """Return noise, with an edge and a wedge in it."""
    rng = np.random.default_rng(seed)
    values = 0.7 + 0.02 * rng.standard_normal(shape)
    values[..., shape[-1] // 3 :] -= 0.4
    values += np.linspace(0, 0.3, shape[-2])[:, None]
    return values.astype(np.float32)


def by_hand(stack: np.ndarray, how: Retrieval, mode: str) -> np.ndarray:
    """Pad each frame, transform it, multiply, and transform it back, in double precision."""
    rows, columns = stack.shape[1:]
    reach = 2 * row_margin(how)
    result = []
    for frame in stack.astype(np.float64):
        padded = np.pad(frame, reach, mode=mode)
        filter_ = transfer(how, np.fft.fftfreq(padded.shape[0]), np.fft.fftfreq(padded.shape[1]))
        whole = np.fft.ifft2(np.fft.fft2(padded) * filter_).real
        result.append(whole[reach : reach + rows, reach : reach + columns])
    return np.array(result)


@pytest.mark.parametrize("shape", [(64, 100), (37, 53), (1, 50), (50, 1), (3, 7), (1, 1), (101, 90)])
@pytest.mark.parametrize(("padding", "mode"), [("reflect", "symmetric"), ("edge", "edge")])
@pytest.mark.parametrize("method", Method)
def test_filters_and_pads_as_by_hand(shape, padding, mode, method):
    how = retrieval(method, blur=3.0, padding=Padding(padding))
    stack = transmissions(2, *shape)
    result = PhasePlan(how, *shape).execute(stack)
    assert result.dtype == np.float32
    assert np.abs(result - by_hand(stack, how, mode)).max() < 1e-5


def test_paganins_filter_is_that_of_the_paper():
    # 1 / (1 + delta distance k^2 / mu) with mu = 4 pi beta / wavelength, in metres.
    delta, beta = 5.7e-7, 4e-10
    wavelength, distance, pixel = 1.2398419843e-9 / 20, 0.05, 1e-6
    how = Retrieval(method=Method.PAGANIN, delta_beta=delta / beta, space=SPACE)
    rows, columns = np.fft.fftfreq(12), np.fft.fftfreq(15)
    k_square = (2 * np.pi * rows[:, None] / pixel) ** 2 + (2 * np.pi * columns / pixel) ** 2
    wanted = 1 / (1 + delta * distance * k_square / (4 * np.pi * beta / wavelength))
    assert np.allclose(transfer(how, rows, columns), wanted, rtol=1e-9)


def test_generalised_paganin_has_the_kernel_of_the_discrete_laplacian():
    # Of an image that is constant along rows: a geometric series, known in closed form.
    blur = 2.5
    how = retrieval(Method.GENERALISED_PAGANIN, blur)
    frame = np.ones((1, 201, 4), np.float32)
    frame[0, 100] = 2
    ratio = 1 + 0.5 / blur**2 - math.sqrt(1 / blur**2 + 0.25 / blur**4)
    kernel = ratio ** np.abs(np.arange(-100, 101)) / math.sqrt(1 + 4 * blur**2)
    result = PhasePlan(how, 201, 4).execute(frame)[0]
    assert np.abs(result - 1 - kernel[:, None]).max() < 1e-6
    # At low frequencies the two are the same, at the highest the generalised one keeps more.
    low, high = np.array([0.0, 0.01]), np.array([0.5])
    ordinary = retrieval(Method.PAGANIN, blur)
    assert np.allclose(transfer(how, low, low), transfer(ordinary, low, low), rtol=2e-3)
    assert (transfer(how, high, high) > 2 * transfer(ordinary, high, high)).all()


def test_ctf_is_paganins_at_low_frequencies_and_keeps_its_bound_at_high_ones():
    far = FreeSpace(energy_kev=20, distance_mm=2000, pixel_size_um=1.0)
    how = Retrieval(method=Method.CTF, delta_beta=50, space=far)
    frequencies = np.linspace(0, 0.5, 4001)
    values = transfer(how, frequencies, np.zeros(1))[:, 0]
    chi = np.pi * frequencies**2 / far.fresnel_number
    near = chi < 0.1
    paganin = transfer(Retrieval(method=Method.PAGANIN, delta_beta=50, space=far), frequencies, np.zeros(1))[
        :, 0
    ]
    assert values[0] == 1
    assert np.allclose(values[near], paganin[near], rtol=0.01)
    first = chi < math.atan(50)
    assert np.allclose(values[first], 1 / (np.cos(chi) + 50 * np.sin(chi))[first])
    assert np.abs(values[~first]).max() <= 1 / (2 * math.sqrt(0.1 * (1 + 50**2))) * 1.1


def test_agrees_with_algotoms_filter_on_a_frame_and_its_mirror_images():
    filtering = pytest.importorskip("algotom.prep.filtering")
    how = retrieval(blur=4.0)
    frame = transmissions(1, 40, 70)[0]
    doubled = np.pad(frame, ((0, 40), (0, 70)), mode="symmetric")
    ratio = (2 * np.pi * how.blur_pixels) ** 2
    wanted = filtering.fresnel_filter(doubled, ratio, dim=2, pad=0, apply_log=False)[:40, :70]
    assert np.abs(PhasePlan(how, 40, 70).execute(frame[None])[0] - wanted).max() < 1e-5 * wanted.max()


def test_agrees_with_tomopys_vector(data_dir):
    vectors = data_dir / "tomopy_vectors"
    projections, wanted = np.load(vectors / "proj.npy"), np.load(vectors / "retrieve_phase.npy")
    # 1e-4 cm, 50 cm, 20 keV.
    space = FreeSpace(energy_kev=20, distance_mm=500, pixel_size_um=1.0)
    how = Retrieval(
        method=Method.PAGANIN, delta_beta=delta_beta_from_alpha(1e-3), space=space, padding=Padding.EDGE
    )
    # TomoPy pads to a power of two, and its frequencies lie half a step off, on a grid wider by a sample.
    reach = math.ceil(math.pi / space.fresnel_number)
    before = [(2 ** math.ceil(math.log2(n + reach)) - n) // 2 for n in projections.shape[1:]]
    padded = np.pad(projections.astype(np.float64), [(0, 0), *((n, n) for n in before)], mode="edge")
    lengths = padded.shape[1:]
    filter_ = transfer(how, *(np.fft.fftshift(np.arange(1 - n, n, 2)) * 0.5 / (n - 1) for n in lengths))
    filtered = np.fft.ifft2(np.fft.fft2(padded) * filter_ / filter_.max()).real
    kept = filtered[:, before[0] : before[0] + 8, before[1] : before[1] + 48]
    assert np.abs(kept - wanted).max() < 1e-6 * wanted.max()
    # With frequencies where they belong it differs; the frames are 8 x 48, the filter reaches 91 pixels.
    ours = PhasePlan(how, 8, 48).execute(projections)
    assert np.abs(ours - wanted).max() < 0.02 * wanted.max()


def test_alpha_and_delta_beta_are_converted_both_ways():
    assert delta_beta_from_alpha(1e-3) == pytest.approx(25.330296)
    for value in (1e-6, 0.3, 20.0):
        assert alpha_from_delta_beta(delta_beta_from_alpha(value)) == pytest.approx(value, rel=1e-12)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(EngineError, match="above 0"):
            delta_beta_from_alpha(wrong)
        with pytest.raises(EngineError, match="above 0"):
            alpha_from_delta_beta(wrong)


def test_water_refracts_as_the_tables_say():
    water = refractive_index("H2O", 1.0, 20.0)
    # CXRO's f1 and NIST's XCOM (0.8096 cm2/g with coherent scattering).
    assert water.delta == pytest.approx(5.76e-7, rel=0.005)
    assert 4 * math.pi * water.beta / (SPACE.wavelength_um * 1e-4) == pytest.approx(0.8096, rel=0.02)
    assert water.beta_absorption < 0.75 * water.beta
    assert water.delta_beta == pytest.approx(water.delta / water.beta)
    twice = refractive_index("H2O", 2.0, 20.0)
    assert twice.delta_beta == pytest.approx(water.delta_beta)


@pytest.mark.parametrize(
    ("formula", "density", "energy", "said"),
    [
        ("Xx2", 1.0, 20.0, "'Xx2' cannot be looked up: 'Xx' is not an element"),
        ("SiO2)", 2.0, 20.0, "cannot be looked up"),
        ("Cf", 15.0, 20.0, "the tables end at uranium"),
        (" ", 1.0, 20.0, "is empty"),
        ("H2O", 0.0, 20.0, "density must be a number of g/cm"),
        ("H2O", math.nan, 20.0, "density"),
        ("H2O", 1.0, 20000.0, "tabulated from 0.1 to 400 keV, got an energy of 20000"),
        ("H2O", 1.0, math.nan, "tabulated"),
    ],
)
def test_a_material_that_is_none_is_refused(formula, density, energy, said):
    with pytest.raises(EngineError, match=said):
        refractive_index(formula, density, energy)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("padding", Padding)
def test_uniform_transmission_stays(method, padding):
    how = retrieval(method, padding=padding, unsharp_amount=3.0)
    for value in (0.0, 0.37, 1.0):
        result = PhasePlan(how, 20, 33).execute(np.full((2, 20, 33), value, np.float32))
        assert np.allclose(result, value, atol=1e-6)


def test_the_unsharp_mask_is_that_of_the_retrieved_image():
    from scipy.ndimage import gaussian_filter

    stack = transmissions(1, 60, 90)
    plain = PhasePlan(retrieval(), 60, 90).execute(stack)[0].astype(np.float64)
    blurred = gaussian_filter(plain, 2.0, mode="reflect", truncate=8)
    how = retrieval(unsharp_amount=1.5, unsharp_sigma=2.0)
    result = PhasePlan(how, 60, 90).execute(stack)[0]
    assert np.abs(result - (plain + 1.5 * (plain - blurred))).max() < 1e-4 * np.ptp(plain)


@pytest.mark.parametrize("padding", Padding)
def test_the_result_does_not_depend_on_threads_or_company(padding):
    stack = transmissions(9, 33, 47)
    whole = PhasePlan(retrieval(padding=padding), 33, 47, threads=1).execute(stack)
    assert np.array_equal(PhasePlan(retrieval(padding=padding), 33, 47, threads=3).execute(stack), whole)
    assert np.array_equal(PhasePlan(retrieval(padding=padding), 33, 47).execute(stack[4:5]), whole[4:5])


def test_views_other_types_and_working_in_place():
    sinograms = transmissions(33, 9, 47)
    view = sinograms.transpose(1, 0, 2)
    plan = PhasePlan(retrieval(), 33, 47)
    before = sinograms.copy()
    wanted = plan.execute(np.ascontiguousarray(view))
    assert np.array_equal(plan.execute(view), wanted)
    assert np.array_equal(sinograms, before)
    target = np.empty((33, 9, 47), np.float32)
    assert np.array_equal(plan.execute(view, out=target.transpose(1, 0, 2)), wanted)
    assert np.array_equal(target.transpose(1, 0, 2), wanted)
    assert np.allclose(plan.execute(view.astype(np.float64)), wanted, atol=1e-6)
    assert plan.execute(view, out=view) is view
    assert np.array_equal(view, wanted)
    assert plan.execute(np.empty((0, 33, 47), np.float32)).shape == (0, 33, 47)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1e31])
@pytest.mark.parametrize("in_place", [True, False])
def test_what_is_not_finite_is_named(value, in_place):
    stack = np.ones((3, 8, 9), np.float32)
    stack[1, 2, 3] = value
    plan = PhasePlan(retrieval(), 8, 9)
    said = (
        "projection 1 is .* row 2, column 3" if not np.isfinite(value) else "projection 1 holds values up to"
    )
    with pytest.raises(EngineError, match=said):
        plan.execute(stack, out=stack if in_place else None)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    blur=st.floats(0.01, 50),
    method=st.sampled_from(list(Method)),
    size=st.sampled_from([1.0, 1e-30, 1e20]),
)
def test_finite_in_finite_out(rows, columns, blur, method, size):
    stack = transmissions(1, rows, columns) * np.float32(size)
    result = PhasePlan(retrieval(method, blur), rows, columns, threads=1).execute(stack)
    assert np.isfinite(result).all()
    if method is not Method.CTF and size == 1.0:
        assert result.min() > 0


def test_shapes_that_do_not_fit_are_refused():
    plan = PhasePlan(retrieval(), 8, 9)
    with pytest.raises(GeometryError, match="do not fit frames of 8 x 9"):
        plan.execute(np.ones((2, 9, 8), np.float32))
    with pytest.raises(GeometryError, match="wanted"):
        plan.execute(np.ones((8, 9), np.float32))
    with pytest.raises(GeometryError, match="out must be float32"):
        plan.execute(np.ones((2, 8, 9)), out=np.empty((2, 8, 9)))
    with pytest.raises(GeometryError, match="at least one row"):
        PhasePlan(retrieval(), 0, 9)


@pytest.mark.parametrize("field", ["energy_kev", "distance_mm", "pixel_size_um"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_an_experiment_of_nothing_is_refused(field, value):
    numbers = {"energy_kev": 20.0, "distance_mm": 50.0, "pixel_size_um": 1.0, field: value}
    with pytest.raises(EngineError, match=field):
        FreeSpace(**numbers)


@pytest.mark.parametrize("value", [0.0, -5.0, math.nan])
def test_a_material_that_does_not_refract_is_refused(value):
    with pytest.raises(EngineError, match="delta/beta must be a number above 0"):
        Retrieval(method=Method.PAGANIN, delta_beta=value, space=SPACE)


def test_what_the_scan_does_not_tell_is_named_all_at_once():
    with pytest.raises(RecipeError) as caught:
        free_space(energy_kev=None, distance_mm=50.0, pixel_size_um=None, name="mine.yml")
    assert len(caught.value.problems) == 2
    assert "mine.yml: phase.energy_kev: " in str(caught.value)
    assert "phase.pixel_size_um: " in str(caught.value)
    assert free_space(energy_kev=20.0, distance_mm=50.0, pixel_size_um=1.0) == SPACE


def test_doubts_are_spoken_of():
    assert SPACE.fresnel_number == pytest.approx(0.3226, rel=1e-3)
    assert any("Fresnel number is 0.32" in note for note in doubts(retrieval(), 500, 500))
    assert doubts(retrieval(Method.CTF), 500, 500) == []
    near = FreeSpace(energy_kev=20, distance_mm=10, pixel_size_um=1.0)
    assert doubts(Retrieval(method=Method.PAGANIN, delta_beta=200, space=near), 500, 500) == []
    # Metres for millimetres, and millimetres for metres.
    tiny = Retrieval(
        method=Method.PAGANIN,
        delta_beta=20,
        space=SPACE.__class__(energy_kev=20, distance_mm=0.001, pixel_size_um=1.0),
    )
    assert any("next to no phase contrast" in note for note in doubts(tiny, 500, 500))
    assert any("averages over 200 of 500 pixels" in note for note in doubts(retrieval(blur=200.0), 500, 500))


def test_the_stage_of_a_recipe_takes_what_the_engine_takes():
    stage = TypeAdapter(Phase)
    for method in Method:
        given = stage.validate_python({"method": method.value, "material": {"method": "tomopy_alpha"}})
        assert Padding(given.padding) is Padding.REFLECT
        defaults = retrieval(method)
        assert given.unsharp_amount == defaults.unsharp_amount
        assert given.unsharp_sigma == defaults.unsharp_sigma
    assert given.regularisation == defaults.regularisation
    for field, value in (
        ("distance_mm", 0),
        ("energy_kev", True),
        ("pixel_size_um", "1"),
        ("unsharp_sigma", 0),
    ):
        with pytest.raises(ValidationError, match=field):
            stage.validate_python({"method": "paganin", "material": {"method": "tomopy_alpha"}, field: value})
    for material in (
        {"method": "delta_beta", "delta_beta": 0},
        {"method": "compound", "formula": "H2O"},
        None,
    ):
        with pytest.raises(ValidationError):
            stage.validate_python({"method": "paganin", "material": material})
