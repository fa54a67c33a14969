"""Projections of a run that still goes on, as they can be read.

Two ways: a file that its writer lets others read (HDF5's SWMR mode) is kept open and looked at directly;
every other run is opened anew at each look, as `tomoservice.sources` opens it when it is over. The first
costs no request, the second takes whatever a scan layout describes: step scans with their events in a table,
files that only the service sees, several streams in one file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError, MissingDataError
from tomoservice.live.references import References, reduced
from tomoservice.scan import TomoScan
from tomoservice.sources.angles import angles_from_values
from tomoservice.sources.hdf5 import check_filters, find_dataset, open_hdf5
from tomoservice.sources.layout import ScanLayout, Values, choose_layout
from tomoservice.sources.run import open_references, open_run
from tomoservice.sources.run_frames import frame_order
from tomoservice.sources.run_metadata import data_keys
from tomoservice.sources.run_view import HDF5_TYPE, RunView, Stored, view_run

logger = logging.getLogger(__name__)


class UnreadableError(InputError):
    """The detector's file cannot be read before its writer closes it."""


class LiveSource(Protocol):
    """Where the projections of a run come from while it goes on."""

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        ...

    @property
    def description(self) -> str:
        """Say in words where frames are read."""
        ...

    def look(self) -> NDArray[np.float64]:
        """Return the angles in degrees of the projections that can be read by now; NaN where none is known.

        Raises
        ------
        InputError
            They cannot be read at present.
        """
        ...

    def read(self, frames: NDArray[np.intp], rows: slice) -> NDArray[Any]:
        """Return some rows of some projections, ascending numbers, (frame, row, column)."""
        ...

    def close(self) -> None:
        """Close files."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """How to find the runs that are followed."""

    readable: tuple[Path, ...]
    """Folders below which raw files are read directly."""
    catalog: Any = None
    """Container of the raw runs."""

    def open_run(self, node: Any) -> TomoScan:
        """Open a run as it is now; see `tomoservice.sources.open_run`."""
        return open_run(node, catalog=self.catalog, readable=self.readable)

    def read_references(self, node: Any, known: References) -> References:
        """Return flat and dark of a run as far as it has them by now.

        Parameters
        ----------
        node : BlueskyRun
            Tiled client of the run, read anew.
        known : References
            What was read before; returned as it is if no more has come.

        Raises
        ------
        InputError
            They cannot be read.
        """
        with open_references(node, catalog=self.catalog, readable=self.readable) as (flats, darks):
            counts = (flats.shape[0] if flats is not None else 0, darks.shape[0] if darks is not None else 0)
            if counts == known.counts:
                return known
            return References(reduced(flats), reduced(darks), counts)


def open_source(node: Any, finding: Finding, *, ended: bool = False) -> LiveSource:
    """Return the projections of a run, as soon as there are any.

    Parameters
    ----------
    node : BlueskyRun
        Tiled client of the run, read anew.
    finding : Finding
        What may be read.
    ended : bool
        Whether the run is over: its files are closed, and can be read whatever they are.

    Raises
    ------
    UnreadableError
        The detector's file cannot be read before its writer closes it.
    InputError
        There is nothing to be read yet.
    """
    place = _place(view_run(node))
    if place is not None:
        if not ended:
            place.check_capability()
        if place.angles is not None and finding_allows(place.images, finding):
            return GrowingFile(place.images, place.angles, place.source)
    return ReopenedRun(node, finding)


def finding_allows(found: Stored, finding: Finding) -> bool:
    """Return whether files may be read directly, and can be."""
    folders = tuple(folder.resolve() for folder in finding.readable)
    below = all(any(path.resolve().is_relative_to(folder) for folder in folders) for path in found.files)
    return below and found.invisible() is None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run's projections and angles are stored."""

    where: str
    images: Stored
    angles: Stored | None
    source: Values | None

    def check_capability(self) -> None:
        """Raise if the detector says that its file cannot be read while it is written."""
        if self.images.mimetype == HDF5_TYPE and self.images.parameters.get("swmr") is False:
            name = self.images.files[0].name if self.images.files else ""
            raise UnreadableError(
                self.where,
                f"{name} cannot be read before the detector closes it (swmr is false): reconstructed at the "
                "scan's end",
                hint="Let the file writer use HDF5's SWMR mode to see the scan as it grows",
            )


def _place(view: RunView) -> _Place | None:
    """Return where projections are stored; None if that is no file of their own."""
    layout = choose_layout(view.start, view.streams, view.where)
    images = layout.projections
    key = view.first_key(images.stream, data_keys(layout, view.start, images.data_key, view.where))
    if key is None:
        there = ", ".join(view.streams) or "none"
        raise MissingDataError(view.where, f"no projections yet; streams: {there}", dataset=images.stream)
    found = view.stored(images.stream, key)
    if found is None or len(found.files) != 1 or found.mimetype != HDF5_TYPE or found.parameters.get("slice"):
        return None
    angles, source = _stored_angles(view, layout)
    plain = images.dataset is None and len(view.array(images.stream, key).shape) == 3
    if not plain or images.stream in frame_order(view, key):
        angles = None
    return _Place(view.where, found, angles, source)


