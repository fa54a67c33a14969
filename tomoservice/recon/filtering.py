"""Filtered projections around the rotation axis: the half of filtered back-projection that methods share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.recon.base import Padding, ReconstructionOptions
from tomoservice.recon.filters import transfer_function
from tomoservice.recon.half_acquisition import overlap_weights

# Samples beyond the circle that fade to zero, so that the two ends meet without ringing into the circle.
MARGIN = 16
# Padded rows filtered at once: a few hundred kilobytes, which stay in the cache.
BLOCK_SAMPLES = 1 << 16


def window_samples(size: int, *, mask_circle: bool) -> int:
    """Return how many samples of each filtered projection a slice needs.

    Parameters
    ----------
    size : int
        Edge N of a slice.
    mask_circle : bool
        Whether only the circle of diameter N is wanted, or the whole square.

    Returns
    -------
    int
        Even, good for a Fourier transform.
    """
    reach = size if mask_circle else math.sqrt(2) * size
    return 2 * fft.next_fast_len(math.ceil(reach / 2) + MARGIN)


@dataclass(frozen=True)
class ProjectionFilter:
    """Filters projections and samples the result at whole pixels from the axis.

    Sample m of a filtered projection lies at ``s = m - samples // 2 - shift``, where the axis is s = 0 and
    `shift` is 0 for sub-pixel interpolation by the Fourier shift theorem, done together with the filter.
    The padding makes the convolution linear however far the axis is off centre.

    Parameters
    ----------
    columns
        Detector columns N.
    samples
        Samples kept, around the axis.
    options
        Filter, padding, half-acquisition.
    """

    columns: int
    samples: int
    options: ReconstructionOptions

    def padded_length(self, axis: float) -> int:
        """Return the length at which projections with this axis are filtered."""
        # In steps of an eighth of the detector, so that neighbouring axes share a length.
        eighth = max(self.columns / 8, 1)
        reach = math.ceil(max(axis, self.columns - 1 - axis) / eighth) * eighth
        if self.options.padding is Padding.EDGE:
            reach += self.columns / 2
        return 2 * fft.next_fast_len(math.ceil(self.samples / 2 + reach) + 1, real=True)

    def apply(
        self, sinogram: NDArray[np.float32], axis: float, out: NDArray[np.float32], *, sub_pixel: bool = True
    ) -> None:
        """Filter one sinogram.

        Parameters
        ----------
        sinogram : (angle, column) float32 array
            Line integrals. Not modified.
        axis : float
            Detector column of the axis.
        out : (angle, samples) float32 array
            Filled with the filtered projections; need not be contiguous.
        sub_pixel : bool, default True
            Whether samples lie at whole pixels from the axis, or from the column nearest below it (then
            nothing is interpolated, and the caller accounts for the fraction).
        """
        length = self.padded_length(axis)
        origin = axis if sub_pixel else math.floor(axis)
        multiplier = self._multiplier(length, origin)
        fade = self._fade()
        weights = overlap_weights(self.columns, axis) if self.options.half_acquisition else None
        step = max(BLOCK_SAMPLES // length, 1)
        for start in range(0, len(sinogram), step):
            block = sinogram[start : start + step]
            if weights is not None:
                block = block * weights
            if self.options.padding is Padding.EDGE:
                block = _extend(block, length)
            spectrum = fft.rfft(block, length, axis=-1)
            spectrum *= multiplier
            filtered = fft.irfft(spectrum, length, axis=-1, overwrite_x=True)
            np.multiply(filtered[:, : self.samples], fade, out=out[start : start + step])

    def _multiplier(self, length: int, origin: float) -> NDArray[np.complex64]:
        options = self.options
        transfer = transfer_function(
            options.filter_name, options.filter_cutoff, options.butterworth_order, length
        )
        frequency = np.arange(length // 2 + 1) / length
        shift = np.exp(2j * np.pi * frequency * (origin - self.samples // 2))
        # The last frequency of an even length is real by nature.
        shift[-1] = shift[-1].real
        multiplier: NDArray[np.complex64] = (transfer * shift).astype(np.complex64)
        return multiplier

    def _fade(self) -> NDArray[np.float32]:
        fade = np.ones(self.samples, np.float32)
        ramp = np.sin(0.5 * np.pi * (np.arange(MARGIN // 2) + 0.5) / (MARGIN // 2)) ** 2
        fade[: MARGIN // 2] = ramp
        fade[-MARGIN // 2 :] = ramp[::-1]
        return fade


def _extend(block: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Continue each projection by its outermost values, fading to nothing over half its width."""
    columns = block.shape[1]
    reach = min(columns // 2, (length - columns) // 2)
    # A sample is wider than the detector, but not endless.
    fade = (np.cos(0.5 * np.pi * (np.arange(reach) + 0.5) / reach) ** 2).astype(np.float32)
    padded = np.zeros((len(block), length), np.float32)
    padded[:, :columns] = block
    padded[:, columns : columns + reach] = block[:, -1:] * fade
    # What lies before the first column stands at the end, because the transform is cyclic.
    padded[:, length - reach :] = block[:, :1] * fade[::-1]
    return padded
