"""What the status PVs show, read from nodes in Tiled: nothing of it is kept anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from profiles.status.setpoints import Setpoints, read_setpoints
from tomoservice.catalog import names
from tomoservice.catalog.live_nodes import newest_live, read_wishes
from tomoservice.catalog.live_records import LiveMetadata, LivePicture, LiveState, LiveWishes
from tomoservice.catalog.nodes import asked_at, find_in_state
from tomoservice.catalog.record import plain
from tomoservice.catalog.states import FINAL_STATES, State
from tomoservice.catalog.transport import NotFoundError, child, translated
from tomoservice.errors import CatalogError

ENDED: Final = FINAL_STATES | {State.VIRTUAL}
"""States in which nothing is going on."""
SLICES: Final = (LivePicture.XY, LivePicture.XZ, LivePicture.YZ)
RECENT_S: Final = 86400.0
"""Reconstructions that moved within the last day are looked at first: there may be thousands of others."""
OVERLAP_S: Final = 5.0
"""Clocks of those who write states may differ by so much."""


@dataclass(frozen=True)
class Reconstruction:
    """One reconstruction."""

    path: str = ""
    run_uid: str = ""
    state: str = ""
    message: str = ""
    percent: float = 0.0
    axis: float = math.nan
    confidence: float = math.nan
    asked: float = 0.0
    entered: float = 0.0


@dataclass(frozen=True)
class Look:
    """What there is to be seen at a time."""

    live: LiveMetadata | None = None
    """The newest live reconstruction."""
    newest: Reconstruction = Reconstruction()
    """The one that was asked for last, items of batches apart."""
    done: Reconstruction = Reconstruction()
    """The one that was finished last."""
    requested: Reconstruction = Reconstruction()
    """The one that was asked for through the PVs last."""
    setpoints: Setpoints = field(default_factory=Setpoints)
    pictures: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """New slices since the last look, by their keys."""

    @property
    def running(self) -> LiveMetadata | None:
        """The newest live reconstruction if its scan still runs."""
        return None if self.live is None or self.live.state.is_over else self.live

    @property
    def shown(self) -> LiveMetadata | None:
        """The newest live reconstruction if it is what there is to be told of.

        Its scan still runs, or came to no good end after everything that was asked for.
        """
        live, newest = self.live, self.newest
        if live is None or not live.state.is_over or not newest.path:
            return live
        # Of a run without projections nobody wants to hear: it may be no scan.
        came_to_grief = live.state in (LiveState.ABORTED, LiveState.FAILED) and live.frames_seen > 0
        is_past = newest.state not in ENDED or _moment(live) <= max(newest.asked, newest.entered)
        return live if came_to_grief and not is_past and newest.run_uid != live.raw_uid else None

    @property
    def state(self) -> str:
        """One word for all: what is going on now, or what came of it."""
        if self.shown is not None:
            return self.shown.state
        return self.newest.state or "idle"

    @property
    def percent(self) -> float:
        """How far that is; 0 if it is not known how many projections will come."""
        if self.shown is None:
            return self.newest.percent
        expected = self.shown.frames_expected
        return 100.0 * self.shown.frames_used / expected if expected else 0.0

    @property
    def message(self) -> str:
        """What a user should know of it."""
        return self.newest.message if self.shown is None else self.shown.message


class Looker:
    """Looks at the nodes, and remembers only what spares it work.

    Parameters
    ----------
    key
        Of the setpoints' node.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._since: float | None = None
        self._newest: Any = None
        self._done: Any = None
        self._shown: tuple[str, int] | None = None

    def look(self, root: Any) -> Look:
        """Return what there is now.

        Raises
        ------
        ServiceUnavailableError
            The service does not answer.
        CatalogError
            It does not let us look.
        """
        node = newest_live(root)
        live = _live(node)
        setpoints = read_setpoints(root, self._key)
        # First: when it is done, the one that was finished last is this one or a later one.
        requested = _requested(root, setpoints.requested)
        self._follow(root)
        if live is not None and not live.state.is_over:
            setpoints = setpoints.with_wishes(_wishes(node))
        return Look(
            live=live,
            newest=_reconstruction(self._newest),
            done=_reconstruction(self._done),
            requested=requested,
            setpoints=setpoints,
            pictures=self._pictures(node, live),
        )

    def look_at_live(self, root: Any) -> tuple[LiveMetadata | None, Mapping[str, NDArray[np.float32]]]:
        """Return the newest live reconstruction alone, and its new slices."""
        node = newest_live(root)
        live = _live(node)
        return live, self._pictures(node, live)

    def forget(self) -> None:
        """Look at everything anew the next time."""
        self._since, self._newest, self._done, self._shown = None, None, None, None

    def _follow(self, root: Any) -> None:
        """Find what has moved since the last look."""
        now = time.time()
        if self._newest is not None and not self._still_there():
            self._since, self._newest, self._done = None, None, None
        since = now - RECENT_S if self._since is None else self._since
        found = find_in_state(root, *State, since=since)
        if self._since is None and not found:
            found = find_in_state(root, *State)
        own = [node for node in found if not node.metadata.get("batch")]
        known = [self._newest] if self._newest is not None else []
        self._newest = max(own + known, key=asked_at, default=None)
        finished = [node for node in found if node.metadata["status"]["state"] == State.DONE]
        known = [self._done] if self._done is not None else []
        self._done = max(finished + known, key=_entered, default=None)
        self._since = max([since, *(_entered(node) - OVERLAP_S for node in found)])

    def _still_there(self) -> bool:
        for node in (self._newest, self._done):
            if node is None:
                continue
            try:
                with translated("reading what was seen last"):
                    node.refresh()
            except NotFoundError:
                return False
        return True

    def _pictures(self, node: Any, live: LiveMetadata | None) -> dict[str, NDArray[np.float32]]:
        if live is None or (live.raw_uid, live.update) == self._shown:
            return {}
        found: dict[str, NDArray[np.float32]] = {}
        with translated("reading the live slices"):
            there = set(node)
            for key in SLICES:
                if key in there:
                    found[key] = np.asarray(node[key].read(), dtype=np.float32)
        if found:
            self._shown = (live.raw_uid, live.update)
        return found


