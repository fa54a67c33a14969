"""What every method of stripe removal keeps to, and the ones that shift whole columns."""

from __future__ import annotations

import tracemalloc

import algotom.prep.removal as reference
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from tests.engine.real_scans import tooth
from tests.engine.striped import rms, striped
from tomoservice.errors import EngineError, GeometryError
from tomoservice.phantom import default_phantom
from tomoservice.prep.stripes import (
    METHODS,
    FourierWavelet,
    GeneralizedTitarenko,
    Smoothing,
    Titarenko,
    memory_per_thread,
    remove_stripes,
    stripe_score,
)
from tomoservice.recipe.stages.stripes import NoStripes, Stripes

SAME = 1e-5
every_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="module")
def large() -> NDArray[np.float32]:
    return striped(300, 310).sinogram


@every_method
def test_rows_are_corrected_on_their_own_to_the_bit(name, large):
    sinograms = np.stack([large[row : row + 61, 40 * row : 40 * row + 83] for row in range(5)])
    method = METHODS[name]()
    before = sinograms.copy()
    whole = remove_stripes(sinograms, method, threads=1)
    assert np.array_equal(sinograms, before)
    assert not np.array_equal(whole, sinograms)
    assert np.isfinite(whole).all()
    assert np.array_equal(remove_stripes(sinograms, method, threads=3), whole)
    for start, stop in ((0, 1), (1, 4), (4, 5)):
        assert np.array_equal(remove_stripes(sinograms[start:stop], method), whole[start:stop])
    # As a view of projections (angle, row, column), and of another type.
    projections = np.ascontiguousarray(sinograms.swapaxes(0, 1)).astype(np.float64)
    assert np.array_equal(remove_stripes(projections.swapaxes(0, 1), method), whole)
    assert remove_stripes(sinograms, method, out=sinograms) is sinograms
    assert np.array_equal(sinograms, whole)


@every_method
def test_small_and_narrow_sinograms(name, large):
    for shape in [(3, 1), (3, 2), (1, 40), (4, 7), (17, 300), (300, 17)]:
        sinogram = large[: shape[0], -shape[1] :]
        if name == "fitting" and shape[0] < 3:
            with pytest.raises(EngineError, match="angles"):
                remove_stripes(sinogram[None], METHODS[name]())
            continue
        result = remove_stripes(sinogram[None], METHODS[name]())
        assert result.shape == (1, *shape)
        assert np.isfinite(result).all()


@every_method
def test_what_is_constant_stays(name):
    for value in (0, 1, -3e-4, 1e12):
        sinogram = np.full((1, 40, 60), value, np.float32)
        assert np.allclose(remove_stripes(sinogram, METHODS[name]()), sinogram, rtol=1e-5, atol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20])
def test_useless_values_are_refused(value):
    sinograms = np.ones((3, 20, 30), np.float32)
    sinograms[1, 4, 5] = sinograms[1, 7, 9] = value
    for method in METHODS.values():
        with pytest.raises(EngineError, match=r"sinogram 1 .* 2 values .* angle 4, column 5; let minus log"):
            remove_stripes(sinograms, method())


