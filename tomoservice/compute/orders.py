"""What is wanted: which scan, which recipe, where the volume goes. Small, and the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunAddress:
    """A raw run in Tiled, and who may read it."""

    uri: str
    """Address of the service."""
    run_uid: str
    """The run, taken from the path of a node and never from what metadata say."""
    api_key: str | None = field(default=None, repr=False)
    """Key that may read the run."""
    readable: tuple[str, ...] | None = None
    """Folders below which raw files may be read directly; anywhere if None. Others are read through Tiled."""

    access_tags: tuple[str, ...] = ()
    """Access tags of what is made of it, which must all be tags of every run that goes into it."""

    @property
    def key(self) -> str:
        """Tells runs apart, and who may read what of them."""
        return digest([self.uri, self.run_uid, self.api_key, self.readable, self.access_tags])


@dataclass(frozen=True)
class VolumeOrder:
    """A recipe applied to a run, and the store that holds the volume."""

    run: RunAddress
    """What is reconstructed."""
    recipe: Mapping[str, Any]
    """The recipe as asked, in plain JSON types."""
    recipe_name: str
    """What to call it in messages."""
    folder: str
    """Folder of the store."""
    memory_bytes: int | None = None
    """Memory for all that one worker process does at once; by default half of what is free."""
    device: str = "auto"
    """What computes slices; a worker looks for itself what it has."""

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return Path(self.folder)

    @property
    def key(self) -> str:
        """Tells orders apart that cannot share anything that is kept ready."""
        return digest([self.run.key, self.folder, dict(self.recipe)])


def digest(content: list[Any]) -> str:
    """Return a text that tells plain JSON values apart."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
