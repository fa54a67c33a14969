"""How many rows a slab needs: what it gives must be what the whole frame gives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tomoservice.errors import EngineError
from tomoservice.prep.phase import Method, Padding, PhasePlan, Retrieval, row_margin
from tomoservice.propagation import FreeSpace

ROWS, COLUMNS = 420, 48


def frame() -> np.ndarray:
    """Return transmissions with steps of the full range between rows, blobs, and 2 % of noise."""
    rng = np.random.default_rng(1)
    values = np.ones((ROWS, COLUMNS))
    values[100:190] = 0.0
    values[230:232] = 0.1
    values[250:400, 10:30] = 0.05
    values[300:, 40:] = 0.5
    values += 0.02 * rng.standard_normal(values.shape)
    return values.astype(np.float32)[None]


CASES = [
    (method, blur, fresnel)
    for method in Method
    for blur, fresnel in ((0.3, 5.0), (1.0, 2.0), (3.0, 0.5), (8.0, 0.5), (3.0, 0.1))
    # Methods of the near field do not know the Fresnel number.
    if method is Method.CTF or fresnel != 0.1
]


@pytest.mark.parametrize(("method", "blur", "fresnel"), CASES)
@pytest.mark.parametrize("padding", Padding)
def test_a_slab_with_its_margin_is_the_whole_frame(method, blur, fresnel, padding):
    space = FreeSpace(energy_kev=12.398419843320026, distance_mm=10 / fresnel, pixel_size_um=1.0)
    assert space.fresnel_number == pytest.approx(fresnel)
    how = Retrieval(
        method=method,
        delta_beta=4 * math.pi * fresnel * blur**2,
        space=space,
        padding=padding,
        unsharp_amount=0.5,
    )
    margin = row_margin(how)
    whole = PhasePlan(how, ROWS, COLUMNS).execute(frame())
    for start, stop in ((0, 16), (192, 208), (196, 197), (404, 420)):
        first, last = max(start - margin, 0), min(stop + margin, ROWS)
        slab = frame()[:, first:last]
        part = PhasePlan(how, last - first, COLUMNS).execute(slab)[:, start - first : stop - first]
        assert np.abs(part - whole[:, start:stop]).max() < 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("method", [Method.PAGANIN, Method.GENERALISED_PAGANIN])
@pytest.mark.parametrize("blur", [3.0, 10.0, 60.0])
def test_paganins_margin_is_that_of_an_exponential(method, blur):
    space = FreeSpace(energy_kev=20, distance_mm=50, pixel_size_um=1.0)
    how = Retrieval(method=method, delta_beta=4 * math.pi * space.fresnel_number * blur**2, space=space)
    assert how.blur_pixels == pytest.approx(blur)
    assert row_margin(how) == pytest.approx(blur * math.log(2e5), rel=0.02, abs=1)
    assert row_margin(how, 1e-3) == pytest.approx(blur * math.log(2e3), rel=0.02, abs=1)


def test_half_the_margin_is_not_enough():
    space = FreeSpace(energy_kev=20, distance_mm=50, pixel_size_um=1.0)
    how = Retrieval(method=Method.PAGANIN, delta_beta=100, space=space)
    margin = row_margin(how) // 2
    whole = PhasePlan(how, ROWS, COLUMNS).execute(frame())
    part = PhasePlan(how, 1 + 2 * margin, COLUMNS).execute(frame()[:, 200 - margin : 201 + margin])
    assert np.abs(part[:, margin] - whole[:, 200]).max() > 1e-5


def test_an_absurd_filter_has_a_bounded_margin():
    space = FreeSpace(energy_kev=20, distance_mm=1e6, pixel_size_um=0.1)
    for method in Method:
        how = Retrieval(method=method, delta_beta=1e6, space=space)
        assert 1000 < row_margin(how) <= 16384
        result = PhasePlan(how, 4, 5).execute(frame()[:, :4, :5])
        assert np.isfinite(result).all()
        with pytest.raises(EngineError, match=r"too far for phase\.padding 'edge'"):
            PhasePlan(replace(how, padding=Padding.EDGE), 4, 5)
