"""Phase retrieval as a filter: what is done to each spatial frequency of a projection.

Every method multiplies the spectrum of the transmission by a real function of frequency that is 1 at
frequency 0, so that wide uniform regions keep their transmission.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError
from tomoservice.propagation import FreeSpace


class Method(StrEnum):
    """How a phase is retrieved."""

    PAGANIN = "paganin"
    """The transport-of-intensity equation solved for one material."""
    GENERALISED_PAGANIN = "generalised_paganin"
    """The same with the Laplacian of the pixel grid: sharper at the finest details."""
    CTF = "ctf"
    """The contrast transfer function of a weak object of one material, inverted."""


class Padding(StrEnum):
    """What stands around a frame when it is filtered."""

    REFLECT = "reflect"
    """The frame mirrored at its edges, without end."""
    EDGE = "edge"
    """The outermost values, as far as the filter reaches."""


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """A phase retrieval for one experiment and one material.

    Parameters
    ----------
    method
        How.
    delta_beta
        Ratio of refraction to absorption of the material; see `tomoservice.prep.phase.material`.
    space
        Energy, distance, and size of a (binned) pixel.
    regularisation
        Of the CTF: keeps frequencies that the detector saw without contrast from being amplified without
        bound. The largest amplification is about ``1 / (2 sqrt(regularisation (1 + delta_beta^2)))``.
    unsharp_amount
        How strongly details are enhanced afterwards: ``t + amount (t - blurred t)``; 0 leaves them as they
        are.
    unsharp_sigma
        Standard deviation of the Gaussian that blurs, pixels.
    padding
        What stands around a frame.

    Raises
    ------
    EngineError
        If a number is out of range.
    """

    method: Method
    delta_beta: float
    space: FreeSpace
    regularisation: float = 0.1
    unsharp_amount: float = 0.0
    unsharp_sigma: float = 1.0
    padding: Padding = Padding.REFLECT

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delta_beta) and self.delta_beta > 0):
            raise EngineError(
                f"delta/beta must be a number above 0, got {self.delta_beta}; without refraction there is no "
                "phase to retrieve (set phase.method to 'none')"
            )
        if not (math.isfinite(self.regularisation) and self.regularisation > 0):
            raise EngineError(f"the regularisation must be a number above 0, got {self.regularisation}")
        if not (math.isfinite(self.unsharp_amount) and self.unsharp_amount >= 0):
            raise EngineError(f"unsharp_amount must be a number of at least 0, got {self.unsharp_amount}")
        if not (math.isfinite(self.unsharp_sigma) and self.unsharp_sigma > 0):
            raise EngineError(f"unsharp_sigma must be a number of pixels above 0, got {self.unsharp_sigma}")

    @property
    def blur_pixels(self) -> float:
        """Length over which Paganin's filter averages, pixels; see `blur_pixels`."""
        return blur_pixels(self.delta_beta, self.space)


def blur_pixels(delta_beta: float, space: FreeSpace) -> float:
    """Return over which length Paganin's filter averages, pixels: it falls off like ``exp(-r / length)``."""
    return math.sqrt(delta_beta / (4 * math.pi * space.fresnel_number))


def transfer(
    retrieval: Retrieval, row_frequencies: NDArray[np.float64], column_frequencies: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the factor by which each spatial frequency is multiplied.

    Parameters
    ----------
    retrieval : Retrieval
        Method, material, experiment.
    row_frequencies : (m,) float64 array
        Along a column of pixels, cycles per pixel.
    column_frequencies : (n,) float64 array
        Along a row of pixels, cycles per pixel.

    Returns
    -------
    (m, n) float64 array
        Dimensionless; 1 at frequency 0.

    References
    ----------
    D. Paganin et al., J. Microsc. 206, 33 (2002), DOI 10.1046/j.1365-2818.2002.01010.x.
    D. Paganin et al., J. Opt. 22, 115607 (2020), DOI 10.1088/2040-8986/abbab9.
    P. Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999), DOI 10.1063/1.125225.
    L. D. Turner et al., Opt. Express 12, 2960 (2004), DOI 10.1364/OPEX.12.002960 (one material).
    """
    square = row_frequencies[:, None] ** 2 + column_frequencies**2
    if retrieval.method is Method.CTF:
        result = _inverse_ctf(retrieval, square)
    elif retrieval.method is Method.GENERALISED_PAGANIN:
        # The spectrum of the five-point Laplacian stands for 4 pi^2 f^2.
        laplacian = 4.0 - 2.0 * (
            np.cos(2 * np.pi * row_frequencies)[:, None] + np.cos(2 * np.pi * column_frequencies)
        )
        result = 1 / (1 + retrieval.blur_pixels**2 * laplacian)
    else:
        result = 1 / (1 + (2 * np.pi * retrieval.blur_pixels) ** 2 * square)
    if retrieval.unsharp_amount > 0:
        blurred = np.exp(-2 * (np.pi * retrieval.unsharp_sigma) ** 2 * square)
        result *= 1 + retrieval.unsharp_amount * (1 - blurred)
    return result


def _inverse_ctf(retrieval: Retrieval, square: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the regularised inverse of ``cos(chi) + delta/beta sin(chi)``, chi = pi wavelength distance f^2.

    A weak object of line integrals p gives an intensity with the spectrum of 1 minus that of p times this.
    It is ``sqrt(1 + delta_beta^2) cos(chi - first)``, where `first` is chi at its first maximum. Up to there
    it is at least 1 and needs no regularisation, which sets in softly up to the first zero.
    """
    gamma = retrieval.delta_beta
    first = math.atan(gamma)
    beyond = np.pi / retrieval.space.fresnel_number * square - first
    step = np.clip(beyond / (np.pi / 2), 0.0, 1.0)
    weight = step * step * (3 - 2 * step)
    contrast = np.cos(beyond)
    inverse: NDArray[np.float64] = contrast / (contrast**2 + retrieval.regularisation * weight)
    return inverse * math.cos(first)
