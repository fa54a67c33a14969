"""Small pictures of scans, made once and kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomoservice.compute.pictures import binned, binning_for
from tomoservice.errors import MissingDataError, OutputError
from tomoservice.service.pixels import PixelFormat, encoded
from tomoservice.store import VOLUME, SlabStore

logger = logging.getLogger(__name__)

WIDTH = 512
"""Columns of a picture that is kept, at most; narrower ones are made from it."""
NARROWEST = 16
MOST = 5000
"""Pictures that are kept; the oldest go first."""
HELD_S = 60.0
"""Seconds for which a picture of what goes on is given again."""
MOST_HELD = 200
"""Pictures of what goes on that are held; a few hundred kilobytes each, at most."""
AT_ONCE = 4
"""Pictures that are made at the same time, so that others get their turn."""

Make = Callable[[], Awaitable[NDArray[np.float32]]]


class Thumbnails:
    """Keeps pictures in a folder.

    Parameters
    ----------
    folder : Path
        Where they are kept; made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._making: dict[str, asyncio.Task[bytes]] = {}
        self._held: dict[str, tuple[float, bytes]] = {}

    async def picture(self, name: str, make: Make, *, keep: bool) -> bytes:
        """Return a picture as PNG.

        Parameters
        ----------
        name
            Whatever tells it from others, and from what will stand in its place later.
        make
            Makes it, as grey values (row, column).
        keep
            Whether it will look the same next time. What will not is held for a minute: lists of scans are
            read again and again while one of them goes on.

        Raises
        ------
        TomoserviceError
            As `make` raised it.
        """
        path = self._folder / f"{hashlib.sha256(name.encode()).hexdigest()}.png"
        kept = await asyncio.to_thread(_read, path) if keep else self._held_now(name)
        if kept is not None:
            return kept
        # Several who want the same wait for the same; none of them takes it along by going away.
        task = self._making.get(name)
        if task is None:
            task = asyncio.create_task(self._make(path if keep else None, make))
            self._making[name] = task
            task.add_done_callback(lambda _: self._making.pop(name, None))
        content = await asyncio.shield(task)
        if not keep:
            self._hold(name, content)
        return content

    def _held_now(self, name: str) -> bytes | None:
        until, content = self._held.get(name, (0.0, b""))
        return content if time.monotonic() < until else None

    def _hold(self, name: str, content: bytes) -> None:
        now = time.monotonic()
        if self._held_now(name) is None:
            self._held.pop(name, None)
            self._held[name] = (now + HELD_S, content)
        for old in [key for key, (until, _) in self._held.items() if until <= now]:
            del self._held[old]
        while len(self._held) > MOST_HELD:
            del self._held[next(iter(self._held))]

    async def _make(self, path: Path | None, make: Make) -> bytes:
        async with self._turns:
            image = await make()
            return await asyncio.to_thread(self._finish, image, path)

    def _finish(self, image: NDArray[np.float32], path: Path | None) -> bytes:
        content, _ = encoded(binned(image, binning_for(image.shape[1], WIDTH)), PixelFormat.PNG)
        if path is not None:
            try:
                self._keep(path, content)
                self._forget_oldest()
            except OSError as error:
                # A full disk, or a folder of somebody else: there is a picture all the same.
                logger.warning("%s: a picture is not kept: %s", self._folder, error)
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{uuid.uuid4().hex}")
        try:
            draft.write_bytes(content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def _forget_oldest(self) -> None:
        there: list[tuple[float, Path]] = []
        for path in self._folder.glob("*.png"):
            # Other server processes forget, too.
            with contextlib.suppress(FileNotFoundError):
                there.append((path.stat().st_mtime, path))
        there.sort()
        for _, path in there[: max(len(there) - MOST, 0)]:
            path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Give up what is being made."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def narrowed(content: bytes, width: int) -> bytes:
    """Return a PNG, made narrower if it is wider than `width`."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        if picture.width <= width:
            return content
        small = picture.resize((width, max(round(picture.height * width / picture.width), 1)))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def central_slice(folder: Path) -> NDArray[np.float32]:
    """Return the slice (y, x) in the middle of a volume that is complete, as coarse as a picture may be.

    Parameters
    ----------
    folder : Path
        Folder of its store.

    Raises
    ------
    MissingDataError
        It is not there.
    """
    import zarr

    try:
        volume = SlabStore.open(folder).array
        for level in sorted((int(path.name) for path in folder.glob("[0-9]*")), reverse=True):
            coarse = zarr.open_array(folder / str(level), mode="r")
            if coarse.shape[-1] >= WIDTH:
                volume = coarse
                break
    except (OutputError, OSError, ValueError) as error:
        raise MissingDataError(folder / VOLUME, f"cannot be read: {error}") from error
    return np.asarray(volume[volume.shape[0] // 2], np.float32)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        # Not there, or not readable: it is made anew.
        return None
