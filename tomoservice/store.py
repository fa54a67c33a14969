"""Volumes on disk, slab by slab: a Zarr array and one marker per slab that is complete.

::

    {folder}/volume.zarr          (z, y, x), fill value NaN or 0, one layer of chunks per slab
    {folder}/slabs/000007.json    marker: bounds, attempt, checksum; written after the slab's chunks
    {folder}/machines/0a1b2c.json a machine that has computed slabs; their markers name it
    {folder}/work/*.json          seconds per stage of each task that has computed slabs
    {folder}/attempts/000002      the attempts that have opened the store for writing
    {folder}/identity.json        what determines the pixels; slabs of another identity are not kept
    {folder}/resolution.json      what was decided once for all slabs; the first who decides is right
    {folder}/1, 2, ...            the volume binned by 2, 4, ..., made from it when it is complete
    {folder}/zarr.json            makes the folder an OME-Zarr of all of these; only of a complete volume

Zarr writes no chunk that equals the fill value, so chunks tell nothing about what is done: a slab
exists when its marker has been renamed into place, which happens after everything else is on disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from tomoservice.chunks import COMPRESSION, sync, write_layer
from tomoservice.errors import ClaimLostError, OtherSlabsError, OutputError

if TYPE_CHECKING:
    import zarr

VOLUME = "volume.zarr"
MARKERS = "slabs"
MACHINES = "machines"
WORK = "work"
ATTEMPTS = "attempts"
IDENTITY = "identity.json"
RESOLUTION = "resolution.json"
GROUP = "zarr.json"


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
    seconds: float = 0.0
    """How long it took to compute, if known."""
    machine: str = ""
    """Name of the file that describes the machine, without its ending; empty if it is not known."""


class SlabStore:
    """A volume that is written one slab at a time and survives the death of its writer.

    Use `create` or `open`, not the constructor.
    """

    def __init__(self, folder: Path, array: zarr.Array[Any], attempt: int | None) -> None:
        self._folder = folder
        self._array = array
        self._attempt = attempt
        self._identity: str | None = None

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
        self._refuse_if_overtaken()
        self._identity = identity
        if self.identity == identity:
            return True
        try:
            discarded = self.present()
            self.discard(discarded)
            shutil.rmtree(self._folder / WORK, ignore_errors=True)
            write_durably(self._folder / IDENTITY, json.dumps(identity))
        except OSError as error:
            raise OutputError(f"{self._folder} cannot be written: {error}") from error
        return not discarded

    def belong_to(self, identity: str) -> None:
        """Write slabs of this identity only; those of another one are not touched.

        Raises
        ------
        OtherSlabsError
            There are slabs of another identity.
        """
        if not self.present() and (self.identity is None or self._attempt == 0):
            self.keep_only(identity)
        self._identity = identity
        self._refuse_other()

    @property
    def identity(self) -> str | None:
        """What determines the pixels of the slabs in the store, or None before it was said."""
        path = self._folder / IDENTITY
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def commit(
        self,
        slab: SlabBounds,
        pixels: NDArray[Any],
        seconds: float = 0.0,
        machine: Mapping[str, Any] | None = None,
    ) -> SlabMarker:
        """Write a slab, make sure that it is on disk, and only then mark it as existing.

        Parameters
        ----------
        slab : SlabBounds
            Where it belongs; must be exactly one layer of chunks.
        pixels : ndarray
            (z, y, x), of the store's type; not modified.
        seconds : float
            How long it took to compute.
        machine : mapping, optional
            What computed it, as plain JSON types.

        Raises
        ------
        ClaimLostError
            A writer with a higher attempt has opened the store meanwhile.
        OtherSlabsError
            The store belongs to another volume by now.
        OutputError
            The slab does not fit, the store was opened for reading, or the disk refuses.
        """
        if self._attempt is None:
            raise OutputError(f"{self._folder} was opened for reading")
        self._check(slab, pixels)
        self._refuse_if_overtaken()
        self._refuse_other()
        data = np.ascontiguousarray(pixels, dtype=self.dtype.newbyteorder("<"))
        checksum = hashlib.sha256(data.data).hexdigest()
        try:
            name = self._describe_machine(machine) if machine else ""
            bounds = slab.index, slab.start, slab.stop
            marker = SlabMarker(*bounds, self._attempt, checksum, round(seconds, 3), name)
            write_layer(self._array, slab.start, data, durable=True)
            self._refuse_if_overtaken()
            self._refuse_other()
            write_durably(self._marker_path(slab.index), json.dumps(asdict(marker)))
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

    def makers(self) -> list[tuple[dict[str, Any], int]]:
        """Return the machines that computed the slabs that exist, each with the number of its slabs.

        The one with most comes first. Slabs of which it is not known are not counted.
        """
        counts = Counter(marker.machine for marker in self.markers().values())
        found = []
        for name, slabs in counts.most_common():
            with suppress(OSError, ValueError):
                found.append((json.loads(self._machine_path(name).read_text(encoding="ascii")), slabs))
        return found

    def note_work(self, timings_s: Mapping[str, float]) -> None:
        """Note how long the stages of a task took that has computed slabs.

        Raises
        ------
        OSError
            The disk refuses.
        """
        folder = self._folder / WORK
        folder.mkdir(exist_ok=True)
        # Whole or not at all, but not waited for: a power cut may cost it.
        draft = folder / f".{uuid.uuid4().hex}.part"
        draft.write_text(json.dumps(dict(timings_s)), encoding="ascii")
        draft.rename(draft.with_name(f"{draft.stem[1:]}.json"))

    def timings_s(self) -> dict[str, float]:
        """Return the seconds per stage of all tasks that have computed slabs of this identity.

        Those are not among them that died before they could note it, nor those of slabs that were there when
        the store did not keep such notes.
        """
        total: Counter[str] = Counter()
        for path in (self._folder / WORK).glob("*.json"):
            with suppress(OSError, ValueError):
                total.update(json.loads(path.read_text(encoding="ascii")))
        return {stage: round(seconds, 3) for stage, seconds in sorted(total.items())}

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
            # First of all: nothing may say any more that the volume is complete.
            (self._folder / GROUP).unlink(missing_ok=True)
            self._marker_path(index).unlink(missing_ok=True)
            # After the marker: whoever dies in between leaves pixels without a marker, which count as none.
            # Moved away at once: what somebody writes there meanwhile stays whole.
            aside = self._folder / f".discarded-{uuid.uuid4().hex}"
            with suppress(FileNotFoundError):
                (self.path / "c" / str(index)).rename(aside)
                shutil.rmtree(aside, ignore_errors=True)

    def _describe_machine(self, machine: Mapping[str, Any]) -> str:
        """Make sure that the store describes a machine; return the description's name."""
        text = json.dumps(dict(machine), sort_keys=True)
        name = hashlib.sha256(text.encode("ascii")).hexdigest()[:12]
        path = self._machine_path(name)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_durably(path, text)
        return name

    def _machine_path(self, name: str) -> Path:
        return self._folder / MACHINES / f"{name}.json"

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

    def _refuse_other(self) -> None:
        if self._identity is not None and self.identity != self._identity:
            raise OtherSlabsError(
                f"{self._folder} holds slabs of another version of the engine, or of other raw data; queue "
                "the reconstruction, which computes it anew, or ask for another one"
            )

    def _refuse_if_overtaken(self) -> None:
        highest = highest_attempt(self._folder)
        if self._attempt is not None and highest > self._attempt:
            raise ClaimLostError(
                f"{self._folder} is being written by attempt {highest}; this is attempt {self._attempt}"
            )


