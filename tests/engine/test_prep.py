"""Flat field correction and minus log, against TomoPy's vectors, by hand, and on dead pixels."""

from __future__ import annotations

import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.engine.real_scans import savu
from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep.flat_field import (
    bridge_pixels,
    correct,
    dead_pixels,
    line_integrals,
    open_beam,
    reduce_frames,
)
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


@settings(deadline=None)
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
    # What compiling takes is no temporary.
    correct(projections[:1], flat, dark)
    minus_log(out[:1], minimum_transmission=1e-4)
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


def scan(shape=(12, 5, 203), dtype=np.uint16, seed=0):
    """Return projections, flat and dark with dead pixels."""
    random = np.random.default_rng(seed)
    flat = random.uniform(30000, 50000, shape[1:]).astype(np.float32)
    dark = random.uniform(90, 110, shape[1:]).astype(np.float32)
    projections = (dark + (flat - dark) * random.uniform(-0.01, 1.2, shape)).clip(0).astype(dtype)
    flat.flat[:: max(flat.size // 5, 2)] = 0
    return projections, flat, dark


def test_the_logarithm_is_right_to_a_millionth():
    random = np.random.default_rng(0)
    values = np.exp(random.uniform(-60, 40, 200_000)).astype(np.float32)
    values[:50_000] = 1 + random.uniform(-0.3, 0.4, 50_000)
    values[:2001] = 1 + np.linspace(-1e-4, 1e-4, 2001)
    wanted = -np.log(values.astype(np.float64))
    found = minus_log(values, minimum_transmission=1e-30)
    assert np.all(np.abs(found - wanted) <= 1e-6 * np.abs(wanted))
    assert minus_log(np.ones(9), minimum_transmission=1.0).tolist() == [0] * 9


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.int32, np.float32, np.float64]
)
def test_one_pass_gives_what_the_steps_give(dtype):
    projections, flat, dark = scan()
    if dtype is np.uint8:
        projections, flat, dark = projections // 300, flat / 300, dark / 300
    projections = (projections // 2 if dtype is np.int16 else projections).astype(dtype)
    steps = minus_log(correct(projections, flat, dark), minimum_transmission=1e-3)
    once = line_integrals(projections, open_beam(flat, dark), minimum_transmission=1e-3)
    assert np.array_equal(once, steps)
    good = ~dead_pixels(flat, dark)
    exact = (projections - dark.astype(float)) / (flat - dark.astype(float))
    assert np.allclose(once[:, good], -np.log(np.maximum(exact, 1e-3))[:, good], rtol=1e-5, atol=1e-6)


def test_it_is_written_straight_into_sinograms():
    projections, flat, dark = scan()
    beam = open_beam(flat, dark)
    wanted = line_integrals(projections, beam, minimum_transmission=1e-4)
    whole = np.full((5, 30, 203), np.nan, np.float32)
    view = whole[:, 7:19].transpose(1, 0, 2)
    assert line_integrals(projections, beam, minimum_transmission=1e-4, out=view) is view
    assert np.array_equal(whole[:, 7:19], wanted.transpose(1, 0, 2))
    assert np.isnan(whole[:, :7]).all()
    assert np.isnan(whole[:, 19:]).all()


@pytest.mark.parametrize(
    "cut",
    [
        (slice(None), slice(1, 4), slice(None)),
        (slice(None, None, 3), slice(None), slice(10, 150)),
        (slice(None, None, -1), slice(None), slice(None)),
        (slice(None), slice(None, None, 2), slice(None, None, 3)),
    ],
)
def test_views_are_corrected_as_copies(cut):
    projections, flat, dark = scan()
    beam = open_beam(flat[cut[1:]], dark[cut[1:]])
    wanted = line_integrals(projections[cut].copy(), beam, minimum_transmission=1e-4)
    assert np.array_equal(line_integrals(projections[cut], beam, minimum_transmission=1e-4), wanted)
    out = np.empty(projections.shape, np.float32)[cut]
    line_integrals(projections[cut], beam, minimum_transmission=1e-4, out=out)
    assert np.array_equal(out, wanted)
    swapped = projections.astype(projections.dtype.newbyteorder())[cut]
    assert np.array_equal(line_integrals(swapped, beam, minimum_transmission=1e-4), wanted)


def test_neither_threads_nor_cuts_change_a_bit(monkeypatch):
    projections, flat, dark = scan((40, 11, 500))
    two = open_beam(np.stack([flat, flat * 1.1]), dark)
    weights = np.random.default_rng(1).random((40, 2))
    whole = line_integrals(projections, two, minimum_transmission=1e-4, weights=weights)
    for count in (1, 3, 64):
        monkeypatch.setattr("tomoservice.prep._flat_lines.available_threads", lambda count=count: count)
        again = line_integrals(projections, two, minimum_transmission=1e-4, weights=weights)
        assert np.array_equal(again, whole)
    for rows, angles in (
        (slice(0, 1), slice(0, 40)),
        (slice(4, 9), slice(3, 4)),
        (slice(10, 11), slice(20, 33)),
    ):
        part = line_integrals(
            projections[angles, rows], two.part(rows), minimum_transmission=1e-4, weights=weights[angles]
        )
        assert np.array_equal(part, whole[angles, rows])


def test_a_beam_of_several_flats():
    projections, flat, dark = scan()
    flats = np.stack([flat, flat * 1.3 + 50])
    weights = np.linspace(0, 1, 12)[:, None] * [-1, 1] + [1, 0]
    result = line_integrals(projections, open_beam(flats, dark), minimum_transmission=None, weights=weights)
    good = ~dead_pixels(flat, dark)
    for frame, weight, found in zip(projections, weights, result, strict=True):
        beam = weight[0] * (flats[0] - dark) + weight[1] * (flats[1] - dark)
        assert np.allclose(found[good], ((frame - dark) / beam)[good], rtol=1e-5, atol=1e-6)
    steady = line_integrals(projections, open_beam(flat, dark), minimum_transmission=None)
    assert np.allclose(result[0], steady[0], rtol=1e-6, atol=1e-7)
    assert np.isfinite(result).all()


def test_a_beam_that_components_would_put_out_stays_on():
    projections, flat, dark = scan()
    beam = open_beam(flat, dark, components=-flat[None])
    result = line_integrals(projections, beam, minimum_transmission=None, weights=np.full((12, 2), [1, 5]))
    assert np.isfinite(result).all()
    assert np.abs(result).max() < 1.3 / 0.05


def test_brightness_divides():
    projections, flat, dark = scan()
    beam = open_beam(flat, dark)
    bright = np.linspace(0.5, 2, 12)
    plain = line_integrals(projections, beam, minimum_transmission=None)
    result = line_integrals(projections, beam, minimum_transmission=None, brightness=bright)
    assert np.allclose(result, plain / bright[:, None, None], rtol=1e-6)


@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf])
def test_a_brightness_that_is_none_is_refused(bad):
    projections, flat, dark = scan()
    bright = np.ones(12)
    bright[4] = bad
    with pytest.raises(EngineError, match=f"got {bad}.* for projection 4"):
        line_integrals(projections, open_beam(flat, dark), minimum_transmission=None, brightness=bright)


