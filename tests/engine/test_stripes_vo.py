"""Vo's methods of stripe removal, against algotom's and against the truth."""

from __future__ import annotations

import algotom.prep.removal as reference
import numpy as np
import pytest
from algotom.util.utility import separate_frequency_component
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from tests.engine.real_scans import savu, tooth
from tests.engine.striped import Striped, rms, striped, tied
from tomoservice.errors import EngineError
from tomoservice.prep.stripes import (
    ByFiltering,
    ByFitting,
    BySorting,
    DeadStripes,
    EveryStripe,
    LargeStripes,
    remove_stripes,
)
from tomoservice.prep.stripes._sorted import Ranked
from tomoservice.prep.stripes.detection import find_stripes

# Greatest difference relative to the greatest value.
SAME = 1e-5
SHAPES = [(120, 256), (91, 201), (64, 128), (150, 97)]

SORTED = [
    (BySorting(), reference.remove_stripe_based_sorting),
    (BySorting(size=6), lambda s: reference.remove_stripe_based_sorting(s, size=6)),
    (LargeStripes(), reference.remove_large_stripe),
    (
        LargeStripes(snr=2, size=31, drop_ratio=0.3, normalise=False),
        lambda s: reference.remove_large_stripe(s, snr=2, size=31, drop_ratio=0.3, norm=False),
    ),
    (DeadStripes(), reference.remove_dead_stripe),
    (
        DeadStripes(snr=5, size=20, residual=False),
        lambda s: reference.remove_dead_stripe(s, snr=5, size=20, residual=False),
    ),
    (EveryStripe(), reference.remove_all_stripe),
    (
        EveryStripe(snr=4, large_size=41, small_size=9, drop_ratio=0.2),
        lambda s: reference.remove_all_stripe(s, snr=4, la_size=41, sm_size=9, drop_ratio=0.2),
    ),
]


def difference(result, wanted):
    assert result.shape == wanted.shape
    assert result.dtype == np.float32
    return np.abs(result - wanted) / np.abs(wanted).max()


@pytest.fixture(scope="module")
def scans() -> list[NDArray[np.float32]]:
    return [striped(*shape, seed=shape[0]).sinogram for shape in SHAPES]


@pytest.mark.parametrize(("method", "peer"), SORTED)
def test_agrees_with_algotom(method, peer, scans):
    for sinogram in scans:
        apart = difference(remove_stripes(sinogram[None], method)[0], peer(sinogram))
        ties = tied(sinogram)
        assert ties.mean() < 1e-3
        assert apart[~ties].max() < SAME


@pytest.mark.parametrize(("method", "peer"), SORTED)
def test_agrees_with_algotom_on_a_real_scan(method, peer, data_dir):
    sinogram = tooth(data_dir)[0][1]
    result, wanted = remove_stripes(sinogram[None], method)[0], peer(sinogram)
    ties = tied(sinogram)
    if isinstance(method, EveryStripe):
        # algotom sorts again what it got from medians of counts, where more values are equal.
        dead = reference.remove_dead_stripe(sinogram, method.snr, method.large_size, residual=False)
        again = reference.remove_large_stripe(dead, method.snr, method.large_size, method.drop_ratio)
        ties |= tied(again.astype(np.float32))
    assert ties.mean() < 0.2
    assert difference(result, wanted)[~ties].max() < SAME
    # Equal values of a column may be exchanged for each other, but no more.
    assert difference(np.sort(result, axis=0), np.sort(wanted, axis=0)).max() < SAME


@pytest.mark.parametrize("sigma", [3, 7])
def test_filtering_agrees_with_algotom(sigma, scans):
    window = {"name": "gaussian", "sigma": sigma}
    for sinogram in scans:
        smooth, _ = separate_frequency_component(sinogram, axis=0, window=window)
        wanted = reference.remove_stripe_based_filtering(sinogram, sigma=sigma, size=11)
        result = remove_stripes(sinogram[None], ByFiltering(sigma=sigma, size=11))[0]
        ties = tied(smooth)
        assert ties.mean() < 0.01
        assert difference(result, wanted)[~ties].max() < SAME


@pytest.mark.parametrize(("order", "sigma"), [(2, 20), (3, 40)])
def test_fitting_agrees_with_algotom(order, sigma):
    for shape in SHAPES:
        # The sample fills the field of view, as the method wants it.
        sinogram = striped(*shape, filling=2).sinogram + 1
        wanted = reference.remove_stripe_based_fitting(sinogram, order=order, sigma=sigma)
        result = remove_stripes(sinogram[None], ByFitting(order=order, sigma=sigma))[0]
        assert difference(result, wanted).max() < SAME


def test_all_is_the_three_in_turn():
    sinograms = striped(120, 200).sinogram[None]
    for normalise in (True, False):
        dead = remove_stripes(sinograms, DeadStripes(residual=False))
        large = remove_stripes(dead, LargeStripes(normalise=normalise))
        wanted = remove_stripes(large, BySorting())
        result = remove_stripes(sinograms, EveryStripe(normalise=normalise))
        assert np.array_equal(result[0][~tied(large[0])], wanted[0][~tied(large[0])])


