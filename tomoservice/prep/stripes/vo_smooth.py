"""Stripe removal on a smooth part of each column, of Vo, Atwood and Drakopoulos 2018.

DOI 10.1364/OE.26.028396, algorithms 1 and 2. What varies fast along a column is the sample and the noise;
stripes are looked for in the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.errors import EngineError
from tomoservice.prep.stripes._sorted import Ranked
from tomoservice.prep.stripes.base import Sinogram, above, at_least, small_window

# Columns that are filtered together: they stay in the cache.
BLOCK = 64
# Ratio of the smoothed fit to the fit that stripes can explain.
LARGEST_GAIN = 2.0


@dataclass(frozen=True, kw_only=True)
class ByFiltering:
    """Wide and partial stripes: sorts the low-frequency part of columns, medians across (algorithm 2).

    Parameters
    ----------
    sigma : float
        Width of the Gaussian that makes the low-frequency part, in steps of the column's discrete Fourier
        transform (oscillations over the scan). Above 0; greater treats more of the column.
    size : int or None
        Columns of the median's window; wider than twice the widest stripe. At least 1; None stands for 1 % of
        the detector's width, at least 5.

    Raises
    ------
    EngineError
        If a parameter is out of its range.
    """

    sigma: float = 3.0
    size: int | None = 21

    def __post_init__(self) -> None:
        above("sigma", self.sigma, 0)
        at_least("size", self.size, 1)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        smooth = self._smooth(sinogram)
        ranked = Ranked.of(smooth)
        return ranked.unsorted(ranked.medians(small_window(self.size, sinogram.shape[1]))) + (
            sinogram - smooth
        )

    def _smooth(self, sinogram: Sinogram) -> Sinogram:
        angles, columns = sinogram.shape
        pad = padding(angles)
        length = angles + 2 * pad
        signs, even = alternating(length), self.transfer(length)
        smooth = np.empty_like(sinogram)
        for start in range(0, columns, BLOCK):
            part = np.ascontiguousarray(sinogram[:, start : start + BLOCK].T, np.float64)
            padded = np.pad(part, ((0, 0), (pad, pad)), mode="reflect") * signs
            filtered = fft.irfft(fft.rfft(padded) * even, length) * signs
            smooth[:, start : start + BLOCK] = filtered[:, pad : pad + angles].T
        return smooth

    def transfer(self, length: int) -> NDArray[np.float64]:
        """Return what the low-pass keeps of each frequency of a real signal whose signs alternate."""
        window = _gaussian(length, self.sigma)
        # What a real signal keeps of a window is its even part.
        even: NDArray[np.float64] = 0.5 * (window + _reversed(window))[: length // 2 + 1]
        return even


@dataclass(frozen=True, kw_only=True)
class ByFitting:
    """Stripes in sinograms with little fast variation: a polynomial fit, smoothed across (algorithm 1).

    Each column is divided by a sliding polynomial fit along the angle, and multiplied by that fit after a
    Gaussian has smoothed it over columns. For samples that fill the field of view: in air, where the fit is
    about zero, the quotient means nothing.

    Parameters
    ----------
    order : int
        Of the polynomial. 0 to 10.
    sigma : float
        Width of the Gaussian across columns, in steps of the discrete Fourier transform; above 0. Smaller
        smooths more, which removes more.

    Raises
    ------
    EngineError
        If a parameter is out of its range, or there are too few angles for the polynomial.

    Notes
    -----
    Where the quotient of both fits is beyond 1/2 to 2, as it is in air, the sinogram is left as it is;
    algotom multiplies by it.
    """

    order: int = 2
    sigma: float = 10.0

    def __post_init__(self) -> None:
        above("sigma", self.sigma, 0)
        if not 0 <= self.order <= 10:
            msg = f"order of the polynomial must be between 0 and 10, got {self.order}"
            raise EngineError(msg)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        fit = self._fitted(sinogram)
        smooth = self._smoothed(fit)
        size, smooth_size = np.mean(np.abs(fit)), np.mean(np.abs(smooth))
        if size == 0 or smooth_size == 0:
            return sinogram
        smooth *= size / smooth_size
        factor = np.divide(smooth, fit, out=np.ones_like(fit), where=fit != 0)
        factor[(factor < 1 / LARGEST_GAIN) | (factor > LARGEST_GAIN)] = 1
        corrected: Sinogram = (sinogram * factor).astype(np.float32)
        return corrected

    def _fitted(self, sinogram: Sinogram) -> NDArray[np.float64]:
        """Return the value at each angle of a polynomial fitted to the angles around it: Savitzky-Golay."""
        angles, columns = sinogram.shape
        transfer = self.fit_transfer(angles)
        fitted = np.empty((angles, columns))
        for start in range(0, columns, BLOCK):
            part = np.ascontiguousarray(sinogram[:, start : start + BLOCK].T, np.float64)
            fitted[:, start : start + BLOCK] = fft.idct(fft.dct(part, type=1) * transfer, type=1).T
        return fitted

    def fit_transfer(self, angles: int) -> NDArray[np.float64]:
        """Return what the fit keeps of each cosine (angle,) along a column, mirrored at its ends."""
        if angles < fewest_angles(self.order):
            msg = (
                f"a polynomial of order {self.order} needs at least {fewest_angles(self.order)} angles, got "
                f"{angles}; lower the order, or choose another method of stripe removal"
            )
            raise EngineError(msg)
        window = angles if angles % 2 else angles - 1
        # Columns continue mirrored at their ends, which makes the convolution a cosine transform.
        kernel = np.zeros(angles)
        kernel[: window // 2 + 1] = _polynomial_kernel(window, self.order)
        transfer: NDArray[np.float64] = fft.dct(kernel, type=1)
        return transfer

    def _smoothed(self, fit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a fit (angle, column) after a low-pass in both directions, a Gaussian of the frequency."""
        angles, columns = fit.shape
        pad = padding(angles)
        padded = np.pad(fit, ((0, 0), (pad, pad)), mode="edge")
        padded = np.pad(padded, ((pad, pad), (0, 0)), mode="mean")
        rows, width = padded.shape
        signs = alternating(rows)[:, None] * alternating(width)
        padded *= signs
        spectrum = fft.rfft2(padded)
        spectrum *= self.smoothing_transfer(rows, width, columns)
        smooth: NDArray[np.float64] = fft.irfft2(spectrum, padded.shape) * signs
        return smooth[pad : pad + angles, pad : pad + columns]

    def smoothing_transfer(self, rows: int, width: int, columns: int) -> NDArray[np.float64]:
        """Return what smoothing keeps of a real (rows, width) fit with alternating signs, padded columns."""
        along = _gaussian(rows, max(10, min(60, int(0.1 * columns))))
        across = _gaussian(width, self.sigma)
        # What a real signal keeps of a window is its even part.
        half = width // 2 + 1
        window = np.outer(along, across[:half])
        window += np.outer(_reversed(along), _reversed(across)[:half])
        window *= 0.5
        return window


