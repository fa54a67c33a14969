"""Volumes on disk, slab by slab: a Zarr array and one marker per slab that is complete.

::

    {folder}/volume.zarr          (z, y, x), fill value NaN or 0, one layer of chunks per slab
    {folder}/slabs/000007.json    marker: bounds, attempt, checksum; written after the slab's chunks
    {folder}/attempts/000002      the attempts that have opened the store for writing
    {folder}/identity.json        what determines the pixels; slabs of another identity are not kept

Zarr writes no chunk that equals the fill value, so chunks tell nothing about what is done: a slab
exists when its marker has been renamed into place, which happens after everything else is on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import ClaimLostError, OutputError

if TYPE_CHECKING:
    import zarr

VOLUME = "volume.zarr"
MARKERS = "slabs"
ATTEMPTS = "attempts"
IDENTITY = "identity.json"


class SlabBounds(Protocol):
    """Which layers of the volume a slab holds."""

    @property
    def index(self) -> int:
        """Number of the slab, from 0."""

    @property
    def start(self) -> int:
        """First layer."""

    @property
    def stop(self) -> int:
        """Layer after the last one."""


Slab = TypeVar("Slab", bound=SlabBounds)


@dataclass(frozen=True, slots=True)
class SlabMarker:
    """What is known about a complete slab."""

    index: int
    start: int
    stop: int
    attempt: int
    checksum: str
    """SHA-256 of the slab's pixels: little endian, (z, y, x) in C order."""