def folder_of(volumes: Path, run_uid: str, reconstruction_id: str) -> Path:
    """Return the folder of a reconstruction's store below the folder of volumes."""
    return volumes / run_uid / reconstruction_id


def set_aside(folder: Path, is_stale: Callable[[], bool]) -> bool:
    """Remove a store that is left of a node which stood under the same key before.

    Parameters
    ----------
    folder : Path
        Folder of the store.
    is_stale : callable
        Asked while nobody else may remove it.

    Returns
    -------
    bool
        Whether it was removed.

    Raises
    ------
    OutputError
        The disk refuses.
    """
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.stale")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f".{folder.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists() or not is_stale():
                return False
            folder.rename(aside)
    except OSError as error:
        raise OutputError(f"{folder} cannot be removed: {error}") from error
    shutil.rmtree(aside, ignore_errors=True)
    return True


def read_resolution(folder: Path) -> dict[str, Any] | None:
    """Return what was decided for all slabs of a store, or None if nobody has decided yet."""
    path = folder / RESOLUTION
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    return content


def keep_resolution(folder: Path, content: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
    """Store what was decided for all slabs, and return what counts: of several writers the first is right.

    Parameters
    ----------
    folder : Path
        Folder of the store; made if absent.
    content : mapping
        Plain JSON types.
    replace : bool
        Whether `content` counts, whatever was there; for the claim's holder alone.

    Raises
    ------
    OutputError
        The disk refuses.
    """
    path = folder / RESOLUTION
    draft = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_synced(draft, json.dumps(content))
        if replace:
            draft.replace(path)
        else:
            # Unlike a renaming, a link replaces nothing.
            with suppress(FileExistsError):
                path.hardlink_to(draft)
            draft.unlink()
        sync(folder)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
    return read_resolution(folder) or dict(content)


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
        compressors=BloscCodec(**COMPRESSION, shuffle="shuffle"),
    )


def _make_array(folder: Path, shape: tuple[int, int, int], chunks: tuple[int, int, int], dtype: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A torn zarr.json of a writer that died here would stay for ever, so it is made elsewhere.
        draft = folder / f".{VOLUME}.{uuid.uuid4().hex}"
        create_array(draft, shape, chunks, dtype)
        sync_tree(draft)
        try:
            draft.rename(folder / VOLUME)
        except OSError:
            # Somebody else was quicker; `create` compares the shapes.
            if not (folder / VOLUME / "zarr.json").exists():
                raise
            shutil.rmtree(draft, ignore_errors=True)
        sync(folder)
    except OSError as error:
        raise OutputError(f"a volume cannot be created in {folder}: {error}") from error


def _enter(folder: Path, attempt: int) -> None:
    highest = highest_attempt(folder)
    if highest > attempt:
        raise ClaimLostError(f"{folder} is being written by attempt {highest}; this is attempt {attempt}")
    for name in (MARKERS, ATTEMPTS):
        (folder / name).mkdir(exist_ok=True)
    (folder / ATTEMPTS / f"{attempt:06d}").touch()
    sync(folder / ATTEMPTS)


def highest_attempt(folder: Path) -> int:
    """Return the latest attempt that has opened a store for writing; 0 if there was none."""
    return max((int(path.name) for path in (folder / ATTEMPTS).glob("[0-9]*")), default=0)


def write_durably(path: Path, text: str) -> None:
    """Write a file of ASCII characters that is there as a whole or not at all, and on disk on return."""
    # The storage may be shared by machines, on which other processes have the same number.
    draft = path.with_suffix(f".{uuid.uuid4().hex}.part")
    _write_synced(draft, text)
    draft.replace(path)
    sync(path.parent)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_tree(folder: Path) -> None:
    """Make sure that everything in a folder is on disk, and that the folder itself is."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(place) / name)
        sync(Path(place))
    if folder.parent.exists():
        sync(folder.parent)