@pytest.fixture(scope="module")
def simple() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return a sinogram with full stripes, without them, and the stripes; it fills the detector."""
    random = np.random.default_rng(5)
    phantom = default_phantom(900, 3)
    truth = phantom.line_integrals(np.linspace(0, 180, 121, endpoint=False), [1], columns=512)[:, 0] + 1
    stripes = 0.05 * random.standard_normal(512) * (random.random(512) < 0.1)
    return (truth + stripes + 0.01 * random.standard_normal(truth.shape)).astype(np.float32), truth, stripes


@every_method
def test_full_stripes_are_weakened_and_the_sample_is_not(name, simple):
    sinogram, truth, stripes = simple
    parameters = {"sigma": 60} if name == "fitting" else {}
    corrected = remove_stripes(sinogram[None], METHODS[name](**parameters))[0]
    where = stripes != 0
    # What a window of 5 columns leaves of neighbouring stripes is much.
    assert rms((corrected - truth)[:, where].mean(axis=0)) < 0.6 * rms(stripes[where])
    assert rms((corrected - truth)[:, ~where]) < 0.03
    assert stripe_score(corrected) < 0.5 * stripe_score(sinogram)


@pytest.mark.parametrize("shape", [(20, 30), (0, 20, 30), (1, 2, 3, 4)])
def test_what_are_no_sinograms_is_refused(shape):
    with pytest.raises(GeometryError, match="shape"):
        remove_stripes(np.ones(shape), Smoothing())


def test_out_that_does_not_fit_is_refused():
    with pytest.raises(GeometryError, match="out must be float32"):
        remove_stripes(np.ones((1, 4, 5)), Smoothing(), out=np.empty((1, 4, 6), np.float32))
    with pytest.raises(GeometryError, match="out must be float32"):
        remove_stripes(np.ones((1, 4, 5)), Smoothing(), out=np.empty((1, 4, 5)))


REFUSED = [
    ("sorting", {"size": 0}),
    ("filtering", {"sigma": 0}),
    ("filtering", {"size": -1}),
    ("fitting", {"order": -1}),
    ("fitting", {"sigma": np.nan}),
    ("large", {"snr": 1}),
    ("large", {"drop_ratio": 0.9}),
    ("dead", {"snr": np.inf}),
    ("vo_all", {"small_size": 0}),
    ("vo_all", {"drop_ratio": -0.1}),
    ("fourier_wavelet", {"wavelet": "haar"}),
    ("fourier_wavelet", {"level": 0}),
    ("fourier_wavelet", {"variant": "matlab"}),
    ("titarenko", {"alpha": 0}),
    ("titarenko", {"blocks": 0}),
    ("smoothing", {"size": 0}),
]


def test_parameters_out_of_range_are_refused():
    for name, parameters in REFUSED:
        with pytest.raises(EngineError, match=r"got|there is no"):
            METHODS[name](**parameters)


@every_method
def test_working_space_is_known(name, large):
    method = METHODS[name]()
    method.corrected(large)
    tracemalloc.start()
    method.corrected(large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < memory_per_thread(method, *large.shape) < 10 * peak


def test_every_stage_of_the_recipe_is_a_method():
    adapter = TypeAdapter(Stripes)
    sinograms = striped(40, 64).sinogram[None]
    assert adapter.validate_python({"method": "none"}) == NoStripes()
    for name, method in METHODS.items():
        stage = adapter.validate_python({"method": name})
        parameters = stage.model_dump(exclude={"method"})
        assert remove_stripes(sinograms, method(**parameters)).shape == sinograms.shape
    with pytest.raises(ValidationError, match="window"):
        adapter.validate_python({"method": "sorting", "window": 3})


def test_every_field_of_the_recipe_is_a_parameter_with_the_same_limits():
    schema = TypeAdapter(Stripes).json_schema()
    for name, reference_ in schema["discriminator"]["mapping"].items():
        fields = schema["$defs"][reference_.rsplit("/", 1)[1]]["properties"]
        for field, description in fields.items():
            assert field == "method" or len(description["description"]) > 30
            for key in ("minimum", "maximum"):
                if key in description:
                    METHODS[name](**{field: description[key]})


@pytest.mark.parametrize("order", [1, 2])
def test_titarenkos_offsets_solve_the_regularised_problem(order):
    from tomoservice.prep.stripes.profile import _smoothing_offsets

    profile = np.random.default_rng(0).standard_normal(57)
    differences = np.diff(np.eye(57), order, axis=0)
    square = differences.T @ differences
    for alpha in (1e-3, 0.2, 10):
        wanted = np.linalg.solve(square + alpha * np.eye(57), -square @ profile)
        assert np.allclose(_smoothing_offsets(profile, alpha, order=order), wanted, atol=1e-9)


def test_titarenko_is_near_algotoms(data_dir):
    # algotom's closed form of the inverse is off by one column: 2 % on this profile.
    sinogram = tooth(data_dir)[0][0]
    for alpha, blocks in ((0.01, 1), (0.1, 3)):
        wanted = reference.remove_stripe_based_regularization(
            sinogram, alpha, blocks, apply_log=False, sort=False
        )
        result = remove_stripes(sinogram[None], Titarenko(alpha=alpha, blocks=blocks))[0]
        assert np.abs(result - wanted).max() < 0.02 * np.abs(wanted).max()


def test_generalized_titarenko_agrees_with_tomopy(data_dir):
    vectors = data_dir / "tomopy_vectors"
    projections, wanted = np.load(vectors / "proj.npy"), np.load(vectors / "remove_stripe_ti.npy")
    result = remove_stripes(projections.swapaxes(0, 1), GeneralizedTitarenko()).swapaxes(0, 1)
    assert np.abs(result - wanted).max() < SAME * np.abs(wanted).max()


@pytest.mark.parametrize("size", [1, 4, 5, 31])
def test_smoothing_agrees_with_algotoms_normalisation(size):
    sinogram = striped(70, 133).sinogram
    mean = {"method": "uniform_filter1d", "size": size, "axis": -1, "output": None, "mode": "nearest"}
    wanted = reference.remove_stripe_based_normalization(sinogram, sort=False, options=mean)
    result = remove_stripes(sinogram[None], Smoothing(size=size))[0]
    assert np.abs(result - wanted).max() < SAME * np.abs(wanted).max()


def test_the_wavelet_variants_differ_as_documented():
    stripe = np.zeros((64, 128), np.float32)
    stripe[:, 60] = 1
    left = {
        variant: np.abs(remove_stripes(stripe[None], FourierWavelet(variant=variant, sigma=1))[0, 32, 60])
        for variant in ("munch", "algotom")
    }
    assert left["munch"] < 0.3
    assert left["munch"] < left["algotom"]
