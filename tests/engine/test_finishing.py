"""Cropping and conversion: by hand, there and back, and on what makes files all black."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tomoservice.errors import EngineError, GeometryError
from tomoservice.recipe.stages.output import Output
from tomoservice.recon.base import circle_mask
from tomoservice.recon.finishing import Conversion, IntegerType, choose_range, crop


def test_a_crop_is_a_view_of_what_is_asked_for():
    volume = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    part = crop(volume, (1, 4), (2, None))
    assert np.array_equal(part, volume[:, 1:4, 2:7])
    assert part.base is not None
    assert np.array_equal(crop(volume, (0, None), (0, None)), volume)


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ((0, 6), (0, None), "rows 0 to 6 are not within a slice's 5 rows"),
        ((0, None), (3, 3), "columns 3 to 3"),
        ((-1, 2), (0, None), "rows -1 to 2"),
        ((5, None), (0, None), "rows 5 to 5"),
    ],
)
def test_a_crop_that_leaves_the_slice_is_refused(rows, columns, said):
    with pytest.raises(GeometryError, match=said):
        crop(np.zeros((2, 5, 7)), rows, columns)


def test_conversion_by_hand():
    conversion = Conversion(IntegerType.UINT8, -1.0, 1.55)
    assert conversion.slope == pytest.approx(0.01)
    assert conversion.offset == -1
    values = np.array(
        [[[-1.0, -0.99, 0.0, 0.004, 0.006, 1.55, 9.0, -9.0, np.nan, np.inf, -np.inf]]], np.float32
    )
    numbers = conversion.apply(values)
    assert numbers.dtype == np.uint8
    assert numbers.ravel().tolist() == [0, 1, 100, 100, 101, 255, 255, 0, 0, 255, 0]


@pytest.mark.parametrize("dtype", IntegerType)
@settings(deadline=None)
@given(low=st.floats(-1e6, 1e6, width=32), width=st.floats(2**-10, 1e6, width=32))
def test_there_and_back_is_off_by_half_a_step(dtype, low, width):
    high = low + width
    conversion = Conversion(dtype, low, high)
    values = np.linspace(low, high, 257, dtype=np.float32)[None, None]
    inside = np.clip(values.astype(np.float64), low, high)
    numbers = conversion.apply(values, threads=1)
    rounding = 1e-7 * max(abs(low), abs(high))
    assert np.abs(conversion.restore(numbers) - inside).max() <= 0.5001 * conversion.slope + rounding
    # Where float32 tells neighbouring numbers apart, both ends are reached.
    if rounding < conversion.slope / 4:
        assert (numbers.min(), numbers.max()) == (0, conversion.largest)


def test_the_result_does_not_depend_on_threads_and_out_is_used():
    values = np.random.default_rng(0).standard_normal((5, 301, 333)).astype(np.float32)
    before = values.copy()
    conversion = Conversion(IntegerType.UINT16, -2.0, 2.0)
    whole = conversion.apply(values, threads=1)
    assert np.array_equal(conversion.apply(values, threads=3), whole)
    assert np.array_equal(conversion.apply(values[2:3, 10:20, 5:9]), whole[2:3, 10:20, 5:9])
    out = np.empty(values.shape, np.uint16)
    assert conversion.apply(values, out=out) is out
    assert np.array_equal(values, before)
    for wrong in (np.empty(values.shape, np.uint8), np.empty((5, 301, 332), np.uint16)):
        with pytest.raises(GeometryError, match="out must be uint16"):
            conversion.apply(values, out=wrong)
    with pytest.raises(GeometryError, match="volume"):
        conversion.apply(values[0])
    assert conversion.apply(np.empty((0, 3, 4), np.float32)).shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf), (0.0, 5e-324), (-1.7e308, 1.7e308)],
)
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(EngineError, match="range"):
        Conversion(IntegerType.UINT16, low, high)


def test_percentiles_look_at_finite_values_within_the_circle():
    rng = np.random.default_rng(0)
    slices = rng.uniform(1.0, 2.0, (3, 200, 200)).astype(np.float32)
    inside = circle_mask(200)
    slices[:, ~inside] = 0
    slices[1, 100, 90:110] = np.nan
    slices[2, 100, 100] = np.inf
    low, high = choose_range(slices, (1, 99), inside=inside)
    assert (low, high) == pytest.approx((1.01, 1.99), abs=0.003)
    assert choose_range(slices, (1, 99))[0] == 0
    assert choose_range([slices[0]], (0, 100), inside=inside) == pytest.approx((1, 2), abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-7, 1e30])
@pytest.mark.parametrize("dtype", IntegerType)
def test_a_constant_volume_is_neither_black_nor_white(value, dtype):
    volume = np.full((2, 8, 8), value, np.float32)
    conversion = Conversion(dtype, *choose_range(volume))
    numbers = conversion.apply(volume)
    assert np.allclose(numbers, conversion.largest / 2, rtol=0.01)
    assert np.allclose(conversion.restore(numbers), volume, rtol=0.01, atol=0.01 * (value == 0))


def test_a_few_bright_grains_do_not_make_the_rest_black():
    volume = np.random.default_rng(0).normal(0.01, 0.001, (3, 300, 300)).astype(np.float32)
    volume[1, 5, 5:9] = 1e6
    numbers = Conversion(IntegerType.UINT8, *choose_range(volume)).apply(volume)
    assert numbers.std() > 20


def test_no_range_can_be_chosen_from_nothing():
    nothing = np.full((2, 3, 3), np.nan, np.float32)
    with pytest.raises(EngineError, match=r"none of 2 slices holds a finite grey value.*output\.range"):
        choose_range(nothing)
    with pytest.raises(EngineError, match="none of 0 slices"):
        choose_range([])
    with pytest.raises(EngineError, match="ascend"):
        choose_range(np.zeros((1, 2, 2), np.float32), (50, 50))
    with pytest.raises(GeometryError, match="mask"):
        choose_range(np.zeros((1, 2, 2), np.float32), inside=np.ones((3, 3), bool))


def test_the_stage_of_a_recipe():
    plain = Output()
    assert (plain.dtype, plain.range.method, plain.crop.rows.stop) == ("float32", "percentile", None)
    given_range = {"method": "fixed", "low": -0.1, "high": 1}
    output = Output.model_validate({"dtype": "uint16", "range": given_range, "crop": {"rows": {"stop": 5}}})
    assert Conversion(IntegerType(output.dtype), output.range.low, output.range.high).slope == 1.1 / 65535
    for wrong in (
        {"dtype": "int8"},
        {"range": {"method": "fixed", "low": 1, "high": 1}},
        {"range": {"method": "fixed", "low": 1}},
        {"range": {"method": "percentile", "low": -1}},
        {"range": {"method": "percentile", "low": 60, "high": 40}},
        {"crop": {"rows": {"start": 5, "stop": 2}}},
    ):
        with pytest.raises(ValidationError):
            Output.model_validate(wrong)
