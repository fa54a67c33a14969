"""Flat field correction and minus log, against TomoPy's vectors, by hand, and on dead pixels."""

from __future__ import annotations

import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.engine.real_scans import savu
from tomoservice.errors import GeometryError
from tomoservice.prep.flat_field import correct, dead_pixels, reduce_frames
from tomoservice.prep.minus_log import minus_log


def test_agrees_with_tomopys_normalize(data_dir):
    vectors = data_dir / "tomopy_vectors"
    tomo, flats, darks, wanted = (
        np.load(vectors / f"{n}.npy") for n in ("tomo", "flat", "dark", "normalize")
    )
    result = correct(tomo, reduce_frames(flats), reduce_frames(darks))
    assert result.dtype == np.float32
    assert np.allclose(result, wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_by_hand_for_every_type(dtype):
    projections = np.array([[[60, 110, 210]]], dtype)
    flat, dark = np.array([[110, 210, 210]], np.float32), np.array([[10, 10, 10]], np.float32)
    assert np.allclose(correct(projections, flat, dark), [[[0.5, 0.5, 1.0]]])
    assert np.allclose(correct(projections, flat, None), [[[60 / 110, 110 / 210, 1.0]]])


def test_mean_and_median():
    stack = np.array([[[1, 2]], [[3, 4]], [[100, 6]]], np.uint16)
    assert np.allclose(reduce_frames(stack, "mean"), [[104 / 3, 4]])
    assert np.allclose(reduce_frames(stack, "median"), [[3, 4]])
    # A sum of these would not fit into 16 bits, nor into the 24 of float32.
    many = np.full((300, 1, 1), 65535, np.uint16)
    assert reduce_frames(many, "mean")[0, 0] == 65535


@pytest.mark.parametrize("stack", [np.zeros((3, 4)), np.zeros((0, 3, 4))])
def test_what_is_no_stack_is_refused(stack):
    with pytest.raises(GeometryError, match="stack"):
        reduce_frames(stack)


def test_unknown_reduction_is_refused():
    with pytest.raises(GeometryError, match="mean or median, got 'max'"):
        reduce_frames(np.ones((1, 1, 1)), "max")


def test_dead_pixels_are_found():
    flat = np.full((3, 100), 1000.0, np.float32)
    flat[0, 10], flat[0, 20], flat[0, 30] = 0, np.nan, 40
    flat[1, 50:54] = 12
    # A corner out of the beam is weak, not dead.
    flat[2, 60:] = 20
    dark = np.full((3, 100), 10, np.float32)
    dark[0, 40] = 2000
    expected = np.zeros((3, 100), bool)
    expected[0, [10, 20, 30, 40]] = True
    expected[1, 50:54] = True
    found = dead_pixels(flat, dark)
    assert np.array_equal(found[:2], expected[:2])
    assert not found[2, 80:].any()


def test_dead_pixels_are_bridged_along_their_row():
    truth = np.broadcast_to(np.linspace(0.2, 0.8, 50, dtype=np.float32), (4, 3, 50))
    flat = np.full((3, 50), 1000, np.float32)
    flat[0, 10:13] = 0
    flat[1, [0, 1, 49]] = np.nan
    flat[2] = 0
    result = correct(truth * np.nan_to_num(flat) + 10, flat + 10, np.full((3, 50), 10))
    assert np.allclose(result[:, 0], truth[:, 0], atol=1e-5)
    assert np.allclose(result[:, 1, 2:49], truth[:, 1, 2:49], atol=1e-5)
    assert np.allclose(result[:, 1, :2], truth[:, 1, 2:3], atol=1e-5)
    assert np.allclose(result[:, 1, 49], truth[:, 1, 48], atol=1e-5)
    assert np.all(result[:, 2] == 1)


def test_values_that_are_not_finite_are_bridged_in_their_own_projection():
    projections = np.broadcast_to(np.linspace(100, 200, 21, dtype=np.float32), (30, 2, 21)).copy()
    clean = correct(projections, np.full((2, 21), 200))
    flat = np.full((2, 21), 200, np.float32)
    flat[0, 6] = 0
    projections[17, 0, 5], projections[17, 0, 7], projections[3, 1, 20] = np.nan, np.inf, -np.inf
    projections[4, 1] = np.nan
    result = correct(projections, flat)
    assert np.isfinite(result).all()
    assert np.all(result[4, 1] == 1)
    assert result[3, 1, 20] == clean[3, 1, 19]
    clean[3, 1, 20], clean[4, 1] = result[3, 1, 20], 1
    assert np.allclose(result, clean, atol=1e-6)


@given(
    projections=npst.arrays(np.float32, (3, 4, 9), elements=st.floats(width=32)),
    flat=npst.arrays(np.float32, (4, 9), elements=st.floats(width=32)),
    dark=npst.arrays(np.float32, (4, 9), elements=st.floats(width=32)),
)
def test_whatever_comes_in_finite_line_integrals_go_out(projections, flat, dark):
    transmission = correct(projections, flat, dark)
    assert np.isfinite(transmission).all()
    assert np.isfinite(minus_log(transmission, minimum_transmission=1e-4)).all()


def test_a_slab_is_corrected_as_in_the_whole_scan():
    rng = np.random.default_rng(0)
    projections = rng.integers(0, 1000, (5, 12, 40)).astype(np.uint16)
    flat, dark = rng.integers(0, 1000, (12, 40)).astype(np.float32), np.full((12, 40), 90, np.float32)
    whole = correct(projections, flat, dark)
    for rows in (slice(0, 1), slice(3, 8), slice(11, 12)):
        assert np.array_equal(correct(projections[:, rows], flat[rows], dark[rows]), whole[:, rows])


def test_input_stays_and_out_is_used():
    projections = np.full((2, 3, 4), 50, np.float32)
    flat, dark = np.full((3, 4), 100, np.float32), np.zeros((3, 4), np.float32)
    flat[1, 1] = np.nan
    before = flat.copy()
    out = np.empty((2, 3, 4), np.float32)
    assert correct(projections, flat, dark, out=out) is out
    assert np.all(projections == 50)
    assert np.array_equal(flat, before, equal_nan=True)
    assert minus_log(out, minimum_transmission=1e-4, out=out) is out
    assert np.allclose(out, np.log(2))
    assert np.allclose(correct(projections, flat, dark, out=projections), 0.5)


def test_temporaries_stay_small():
    projections = np.full((200, 40, 500), 700, np.uint16)
    flat, dark = np.full((40, 500), 1000, np.float32), np.full((40, 500), 10, np.float32)
    flat[:, ::50] = 0
    out = np.empty(projections.shape, np.float32)
    tracemalloc.start()
    correct(projections, flat, dark, out=out)
    minus_log(out, minimum_transmission=1e-4, out=out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * out.nbytes


@pytest.mark.parametrize(
    ("projections", "flat", "dark"),
    [
        ((2, 3, 4), (3, 5), None),
        ((3, 4), (3, 4), None),
        ((2, 3, 4), (3, 4), (4, 4)),
        ((2, 3, 4), (1, 3, 4), None),
    ],
)
def test_shapes_that_do_not_fit_are_refused(projections, flat, dark):
    with pytest.raises(GeometryError, match="shape"):
        correct(np.ones(projections), np.ones(flat), None if dark is None else np.zeros(dark))


def test_out_that_does_not_fit_is_refused():
    with pytest.raises(GeometryError, match="out must be float32"):
        correct(np.ones((2, 3, 4)), np.ones((3, 4)), out=np.empty((2, 3, 4), np.float64))
    with pytest.raises(GeometryError, match="out must be float32"):
        minus_log(np.ones((2, 3)), minimum_transmission=1e-4, out=np.empty((3, 2), np.float32))


def test_minus_log_clips_and_fills():
    values = np.array([1.0, np.exp(-2), 0, -3, np.nan, np.inf, -np.inf])
    assert np.allclose(minus_log(values, minimum_transmission=1e-5), [0, 2, 11.512925, 11.512925, 0, 0, 0])
    assert np.allclose(minus_log(values, minimum_transmission=0.5)[:4], [0, *[np.log(2)] * 3])
    assert minus_log(values.reshape(1, 7, 1), minimum_transmission=0.5).shape == (1, 7, 1)


@pytest.mark.parametrize("minimum", [0, -1, 1.5, np.nan])
def test_minimum_transmission_is_checked(minimum):
    with pytest.raises(GeometryError, match="minimum_transmission"):
        minus_log(np.ones(3), minimum_transmission=minimum)


def test_the_dead_pixel_of_a_real_detector(data_dir):
    with h5py.File(data_dir / "savu_24737" / "24737.nxs") as file:
        entry = file["entry1/tomo_entry/instrument/detector"]
        key, frames = entry["image_key"][()], entry["data"][()]
    dead = dead_pixels(reduce_frames(frames[key == 1]), reduce_frames(frames[key == 2]))
    assert dead.sum() == 1
    sinograms, _ = savu(data_dir)
    row, column = np.argwhere(dead)[0]
    assert np.isfinite(sinograms).all()
    neighbour = sinograms[row, :, column + 1 if column == 0 else column - 1]
    assert np.abs(sinograms[row, :, column] - neighbour).max() < 0.1
