"""The filters of filtered back-projection: the one place for all backends.

The ramp is the Fourier transform of the band-limited kernel sampled in space (Kak & Slaney, Principles of
Computerized Tomographic Imaging, 1988, eq. 3-61; DOI 10.1137/1.9780898719277), which keeps grey values right
where a ramp sampled in frequency loses the mean. The windows damp high frequencies and leave the mean alone.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.errors import EngineError


class FilterName(StrEnum):
    """Window that multiplies the ramp."""

    RAMP = "ramp"
    SHEPP_LOGAN = "shepp-logan"
    COSINE = "cosine"
    HANN = "hann"
    HAMMING = "hamming"
    BUTTERWORTH = "butterworth"


def ramp(length: int) -> NDArray[np.float64]:
    """Return the band-limited ramp for real transforms of even `length`.

    Parameters
    ----------
    length : int
        Samples of the padded projection; even. Convolution is linear for lags up to half of it.

    Returns
    -------
    (length // 2 + 1,) float64 array
        Filter in cycles per pixel, about ``|frequency|``.
    """
    lag = np.concatenate([np.arange(length // 2 + 1), np.arange(length // 2 - 1, 0, -1)])
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = lag % 2 == 1
    kernel[odd] = -1 / (np.pi * lag[odd]) ** 2
    transfer: NDArray[np.float64] = fft.rfft(kernel).real
    return transfer


def window(
    name: FilterName, frequency: NDArray[np.float64], cutoff: float, order: int
) -> NDArray[np.float64]:
    """Return the factor by which a filter damps the ramp at each frequency.

    Parameters
    ----------
    name : FilterName
        Which window.
    frequency : float64 array
        In cycles per pixel, 0 to 0.5.
    cutoff : float
        Where the window ends (Butterworth: where it has fallen to one half), as a fraction of the Nyquist
        frequency; above 0, at most 1.
    order : int
        Steepness of the Butterworth window, ``1 / (1 + (frequency / cutoff) ** (2 order))``.

    Returns
    -------
    float64 array shaped as `frequency`
        1 at frequency 0.
    """
    relative = frequency / (0.5 * cutoff)
    if name is FilterName.BUTTERWORTH:
        falling: NDArray[np.float64] = 1 / (1 + relative ** (2 * order))
        return falling
    if name is FilterName.SHEPP_LOGAN:
        shape = np.sinc(relative / 2)
    elif name is FilterName.COSINE:
        shape = np.cos(np.pi * relative / 2)
    elif name is FilterName.HANN:
        shape = 0.5 + 0.5 * np.cos(np.pi * relative)
    elif name is FilterName.HAMMING:
        shape = 0.54 + 0.46 * np.cos(np.pi * relative)
    else:
        shape = np.ones_like(relative)
    return np.where(relative <= 1, shape, 0)


def transfer_function(name: FilterName, cutoff: float, order: int, length: int) -> NDArray[np.float64]:
    """Return ramp times window for real transforms of even `length`.

    Parameters
    ----------
    name, cutoff, order
        See `window`.
    length : int
        Samples of the padded projection; even.

    Returns
    -------
    (length // 2 + 1,) float64 array
        Filter in cycles per pixel.

    Raises
    ------
    EngineError
        If the length is odd.
    """
    if length % 2:
        msg = f"a filter is made for an even number of samples, got {length}"
        raise EngineError(msg)
    return ramp(length) * window(name, np.arange(length // 2 + 1) / length, cutoff, order)
