"""What lies on disk and belongs to nobody any more, and what was computed on demand beyond its quota.

A folder is removed when no node belongs to it and nobody has touched it for a while. It is renamed first
and the catalogue asked once more, so that a node which is made in between keeps its slabs.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.nodes import find_in_state, reread
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotAllowedError, NotFoundError, child, translated
from tomoservice.errors import CatalogError, OutputError
from tomoservice.housekeeping.discarding import discard_slabs
from tomoservice.housekeeping.owner import check_own
from tomoservice.housekeeping.records import RECORD
from tomoservice.settings import Settings
from tomoservice.store import ATTEMPTS, VOLUME

logger = logging.getLogger(__name__)

REMOVING = ".removing-"
LEFT_OVER = (f"*/{REMOVING}*", "*/.*.stale")
"""What a removal that was interrupted may have left beside stores, by pattern."""
DRAFTS = (f".{VOLUME}.*", ".discarded-*", "*.part", "*/*.part")
"""What a writer that died may have left in a store, by pattern."""
DRAFT_AGE_S = 600.0
"""A draft that was touched more recently may still be written, however short orphans are kept."""
IN_USE_S = 60.0
"""A volume on demand that was written more recently is being looked at."""


@dataclass(frozen=True, slots=True)
class Swept:
    """Something that was removed, or would be."""

    path: Path
    """Where it is."""
    size_bytes: int
    """What it takes on disk."""
    reason: str
    """Why it goes."""


def sweep(root: Any, settings: Settings, *, age_s: float | None = None, dry_run: bool = False) -> list[Swept]:
    """Remove what belongs to nobody, and what exceeds the quota.

    Parameters
    ----------
    root : tiled Container
        Root of the service, read with a key that sees every node.
    settings : Settings
        Where volumes are; age and quota.
    age_s : float, optional
        How long something has to be untouched, in seconds; by default what the settings say. Drafts are
        kept for `DRAFT_AGE_S` in any case.
    dry_run : bool
        Whether to remove nothing, only to say what would be.

    Returns
    -------
    list of Swept
        What was removed.

    Raises
    ------
    NotAllowedError
        The key does not see every node, so what belongs to nobody cannot be told.
    OutputError
        The volumes belong to another catalogue.
    """
    volumes = settings.volumes_folder
    if not volumes.is_dir():
        return []
    check_sees_everything(root)
    check_own(root, volumes)
    age = settings.housekeeping.orphan_age_s if age_s is None else age_s
    swept = [
        *_sweep_orphans(root, volumes, age, dry_run),
        *_sweep_drafts(volumes, max(age, DRAFT_AGE_S), dry_run),
        *_sweep_quota(root, settings, dry_run),
    ]
    for item in swept:
        logger.info("%s %s: %s", "would remove" if dry_run else "removed", item.path, item.reason)
    return swept


def check_sees_everything(root: Any) -> None:
    """Refuse a key for which some nodes are invisible.

    Raises
    ------
    NotAllowedError
        It is that of a user among others.
    """
    context = root.context
    if not context.server_info.authentication.providers:
        # One key for everything, and the same nodes for everybody.
        return
    with translated("asking whose key this is"):
        principal = context.whoami()
    roles = {role["name"] for role in (principal or {}).get("roles", ())}
    if "admin" not in roles:
        raise NotAllowedError(
            "this key does not see every node, and what it does not see would be taken for nobody's; "
            "use that of an administrator"
        )


def store_folders(volumes: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield run, reconstruction and folder of everything among the volumes that looks like a store."""
    for run in _folders(volumes):
        for folder in _folders(run):
            if any((folder / name).exists() for name in (RECORD, VOLUME, ATTEMPTS)):
                yield run.name, folder.name, folder


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(
        path
        for path in parent.iterdir()
        if names.is_key(path.name) and path.is_dir() and not path.is_symlink()
    )


