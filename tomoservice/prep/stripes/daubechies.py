"""Filters of Daubechies wavelets, by spectral factorisation (Daubechies 1988, DOI 10.1002/cpa.3160410705)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError

MOST_MOMENTS = 20


def wavelet_names() -> list[str]:
    """Return the names of the wavelets there are: db1 (Haar's) to db20."""
    return [f"db{moments}" for moments in range(1, MOST_MOMENTS + 1)]


def _smooth_filter(moments: int) -> NDArray[np.float64]:
    # |H|^2 = cos^2N P(sin^2), P being the truncated binomial series; of each pair of its zeros z, 1/z the one
    # within the unit circle makes the filter whose energy comes first.
    series = [math.comb(moments - 1 + k, k) for k in range(moments)]
    roots = np.roots(series[::-1])
    middle = 1 - 2 * roots.astype(np.complex128)
    zeros = middle - np.sqrt(middle**2 - 1)
    zeros = np.where(np.abs(zeros) < 1, zeros, 1 / zeros)
    taps = np.real(np.poly(np.concatenate([zeros, np.full(moments, -1)])))
    smooth: NDArray[np.float64] = taps * (math.sqrt(2) / taps.sum())
    return smooth


def daubechies(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the synthesis filters of a wavelet; analysis takes them backwards.

    Parameters
    ----------
    name : str
        "db1" to "db20": the number of vanishing moments N.

    Returns
    -------
    low, high : (2 N,) float32 array
        For the smooth and the detailed half.

    Raises
    ------
    EngineError
        If there is no such wavelet.
    """
    if name not in wavelet_names():
        msg = f"there is no wavelet {name!r}; wanted one of db1 to db{MOST_MOMENTS}"
        raise EngineError(msg)
    smooth = _smooth_filter(int(name.removeprefix("db")))
    detail = smooth[::-1] * np.where(np.arange(smooth.size) % 2, -1, 1)
    return smooth.astype(np.float32), detail.astype(np.float32)
