"""Phase retrieval applied to projections, frame by frame.

Padding by mirror images costs nothing (see `tomoservice.prep.phase.mirror`); only the padding by outermost
values is really padded.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep.phase.mirror import Image, MirroredFrames, load
from tomoservice.prep.phase.reach import row_margin
from tomoservice.prep.phase.transfer import Padding, Retrieval, transfer
from tomoservice.threads import available_threads, for_each, ranges

FARTHEST = 4096
"""Pixels around a frame, at most, that are really padded."""


class _Filter(Protocol):
    """A filter for frames of one size. Its working space, at least as large as a frame, serves one thread."""

    @property
    def bytes_per_thread(self) -> int: ...

    def workspace(self) -> Image: ...

    def apply(self, workspace: Image, out: Image) -> None:
        """Filter the frame that stands at the beginning of `workspace`, which is used up, into `out`."""


class PhasePlan:
    """A phase retrieval prepared for frames of one size; usable for any number of them.

    The result is a transmission again: what the sample would let through were there no propagation. Minus its
    logarithm is the line integral p of the linear attenuation. (The thickness of the material is p / mu, the
    phase shift ``-delta_beta * p / 2``, and a reconstructed attenuation times
    ``delta_beta * wavelength / (4 pi)`` is the refractive index decrement delta.)

    Scope: rows + margin. A slab needs `row_margin` rows more on either side, as far as the frame has them;
    what it gives for those is thrown away. At the frame's own edges it is padded as the frame is.

    Parameters
    ----------
    retrieval
        Method, material, experiment, padding.
    rows, columns
        Size of a frame, or of a slab with its margins. Products of 2, 3 and 5 are the quickest.
    threads
        Threads to use; by default as many as the process may. The result does not depend on it.

    Raises
    ------
    GeometryError
        If a frame has no pixels.
    EngineError
        If a frame would have to be padded by the outermost values for more than 4096 pixels.
    """

    def __init__(self, retrieval: Retrieval, rows: int, columns: int, *, threads: int | None = None) -> None:
        if rows < 1 or columns < 1:
            raise GeometryError(f"a frame needs at least one row and one column, got {rows} x {columns}")
        self.retrieval = retrieval
        self.shape = (rows, columns)
        self._threads = threads or available_threads()
        kind = _Mirrored if retrieval.padding is Padding.REFLECT else _Continued
        self._filter: _Filter = kind(retrieval, rows, columns)

    def execute(self, projections: NDArray[np.generic], *, out: Image | None = None) -> Image:
        """Retrieve the transmissions without propagation.

        Parameters
        ----------
        projections : (angle, row, column) real array
            Transmissions, 1 is the open beam; may be a view (of sinograms, transposed, say). Not modified,
            unless given as `out` as well.
        out : (angle, row, column) float32 array, optional
            Where to put the result; may be a view.

        Returns
        -------
        (angle, row, column) float32 array
            Transmissions. Paganin's are positive wherever the input is; a CTF or an unsharp mask may leave
            some below 0, which the logarithm has to clip.

        Raises
        ------
        GeometryError
            If shapes do not fit.
        EngineError
            If a value is not finite, or so large that the transform overflows.
        """
        stack = np.asarray(projections)
        if stack.ndim != 3 or stack.shape[1:] != self.shape:
            raise GeometryError(
                f"projections of shape {stack.shape} do not fit frames of {self.shape[0]} x {self.shape[1]}; "
                "wanted (angle, row, column)"
            )
        result = np.empty(stack.shape, np.float32) if out is None else out
        if result.shape != stack.shape or result.dtype != np.float32:
            raise GeometryError(
                f"out must be float32 of shape {stack.shape}, got {result.dtype} of shape {result.shape}"
            )

        def retrieve(part: tuple[int, int]) -> None:
            workspace = self._filter.workspace()
            loaded = workspace[: self.shape[0], : self.shape[1]]
            for index in range(*part):
                load(stack[index], loaded, f"projection {index}")
                self._filter.apply(workspace, result[index])
                result[index] += 1

        for_each(retrieve, ranges(len(stack), 4 * self._threads), self._threads)
        return result

    @property
    def memory_bytes(self) -> int:
        """Bytes that the plan takes, with the working space of its threads while it is executed."""
        return self._filter.bytes_per_thread * (self._threads + 1)


class _Mirrored:
    """Filters a frame that is mirrored at its edges, by cosine transforms."""

    def __init__(self, retrieval: Retrieval, rows: int, columns: int) -> None:
        self._frames = MirroredFrames(rows, columns, row_margin(retrieval))
        self._transfer = transfer(retrieval, *self._frames.frequencies).astype(np.float32)

    @property
    def bytes_per_thread(self) -> int:
        return self._transfer.nbytes

    def workspace(self) -> Image:
        return self._frames.workspace()

    def apply(self, workspace: Image, out: Image) -> None:
        spectrum = self._frames.spectrum(workspace)
        spectrum *= self._transfer
        out[...] = self._frames.frame(spectrum)


class _Continued:
    """Filters a frame that is continued by its outermost values, by padded Fourier transforms."""

    def __init__(self, retrieval: Retrieval, rows: int, columns: int) -> None:
        self._size = (rows, columns)
        reach = check_reach(row_margin(retrieval))
        padded_rows, padded_columns = (
            fft.next_fast_len(length + 2 * reach + 1, real=True) for length in (rows, columns)
        )
        self._shape = (padded_rows, padded_columns)
        frequencies = fft.fftfreq(padded_rows), fft.rfftfreq(padded_columns)
        self._transfer = transfer(retrieval, *frequencies).astype(np.float32)

    @property
    def bytes_per_thread(self) -> int:
        # A complex spectrum is twice the size, and SciPy makes a second one.
        return 5 * self._transfer.nbytes

    def workspace(self) -> Image:
        return np.empty((self._size[0], self._shape[1]), np.float32)

    def apply(self, workspace: Image, out: Image) -> None:
        (rows, columns), (padded_rows, padded_columns) = self._size, self._shape
        # Transforms are cyclic: what stands before the first pixel stands at the end.
        half = (columns + padded_columns) // 2
        workspace[:, columns:half] = workspace[:, columns - 1 : columns]
        workspace[:, half:] = workspace[:, :1]
        spectrum = np.empty(self._transfer.shape, np.complex64)
        # Rows of the padding are copies, and so are their transforms.
        half = (rows + padded_rows) // 2
        spectrum[:rows] = fft.rfft(workspace, axis=1)
        spectrum[rows:half] = spectrum[rows - 1]
        spectrum[half:] = spectrum[0]
        spectrum = fft.fft(spectrum, axis=0, overwrite_x=True)
        spectrum *= self._transfer
        spectrum = fft.ifft(spectrum, axis=0, overwrite_x=True)
        out[...] = fft.irfft(spectrum[:rows], padded_columns, axis=1)[:, :columns]


def check_reach(reach: int) -> int:
    """Return how many pixels a frame is really padded by, or refuse to pad by so many."""
    if reach > FARTHEST:
        raise EngineError(
            f"the filter reaches {reach} pixels, too far for phase.padding 'edge' (at most {FARTHEST}); "
            "are the units right? Padding 'reflect' has no such limit"
        )
    return reach
