"""Stripe removal that adds one number to each column, found from the mean over angles.

Such methods remove full stripes of one intensity only, but change neither noise nor contrast along the angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import uniform_filter1d

from tomoservice.errors import EngineError
from tomoservice.prep.stripes.base import Sinogram, above, at_least

Profile = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Titarenko:
    """Full stripes: the smallest offsets that make the mean profile smooth, by Tikhonov's regularisation.

    Titarenko, Withers and Yagola 2010 (DOI 10.1016/j.aml.2010.08.022): the offsets q minimise
    ``|D (p + q)|^2 + alpha |q|^2``, where p is the mean over angles and D takes differences of neighbouring
    columns.

    Parameters
    ----------
    alpha : float
        Weight of the offsets, above 0; smaller is stronger. What varies within about ``2 pi / sqrt(alpha)``
        columns counts as stripes.
    blocks : int
        Parts of the scan, one after the other in angle, that are corrected on their own: more than 1 for
        stripes that change during the scan. At least 1; at most as many as there are angles are used.

    Raises
    ------
    EngineError
        If a parameter is out of its range.
    """

    alpha: float = 0.1
    blocks: int = 1

    def __post_init__(self) -> None:
        above("alpha", self.alpha, 0)
        at_least("blocks", self.blocks, 1)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        corrected = np.empty_like(sinogram)
        blocks = min(self.blocks, len(sinogram))
        parts = zip(np.array_split(sinogram, blocks), np.array_split(corrected, blocks), strict=True)
        for part, result in parts:
            np.add(part, self.offsets(_mean_profile(part)), out=result, casting="same_kind")
        return corrected

    def offsets(self, profile: Profile) -> Profile:
        """Return what is added to each column (column,) of a part with this mean over angles."""
        return _smoothing_offsets(profile, self.alpha, order=1)


@dataclass(frozen=True, kw_only=True)
class GeneralizedTitarenko:
    """Full stripes: geometric mean of two regularised corrections, as TomoPy's ``remove_stripe_ti``.

    Miqueles et al. 2014 (DOI 10.1107/S1600577514016919): one correction from first, one from second
    differences, each with ``alpha = 1 / (2 (max - min))`` of the projections' sums. The square root of their
    product, lifted above 0 by `damping` times the size of its minimum, is the result.

    This is for comparison with TomoPy: the lift changes grey values everywhere, and signs are lost.

    Parameters
    ----------
    damping : float
        At least 1, or the root may not exist.

    Raises
    ------
    EngineError
        If the parameter is out of its range.
    """

    damping: float = 1.5

    def __post_init__(self) -> None:
        at_least("damping", self.damping, 1)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        sums = np.sum(sinogram, axis=1, dtype=np.float64)
        spread = float(sums.max() - sums.min())
        if spread == 0:
            return sinogram
        profile = _mean_profile(sinogram)
        first, second = (
            sinogram + _smoothing_offsets(profile, 0.5 / spread, order=order) for order in (1, 2)
        )
        product = first * second
        corrected: Sinogram = np.sqrt(product + self.damping * abs(product.min())).astype(np.float32)
        return corrected


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """Full stripes: the difference of the mean profile and its running mean over columns is subtracted.

    As TomoPy's ``remove_stripe_sf``.

    Parameters
    ----------
    size : int
        Columns of the running mean, at least 1; wider than the stripes, narrower than the sample's features.

    Raises
    ------
    EngineError
        If the parameter is out of its range.
    """

    size: int = 5

    def __post_init__(self) -> None:
        at_least("size", self.size, 1)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        corrected: Sinogram = (sinogram + self.offsets(_mean_profile(sinogram))).astype(np.float32)
        return corrected

    def offsets(self, profile: Profile) -> Profile:
        """Return what is added to each column (column,) of a sinogram with this mean over angles."""
        return np.asarray(uniform_filter1d(profile, self.size, mode="nearest") - profile)


def _mean_profile(sinogram: Sinogram) -> Profile:
    return np.asarray(np.mean(sinogram, axis=0, dtype=np.float64))


def _smoothing_offsets(profile: Profile, alpha: float, *, order: int) -> Profile:
    """Return the offsets (column,) that smooth a profile: ``(D'D + alpha) q = -D'D p``, D of this order."""
    columns = len(profile)
    if columns <= order:
        return np.zeros(columns)
    taps = np.array({1: [1.0, -1.0], 2: [1.0, -2.0, 1.0]}[order])
    # Diagonals of D'D, the upper ones first: every difference that exists adds the product of its taps.
    bands = np.zeros((order + 1, columns))
    for offset in range(order + 1):
        for tap in range(order + 1 - offset):
            column = tap + offset
            bands[order - offset, column : columns - order + column] += taps[tap] * taps[column]
    bands[order] += alpha
    roughness = np.convolve(np.convolve(profile, taps[::-1], "valid"), taps)
    try:
        offsets: Profile = solveh_banded(bands, -roughness)
    except np.linalg.LinAlgError as error:
        msg = f"alpha of {alpha:g} is too small to find offsets for {columns} columns; 1e-10 or more works"
        raise EngineError(msg) from error
    return offsets
