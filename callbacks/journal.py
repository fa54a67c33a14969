"""The documents of one run on disk, until the run is complete in Tiled.

::

    {folder}/{run_uid}.jsonl           one document a line
    {folder}/refused/{run_uid}.jsonl   what could not be published as it is; the last line says why

A journal is locked as long as it is open, so another process takes it up only when its writer is dead.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from callbacks.encoding import encode
from callbacks.spool import REFUSED
from tomoservice.catalog.names import is_key

logger = logging.getLogger(__name__)

SUFFIX = ".jsonl"
SENDING = "sending"
"""Name of the line that says that what stands in Tiled of this run may come from this journal."""
TAKEN = "taken"
"""Name of the line that takes this back: somebody else was quicker."""
PIECE = 1 << 20
ABANDONED_S = 60.0
"""Age from which an empty journal is nobody's who is just about to write into it."""


def _prefix(name: str) -> bytes:
    return encode(name, {})[: -len(b"{}}\n")]


class Journal:
    """The documents of one run: appended by one thread, read by another.

    Lines that cannot be written, to a full disk say, are kept in memory and written later.

    Parameters
    ----------
    path : Path
        Its file; made with the first document.
    descriptor : int, optional
        The file if it is open and locked already.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self.path = path
        self.ended = False
        """Whether no further document will come."""
        self.stopped = False
        """Whether it has the run's stop document."""
        self.marked = False
        """Whether what stands in Tiled of this run may come from this journal."""
        self._descriptor = descriptor
        self._size = 0
        self._unwritten = b""
        self._lock = threading.Lock()

    @property
    def uid(self) -> str:
        """Run it belongs to."""
        return self.path.stem

    @classmethod
    def take_up(cls, path: Path) -> Self | None:
        """Return a journal that another process left behind, or None if somebody is at it.

        Raises
        ------
        OSError
            It cannot be opened.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return None
        journal = cls(path, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not journal._is_worth_it():
                journal.close()
                return None
            journal._look_through()
        except BlockingIOError:
            journal.close()
            return None
        except OSError:
            journal.close()
            raise
        return journal

    def append(self, name: str, doc: Mapping[str, Any]) -> None:
        """Write a document; after the stop document it is safe from a power cut.

        Raises
        ------
        FileExistsError
            Another process, or an earlier one, has a journal of this run.
        OSError
            It cannot be written now; it is kept in memory.
        ValueError, RecursionError
            It cannot be written at all; it is left out.
        """
        line = encode(name, doc)
        with self._lock:
            self._unwritten += line
            if name == "stop":
                self.stopped = self.ended = True
            elif name in (SENDING, TAKEN):
                self.marked = name == SENDING
            self._write()
            if self.stopped:
                self._keep()

    def note(self, name: str) -> None:
        """Write a line that is no document; it is kept in memory if it cannot be written now."""
        with suppress(OSError):
            self.append(name, {})

    def flush(self) -> None:
        """Try again to write what could not be written.

        Raises
        ------
        OSError
            It still cannot.
        """
        with self._lock:
            if self._unwritten:
                self._write()
                self._keep()

    def read(self, position: int) -> list[bytes]:
        """Return some of the whole lines after a position, none if there are none.

        Parameters
        ----------
        position : int
            Sum of the lengths of the lines before.
        """
        with self._lock:
            piece, size = b"", PIECE
            while b"\n" not in piece and len(piece) < self._size - position and self._descriptor is not None:
                piece = os.pread(self._descriptor, min(size, self._size - position), position)
                size *= 2
            if position + len(piece) >= self._size:
                # Half a line may be on disk and the other half not.
                piece += self._unwritten[max(0, position - self._size) :]
        return piece[: piece.rfind(b"\n") + 1].splitlines(keepends=True)

    def has_more(self, position: int) -> bool:
        """Tell whether there is anything after a position."""
        with self._lock:
            return position < self._size + len(self._unwritten)

    def remove(self) -> None:
        """Forget a journal whose run is complete in Tiled."""
        with suppress(OSError):
            self.path.unlink()
        self._drop()

    def put_aside(self, reason: str) -> Path:
        """Keep a journal out of the way, for people to look at; return where."""
        with suppress(OSError):
            self.append(REFUSED, {"reason": reason, "time": time.time()})
        place = self.path.parent / REFUSED / self.path.name
        with suppress(OSError):
            place.parent.mkdir(exist_ok=True)
            self.path.replace(place)
        self._drop()
        return place

    def close(self) -> None:
        """Leave the journal to the next process; what is not on disk by now is lost."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _drop(self) -> None:
        with self._lock:
            self._close()
            # Written later it would be a journal again.
            self._unwritten = b""

    def _is_worth_it(self) -> bool:
        """Tell whether the locked file is still the journal, and one with content."""
        if self._descriptor is None:
            return False
        mine = os.fstat(self._descriptor)
        try:
            if not os.path.samestat(mine, self.path.stat()):
                return False
        except FileNotFoundError:
            # Published and removed before we got the lock.
            return False
        if mine.st_size == 0 and time.time() - mine.st_mtime > ABANDONED_S:
            self.path.unlink(missing_ok=True)
        return mine.st_size > 0

    def _look_through(self) -> None:
        whole = 0
        with self.path.open("rb") as file:
            for line in file:
                # A line that was being written when the process died has no end.
                if line.endswith(b"\n"):
                    whole += len(line)
                    self.stopped |= line.startswith(_prefix("stop"))
                    if line.startswith((_prefix(SENDING), _prefix(TAKEN))):
                        self.marked = line.startswith(_prefix(SENDING))
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, whole)
        self._size = whole
        self.ended = True

    def _write(self) -> None:
        descriptor = self._descriptor if self._descriptor is not None else self._make()
        while self._unwritten:
            written = os.write(descriptor, self._unwritten)
            self._unwritten = self._unwritten[written:]
            self._size += written

    def _make(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
        descriptor = os.open(self.path, flags, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        return descriptor

    def _keep(self) -> None:
        if self._descriptor is None:
            return
        os.fsync(self._descriptor)
        # A file outlives a power cut only if its name in the folder does.
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def find_journals(folder: Path) -> list[Path]:
    """Return the journals in a folder, oldest first."""

    def age(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    return sorted((path for path in folder.glob(f"*{SUFFIX}") if is_key(path.stem)), key=age)