class SlabStore:
    """A volume that is written one slab at a time and survives the death of its writer.

    Use `create` or `open`, not the constructor.
    """

    def __init__(self, folder: Path, array: zarr.Array[Any], attempt: int | None) -> None:
        self._folder = folder
        self._array = array
        self._attempt = attempt

    @classmethod
    def create(
        cls,
        folder: Path,
        shape: tuple[int, int, int],
        chunks: tuple[int, int, int],
        *,
        dtype: str = "float32",
        attempt: int = 1,
    ) -> Self:
        """Create the store, or open the one that is there for writing.

        Parameters
        ----------
        folder : Path
            Where the store lives; made if absent.
        shape : tuple of int
            Shape of the volume (z, y, x).
        chunks : tuple of int
            Shape of a chunk (z, y, x). A slab is one layer of chunks.
        dtype : str
            Type of a pixel: float32, uint16 or uint8.
        attempt : int
            Fencing token of the writer: afterwards, writers with a lower one are refused.

        Raises
        ------
        ClaimLostError
            A writer with a higher `attempt` has been here.
        OutputError
            The folder cannot be written, or holds a volume of another shape.
        """
        folder = folder.resolve()
        if not (folder / VOLUME / "zarr.json").exists():
            _make_array(folder, shape, chunks, dtype)
        store = cls.open(folder, attempt=attempt)
        if (store.shape, store.chunks, store.dtype) != (shape, chunks, np.dtype(dtype)):
            raise OutputError(
                f"{folder} holds a volume of shape {store.shape} in chunks {store.chunks}, {store.dtype}, "
                f"not {shape} in {chunks}, {dtype}; remove the folder or choose another"
            )
        return store

    @classmethod
    def open(cls, folder: Path, *, attempt: int | None = None) -> Self:
        """Open a store: for reading, or with an `attempt` for writing.

        Raises
        ------
        ClaimLostError
            A writer with a higher `attempt` has been here.
        OutputError
            There is no volume, or it cannot be read.
        """
        import zarr

        folder = folder.resolve()
        try:
            array = zarr.open_array(folder / VOLUME, mode="r" if attempt is None else "r+")
            if attempt is not None:
                _enter(folder, attempt)
        except (OSError, ValueError) as error:
            raise OutputError(f"no readable volume in {folder}: {error}") from error
        return cls(folder, array, attempt)

    @property
    def folder(self) -> Path:
        """The folder that holds array and markers."""
        return self._folder

    @property
    def path(self) -> Path:
        """The folder of the Zarr array itself."""
        return self._folder / VOLUME

    @property
    def array(self) -> zarr.Array[Any]:
        """The Zarr array (z, y, x); slabs that do not exist read as NaN, or as 0 among whole numbers."""
        return self._array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the volume (z, y, x)."""
        z, y, x = self._array.shape
        return z, y, x

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Shape of a chunk (z, y, x)."""
        z, y, x = self._array.chunks
        return z, y, x

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(self._array.dtype)

    def keep_only(self, identity: str) -> bool:
        """Make sure that the slabs in the store belong together.

        Parameters
        ----------
        identity : str
            Whatever determines the pixels: recipe with every value resolved, scan, version of the engine.

        Returns
        -------
        bool
            False if there were slabs of another identity, which count as missing now.
        """
        path = self._folder / IDENTITY
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if before == identity:
            return True
        self._refuse_if_overtaken()
        discarded = self.present()
        self.discard(discarded)
        _write_durably(path, json.dumps(identity))
        return not discarded

    def commit(self, slab: SlabBounds, pixels: NDArray[Any]) -> SlabMarker:
        """Write a slab, make sure that it is on disk, and only then mark it as existing.

        Parameters
        ----------
        slab : SlabBounds
            Where it belongs; must be exactly one layer of chunks.
        pixels : ndarray
            (z, y, x), of the store's type; not modified.

        Raises
        ------
        ClaimLostError
            A writer with a higher attempt has opened the store meanwhile.
        OutputError
            The slab does not fit, the store was opened for reading, or the disk refuses.
        """
        if self._attempt is None:
            raise OutputError(f"{self._folder} was opened for reading")
        self._check(slab, pixels)
        self._refuse_if_overtaken()
        data = np.ascontiguousarray(pixels, dtype=self.dtype.newbyteorder("<"))
        marker = SlabMarker(
            slab.index, slab.start, slab.stop, self._attempt, hashlib.sha256(data.data).hexdigest()
        )
        try:
            self._array[slab.start : slab.stop] = data
            _sync_tree(self.path / "c" / str(slab.index))
            self._refuse_if_overtaken()
            _write_durably(self._marker_path(slab.index), json.dumps(asdict(marker)))
        except OSError as error:
            raise OutputError(f"slab {slab.index} cannot be written to {self._folder}: {error}") from error
        return marker

    def markers(self) -> dict[int, SlabMarker]:
        """Return the markers of the slabs that exist, by their number."""
        markers = {}
        for path in sorted((self._folder / MARKERS).glob("*.json")):
            marker = SlabMarker(**json.loads(path.read_text(encoding="ascii")))
            markers[marker.index] = marker
        return markers

    def present(self) -> set[int]:
        """Return the numbers of the slabs that exist."""
        return {int(path.stem) for path in (self._folder / MARKERS).glob("*.json")}

    def missing(self, slabs: Iterable[Slab]) -> tuple[Slab, ...]:
        """Return those of `slabs` that do not exist yet, in their order."""
        present = self.present()
        return tuple(slab for slab in slabs if slab.index not in present)

    def checksum(self) -> str:
        """Return one checksum for the whole volume, from those of its slabs in order.

        It does not depend on who computed which slab, on chunk shapes in y and x, or on compression.

        Raises
        ------
        OutputError
            Slabs are missing.
        """
        markers = self.markers()
        layers = sum(marker.stop - marker.start for marker in markers.values())
        if layers != self.shape[0]:
            raise OutputError(f"{self._folder} is incomplete: {layers} of {self.shape[0]} layers exist")
        ordered = sorted(markers.values(), key=lambda marker: marker.start)
        return hashlib.sha256("".join(marker.checksum for marker in ordered).encode("ascii")).hexdigest()

    def broken(self) -> set[int]:
        """Return the numbers of slabs whose pixels do not have the checksum of their marker.

        Reads the whole volume.
        """
        bad = set()
        for index, marker in self.markers().items():
            pixels = np.ascontiguousarray(
                self._array[marker.start : marker.stop], dtype=self.dtype.newbyteorder("<")
            )
            if hashlib.sha256(pixels.data).hexdigest() != marker.checksum:
                bad.add(index)
        return bad

    def discard(self, indices: Iterable[int]) -> None:
        """Remove slabs, so that they count as missing and read as NaN."""
        for index in indices:
            self._marker_path(index).unlink(missing_ok=True)
            # After the marker: whoever dies in between leaves pixels without a marker, which count as none.
            chunks = self.path / "c" / str(index)
            if chunks.exists():
                shutil.rmtree(chunks)

    def _marker_path(self, index: int) -> Path:
        return self._folder / MARKERS / f"{index:06d}.json"

    def _check(self, slab: SlabBounds, pixels: NDArray[Any]) -> None:
        layers, (depth, height, width) = self.chunks[0], self.shape
        if slab.start != slab.index * layers or slab.stop != min(slab.start + layers, depth):
            raise OutputError(
                f"slab {slab.index} is layers {slab.start} to {slab.stop}; one layer of chunks of "
                f"{self._folder} is {slab.index * layers} to {min((slab.index + 1) * layers, depth)}"
            )
        expected = (slab.stop - slab.start, height, width)
        if pixels.shape != expected or pixels.dtype != self.dtype:
            raise OutputError(
                f"slab {slab.index} is {pixels.dtype} of shape {pixels.shape}, "
                f"expected {self.dtype} {expected}"
            )

    def _refuse_if_overtaken(self) -> None:
        highest = _highest_attempt(self._folder)
        if self._attempt is not None and highest > self._attempt:
            raise ClaimLostError(
                f"{self._folder} is being written by attempt {highest}; this is attempt {self._attempt}"
            )


