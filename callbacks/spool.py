"""Requests on disk: what has been asked for survives a service that is down, and the session itself.

::

    {folder}/{reconstruction_id}.json           to be delivered
    {folder}/refused/{reconstruction_id}.json   will never be accepted; the reason stands inside
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

logger = logging.getLogger(__name__)

REFUSED = "refused"
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
        path = self._path(request)
        draft = path.with_suffix(f".{os.getpid()}.part")
        with draft.open("w", encoding="utf-8") as file:
            file.write(request.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        self._keep_names()

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
