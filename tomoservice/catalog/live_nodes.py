"""Nodes of live reconstructions: made and written by the live process, read by everybody."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiled.structures.core import Spec

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.live_records import LiveMetadata, LivePicture, LiveState, LiveWishes
from tomoservice.catalog.nodes import create_container, ensure_container, find_run
from tomoservice.catalog.transport import ConflictError, NotFoundError, child, keys_of, translated
from tomoservice.errors import CatalogError

logger = logging.getLogger(__name__)

KEPT = 10
"""Live reconstructions that are kept, the latest."""


def find_live(root: Any, run_uid: str) -> Any:
    """Return the node of the live reconstruction of a run.

    Raises
    ------
    NotFoundError
        There is none.
    """
    return child(root, names.LIVE, run_uid)


def live_runs(root: Any) -> list[str]:
    """Return the uids of the runs that have a live reconstruction, the oldest first."""
    try:
        return keys_of(child(root, names.LIVE), "listing")
    except NotFoundError:
        return []


def newest_live(root: Any) -> Any:
    """Return the node of the newest live reconstruction, or None: there may be none, or a service without."""
    try:
        runs = live_runs(root)
        return find_live(root, runs[-1]) if runs else None
    except NotFoundError:
        # Deleted meanwhile.
        return None


def read_wishes(node: Any) -> LiveWishes:
    """Return what is wished of a live reconstruction now.

    Raises
    ------
    CatalogError
        The wishes make no sense; says which.
    """
    found = child(node, names.WISHES)
    return LiveWishes.of(found.metadata)


def wish(node: Any, wishes: Mapping[str, Any]) -> LiveWishes:
    """Change what is wished of a live reconstruction; what is not mentioned stays as it is.

    Parameters
    ----------
    node : tiled Container
        The live reconstruction.
    wishes : mapping
        See `LiveWishes`.

    Raises
    ------
    CatalogError
        A wish makes no sense; says which.
    """
    # Before it is sent: what is wrong is said the same way everywhere.
    LiveWishes.of(wishes)
    found = child(node, names.WISHES)
    with translated(f"wishing something of {'/'.join(node.path_parts)}"):
        found.update_metadata(metadata=dict(wishes), drop_revision=True)
        return LiveWishes.of(found.metadata)


def forget_oldest(root: Any, kept: int = KEPT, *, spared: Collection[str] = ()) -> list[str]:
    """Delete all live reconstructions but the latest and those that are spared; return of which runs."""
    there = live_runs(root)
    gone = [run_uid for run_uid in (there[:-kept] if kept else there) if run_uid not in spared]
    container = child(root, names.LIVE)
    for run_uid in gone:
        try:
            found = child(container, run_uid)
            with translated(f"deleting the live reconstruction of {run_uid}"):
                found.delete(recursive=True, external_only=False)
        except CatalogError as error:
            logger.warning("%s", error)
    return gone


def end_orphans(root: Any, followed: Collection[str], silent_s: float) -> list[str]:
    """Say of live reconstructions that nobody works on any more that they are over; return of which runs.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    followed : collection of str
        Runs that somebody works on.
    silent_s : float
        Seconds without an update after which nobody does, although the run has no end.
    """
    ended = []
    for run_uid in live_runs(root):
        if run_uid in followed:
            continue
        try:
            node = find_live(root, run_uid)
            if not _is_orphan(root, run_uid, LiveMetadata.of(node), silent_s):
                continue
            change = {"state": LiveState.ABORTED.value, "message": "the live reconstruction was interrupted"}
            with translated(f"writing {'/'.join(node.path_parts)}"):
                node.update_metadata(metadata=change, drop_revision=True)
            ended.append(run_uid)
        except CatalogError as error:
            logger.warning("the live reconstruction of run %s stays as it is: %s", run_uid, error)
    return ended


def _is_orphan(root: Any, run_uid: str, live: LiveMetadata, silent_s: float) -> bool:
    if live.state.is_over:
        return False
    try:
        if find_run(root, run_uid).metadata.get("stop") is not None:
            return True
    except NotFoundError:
        return True
    if not live.updated:
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(live.updated)
    return age.total_seconds() > silent_s


def _wishes_left(node: Any) -> LiveWishes:
    """Return what was wished of a live reconstruction that is begun again; an end to it is not among that."""
    try:
        return read_wishes(node).model_copy(update={"stop": False})
    except CatalogError as error:
        logger.debug("nothing is wished of %s: %s", "/".join(node.path_parts), error)
        return LiveWishes()


class LiveNode:
    """A live reconstruction as its writer sees it.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    run_uid : str
        The run. What another process may have left there is replaced, but for what was wished of it.

    Raises
    ------
    NotFoundError
        There is no such run.
    """

    def __init__(self, root: Any, run_uid: str) -> None:
        tags = tags_of(find_run(root, run_uid))
        container = ensure_container(root, names.LIVE)
        spec = (Spec(names.LIVE_SPEC, version=names.LIVE_VERSION),)
        first = LiveMetadata(raw_uid=run_uid).model_dump(mode="json")
        wishes = LiveWishes()
        try:
            self.node = create_container(container, run_uid, metadata=first, specs=spec, access_tags=tags)
        except ConflictError:
            found = child(container, run_uid)
            wishes = _wishes_left(found)
            with translated(f"replacing the live reconstruction of {run_uid}"):
                found.delete(recursive=True, external_only=False)
            self.node = create_container(container, run_uid, metadata=first, specs=spec, access_tags=tags)
        self._wishes = create_container(
            self.node,
            names.WISHES,
            metadata=wishes.model_dump(mode="json"),
            specs=(Spec(names.WISHES_SPEC, version=names.WISHES_VERSION),),
        )
        self._arrays: dict[LivePicture, Any] = {}
        self._written: dict[str, Any] = {}

    def read_wishes(self) -> LiveWishes:
        """Return what is wished now."""
        with translated("reading the wishes"):
            self._wishes.refresh()
        return LiveWishes.of(self._wishes.metadata)

    def write(self, metadata: LiveMetadata) -> None:
        """Write what has changed of the metadata."""
        content = metadata.model_dump(mode="json")
        changed = {key: value for key, value in content.items() if self._written.get(key, ...) != value}
        with translated(f"writing {'/'.join(self.node.path_parts)}"):
            self.node.update_metadata(metadata=changed, drop_revision=True)
        self._written = content

    def show(self, picture: LivePicture, image: NDArray[np.float32], metadata: Mapping[str, Any]) -> None:
        """Write an image; subscribers of its node get it.

        Parameters
        ----------
        picture : LivePicture
            Which one.
        image : float32 array
            In C order. Another shape than before makes another node.
        metadata : mapping
            What to say of it when its node is made.
        """
        array = self._arrays.get(picture)
        with translated(f"writing {picture} of {'/'.join(self.node.path_parts)}"):
            if array is not None and array.shape != image.shape:
                array.delete(external_only=False)
                array = None
            if array is None:
                self._arrays[picture] = self.node.write_array(
                    image, key=picture.value, metadata=dict(metadata), dims=DIMENSIONS[picture]
                )
                return
            array.write(image)


DIMENSIONS = {
    LivePicture.XY: ("y", "x"),
    LivePicture.XZ: ("z", "x"),
    LivePicture.YZ: ("z", "y"),
    LivePicture.VOLUME: ("z", "y", "x"),
}
