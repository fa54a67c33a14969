"""The combined wavelet and Fourier filter, against algotom's, TomoPy's and PyWavelets."""

from __future__ import annotations

import algotom.prep.removal as reference
import numpy as np
import pytest
import pywt

from tests.engine.real_scans import tooth
from tests.engine.striped import striped
from tomoservice.errors import EngineError
from tomoservice.prep.stripes import FourierWavelet, remove_stripes
from tomoservice.prep.stripes.daubechies import daubechies, wavelet_names
from tomoservice.prep.stripes.fourier_wavelet import OnTheCpu

SAME = 1e-5


@pytest.mark.parametrize("shape", [(180, 256), (91, 301), (64, 127), (37, 41), (150, 64)])
def test_agrees_with_algotom(shape):
    sinogram = striped(*shape).sinogram
    for wavelet, level, size in [("db9", 5, 1), ("db5", 2, 3), ("db1", 1, 2.5)]:
        wanted = reference.remove_stripe_based_wavelet_fft(sinogram, level, size, wavelet)
        method = FourierWavelet(wavelet=wavelet, level=level, sigma=size, variant="algotom")
        result = remove_stripes(sinogram[None], method)[0]
        assert np.abs(result - wanted).max() < SAME * np.abs(wanted).max()


def test_agrees_with_algotom_on_a_real_scan(data_dir):
    sinogram = tooth(data_dir)[0][1]
    wanted = reference.remove_stripe_based_wavelet_fft(sinogram)
    result = remove_stripes(
        sinogram[None], FourierWavelet(wavelet="db9", level=5, sigma=1, variant="algotom")
    )
    assert np.abs(result[0] - wanted).max() < SAME * np.abs(wanted).max()


def test_agrees_with_tomopy(data_dir):
    vectors = data_dir / "tomopy_vectors"
    projections, wanted = np.load(vectors / "proj.npy"), np.load(vectors / "remove_stripe_fw.npy")
    # TomoPy's default number of levels depends on the greatest extent of the whole stack, rows included.
    levels = int(np.ceil(np.log2(max(projections.shape))))
    method = FourierWavelet(level=levels, variant="tomopy")
    result = remove_stripes(projections.swapaxes(0, 1), method).swapaxes(0, 1)
    assert np.abs(result - wanted).max() < SAME * np.abs(wanted).max()
    assert np.array_equal(
        remove_stripes(projections.swapaxes(0, 1), FourierWavelet(level=None, variant="tomopy")).swapaxes(
            0, 1
        ),
        result,
    )


def test_filters_are_those_of_pywavelets():
    assert len(wavelet_names()) == 20
    for name in wavelet_names():
        low, high = daubechies(name)
        wavelet = pywt.Wavelet(name)
        assert np.abs(low - wavelet.rec_lo).max() < 1e-7
        assert np.abs(high - wavelet.rec_hi).max() < 1e-7


@pytest.mark.parametrize(
    ("shape", "name"), [((32, 48), "db1"), ((31, 47), "db4"), ((3, 5), "db7"), ((1, 2), "db5")]
)
def test_transform_is_that_of_pywavelets(shape, name):
    signal = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    smooth, detail = OnTheCpu().analyse(signal, daubechies(name))
    wanted, (_, vertical, _) = pywt.dwt2(signal, name)
    assert np.allclose(smooth, wanted, atol=1e-5)
    assert np.allclose(detail, vertical, atol=1e-5)
    back = pywt.idwt2((wanted, (None, vertical, None)), name)[: shape[0], : shape[1]]
    assert np.allclose(OnTheCpu().synthesise(smooth, detail, daubechies(name), shape), back, atol=1e-5)


def test_unknown_wavelets_are_refused():
    with pytest.raises(EngineError, match="no wavelet 'db21'"):
        daubechies("db21")
