"""The record of a reconstruction beside its volume: with it, a lost node can be made again."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tomoservice import __version__
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import State
from tomoservice.errors import OutputError

RECORD = "record.json"
KEPT = (
    *("recipe", "recipe_hash", "recipe_name", "requested_by", "requested_at", "raw_uid", "raw_path"),
    *("priority", "batch", "rerun_of"),
)
"""What was asked for."""


class KeptRecord(BaseModel):
    """Content of a record file."""

    model_config = ConfigDict(frozen=True, extra="allow")

    run_uid: str
    """Run that is reconstructed."""
    reconstruction_id: str
    """Key of the reconstruction's node."""
    state: State
    """State when it was written: running, done, or cancelled if it was stopped and kept."""
    metadata: dict[str, Any]
    """Metadata of the node, but for its status."""
    volume: dict[str, Any] = {}
    """Metadata of the volume's node; empty while it is computed."""
    access_tags: list[str] | None = None
    """Access tags of the node."""
    written: float = 0.0
    """When, in seconds since 1970."""
    software: str = ""
    """Version of the package."""


def keep_record(
    folder: Path,
    node: Any,
    state: State,
    content: Mapping[str, Any],
    volume: Mapping[str, Any] | None = None,
) -> None:
    """Write what is known of a reconstruction beside its volume, in place of an earlier record.

    Parameters
    ----------
    folder : Path
        Folder of the store; exists.
    node : tiled Container
        The reconstruction as it was read last.
    state : State
        State that it has, or is about to have.
    content : mapping
        What was found out: resolved recipe, geometry, notes, provenance, what there is of the volume.
    volume : mapping, optional
        Metadata of the volume's node.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    record = ReconstructionRecord.from_node(node)
    known = record.metadata.model_dump(mode="json")
    asked = {key: value for key, value in known.items() if key in KEPT and value is not None}
    kept = KeptRecord(
        run_uid=record.run_uid,
        reconstruction_id=record.reconstruction_id,
        state=state,
        metadata={**asked, **content},
        volume=dict(volume or {}),
        access_tags=tags_of(node),
        written=time.time(),
        software=__version__,
    )
    path = folder / RECORD
    # Several writers at once may be those of a claim that was lost and of the next one.
    draft = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(kept.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def read_record_file(folder: Path) -> KeptRecord | None:
    """Return the record in a store's folder, or None if there is none that can be understood."""
    try:
        return KeptRecord.model_validate(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
