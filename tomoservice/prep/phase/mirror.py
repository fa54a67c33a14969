"""Frames that are mirrored at their edges without end, and their spectra.

Such a frame has a cosine transform of its own size for a spectrum: the padding that reaches farthest is the
one that costs nothing, and it needs no complex numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.errors import EngineError

Image = NDArray[np.float32]

# Samples between rows of the working frame: rows a power of two apart would share few lines of the cache,
# which halves the speed.
GAP = 16
# Transmissions beyond this are no measurement, and their sums over a frame near the end of float32.
LARGEST = 1e30


class MirroredFrames:
    """Transforms of frames of one size.

    Parameters
    ----------
    rows, columns
        Size of a frame.
    reach
        Pixels away from which a filter takes what it needs.
    """

    def __init__(self, rows: int, columns: int, reach: int) -> None:
        self._size = (rows, columns)
        self._shape = mirrored_shape(rows, columns, reach)

    @property
    def frequencies(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Frequencies of a spectrum along columns and along rows, cycles per pixel."""
        rows, columns = (np.arange(length) / (2 * length) for length in self._shape)
        return rows, columns

    def workspace(self) -> Image:
        """Return room for a frame, at its beginning, and its transform; for one thread."""
        rows, columns = self._shape
        return np.empty((rows, columns + GAP), np.float32)[:, :columns]

    def spectrum(self, workspace: Image) -> Image:
        """Return the transform of the frame at the beginning of `workspace`, in its place."""
        rows, columns = self._size
        more_rows, more_columns = self._shape[0] - rows, self._shape[1] - columns
        workspace[:rows, columns:] = workspace[:rows, columns - more_columns : columns][:, ::-1]
        workspace[rows:] = workspace[rows - more_rows : rows][::-1]
        spectrum: Image = fft.dctn(workspace, overwrite_x=True)
        return spectrum

    def frame(self, spectrum: Image) -> Image:
        """Return the frame of a spectrum, in its place."""
        rows, columns = self._size
        frame: Image = fft.idctn(spectrum, overwrite_x=True)[:rows, :columns]
        return frame


def load(frame: NDArray[np.generic], out: Image, name: str) -> None:
    """Fill `out` with how far a frame of transmissions is above 1, or say what in `name` is no measurement.

    The open beam is 1, and a filter that leaves it so does not need it: what is left is smaller, and more
    exact.

    Raises
    ------
    EngineError
        If a value is not finite, or so large that a transform would overflow.
    """
    with np.errstate(over="ignore"):
        np.subtract(frame, 1, out=out, casting="unsafe")
    # False if one value is NaN.
    if out.min() > -LARGEST and out.max() < LARGEST:
        return
    finite = np.isfinite(frame)
    if finite.all():
        raise EngineError(
            f"{name} holds values up to {np.abs(frame).max():g}, too large to retrieve a phase; a "
            "transmission is about 1 where the beam is open"
        )
    row, column = np.argwhere(~finite)[0]
    raise EngineError(
        f"{name} is {frame[row, column]} at row {row}, column {column} ({np.count_nonzero(~finite)} such "
        "values); flat-field correction and outlier removal repair them"
    )


def mirrored_shape(rows: int, columns: int, reach: int) -> tuple[int, int]:
    """Return the rows and columns of a frame, as many mirrored ones behind them as make transforms quick."""
    return _quick_length(rows, reach), _quick_length(columns, reach)


def _quick_length(length: int, reach: int) -> int:
    """Return a length for the cosine transform that gives the same result as the frame's own, but quickly.

    A length with large prime factors is slow. With mirrored pixels as far as the filter reaches, it does not
    matter that the next mirror stands where they end.
    """
    if fft.next_fast_len(length, real=True) == length:
        return length
    longer = fft.next_fast_len(length + reach, real=True)
    return longer if longer <= 2 * length else length