def _stored_angles(view: RunView, layout: ScanLayout) -> tuple[Stored | None, Values | None]:
    """Return the file that holds the angle of each projection; None if they are elsewhere."""
    for source in layout.angles:
        if not isinstance(source, Values):
            return None, None
        stream = source.stream or layout.projections.stream
        key = view.first_key(stream, data_keys(layout, view.start, source.data_key, view.where))
        if key is not None:
            found = view.stored(stream, key)
            usable = found is not None and found.mimetype == HDF5_TYPE and len(found.files) == 1
            return (found, source) if usable else (None, None)
    raise MissingDataError(view.where, "no angles yet", dataset=layout.projections.stream)


class GrowingFile:
    """Projections in an HDF5 file that is being written, with their angles in a data set of some file.

    Parameters
    ----------
    images, angles : Stored
        Where they are.
    source : Values, optional
        Unit and scale of the angles.

    Raises
    ------
    UnreadableError
        The file cannot be opened before its writer closes it.
    """

    def __init__(self, images: Stored, angles: Stored, source: Values | None) -> None:
        self._path = images.files[0]
        self._unit = "deg" if source is None else source.unit
        self._scale = 1.0 if source is None else source.scale
        try:
            self._file = open_hdf5(self._path)
            self._angles_file = self._file if angles.files == images.files else open_hdf5(angles.files[0])
        except InputError as error:
            if isinstance(error, MissingDataError):
                raise
            raise UnreadableError(error.where, error.cause, hint=error.hint) from error
        try:
            self._images = find_dataset(self._file, images.dataset)
            self._angles = find_dataset(self._angles_file, angles.dataset)
            check_filters(self._images)
        except InputError:
            self.close()
            raise

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        rows, columns = self._images.shape[-2:]
        return rows, columns

    @property
    def description(self) -> str:
        """Say in words where frames are read."""
        return f"{self._path.name} as it grows"

    def look(self) -> NDArray[np.float64]:
        """See `LiveSource.look`."""
        try:
            for dataset in (self._angles, self._images):
                dataset.refresh()
            count = min(self._images.shape[0], self._angles.shape[0])
            values = self._angles[:count]
        except (OSError, RuntimeError) as error:
            raise InputError(self._path, f"cannot be looked at just now: {error}") from error
        angles = np.full(count, np.nan)
        known = np.isfinite(values)
        angles[known] = angles_from_values(
            values[known], self._path, str(self._angles.name), unit=self._unit, scale=self._scale
        )
        return angles

    def read(self, frames: NDArray[np.intp], rows: slice) -> NDArray[Any]:
        """See `LiveSource.read`."""
        try:
            return _joined([self._images[begin:end, rows] for begin, end in stretches(frames)])
        except OSError as error:
            raise InputError(
                self._path, f"frames {frames[0]} to {frames[-1]} cannot be read: {error}"
            ) from error

    def close(self) -> None:
        """Close the files."""
        for file in {self._file, self._angles_file}:
            if isinstance(file, h5py.File) and file:
                file.close()


class ReopenedRun:
    """Projections of a run that is opened anew at each look.

    Parameters
    ----------
    node : BlueskyRun
        Tiled client of the run.
    finding : Finding
        What may be read.

    Raises
    ------
    InputError
        There is nothing to be read yet.
    """

    def __init__(self, node: Any, finding: Finding) -> None:
        self._node = node
        self._finding = finding
        self._scan = self._open()

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Detector rows and columns."""
        return self._scan.shape[1], self._scan.shape[2]

    @property
    def description(self) -> str:
        """Say in words where frames are read."""
        return "files, event by event" if self._scan.origin.files else "through Tiled"

    def look(self) -> NDArray[np.float64]:
        """See `LiveSource.look`."""
        newer = self._open()
        self._scan.close()
        self._scan = newer
        return newer.angles_deg

    def read(self, frames: NDArray[np.intp], rows: slice) -> NDArray[Any]:
        """See `LiveSource.read`."""
        return _joined([self._scan.projections[begin:end, rows] for begin, end in stretches(frames)])

    def close(self) -> None:
        """Close files."""
        self._scan.close()

    def _open(self) -> TomoScan:
        self._node.refresh()
        return self._finding.open_run(self._node)


def stretches(frames: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Yield the ranges (first, after the last) of neighbouring numbers among ascending ones."""
    breaks = np.flatnonzero(np.diff(frames) != 1) + 1
    for part in np.split(frames, breaks):
        if part.size:
            yield int(part[0]), int(part[-1]) + 1


def _joined(blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
