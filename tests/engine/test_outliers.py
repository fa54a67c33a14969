"""Zingers, values that are not finite, hot and stuck pixels: against SciPy, TomoPy and known defects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.ndimage import median_filter

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep._outlier_kernels import median_network
from tomoservice.prep.flat_field import bridge_pixels
from tomoservice.prep.flat_pixels import bad_pixels, stuck_pixels
from tomoservice.prep.outliers import (
    ZingerOptions,
    median_frames,
    remove_not_finite,
    remove_spikes,
    remove_zingers,
)
from tomoservice.recipe.stages.outliers import Zingers


def transmissions(shape, noise=0.01, seed=0):
    """Return a smooth sample between air, with noise, (angle, row, column)."""
    column = np.linspace(-1, 1, shape[2])
    sample = np.exp(-1.5 * np.sqrt(np.clip(0.64 - column**2, 0, None)))
    random = np.random.default_rng(seed)
    return (sample + noise * random.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("count", [3, 5, 9, 25])
def test_a_network_brings_the_median_to_the_middle(count):
    # A network that sorts every row of zeros and ones finds the median of everything (0-1 principle).
    rows = np.arange(2**count)[:, None] >> np.arange(count) & 1 if count < 10 else None
    if rows is None:
        random = np.random.default_rng(0)
        rows = np.stack([random.permutation(np.arange(count) < k) for k in np.repeat(range(count), 400)])
    wires = [column.astype(int) for column in rows.T]
    for i, j in median_network(count):
        wires[i], wires[j] = np.minimum(wires[i], wires[j]), np.maximum(wires[i], wires[j])
    assert np.array_equal(wires[count // 2], np.median(rows, axis=1))


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(3, 17, 33), (2, 1, 9), (1, 5, 1), (4, 2, 300), (1, 1, 1), (2, 40, 64)])
def test_medians_are_scipys(size, shape):
    frames = np.random.default_rng(1).random(shape).astype(np.float32)
    wanted = median_filter(frames, (1, size, size), mode="nearest")
    assert np.array_equal(median_frames(frames, size), wanted)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_medians_are_tomopys(data_dir, axis):
    vectors = data_dir / "tomopy_vectors"
    cube = np.moveaxis(np.load(vectors / "cube.npy"), axis, 0)
    wanted = np.moveaxis(np.load(vectors / f"median_filter_{axis}.npy"), axis, 0)
    assert np.array_equal(median_frames(cube, 3), wanted)


@pytest.mark.parametrize("remove", [remove_zingers, remove_spikes])
@pytest.mark.parametrize("options", [{}, {"size": 5}, {"unit": "transmission", "threshold": 0.2}])
def test_zingers_go_and_nothing_else(remove, options):
    clean = transmissions((40, 30, 200))
    random = np.random.default_rng(2)
    hit = random.random(clean.shape) < 3e-4
    dirty = clean + hit * (0.5 + 2 * random.random(clean.shape).astype(np.float32))
    before = dirty.copy()
    replaced = remove(dirty, ZingerOptions(**options))
    changed = dirty != before
    assert np.array_equal(changed & hit, hit)
    assert np.count_nonzero(changed & ~hit) <= 2
    assert replaced == np.count_nonzero(changed)
    assert np.abs(dirty - clean)[hit].max() < 0.1


def test_the_noise_is_that_of_the_line():
    frames = transmissions((4, 20, 300), noise=0.002)
    frames[:, 10:] += 0.02 * np.random.default_rng(3).standard_normal((4, 10, 300)).astype(np.float32)
    frames[:, 5, 50] += 0.06
    frames[:, 15, 50] = transmissions((4, 20, 300), noise=0)[:, 15, 50] + 0.06
    before = frames.copy()
    remove_zingers(frames)
    assert np.all(frames[:, 5, 50] < before[:, 5, 50] - 0.04)
    assert np.array_equal(frames[:, 15, 50], before[:, 15, 50])


@pytest.mark.parametrize(("kind", "signs"), [("bright", {1}), ("dark", {-1}), ("both", {1, -1})])
def test_only_the_wanted_kind_goes(kind, signs):
    for sign in (1, -1):
        frames = transmissions((3, 9, 60))
        frames[1, 4, 30] += sign
        assert remove_zingers(frames, ZingerOptions(kind=kind)) == (1 if sign in signs else 0)


def test_a_large_zinger_shows_along_angle_only():
    clean = transmissions((30, 12, 80))
    dirty = clean.copy()
    dirty[17, 4:9, 40:46] += 3
    within, along = dirty.copy(), dirty.swapaxes(0, 1).copy()
    remove_zingers(within)
    remove_spikes(along)
    assert np.abs(within - clean).max() > 2
    assert np.abs(along.swapaxes(0, 1) - clean).max() < 0.1


def test_zingers_in_the_first_and_last_projection_are_found_along_angle():
    sinograms = transmissions((4, 9, 50))
    sinograms[1, 0, 20], sinograms[2, 8, 30] = 5, 5
    assert remove_spikes(sinograms) == 2
    assert sinograms.max() < 1.1


def test_edges_and_steps_are_no_zingers():
    frames = np.ones((3, 40, 60), np.float32)
    frames[:, :, 20:40] = 0.3
    frames[:, 15:] *= 0.5
    before = frames.copy()
    assert remove_zingers(frames, ZingerOptions(kind="both", unit="transmission", threshold=0.1)) <= 3 * 4
    inside = np.ones((40, 60), bool)
    inside[13:17, [18, 19, 20, 21, 38, 39, 40, 41]] = False
    assert np.array_equal(frames[:, inside], before[:, inside])


@pytest.mark.parametrize("size", [3, 5])
def test_slabs_with_their_margin_give_the_same(size):
    whole = transmissions((5, 31, 70), noise=0.05)
    parts = whole.copy()
    options = ZingerOptions(threshold=2.5, size=size, kind="both")
    margin = options.row_margin
    assert margin == size // 2
    assert remove_zingers(whole, options) > 50
    original = parts.copy()
    for start, stop in ((0, 4), (4, 5), (5, 23), (23, 31)):
        low, high = max(start - margin, 0), min(stop + margin, 31)
        slab = original[:, low:high].copy()
        remove_zingers(slab, options)
        parts[:, start:stop] = slab[:, start - low : stop - low]
    assert np.array_equal(parts, whole)


def test_a_transposed_view_is_cleaned_in_place():
    sinograms = transmissions((20, 8, 50), noise=0.05).swapaxes(0, 1).copy()
    frames = sinograms.swapaxes(0, 1).copy()
    options = ZingerOptions(threshold=2.5)
    assert remove_zingers(sinograms.swapaxes(0, 1), options) == remove_zingers(frames, options) > 20
    assert np.array_equal(sinograms.swapaxes(0, 1), frames)


def test_what_is_not_finite_is_bridged_along_its_row():
    truth = np.broadcast_to(np.linspace(1, 2, 11, dtype=np.float32), (2, 3, 11))
    frames = truth.copy()
    frames[0, 1, 3:5], frames[1, 2, 0], frames[1, 0, 10] = np.nan, np.inf, -np.inf
    frames[0, 2] = np.nan
    assert remove_not_finite(frames) == 4 + 11
    assert np.all(frames[0, 2] == 1)
    assert (frames[1, 2, 0], frames[1, 0, 10]) == (truth[0, 0, 1], truth[0, 0, 9])
    assert np.allclose(frames[:, :2, 1:10], truth[:, :2, 1:10], atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    frames=npst.arrays(
        np.float32, npst.array_shapes(min_dims=3, max_dims=3, max_side=7), elements=st.floats(width=32)
    ),
    size=st.sampled_from([3, 5]),
)
def test_whatever_comes_in_finite_values_go_out(frames, size):
    with np.errstate(all="ignore"):
        remove_zingers(frames, ZingerOptions(size=size, kind="both"))
    assert np.isfinite(frames).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e30])
def test_constant_frames_stay(value):
    frames = np.full((4, 6, 7), value, np.float32)
    assert remove_zingers(frames, ZingerOptions(kind="both")) == 0
    assert remove_spikes(frames, ZingerOptions(kind="both")) == 0
    assert np.all(frames == np.float32(value))


def test_hot_saturated_and_noisy_pixels_are_found():
    random = np.random.default_rng(4)
    flats = random.poisson(2000, (10, 4, 120)).astype(np.uint16)
    dark = np.full((4, 120), 100, np.float32)
    dark[0, 30] = 1400
    flats[:, 1, 50] = 65535
    flats[:, 2, 70] = random.integers(500, 3500, 10)
    # A zinger, and a weak pixel, are no defects.
    flats[3, 3, 20] = 65535
    flats[:, 3, 90] = random.poisson(1000, 10)
    found = bad_pixels(flats, dark)
    assert set(zip(*np.nonzero(found), strict=True)) >= {(0, 30), (1, 50), (2, 70)}
    assert not found[3, 90]
    assert found.sum() <= 4
    assert not bad_pixels(flats[:, :1], None).any()


def test_stuck_and_flickering_pixels_are_found_and_bridged():
    sinograms = transmissions((3, 90, 101)).copy()
    swing = np.sin(np.linspace(0, np.pi, 90))[:, None] * np.sin(np.linspace(0, np.pi, 101))
    sinograms += 0.3 * swing.astype(np.float32)
    clean = sinograms.copy()
    sinograms[0, :, 40:42] = 0.7
    sinograms[1, :, 60] += 3 * np.random.default_rng(5).random(90).astype(np.float32)
    bad = stuck_pixels(sinograms)
    assert sorted(zip(*np.nonzero(bad), strict=True)) == [(0, 40), (0, 41), (1, 60)]
    bridge_pixels(sinograms.swapaxes(0, 1), bad)
    assert np.abs(sinograms - clean).max() < 0.1
    assert not stuck_pixels(np.ones((2, 5, 40), np.float32)).any()
    assert not stuck_pixels(sinograms[:, :1]).any()
    assert not stuck_pixels(sinograms[:, :, :9]).any()


def test_wrong_options_are_refused():
    for wrong in ({"threshold": 0}, {"threshold": np.nan}, {"size": 4}, {"unit": "counts"}, {"kind": "grey"}):
        with pytest.raises(EngineError, match=str(next(iter(wrong.values())))):
            ZingerOptions(**wrong)
    with pytest.raises(EngineError, match="3 or 5"):
        median_frames(np.ones((1, 2, 3)), 7)


def test_wrong_arrays_are_refused():
    with pytest.raises(GeometryError, match="float32"):
        remove_zingers(np.ones((2, 3, 4)))
    with pytest.raises(GeometryError, match="float32"):
        remove_not_finite(np.ones((3, 4), np.float32))
    with pytest.raises(GeometryError, match="side by side"):
        remove_zingers(np.ones((2, 3, 8), np.float32)[:, :, ::2])
    with pytest.raises(EngineError, match="at least 5 projections, got 4"):
        remove_spikes(np.ones((2, 4, 8), np.float32), ZingerOptions(size=5))
    with pytest.raises(GeometryError, match="of one frame"):
        bad_pixels(np.ones((2, 3, 4)), np.ones((4, 4)))


def test_options_that_nobody_gives_are_those_of_a_recipe():
    stage = Zingers()
    options = ZingerOptions(stage.threshold, stage.threshold_unit, stage.size, stage.kind)
    assert options == ZingerOptions()