@settings(max_examples=60)
@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=2, max_dims=2, max_side=150),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    st.integers(1, 40),
)
def test_sorting_and_medians_are_exact(sinogram, size):
    ranked = Ranked.of(sinogram)
    assert np.array_equal(ranked.values.T, np.sort(sinogram, axis=0))
    assert np.array_equal(ranked.order.T, np.argsort(sinogram, axis=0, kind="stable"))
    assert np.array_equal(ranked.unsorted(ranked.values), sinogram)
    # By definition: SciPy is off where a window is much wider than what it mirrors.
    mirrored = np.pad(ranked.values, ((size // 2, size - 1 - size // 2), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, size, axis=0)
    assert np.array_equal(ranked.medians(size), np.sort(windows, axis=-1)[..., size // 2])


@pytest.fixture(scope="module")
def whole() -> Striped:
    return striped(240, 512)


@pytest.mark.parametrize(
    ("method", "kinds"),
    [
        (BySorting(size=11), ["full", "partial"]),
        (ByFiltering(size=11), ["full", "partial"]),
        (LargeStripes(size=31), ["full", "large"]),
        (DeadStripes(size=31), ["large", "unresponsive", "fluctuating"]),
        (EveryStripe(large_size=31, small_size=11), ["full", "large", "unresponsive", "fluctuating"]),
    ],
)
def test_removes_what_it_is_made_for(method, kinds, whole):
    scan = whole
    corrected = remove_stripes(scan.sinogram[None], method)[0]
    for kind in kinds:
        columns = scan.kinds[kind]
        before, after = (rms((s - scan.truth)[:, columns].mean(axis=0)) for s in (scan.sinogram, corrected))
        if kind == "fluctuating":
            before, after = (rms((s - scan.truth)[:, columns]) for s in (scan.sinogram, corrected))
        assert after < 0.35 * before, (kind, before, after)
    good = np.setdiff1d(np.arange(512), np.concatenate(list(scan.kinds.values())))
    assert rms((corrected - scan.truth)[:, good]) < 3 * scan.noise


def test_air_is_not_blown_up():
    # More than half of the columns see air, where the ratio of two means is that of noise to noise.
    scan = striped(180, 500, filling=0.3)
    air = scan.truth.max(axis=0) == 0
    assert air.mean() > 0.5
    published = rms(reference.remove_large_stripe(scan.sinogram)[:, air])
    ours = rms(remove_stripes(scan.sinogram[None], LargeStripes())[0][:, air])
    assert ours < 1.2 * rms(scan.sinogram[:, air]) < published
    fitted = remove_stripes(scan.sinogram[None], ByFitting())[0]
    assert np.abs(fitted).max() < 3 * np.abs(scan.sinogram).max()


def test_data_without_noise_are_corrected_where_algotom_refuses():
    sinogram = np.ones((50, 80), np.float32)
    sinogram[:, 30] = 1.2
    with pytest.raises(ValueError, match="noise-free"):
        reference.remove_large_stripe(sinogram)
    assert np.allclose(remove_stripes(sinogram[None], LargeStripes())[0], 1)


def test_stripes_stand_out_of_a_spread():
    profile = np.linspace(0.99, 1.01, 100)
    assert not find_stripes(profile, 3).any()
    profile[20], profile[70] = 1.2, 0.7
    assert np.array_equal(np.flatnonzero(find_stripes(profile, 3)), [20, 70])
    assert not find_stripes(profile, 30).any()
    assert not find_stripes(np.array([1, 1, 5.0]), 3).any()


def test_windows_follow_the_detector():
    sinogram = striped(60, 700).sinogram[None]
    assert np.array_equal(
        remove_stripes(sinogram, BySorting(size=None)), remove_stripes(sinogram, BySorting(size=7))
    )
    assert np.array_equal(
        remove_stripes(sinogram, LargeStripes(size=None)), remove_stripes(sinogram, LargeStripes(size=19))
    )
    narrow = sinogram[..., :30]
    assert np.array_equal(
        remove_stripes(narrow, BySorting(size=None)), remove_stripes(narrow, BySorting(size=5))
    )


def test_few_angles_for_a_polynomial_are_refused():
    with pytest.raises(EngineError, match="needs at least 3 angles, got 2"):
        remove_stripes(np.ones((1, 2, 40)), ByFitting())


def test_real_dead_columns_are_found(data_dir):
    sinogram = savu(data_dir)[0][90].copy()
    sinogram[:, 70] = sinogram[:, 70].mean()
    repaired = remove_stripes(sinogram[None], DeadStripes(size=21, residual=False))[0]
    neighbours = 0.5 * (sinogram[:, 68] + sinogram[:, 72])
    assert np.allclose(repaired[:, 70], neighbours, atol=1e-5)
