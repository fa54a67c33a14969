"""How the chunks of a volume get to disk: straight from the slab, by several threads.

What is written is what Zarr itself would write, to the byte; a test holds that. Zarr hands every chunk from
thread to thread several times, which takes about as long as compressing it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.threads import available_threads, for_each

if TYPE_CHECKING:
    import zarr

COMPRESSION: dict[str, Any] = {"cname": "lz4", "clevel": 1}
"""Half as large as raw for what is zero outside the circle, and the fastest to write and read of the codecs
that every Zarr v3 reader has. Bytes of equal significance are stored together."""
WAITING_THREADS = 8
"""Threads that write when each waits for the disk: a disk takes several files in the time of one."""


def write_layer(array: zarr.Array[Any], start: int, pixels: NDArray[Any], *, durable: bool = False) -> None:
    """Write whole layers of chunks.

    A chunk is there with all of its content or not at all. As with Zarr, one that holds nothing but the
    array's fill value is not stored.

    Parameters
    ----------
    array : zarr.Array
        (z, y, x) from `tomoservice.store.create_array`, in a folder of this machine.
    start : int
        First slice, at the beginning of a layer.
    pixels : ndarray
        (z, y, x) of the array's type, up to the end of a layer or of the volume; not modified.
    durable : bool
        Whether to return only when a power cut can take none of it away.

    Raises
    ------
    OSError
        The disk refuses.
    TypeError
        The array is somewhere else than in a folder.
    ValueError
        The slices are not whole layers of the array.
    """
    depth, stop = array.chunks[0], start + len(pixels)
    if not are_layers(array, start, stop) or pixels.shape[1:] != array.shape[1:]:
        raise ValueError(f"{pixels.shape} from z = {start} are not whole layers of {depth} of {array.shape}")
    folder = _folder(array)
    rows = [
        _Row(array, folder, z, y, pixels[z - start : z - start + depth], durable=durable)
        for z in range(start, stop, depth)
        for y in range(0, array.shape[1], array.chunks[1])
    ]
    for_each(_Row.write, rows, max(available_threads(), WAITING_THREADS) if durable else None)
    if durable:
        layers = {row.folder.parent for row in rows}
        for place in (*sorted(layers), *{layer.parent for layer in layers}, folder):
            sync(place)


def are_layers(array: zarr.Array[Any], start: int, stop: int) -> bool:
    """Return whether the slices from `start` to `stop` are whole layers of chunks."""
    depth, slices = array.chunks[0], array.shape[0]
    return start % depth == 0 and (stop == slices or (stop % depth == 0 and stop < slices))


def _folder(array: zarr.Array[Any]) -> Path:
    from zarr.storage import LocalStore

    if not isinstance(array.store, LocalStore):
        raise TypeError(f"{array.store} is no folder of this machine")
    return array.store.root / array.path


class _Row:
    """Neighbouring chunks along x."""

    def __init__(
        self, array: zarr.Array[Any], folder: Path, z: int, y: int, layer: NDArray[Any], *, durable: bool
    ) -> None:
        self._array = array
        self._place = (z // array.chunks[0], y // array.chunks[1])
        self._pixels = layer[:, y : y + array.chunks[1]]
        self._durable = durable
        self.folder = (folder / array.metadata.encode_chunk_key((*self._place, 0))).parent

    def write(self) -> None:
        from numcodecs.blosc import SHUFFLE, Blosc

        codec = Blosc(**COMPRESSION, shuffle=SHUFFLE)
        self.folder.mkdir(parents=True, exist_ok=True)
        for x, chunk in enumerate(self._chunks()):
            path = self.folder / str(x)
            if _is_all(chunk, self._array.fill_value):
                path.unlink(missing_ok=True)
            else:
                _write(path, codec.encode(chunk), durable=self._durable)
        if self._durable:
            sync(self.folder)

    def _chunks(self) -> Iterator[NDArray[Any]]:
        """Yield each chunk, whole and contiguous, in memory that the next one takes over."""
        width = self._array.chunks[2]
        chunk = np.empty(self._array.chunks, self._pixels.dtype.newbyteorder("<"))
        for x in range(0, self._pixels.shape[2], width):
            part = self._pixels[:, :, x : x + width]
            if part.shape != chunk.shape:
                chunk[:] = self._array.fill_value
            chunk[: part.shape[0], : part.shape[1], : part.shape[2]] = part
            yield chunk


def _is_all(chunk: NDArray[Any], value: Any) -> bool:
    if not np.isnan(value):
        return bool((chunk == value).all())
    return bool(np.isnan(chunk[0, 0, 0]) and np.isnan(chunk).all())


def _write(path: Path, content: bytes, *, durable: bool) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Return when the content of a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