def test_weights_are_checked():
    projections, flat, dark = scan()
    beam = open_beam(np.stack([flat, flat]), dark)
    for weights in (None, np.ones((12, 3)), np.ones((11, 2)), np.full((12, 2), np.nan)):
        with pytest.raises(EngineError, match=r"weights of shape \(12, 2\)"):
            line_integrals(projections, beam, minimum_transmission=None, weights=weights)
    with pytest.raises(GeometryError, match="minimum_transmission"):
        line_integrals(projections, open_beam(flat), minimum_transmission=0.0)
    with pytest.raises(GeometryError, match="does not fit"):
        open_beam(flat, dark, bad=np.zeros((2, 2), bool))


def test_given_pixels_are_bridged_as_dead_ones():
    projections, flat, dark = scan()
    flat = np.where(flat == 0, 40000, flat).astype(np.float32)
    bad = np.zeros(flat.shape, bool)
    bad[2, 40:43] = True
    beam = open_beam(flat, dark, bad=bad)
    broken = flat.copy()
    broken[bad] = 0
    wanted = line_integrals(projections, open_beam(broken, dark), minimum_transmission=1e-4)
    assert np.array_equal(line_integrals(projections, beam, minimum_transmission=1e-4), wanted)
    frames = correct(projections, flat, dark)
    bridge_pixels(frames, bad)
    assert np.allclose(minus_log(frames, minimum_transmission=1e-4), wanted, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 4), (1, 1, 1), (1, 1, 7), (3, 1, 1)])
def test_empty_and_tiny_stacks(shape):
    beam = open_beam(np.full(shape[1:], 100.0), np.full(shape[1:], 10.0))
    result = line_integrals(np.full(shape, 55, np.uint16), beam, minimum_transmission=1e-4)
    assert result.shape == shape
    assert np.allclose(result, np.log(2))


def test_a_saturated_and_a_dark_projection_stay_finite():
    projections, flat, dark = scan()
    projections[3], projections[4] = 65535, 0
    result = line_integrals(projections, open_beam(flat, dark), minimum_transmission=1e-4)
    assert np.isfinite(result).all()
    assert result[4].min() == pytest.approx(-np.log(1e-4), rel=1e-6)
    assert result[3].max() < 0
