"""Requests on disk: what has been asked for survives a service that is down, and the session itself.

::

    {folder}/{reconstruction_id}.json           to be delivered
    {folder}/refused/{reconstruction_id}.json   will never be accepted; the reason stands inside
    {folder}/{run_uid}.start                    start document of a run whose stop document is awaited
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from callbacks.encoding import decode, encode
from callbacks.rules import VolumeKind
from tomoservice.catalog.names import is_key
from tomoservice.catalog.priorities import JobPriority

logger = logging.getLogger(__name__)

REFUSED = "refused"
START = ".start"
START_KEPT_S = 7 * 86400.0
"""Age from which a start document is forgotten: whoever sends documents again does not reach back further."""
KEY = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
"""What may be a key in Tiled: ``..`` and the like would name another node, and another file."""


class ReconstructionRequest(BaseModel):
    """A reconstruction that somebody is to be asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    """Version of this form."""
    reconstruction_id: str = Field(pattern=KEY)
    """Key of the node; the same run and recipe give the same key."""
    run_uid: str = Field(pattern=KEY)
    """Run to reconstruct."""
    recipe: dict[str, Any] | str
    """Recipe as plain JSON types, or the name or file of a recipe that has not been read yet."""
    volume: VolumeKind = VolumeKind.FULL
    """How much of the volume."""
    priority: JobPriority = JobPriority.NORMAL
    """How urgent it is."""
    requested_by: str = ""
    """Who asks."""
    requested_at: float = Field(default_factory=time.time)
    """When, in seconds since 1970."""


class Spool:
    """A folder of requests that wait for delivery. Several processes may share it.

    Parameters
    ----------
    folder : Path
        Made if absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser().resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._unreadable: set[Path] = set()

    @property
    def folder(self) -> Path:
        """Where the requests are."""
        return self._folder

    def put(self, request: ReconstructionRequest) -> None:
        """Keep a request; the same one a second time changes nothing."""
        self._write(self._path(request), request.model_dump_json(indent=2).encode())

    def pending(self) -> list[ReconstructionRequest]:
        """Return the requests that wait, oldest first.

        Files that are no request are put aside; what cannot be read is left out, with a warning.
        """
        requests = []
        for path in self._folder.glob("*.json"):
            try:
                request = self._read(path)
            except FileNotFoundError:
                # Delivered by another process in the meantime.
                continue
            except OSError as error:
                if path not in self._unreadable:
                    self._unreadable.add(path)
                    logger.warning("%s cannot be read and is left where it is: %s", path, error)
                continue
            if request is not None:
                requests.append(request)
        return sorted(requests, key=lambda request: request.requested_at)

    def done(self, request: ReconstructionRequest) -> None:
        """Forget a request that has been delivered."""
        self._path(request).unlink(missing_ok=True)

    def refuse(self, request: ReconstructionRequest, reason: str) -> Path:
        """Put a request aside that will never be accepted, together with the reason; return where."""
        place = self._folder / REFUSED / f"{request.reconstruction_id}.json"
        place.parent.mkdir(exist_ok=True)
        content = {**request.model_dump(mode="json"), "reason": reason}
        place.write_text(json.dumps(content, indent=2), encoding="utf-8")
        self.done(request)
        return place

    def put_start(self, uid: str, start: Mapping[str, Any]) -> None:
        """Keep a start document until its run has ended, for a process that has not seen it.

        Raises
        ------
        OSError
            It cannot be written.
        """
        if is_key(uid):
            self._write(self._folder / f"{uid}{START}", encode("start", start))

    def start(self, uid: str) -> dict[str, Any] | None:
        """Return the start document of a run, or None if it is not kept here."""
        if not is_key(uid):
            return None
        try:
            return decode((self._folder / f"{uid}{START}").read_bytes())[1]
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("the start document of run %s in %s is no document: %s", uid, self._folder, error)
            return None

    def forget_start(self, uid: str) -> None:
        """Forget the start document of a run that has ended, or never will."""
        if is_key(uid):
            (self._folder / f"{uid}{START}").unlink(missing_ok=True)

    def forget_old_starts(self) -> None:
        """Forget the start documents of runs that never ended."""
        for path in self._folder.glob(f"*{START}"):
            # Another process may be quicker.
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > START_KEPT_S:
                    path.unlink()

    def _write(self, path: Path, content: bytes) -> None:
        draft = path.with_suffix(f".{os.getpid()}.part")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        self._keep_names()

    def _read(self, path: Path) -> ReconstructionRequest | None:
        try:
            return ReconstructionRequest.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            logger.warning("%s is no request for a reconstruction and is put aside: %s", path, error)
            self._put_aside(path)
            return None

    def _keep_names(self) -> None:
        # A file outlives a power cut only if its name in the folder does.
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _put_aside(self, path: Path) -> None:
        place = self._folder / REFUSED / path.name
        place.parent.mkdir(exist_ok=True)
        # Another process may have been quicker.
        with suppress(FileNotFoundError):
            path.replace(place)

    def _path(self, request: ReconstructionRequest) -> Path:
        return self._folder / f"{request.reconstruction_id}.json"