def fewest_angles(order: int) -> int:
    """Return how many angles there must be to fit a polynomial of `order`: the window, odd, is longer."""
    return max(order + 1 + order % 2, 3)


def alternating(length: int) -> NDArray[np.float64]:
    """Return alternating signs, which bring frequency 0 into the middle of the spectrum."""
    return np.where(np.arange(length) % 2, -1.0, 1.0)


def _gaussian(length: int, sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian around the middle of a spectrum."""
    gaussian: NDArray[np.float64] = np.exp(-0.5 * ((np.arange(length) - (length - 1) / 2) / sigma) ** 2)
    return gaussian


def _reversed(window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a window of a spectrum with positive and negative frequencies exchanged."""
    return np.roll(window[::-1], 1)


def padding(angles: int) -> int:
    """Return how far a column is continued at its ends, in angles; a fit over columns as far."""
    return min(150, int(0.1 * angles))


def _polynomial_kernel(window: int, order: int) -> NDArray[np.float64]:
    """Return the weights at distances 0, 1, ... that give the middle of a fit to `window` points."""
    x = np.arange(window) / window - (window - 1) / (2 * window)
    basis, _ = np.linalg.qr(np.vander(x, order + 1))
    weights: NDArray[np.float64] = basis @ basis[window // 2]
    return weights[window // 2 :]