def _live(node: Any) -> LiveMetadata | None:
    if node is None:
        return None
    try:
        return LiveMetadata.of(node)
    except CatalogError as error:
        # Of another version, say: the rest is shown all the same.
        return LiveMetadata(raw_uid=str(node.path_parts[-1]), state=LiveState.FAILED, message=str(error))


def _moment(live: LiveMetadata) -> float:
    """Return when something was said last, in seconds since 1970."""
    return datetime.fromisoformat(live.updated).timestamp() if live.updated else 0.0


def _wishes(node: Any) -> LiveWishes:
    try:
        return read_wishes(node)
    except CatalogError:
        # Nonsense is for the live reconstruction to complain of.
        return LiveWishes()


def _requested(root: Any, path: str) -> Reconstruction:
    if not path:
        return Reconstruction()
    try:
        return _reconstruction(child(root, *path.split("/")))
    except NotFoundError:
        return Reconstruction(path=path, state=State.CANCELLED, message="deleted")


def _reconstruction(node: Any) -> Reconstruction:
    if node is None:
        return Reconstruction()
    said = plain(node.metadata)
    status = said.get("status", {})
    state = str(status.get("state", ""))
    found = said.get("provenance", {}).get("rotation_axis") or {}
    return Reconstruction(
        path="/".join(node.path_parts),
        run_uid=str(node.path_parts[-2]),
        state=state,
        message=str(status.get("message", "")),
        percent=100.0 if state == State.DONE else _percent(node, state),
        axis=_number(said.get("geometry", {}).get("rotation_axis")),
        confidence=_number(found.get("confidence")),
        asked=asked_at(node),
        entered=_entered(node),
    )


def _percent(node: Any, state: str) -> float:
    if state != State.RUNNING:
        return 0.0
    try:
        return _number(child(node, names.PROGRESS).metadata.get("percent"), 0.0)
    except NotFoundError:
        return 0.0


def _entered(node: Any) -> float:
    return _number(node.metadata["status"].get("time"), 0.0)


def _number(value: Any, otherwise: float = math.nan) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