def attempts_with_slabs(folder: Path) -> set[int]:
    """Return the attempts that left slabs in a folder, which need not hold a store."""
    paths = (folder / MARKERS).glob("*.json")
    return {int(json.loads(path.read_text(encoding="ascii"))["attempt"]) for path in paths}


def remove(folder: Path) -> None:
    """Remove a store; nothing happens if there is none."""
    shutil.rmtree(folder, ignore_errors=True)


def create_array(
    path: Path,
    shape: tuple[int, int, int],
    chunks: tuple[int, int, int],
    dtype: str = "float32",
    attributes: Mapping[str, Any] | None = None,
) -> zarr.Array[Any]:
    """Create the Zarr v3 array of a volume (z, y, x), filled with NaN, or with 0 if it holds whole numbers.

    Parameters
    ----------
    path : Path
        Folder of the array; its parent exists.
    shape, chunks : tuple of int
        Shape of the volume and of a chunk (z, y, x).
    dtype : str
        Type of a pixel.
    attributes : mapping, optional
        Attributes of the array, as plain JSON types.
    """
    import zarr
    from zarr.codecs import BloscCodec

    return zarr.create_array(
        path,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=float("nan") if np.dtype(dtype).kind == "f" else 0,
        dimension_names=["z", "y", "x"],
        attributes=dict(attributes or {}),
        # Half as large as raw for what is zero outside the circle, and the fastest to write and read
        # of the codecs that every Zarr v3 reader has.
        compressors=BloscCodec(cname="lz4", clevel=1, shuffle="shuffle"),
    )


def _make_array(folder: Path, shape: tuple[int, int, int], chunks: tuple[int, int, int], dtype: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A torn zarr.json of a writer that died here would stay for ever, so it is made elsewhere.
        draft = folder / f".{VOLUME}.{uuid.uuid4().hex}"
        create_array(draft, shape, chunks, dtype)
        _sync_tree(draft)
        try:
            draft.rename(folder / VOLUME)
        except OSError:
            # Somebody else was quicker; `create` compares the shapes.
            if not (folder / VOLUME / "zarr.json").exists():
                raise
            shutil.rmtree(draft, ignore_errors=True)
        _sync(folder)
    except OSError as error:
        raise OutputError(f"a volume cannot be created in {folder}: {error}") from error


def _enter(folder: Path, attempt: int) -> None:
    highest = _highest_attempt(folder)
    if highest > attempt:
        raise ClaimLostError(f"{folder} is being written by attempt {highest}; this is attempt {attempt}")
    for name in (MARKERS, ATTEMPTS):
        (folder / name).mkdir(exist_ok=True)
    (folder / ATTEMPTS / f"{attempt:06d}").touch()
    _sync(folder / ATTEMPTS)


def _highest_attempt(folder: Path) -> int:
    return max((int(path.name) for path in (folder / ATTEMPTS).glob("[0-9]*")), default=0)


def _write_durably(path: Path, text: str) -> None:
    # The storage may be shared by machines, on which other processes have the same number.
    draft = path.with_suffix(f".{uuid.uuid4().hex}.part")
    with draft.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync(path.parent)


def _sync_tree(folder: Path) -> None:
    # A layer without chunks is all NaN, and Zarr wrote nothing.
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync(Path(place) / name)
        _sync(Path(place))
    if folder.parent.exists():
        _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
