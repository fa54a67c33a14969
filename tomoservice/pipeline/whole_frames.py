"""Stages that reach across most of a frame: a pass over whole projections, kept on disk meanwhile.

A phase retrieval over a large distance looks at hundreds of rows around each one. Rather than read and
filter those again for every slab, the corrected projections are written to a temporary file block by block,
filtered there frame by frame, and read back as sinograms.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import OutputError
from tomoservice.pipeline.pieces import Check

if TYPE_CHECKING:
    import h5py

FLOAT_BYTES = 4
KEPT_FREE = 1.05
"""Part of the file's size that must be free on the disk."""


@dataclass(frozen=True, slots=True)
class FrameFile:
    """Projections of a scan on disk, as sinograms (row, angle, column), float32."""

    data: h5py.Dataset
    start: int
    """Slice of the first row; negative above the first slice of the volume."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.data.shape[0])

    def write(self, start: int, sinograms: NDArray[np.float32]) -> None:
        """Store sinograms (row, angle, column), the first of slice `start`."""
        first = start - self.start
        self.data[first : first + len(sinograms)] = sinograms

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the sinograms (row, angle, column) of slices `start` to `stop`."""
        block: NDArray[np.float32] = self.data[start - self.start : stop - self.start]
        return block

    def filter_frames(
        self,
        work: Callable[[list[NDArray[np.float32]]], None],
        at_once: int,
        check: Check,
        *,
        beside: Sequence[FrameFile] = (),
    ) -> None:
        """Call `work` with whole projections, as sinograms (row, angle, column).

        Parameters
        ----------
        work
            Is given the projections of this file and those of the files `beside` it, and changes the first
            in place.
        at_once
            Projections that it is given, at most.
        check
            Called between.
        beside
            Files with other projections of the same views.
        """
        count = self.data.shape[1]
        for begin in range(0, count, at_once):
            check()
            views = slice(begin, begin + at_once)
            frames: list[NDArray[np.float32]] = [file.data[:, views] for file in (self, *beside)]
            work(frames)
            self.data[:, views] = frames[0]


@contextmanager
def frame_file(rows: tuple[int, int], angles: int, columns: int) -> Iterator[FrameFile]:
    """Make a temporary file for the projections of a scan, in the system's folder for such (``TMPDIR``).

    Parameters
    ----------
    rows
        First slice and the one after the last.
    angles, columns
        Lines and columns of a sinogram.

    Raises
    ------
    OutputError
        If the disk is too full: says how much is needed, and where.
    """
    import h5py

    shape = (rows[1] - rows[0], angles, columns)
    needed = int(KEPT_FREE * FLOAT_BYTES * np.prod(shape, dtype=np.int64))
    with tempfile.TemporaryDirectory(prefix="tomoservice-frames-") as folder:
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OutputError(
                f"{tempfile.gettempdir()}: the phase retrieval reaches so far that projections are kept "
                f"on disk meanwhile, {needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free; "
                "set TMPDIR to another folder, or bin, or choose a smaller delta/beta"
            )
        with h5py.File(Path(folder) / "frames.h5", "w") as file:
            yield FrameFile(file.create_dataset("frames", shape, np.float32), rows[0])