def _sweep_orphans(root: Any, volumes: Path, age_s: float, dry_run: bool) -> Iterator[Swept]:
    known: dict[str, set[str]] = {}
    for run_uid, key, folder in store_folders(volumes):
        if run_uid not in known:
            known[run_uid] = _keys(root, run_uid)
        if key in known[run_uid] or not _is_old(folder, age_s):
            continue
        size = _size(folder)
        if dry_run or _remove(root, run_uid, key, folder):
            yield Swept(folder, size, "no node belongs to it")
    for leftover in (path for pattern in LEFT_OVER for path in volumes.glob(pattern)):
        if _is_old(leftover, age_s):
            size = _size(leftover)
            if not dry_run:
                shutil.rmtree(leftover, ignore_errors=True)
            yield Swept(leftover, size, "its removal was interrupted")


def _keys(root: Any, run_uid: str) -> set[str]:
    try:
        run = child(root, names.PROCESSED, run_uid)
    except NotFoundError:
        return set()
    with translated(f"listing the reconstructions of {run_uid}"):
        return set(run)


def _remove(root: Any, run_uid: str, key: str, folder: Path) -> bool:
    """Remove a folder unless its node has come back meanwhile; tell whether it is gone."""
    aside = folder.with_name(f"{REMOVING}{uuid.uuid4().hex}")
    try:
        folder.rename(aside)
    except OSError as error:
        # Another sweep was quicker, or the folder belongs to somebody else.
        logger.warning("%s cannot be removed: %s", folder, error)
        return False
    if key in _keys(root, run_uid):
        with suppress(OSError):
            aside.rename(folder)
        return False
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()
    return True


def _sweep_drafts(volumes: Path, age_s: float, dry_run: bool) -> Iterator[Swept]:
    for _, _, folder in store_folders(volumes):
        for pattern in DRAFTS:
            for draft in folder.glob(pattern):
                if not _is_old(draft, age_s):
                    continue
                size = _size(draft)
                if not dry_run:
                    _delete(draft)
                yield Swept(draft, size, "its writer died")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sweep_quota(root: Any, settings: Settings, dry_run: bool) -> Iterator[Swept]:
    """Discard slabs of volumes and sweeps that are computed on demand, those untouched for longest first."""
    quota = settings.housekeeping.virtual_quota_bytes
    if quota is None:
        return
    found = []
    for node in find_in_state(root, State.VIRTUAL):
        run_uid, key = node.path_parts[-2:]
        folder = settings.volumes_folder / run_uid / key
        if names.is_key(run_uid) and names.is_key(key) and folder.is_dir():
            # First when it was touched: its size takes minutes where much is stored.
            found.append((_touched(folder), _size(folder), folder, node))
    total = sum(size for _, size, _, _ in found)
    for touched, size, folder, node in sorted(found, key=lambda one: one[:3]):
        if total <= quota:
            return
        if _discard(node, folder, touched, dry_run):
            total -= size
            yield Swept(folder, size, "volumes on demand exceed their quota; it is computed again when read")


def _discard(node: Any, folder: Path, touched: float, dry_run: bool) -> bool:
    """Remove all slabs of a volume that nobody has touched since; tell whether it has been, or would be."""

    def is_idle() -> bool:
        reread(node)
        is_virtual = node.metadata["status"]["state"] == State.VIRTUAL.value
        return is_virtual and _touched(folder) == touched and time.time() - touched >= IN_USE_S

    try:
        return is_idle() if dry_run else discard_slabs(node, folder, is_idle)
    except (OSError, OutputError, CatalogError) as error:
        logger.warning("%s keeps its slabs: %s", folder, error)
        return False


def _is_old(path: Path, age_s: float) -> bool:
    return time.time() - _touched(path) >= age_s


def _touched(path: Path) -> float:
    """Return when something was written into a folder last, or into those right below it."""
    times = [0.0]
    for place in (path, *(path.iterdir() if path.is_dir() else ()), path / VOLUME / "c"):
        with suppress(OSError):
            times.append(place.stat().st_mtime)
    return max(times)


def _size(path: Path) -> int:
    total = 0
    for place, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += (Path(place) / name).lstat().st_size
    if path.is_file():
        total += path.stat().st_size
    return total
