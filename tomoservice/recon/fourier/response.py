"""The filter of the Fourier method: what each frequency of a projection is multiplied by.

A projection of N columns gives the samples of a slice within a distance R of the axis. Between those N and
these 2 R + 1 places there are no more than N + 2 R differences, wherever the axis lies. So a cyclic
convolution of that length, with the kernel standing at just these differences, is the linear one.

The length is the same for all axes. Another one would put the polar samples to other places, and change
slices by what is lost in spreading them: some thousandths of the largest grey value where there is noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.recon.base import ReconstructionOptions
from tomoservice.recon.filters import transfer_function
from tomoservice.recon.fourier.geometry import good_length


@dataclass(frozen=True)
class Response:
    """What each frequency is multiplied by, for projections whose axes lie in a narrow range.

    Parameters
    ----------
    length
        Samples P of the padded projection; frequency k stands for k / P cycles per pixel.
    axis
        Detector column that is shifted to sample 0.
    factor
        (frequency,) complex128, from -P / 2 to P / 2 - 1, the first of them 0. Filter, shift of the axis to
        sample 0, and 1 / P of the inverse transform.
    edges
        (2, frequency) complex128: the same for the first and the last column's continuation; None where
        nothing stands beside the detector.
    """

    length: int
    axis: float
    factor: NDArray[np.complex128]
    edges: NDArray[np.complex128] | None = None

    def shifts(self, axes: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return (frequency, axis), by what to multiply for other axes."""
        frequency = (np.arange(self.length) - self.length // 2) / self.length
        shifts: NDArray[np.complex128] = np.exp(2j * np.pi * frequency[:, None] * (axes - self.axis))
        return shifts

    def shifted(self, axis: float) -> Response:
        """Return the same for another axis."""
        if axis == self.axis:
            return self
        shift = self.shifts(np.array([axis]))[:, 0]
        edges = None if self.edges is None else self.edges * shift
        return Response(self.length, axis, self.factor * shift, edges)


@dataclass(frozen=True)
class Span:
    """Which samples are wanted of which columns.

    Parameters
    ----------
    columns
        Detector columns N.
    reach
        Largest distance from the axis at which a sample is wanted.
    lowest, highest
        Range of the axes, as detector columns.
    """

    columns: int
    reach: float
    lowest: float
    highest: float

    @property
    def length(self) -> int:
        """Samples of the padded projection."""
        spread = math.ceil(self.highest - self.lowest)
        # Of slices smaller than the detector more than is needed: kernels take the second half for empty.
        return 2 * good_length(max((self.columns + 2 * self.reach + spread) / 2, self.columns))

    @property
    def differences(self) -> tuple[int, int]:
        """Smallest and largest difference between a wanted sample and a column."""
        low = math.floor(self.lowest - self.reach) - (self.columns - 1)
        return low, math.ceil(self.highest + self.reach)


class Kernels:
    """A filter's kernels by their length, each computed once: the axes of slices hardly change it.

    Parameters
    ----------
    options
        The filter.
    """

    def __init__(self, options: ReconstructionOptions) -> None:
        self._options = options
        self._made: dict[int, NDArray[np.float64]] = {}

    def __call__(self, length: int) -> NDArray[np.float64]:
        """Return the kernel at differences 0, 1, ..., -1; not to be modified."""
        # Another thread may do the same at the same time; either's is right.
        if length not in self._made:
            self._made[length] = _long_kernel(self._options, length)
        return self._made[length]


def make_response(
    span: Span, options: ReconstructionOptions, *, edges: bool, kernels: Kernels | None = None
) -> Response:
    """Return the response for the axis at ``span.lowest``.

    Parameters
    ----------
    span
        Columns, samples, axes.
    options
        The filter.
    edges
        Whether each projection goes on beyond the detector with its outermost values, fading over half its
        width.
    kernels
        Keeps what responses for other axes share.
    """
    length = span.length
    low, high = span.differences
    far = max(-low, high) + length + span.columns
    kernel = (kernels or Kernels(options))(2 * good_length(far))
    cyclic = _wrapped(kernel, low, high, length)
    frequency = fft.fftshift(fft.fftfreq(length))
    shift = np.exp(2j * np.pi * frequency * span.lowest) / length
    # The last frequency has no partner.
    shift[0] = 0
    factor = fft.fftshift(fft.fft(cyclic)) * shift
    if not edges:
        return Response(length, span.lowest, factor)
    continued = [
        fft.fftshift(fft.fft(_wrapped(side, *_samples(span), length))) * shift
        for side in _continuations(kernel, span.columns)
    ]
    return Response(length, span.lowest, factor, np.stack(continued))


def _samples(span: Span) -> tuple[int, int]:
    return math.floor(span.lowest - span.reach), math.ceil(span.highest + span.reach)


def _long_kernel(options: ReconstructionOptions, length: int) -> NDArray[np.float64]:
    """Return the filter's kernel at differences 0, 1, ..., -1, far more of them than are needed."""
    transfer = transfer_function(
        options.filter_name, options.filter_cutoff, options.butterworth_order, length
    )
    kernel: NDArray[np.float64] = fft.irfft(transfer, length)
    return kernel


def _wrapped(values: NDArray[np.float64], low: int, high: int, length: int) -> NDArray[np.float64]:
    """Return `length` places of a longer cyclic array, `low` to `high` among them, as a cyclic array.

    The rest fades from what follows `high` to what precedes `low`.
    """
    place = np.arange(low, low + length)
    after = np.clip((place - high) / max(length - (high - low), 1), 0, 1)
    part = np.sin(0.5 * np.pi * after) ** 2
    chosen = (1 - part) * values[place % len(values)] + part * values[(place - length) % len(values)]
    cyclic = np.empty(length)
    cyclic[place % length] = chosen
    return cyclic


def _continuations(kernel: NDArray[np.float64], columns: int) -> list[NDArray[np.float64]]:
    """Return the filtered continuation of a first and of a last column of value 1, cyclic arrays."""
    reach = columns // 2
    fade = np.cos(0.5 * np.pi * (np.arange(reach) + 0.5) / reach) ** 2
    first, last = np.zeros(len(kernel)), np.zeros(len(kernel))
    first[-reach:] = fade[::-1]
    last[columns : columns + reach] = fade
    spectrum = fft.rfft(kernel)
    return [fft.irfft(fft.rfft(side) * spectrum, len(kernel)) for side in (first, last)]
