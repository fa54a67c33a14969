"""Combined wavelet and Fourier filter: Münch, Trtik, Marone and Stampanoni 2009 (DOI 10.1364/OE.17.008567).

The wavelet transform of a sinogram collects vertical detail of each width in a band of its own; in each band,
what is nearly constant along the angle is a stripe and is damped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.errors import EngineError
from tomoservice.prep.stripes.base import Sinogram, above
from tomoservice.prep.stripes.daubechies import daubechies, wavelet_names
from tomoservice.windows import mirrored

# Pixels in the shorter direction that a band must be made from, as algotom and the transform's edges want it.
SMALLEST_BAND = 16
# No detector has more columns than two to the power of this.
MOST_LEVELS = 30
Filters = tuple[NDArray[np.float32], NDArray[np.float32]]


class Variant(StrEnum):
    """Whose implementation's details to follow: padding, and where the damping is centred."""

    MUNCH = "munch"
    ALGOTOM = "algotom"
    TOMOPY = "tomopy"


@dataclass(frozen=True, kw_only=True)
class FourierWavelet:
    """Stripes of every width, full ones best: damps constant detail of the wavelet transform.

    Parameters
    ----------
    wavelet : str
        Daubechies' wavelet, "db1" to "db20"; the number is that of vanishing moments.
    level : int or None
        Levels of the transform, 1 to 30: stripes up to about ``2 ** level`` columns wide are removed. None
        stands for as many as leave 16 pixels, and more than that are not used (but in the TomoPy variant).
    sigma : float
        Width of the damping in steps of a band's Fourier transform along the angle. Above 0; greater removes
        more, partial stripes too, but also more of what changes slowly with the angle.
    variant : Variant
        "munch": the damping takes away the mean of each band wholly, as published. "algotom" and "tomopy":
        their numbers; for bands of even length their damping is off centre, by one and half a step, and
        leaves part of a full stripe. "munch" and "algotom" continue the sinogram by a tenth, by its edges
        across and by each column's mean along the angle; "tomopy" by zeros, an eighth along the angle.

    Raises
    ------
    EngineError
        If a parameter is out of its range.

    Notes
    -----
    The transform is linear and undone exactly, so only what the damping takes away is transformed back, and
    subtracted.
    """

    wavelet: str = "db5"
    level: int | None = 3
    sigma: float = 2.0
    variant: Variant = Variant.MUNCH

    def __post_init__(self) -> None:
        above("sigma", self.sigma, 0)
        if self.wavelet not in wavelet_names():
            msg = f"there is no wavelet {self.wavelet!r}; wanted one of db1 to db20"
            raise EngineError(msg)
        if self.level is not None and not 1 <= self.level <= MOST_LEVELS:
            msg = f"level must be 1 to {MOST_LEVELS}, or None for as many as fit, got {self.level}"
            raise EngineError(msg)
        if self.variant not in set(Variant):
            msg = f"variant must be one of {', '.join(Variant)}, got {self.variant!r}"
            raise EngineError(msg)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        result: Sinogram = self.corrected_by(OnTheCpu(), sinogram)
        return result

    def corrected_by(self, transforms: Transforms, sinogram: Any) -> Any:
        """Return a sinogram without stripes, computed where it is."""
        padded, before, beside = self._padded(transforms.xp, sinogram)
        levels = self._levels(padded.shape)
        if levels == 0:
            return sinogram
        filters = daubechies(self.wavelet)
        sizes, bands = [padded.shape], []
        smooth = padded
        for _ in range(levels):
            smooth, detail = transforms.analyse(smooth, filters)
            bands.append(self._constant_part(transforms, detail))
            sizes.append(smooth.shape)
        stripes = transforms.xp.zeros(sizes[-1], np.float32)
        for band, (finer, coarser) in zip(bands[::-1], list(pairwise(sizes))[::-1], strict=True):
            stripes = transforms.synthesise(stripes[: coarser[0], : coarser[1]], band, filters, finer)
        angles, columns = sinogram.shape
        return sinogram - stripes[before : before + angles, beside : beside + columns]

    def _padded(self, xp: Any, sinogram: Any) -> tuple[Any, int, int]:
        """Return the sinogram continued beyond its edges, and how many angles and columns come before it."""
        angles, columns = sinogram.shape
        if self.variant == Variant.TOMOPY:
            length = angles + angles // 8
            before = (length - angles) // 2
            padded = xp.zeros((length, columns), np.float32)
            padded[before : before + angles] = sinogram
            return padded, before, 0
        pad = min(150, int(0.1 * min(angles, columns)))
        padded = xp.empty((angles + 2 * pad, columns + 2 * pad), np.float32)
        inner = padded[:, pad : pad + columns]
        inner[pad : pad + angles] = sinogram
        inner[:pad] = inner[pad + angles :] = xp.mean(sinogram, axis=0, dtype=np.float64)
        padded[:, :pad] = inner[:, :1]
        padded[:, pad + columns :] = inner[:, -1:]
        return padded, pad, pad

    def _levels(self, shape: tuple[int, ...]) -> int:
        if self.variant == Variant.TOMOPY:
            return self.level or math.ceil(math.log2(max(shape)))
        most = max(int(math.log2(max(min(shape) / SMALLEST_BAND, 1))), 0)
        return min(self.level or most, most)

    def _constant_part(self, transforms: Transforms, band: Any) -> Any:
        """Return what damping takes away of a band (angle, column): what hardly changes with the angle."""
        angles = len(band)
        centre = {
            Variant.MUNCH: angles // 2,
            Variant.ALGOTOM: (angles - 1) // 2,
            Variant.TOMOPY: (angles - 1) / 2,
        }[self.variant]
        window = fft.ifftshift(np.exp(-0.5 * ((np.arange(angles) - centre) / self.sigma) ** 2))
        # What a real signal keeps of a window that is off centre is its even part.
        kept = 0.5 * (window + np.roll(window[::-1], 1))[: angles // 2 + 1]
        spectrum = transforms.fft.rfft(band, axis=0)
        spectrum *= transforms.xp.asarray(kept.astype(np.float32)[:, None])
        return transforms.fft.irfft(spectrum, angles, axis=0, overwrite_x=True)


class Transforms(Protocol):
    """What the filter is made of, where a sinogram is."""

    @property
    def xp(self) -> Any:
        """Array functions as NumPy has them."""

    @property
    def fft(self) -> Any:
        """Fourier transforms as ``scipy.fft`` has them."""

    def analyse(self, signal: Any, filters: Filters, /) -> tuple[Any, Any]:
        """Split a signal, smoothed along the angle, into its smooth and its detailed half across columns."""

    def synthesise(self, smooth: Any, detail: Any, filters: Filters, shape: tuple[int, ...], /) -> Any:
        """Undo `analyse` into a signal of this shape."""


def paths(shape: tuple[int, ...], taps: int) -> list[NDArray[np.int32]]:
    """Return for each axis of a signal the elements that filters of so many taps meet, two for each result.

    The filters reach beyond the ends, where the signal is mirrored.
    """
    return [mirrored(2 - taps, 2 * ((length + taps - 1) // 2), length) for length in shape]


class OnTheCpu:
    """See `Transforms`."""

    xp, fft = np, fft

    def analyse(self, signal: Sinogram, filters: Filters, /) -> tuple[Sinogram, Sinogram]:
        """See `Transforms.analyse`."""
        from tomoservice.prep.stripes._wavelet_kernels import analyse_angles, analyse_columns

        low, high = (np.ascontiguousarray(taps[::-1]) for taps in filters)
        angles, columns = ((length + low.size - 1) // 2 for length in signal.shape)
        down, across = paths(signal.shape, low.size)
        along = np.empty((angles, signal.shape[1]), np.float32)
        analyse_angles(signal, down, low, along)
        smooth, detail = np.empty((angles, columns), np.float32), np.empty((angles, columns), np.float32)
        analyse_columns(along, across, low, high, smooth, detail)
        return smooth, detail

    def synthesise(
        self, smooth: Sinogram, detail: Sinogram, filters: Filters, shape: tuple[int, ...], /
    ) -> Sinogram:
        """See `Transforms.synthesise`."""
        from tomoservice.prep.stripes._wavelet_kernels import synthesise_angles, synthesise_columns

        along = np.empty((len(smooth), shape[1]), np.float32)
        synthesise_columns(np.ascontiguousarray(smooth), detail, *filters, along)
        signal = np.empty(shape, np.float32)
        synthesise_angles(along, filters[0], signal)
        return signal
