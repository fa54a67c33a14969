"""Removal of rings in slices, and the scores of rings and stripes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from tests.engine.real_scans import tooth
from tests.engine.striped import rms
from tomoservice.errors import EngineError, GeometryError
from tomoservice.phantom import default_phantom
from tomoservice.prep.stripes import BySorting, remove_stripes, stripe_score
from tomoservice.recipe.stages.rings import Rings
from tomoservice.recon import get_reconstructor, reconstruct
from tomoservice.recon.rings import PolarRings, remove_rings, ring_score

COLUMNS, ANGLES = 241, np.linspace(0, 180, 241, endpoint=False)
STRENGTHS = (0.0, 0.01, 0.02, 0.05, 0.1)


def sinogram(strength: float = 0.0, noise: float = 0.02) -> NDArray[np.float32]:
    random = np.random.default_rng(8)
    truth = default_phantom(COLUMNS, 3).line_integrals(ANGLES, [1])[:, 0]
    stripes = random.standard_normal(COLUMNS) * (random.random(COLUMNS) < 0.1)
    return (truth + noise * random.standard_normal(truth.shape) + strength * stripes).astype(np.float32)


def slice_of(data: NDArray[np.float32]) -> NDArray[np.float32]:
    return reconstruct(get_reconstructor("fourier"), data[None], ANGLES, (COLUMNS - 1) / 2)[0]


def cleaned(image: NDArray[np.float32], **parameters: float) -> NDArray[np.float32]:
    return remove_rings(image[None], PolarRings(**parameters))[0]


@pytest.mark.parametrize("noise", [0, 0.02])
def test_rings_are_removed_and_the_sample_is_not(noise):
    image, clean = slice_of(sinogram(0.05, noise)), slice_of(sinogram(0, noise))
    # Noise holds short rings by chance.
    assert rms(cleaned(clean) - clean) < (0.01 + noise) * rms(clean)
    result = cleaned(image)
    assert rms(result - clean) < 0.65 * rms(image - clean)
    assert ring_score(result) - ring_score(clean) < 0.5 * (ring_score(image) - ring_score(clean))
    # What stands in no circle that all views see is not touched.
    y, x = np.indices(image.shape) - (COLUMNS - 1) / 2
    corner = np.hypot(x, y) > COLUMNS / 2 + 1
    assert np.array_equal(result[corner], image[corner])


@pytest.mark.parametrize("size", [(101, 101), (100, 100), (100, 121)])
def test_a_known_ring_is_found_where_it_is(size):
    y, x = (np.arange(length) - (length - 1) / 2 for length in size)
    radius, angle = np.hypot(y[:, None], x), np.arctan2(y[:, None], x)
    ring = 0.3 * np.exp(-0.5 * ((radius - 31.3) / 0.8) ** 2)
    random = np.random.default_rng(1)
    image = (1 + ring * (angle > 0) + 0.02 * random.standard_normal(size)).astype(np.float32)
    found = PolarRings().rings(image)
    well_inside = (np.abs(angle - np.pi / 2) < 1.1) & (np.abs(radius - 31.3) < 3)
    assert rms((found - ring)[well_inside]) < 0.15 * rms(ring[well_inside])
    elsewhere = (angle < -0.5) & (angle > -2.6)
    assert np.abs(found[elsewhere]).max() < 0.02


def test_slices_are_corrected_on_their_own():
    random = np.random.default_rng(0)
    slices = random.standard_normal((5, 60, 60)).astype(np.float32)
    before, method = slices.copy(), PolarRings(snr=1)
    whole = remove_rings(slices, method, threads=1)
    assert np.array_equal(slices, before)
    assert not np.array_equal(slices, whole)
    assert np.array_equal(remove_rings(slices, method, threads=3), whole)
    assert np.array_equal(remove_rings(slices[2:4], method), whole[2:4])
    assert remove_rings(slices, method, out=slices) is slices
    assert np.array_equal(slices, whole)


@pytest.mark.parametrize(("shape", "value"), [((1, 1), 0), ((2, 2), 1), ((3, 5), 2.5), ((30, 30), -1e12)])
def test_small_and_constant_slices_stay(shape, value):
    image = np.full(shape, value, np.float32)
    assert np.allclose(cleaned(image), image, rtol=1e-5)
    assert ring_score(image) < 1e-2


def test_what_is_no_slice_is_refused():
    with pytest.raises(GeometryError, match="slices"):
        remove_rings(np.ones((4, 4)), PolarRings())
    with pytest.raises(GeometryError, match="out must be"):
        remove_rings(np.ones((1, 4, 4)), PolarRings(), out=np.ones((1, 4, 4)))
    with pytest.raises(GeometryError, match="slice"):
        ring_score(np.ones(4))
    slices = np.ones((2, 9, 9))
    slices[1, 3, 3] = np.nan
    with pytest.raises(EngineError, match="slice 1"):
        remove_rings(slices, PolarRings())
    assert np.isnan(ring_score(slices[1]))


@pytest.mark.parametrize("parameters", [{"width": 0}, {"arc_deg": 5}, {"arc_deg": np.nan}, {"snr": -1}])
def test_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(EngineError, match="must be between"):
        PolarRings(**parameters)


def test_the_recipe_has_the_same_parameters_and_limits():
    adapter = TypeAdapter(Rings)
    stage = adapter.validate_python({"method": "polar"})
    assert PolarRings(**stage.model_dump(exclude={"method"})) == PolarRings()
    for field, description in adapter.json_schema()["$defs"]["PolarRings"]["properties"].items():
        for key in ("minimum", "maximum"):
            if key in description:
                PolarRings(**{field: description[key]})


def test_scores_grow_with_the_stripes_and_start_near_zero():
    sinograms = [sinogram(strength) for strength in STRENGTHS]
    stripes = [stripe_score(data) for data in sinograms]
    rings = [ring_score(slice_of(data)) for data in sinograms]
    assert stripes == sorted(stripes)
    assert rings == sorted(rings)
    assert stripes[0] < 0.05
    assert rings[0] < 0.3
    # Nearly proportional, as soon as the stripes outweigh the sample; strong rings count as noise too.
    assert stripes[4] == pytest.approx(2 * stripes[3], rel=0.15)
    assert rings[4] == pytest.approx(2 * rings[3], rel=0.2)


def test_stripe_score_is_the_stripes_strength_in_units_of_the_noise():
    random = np.random.default_rng(2)
    noise = random.standard_normal((400, 300))
    assert stripe_score(noise) < 0.05
    stripes = 0.7 * random.standard_normal(300) * (random.random(300) < 0.15)
    wanted = rms(stripes)
    assert stripe_score(noise + stripes) == pytest.approx(wanted, rel=0.1)
    assert stripe_score(0.01 * (noise + stripes) + 5) == pytest.approx(wanted, rel=0.1)


def test_scores_of_special_cases():
    assert stripe_score(np.full((30, 40), 3.0)) == 0
    assert stripe_score(np.zeros((2, 1))) == 0
    assert np.isnan(stripe_score(np.full((3, 4), np.nan)))
    for shape in [(1, 40), (40,), (2, 3, 4)]:
        with pytest.raises(GeometryError, match="stripe score"):
            stripe_score(np.zeros(shape))


def test_a_real_scan_is_better_after_stripe_removal(data_dir):
    sinograms, angles = tooth(data_dir)
    corrected = remove_stripes(sinograms, BySorting(size=None))
    assert stripe_score(corrected[0]) < 0.5 * stripe_score(sinograms[0])
    before, after = (
        reconstruct(get_reconstructor("fourier"), data[:1], angles, 295.5)[0]
        for data in (sinograms, corrected)
    )
    assert ring_score(after) < 0.7 * ring_score(before)
