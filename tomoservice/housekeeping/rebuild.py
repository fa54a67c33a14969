"""Nodes made anew from what lies on disk, after the catalogue was lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.claims import Worker, try_claim
from tomoservice.catalog.nodes import create_container, ensure_container, reconstruction_spec
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import ConflictError, NotFoundError, child
from tomoservice.catalog.writer import ReconstructionWriter
from tomoservice.errors import CatalogError, OutputError
from tomoservice.housekeeping.discarding import skip_attempts
from tomoservice.housekeeping.owner import take_over
from tomoservice.housekeeping.records import KeptRecord, read_record_file
from tomoservice.housekeeping.sweep import check_sees_everything, store_folders
from tomoservice.settings import Settings
from tomoservice.store import SlabStore, highest_attempt

logger = logging.getLogger(__name__)

LEASE_S = 60.0
REBUILT = "made anew from what lies on disk"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A store's folder, and what became of it."""

    folder: Path
    """Where it is."""
    path: str
    """Path of its node in Tiled."""
    outcome: str
    """State of the new node, or why there is none."""
    made: bool
    """Whether the node was made, or would be."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a volume on disk looks like."""

    shape: tuple[int, int, int]
    """(z, y, x)"""
    chunks: tuple[int, int, int]
    """(z, y, x)"""
    dtype: str
    """Type of a pixel."""


def rebuild(root: Any, settings: Settings, *, dry_run: bool = False) -> Iterator[Rebuilt]:
    """Make the nodes of the stores on disk that have none.

    A volume that is complete becomes `done`; any other `cancelled`, to be queued again by whoever wants
    it. What there is of one that was stopped and kept is readable, as before. Tables about quality are not
    kept on disk.

    Parameters
    ----------
    root : tiled Container
        Root of the service, with a key that sees and may write everything.
    settings : Settings
        Where volumes are.
    dry_run : bool
        Whether to make nothing, only to say what would be.

    Yields
    ------
    Rebuilt
        One for each folder without a node.
    """
    check_sees_everything(root)
    if not dry_run and settings.volumes_folder.is_dir():
        take_over(root, settings.volumes_folder)
    for run_uid, key, folder in store_folders(settings.volumes_folder):
        path = f"{names.PROCESSED}/{run_uid}/{key}"
        if _exists(root, run_uid, key):
            continue
        record = read_record_file(folder)
        if record is None or (record.run_uid, record.reconstruction_id) != (run_uid, key):
            yield Rebuilt(folder, path, "no record that belongs to this folder", made=False)
            continue
        state = State.DONE if _is_complete(folder, record) else State.CANCELLED
        try:
            if not dry_run:
                _make(root, record, folder, state)
        except (CatalogError, OutputError) as error:
            logger.warning("%s: %s", path, error)
            yield Rebuilt(folder, path, str(error), made=False)
        else:
            yield Rebuilt(folder, path, state.value, made=True)


def _exists(root: Any, run_uid: str, key: str) -> bool:
    try:
        child(root, names.PROCESSED, run_uid, key)
    except NotFoundError:
        return False
    return True


def _is_complete(folder: Path, record: KeptRecord) -> bool:
    if record.state is not State.DONE:
        return False
    try:
        found = SlabStore.open(folder).checksum()
    except OutputError:
        return False
    return bool(found == record.metadata.get("provenance", {}).get("volume_checksum"))


def _is_as_kept(folder: Path, record: KeptRecord) -> bool:
    """Tell whether a volume was stopped and kept, and nobody has gone on with it since."""
    said = record.metadata.get("partial")
    if record.state is not State.CANCELLED or said is None:
        return False
    try:
        markers = SlabStore.open(folder).markers()
    except OutputError:
        return False
    found = {str(number): marker.checksum for number, marker in markers.items()}
    return bool(found == said.get("provenance", {}).get("slab_checksums"))


def _make(root: Any, record: KeptRecord, folder: Path, state: State) -> None:
    run = create_container(
        ensure_container(root, names.PROCESSED),
        record.run_uid,
        metadata={"raw_uid": record.run_uid},
        may_exist=True,
        access_tags=record.access_tags,
    )
    is_kept = _is_as_kept(folder, record)
    metadata = {key: value for key, value in record.metadata.items() if key != "partial" or is_kept}
    status = {"state": State.VIRTUAL.value, "attempt": 0, "message": REBUILT, "time": time.time()}
    node = create_container(
        run,
        record.reconstruction_id,
        metadata={**metadata, "status": status},
        specs=(reconstruction_spec(),),
        access_tags=record.access_tags,
    )
    # Otherwise its store refuses whoever claims it.
    skip_attempts(node, highest_attempt(folder))
    # Before anybody can: as long as it is virtual, no conductor looks at it.
    claim = try_claim(node, Worker(), LEASE_S)
    if claim is None:
        raise ConflictError(f"somebody else works on {'/'.join(node.path_parts)}")
    writer = ReconstructionWriter(claim)
    if state is State.DONE:
        writer.enter(State.QUEUED, REBUILT)
        writer.enter(State.RUNNING, REBUILT)
    if state is State.DONE or is_kept:
        store = SlabStore.open(folder)
        writer.volume(store.path, Outline(store.shape, store.chunks, str(store.dtype)), record.volume)
    writer.enter(state, f"{REBUILT}; {metadata['partial']['text']}" if is_kept else REBUILT)
    claim.release()
