"""A tomography scan: lazily read frames and the geometry that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError


class ImageKey(IntEnum):
    """What a frame shows, as NXtomo numbers it."""

    PROJECTION = 0
    FLAT = 1
    DARK = 2
    INVALID = 3


class Frames(Protocol):
    """A stack of frames (frame, row, column) that is read when it is indexed.

    Reading takes basic indices (integers and slices with positive steps) on every axis, and returns
    a NumPy array of `dtype`. Nothing is cached: who needs a frame twice keeps it.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of frames, rows and columns."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel, in native byte order."""

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        """Read what `key` selects."""


@dataclass(frozen=True, slots=True)
class UnseenFrames:
    """Frames of a run that come through Tiled, and not from their files."""

    name: str
    """Stream and data key."""
    files: tuple[str, ...] = ()
    """Their files where they were written; none if Tiled holds the frames itself."""
    dataset: str = ""
    """Data set in each HDF5 file."""
    recorded: tuple[Mapping[str, Any], ...] = ()
    """What the run itself says of its files, if it does: path, size, time of last change, SHA-256."""


@dataclass(frozen=True, slots=True)
class ScanOrigin:
    """Where a scan came from, for the record that goes with every result."""

    kind: str
    """Name of the source: dxchange, nxtomo, tiff, bluesky."""
    location: str
    """Path of the file or directory, or address of the Tiled node."""
    datasets: Mapping[str, str] = field(default_factory=dict)
    """Data sets that were read, by what they hold (projections, flats, darks, angles)."""
    run_uid: str | None = None
    """Bluesky run, if any."""
    files: tuple[str, ...] = ()
    """Raw files behind the scan, as far as they are visible from here."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Uids of other Bluesky runs that frames are of, by what they are (flats, darks)."""
    unseen: tuple[UnseenFrames, ...] = ()
    """Frames that come through Tiled, so that nothing is known of their files."""


@dataclass(frozen=True, slots=True)
class EarlierVolume:
    """A volume that was reconstructed earlier, for iterations to start from."""

    location: str
    """Where: a path, or an address."""
    shape: tuple[int, int, int]
    """Slices, rows and columns (z, y, x)."""
    geometry: Mapping[str, Any]
    """What its record says of its voxels: `detector_rows`, `binning`, `axis_pixel`, `units` and so on."""
    read: Callable[[slice], NDArray[Any]]
    """Returns some slices (z, y, x), as numbers that are stored."""
    files: tuple[str, ...] = ()
    """Files and folders that are read."""
    checksum: str | None = None
    """Of its voxels, if known."""


@dataclass(frozen=True, slots=True)
class TomoScan:
    """One tomography scan.

    Attributes are read-only; a scan holds its files open until `close`, and is a context manager.
    """

    projections: Frames
    """Projections (angle, row, column), in the order of acquisition."""
    angles_deg: NDArray[np.float64]
    """Angle of each projection in degrees, as recorded; one per projection."""
    origin: ScanOrigin
    """Where the scan came from."""
    flats: Frames | None = None
    """Open-beam frames (frame, row, column), or None."""
    darks: Frames | None = None
    """Frames without beam (frame, row, column), or None."""
    image_keys: NDArray[np.int8] | None = None
    """`ImageKey` of every frame in the order of acquisition, where the source tells it."""
    monitor: NDArray[np.float64] | None = None
    """What a monitor of the beam read at each projection, in any unit; None if the scan holds no readings."""
    flat_monitor: NDArray[np.float64] | None = None
    """What it read at each of the flats."""
    rotation_axis: float | None = None
    """Column of the rotation axis in the full frame, if known."""
    pixel_size_um: float | None = None
    """Size of a pixel at the sample, in micrometres."""
    energy_kev: float | None = None
    """Photon energy in keV."""
    distance_mm: float | None = None
    """Distance from sample to detector in millimetres."""
    sample_name: str | None = None
    """Name of the sample."""
    notes: tuple[str, ...] = ()
    """What the source had to decide, in sentences for the user (counts that did not match, say)."""
    companions: Mapping[str, TomoScan] = field(default_factory=dict)
    """Other scans of the same sample that a recipe needs beside this one, by the name it gives them."""
    volumes: Mapping[str, EarlierVolume] = field(default_factory=dict)
    """Earlier volumes that a recipe needs, by the name it gives them."""
    closer: Callable[[], None] | None = None
    """Called once by `close`."""

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        frames, rows, columns = self.projections.shape
        if self.angles_deg.shape != (frames,):
            raise InputError(
                self.origin.location, f"{frames} projections but {self.angles_deg.shape[0]} angles"
            )
        for name, stack in (("flats", self.flats), ("darks", self.darks)):
            if stack is not None and stack.shape[1:] != (rows, columns):
                raise InputError(
                    self.origin.location,
                    f"{name} are {stack.shape[1]} x {stack.shape[2]} pixels, projections {rows} x {columns}",
                    dataset=self.origin.datasets.get(name),
                    hint="Flats, darks and projections must come from the same detector region",
                )
        flats = 0 if self.flats is None else self.flats.shape[0]
        for name, readings, count in (
            ("projections", self.monitor, frames),
            ("flats", self.flat_monitor, flats),
        ):
            if readings is not None and readings.shape != (count,):
                raise InputError(
                    self.origin.location,
                    f"{count} {name} but readings of the beam monitor of shape {readings.shape}",
                    dataset=self.origin.datasets.get("monitor"),
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of projections, rows and columns."""
        return self.projections.shape

    def close(self) -> None:
        """Close the files behind the scan. Reading afterwards fails."""
        if self.closer is not None:
            self.closer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class ArrayFrames:
    """`Frames` held in memory."""

    array: NDArray[Any]
    """Pixels (frame, row, column)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of frames, rows and columns."""
        frames, rows, columns = self.array.shape
        return frames, rows, columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self.array.dtype

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        return np.asarray(self.array[key])
