"""Watching Tiled for runs that begin and end."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from tomoservice.catalog.impatience import connect_impatiently
from tomoservice.catalog.names import RAW
from tomoservice.catalog.node_news import NodeNews
from tomoservice.catalog.transport import child, disconnect, translated
from tomoservice.errors import TomoserviceError

logger = logging.getLogger(__name__)

LOOK_BACK = 64
"""Keys that are asked for at once. Transactions do not end in the order they begin in, so the latest are
looked at again and again."""
REMEMBERED = 256
"""Keys that are remembered, the latest; by the order of these, what is new is told from what is old."""
PAGE = 50
"""Runs that are read at once: their keys stand in an address."""
MOST_OPEN = 200
"""Runs without a stop document that are followed, the latest: others were killed long ago."""
MOST_MISSED = 1000
"""Runs that are caught up on after a time without watching, the latest."""
OPEN_FOR_S = 86400.0
"""Age from which a run without a stop document, found when the watch begins, does not go on any more."""
FOLLOWED_S = 7 * 86400.0
"""How long a run is followed whose stop document does not come."""
GONE_S = 60.0
"""How long a run must be gone from the catalogue: a publisher removes one for a moment to write it anew."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


class RunEvent(StrEnum):
    """What happens to a run."""

    BEGUN = "begun"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RunChange:
    """A run that has begun or ended."""

    uid: str
    """Its uid."""
    kind: RunEvent
    """Which of both."""
    start: Mapping[str, Any]
    """Start document."""
    stop: Mapping[str, Any] | None
    """Stop document, if it has ended."""


class RunMarker(BaseModel):
    """Up to where somebody has been told, to be kept until the next watch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    """Version of this form."""
    recent: tuple[str, ...] = ()
    """Latest runs that were told of, or that were there before the first watch, newest first."""
    open: tuple[str, ...] = ()
    """Runs whose end has not been told."""
    looked_at: float = 0.0
    """When the service was looked at last, in seconds since 1970."""

    def is_same_as(self, other: RunMarker) -> bool:
        """Tell whether nothing has been told between two markers."""
        return (self.recent, self.open) == (other.recent, other.open)


class RunWatch:
    """Iterates over what happens to the runs in Tiled, for as long as it is not stopped.

    What it tells it finds by looking every `poll_s` seconds; what Tiled announces only makes it look at once.
    It tells of each run once that it has begun and once that it has ended, whatever the clocks of the
    machines say, also of runs that are published long after they were made. A service that does not answer is
    waited for.

    Parameters
    ----------
    uri : str
        Address of the service, or of any other Tiled server.
    api_key : str, optional
        Key that may read.
    since : RunMarker, optional
        Where an earlier watch was (its `marker`): what has happened since is told, too. Without it everything
        from now on is told, and that runs have begun which still go on.
    poll_s : float
        Seconds between two looks.
    path : str
        Path of the container of the runs.

    Examples
    --------
    ::

        with RunWatch("http://127.0.0.1:8000") as watch:
            for change in watch:
                print(change.uid, change.kind)
    """

    def __init__(
        self,
        uri: str,
        api_key: str | None = None,
        *,
        since: RunMarker | None = None,
        poll_s: float = 2.0,
        path: str = RAW,
    ) -> None:
        self._uri = uri
        self._api_key = api_key
        self._poll_s = poll_s
        self._path = path
        self._root: Any = None
        self._runs: Any = None
        self._known = _Known.of(since)
        self._found: queue.Queue[RunChange | None] = queue.Queue()
        self._lock = threading.Lock()
        self._untold: dict[str, RunEvent | None] = {}
        """Runs of which something waits to be told, and what has been told of them."""
        self._said: set[str] = set()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._news = NodeNews(uri, api_key, path, self._wake.set)
        self._thread = threading.Thread(target=self._watch, name="tomoservice-run-watch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[RunChange]:
        return self

    def __next__(self) -> RunChange:
        change = self.get(None)
        if change is None:
            raise StopIteration
        return change

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, timeout_s: float | None) -> RunChange | None:
        """Return what has happened next, or None if the time is over or the watch stopped.

        Parameters
        ----------
        timeout_s : float, optional
            How long to wait; without it, until something happens.
        """
        if self._stopped.is_set():
            return None
        try:
            change = self._found.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if change is None or self._stopped.is_set():
            # For whoever else waits.
            self._found.put(None)
            return None
        with self._lock:
            if change.kind is RunEvent.BEGUN:
                self._untold[change.uid] = RunEvent.BEGUN
            if self._known.events.get(change.uid) is change.kind:
                del self._untold[change.uid]
        return change

    @property
    def marker(self) -> RunMarker | None:
        """Up to where has been told; None until the service has been looked at for the first time.

        To be kept after what was told last has been dealt with.
        """
        with self._lock:
            return self._known.marker(self._untold)

    def stop(self) -> None:
        """End the iteration, whoever waits in it, at once."""
        self._stopped.set()
        self._news.stop()
        self._wake.set()
        self._found.put(None)

    def close(self, timeout_s: float = 10.0) -> None:
        """End the iteration, the threads and the connection."""
        self.stop()
        self._news.close(timeout_s)
        self._thread.join(timeout_s)

    def _watch(self) -> None:
        pause = 0.0
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                self._look()
                pause = 0.0
                self._said.clear()
            except Exception as error:  # noqa: BLE001
                # The boundary of this thread, which logs it: one odd answer must not end the watch.
                pause = self._failed(pause, error)
            if pause:
                self._stopped.wait(pause)
            else:
                self._wake.wait(self._poll_s)
        self._disconnect()

    def _failed(self, pause: float, error: Exception) -> float:
        self._disconnect()
        kind = type(error).__name__
        expected = isinstance(error, TomoserviceError)
        level = logging.DEBUG if kind in self._said else logging.WARNING
        self._said.add(kind)
        logger.log(
            level,
            "watching %s/%s: %s; trying again",
            self._uri,
            self._path,
            error,
            exc_info=None if expected else error,
        )
        return min(2 * pause or FIRST_PAUSE_S, LONGEST_PAUSE_S)

    def _disconnect(self) -> None:
        if self._root is not None:
            disconnect(self._root)
        self._root = self._runs = None

    def _connect(self) -> None:
        if self._runs is None:
            self._root = connect_impatiently(self._uri, self._api_key)
            self._runs = child(self._root, *self._path.split("/"))

    def _look(self) -> None:
        """Find what has happened since the last look."""
        self._connect()
        now = time.time()
        if not self._known.begun:
            self._begin(now)
        listed = self._list_new()
        new = [uid for uid in reversed(listed) if uid not in self._known.events]
        for uid, metadata in [*self._read(self._ended()), *self._read(new)]:
            self._note(uid, metadata)
        with self._lock:
            self._known.looked_at = now
            self._known.put_in_order(listed)
            self._known.forget(self._untold)

    def _ended(self) -> list[str]:
        """Return those of the runs that went on which do not go on any more."""
        # Only this is asked for: start documents may be long, and runs that were killed go on for days.
        stops = dict(self._read(self._known.open, select="stop"))
        with self._lock:
            self._known.drop_lost(stops, self._untold, time.monotonic())
        return [uid for uid, metadata in stops.items() if metadata.get("selected") or metadata.get("stop")]

    def _begin(self, now: float) -> None:
        """Find what is there already."""
        # A search for runs that lack a stop document finds all in Tiled 0.2.20.
        latest = list(map(_content, self._latest(0, fields="metadata")))
        running = [
            (uid, metadata)
            for uid, metadata in latest
            if not metadata.get("stop") and _began(metadata) > now - OPEN_FOR_S
        ]
        with self._lock:
            self._known.begin([uid for uid, _ in latest], dict(running))
        for uid, metadata in reversed(running):
            self._note(uid, metadata)

    def _list_new(self) -> list[str]:
        """Return the keys from the latest back to one after which everything is known, newest first."""
        listed: dict[str, None] = {}
        known = set(self._known.order)
        while True:
            keys = [str(item["id"]) for item in self._latest(len(listed))]
            last = max((place for place, key in enumerate(keys) if key in known), default=None)
            listed.update(dict.fromkeys(keys if last is None else keys[: last + 1]))
            if last is not None:
                # What is listed after all that is known comes into sight because newer runs are deleted.
                return list(listed)
            if len(keys) < LOOK_BACK or len(listed) >= MOST_MISSED:
                return self._only_recent(list(listed)) if known else list(listed)

    def _only_recent(self, uids: list[str]) -> list[str]:
        """Return those of some runs that began after the last look: no run that was known is among them."""
        logger.warning(
            "%s/%s: the runs that were told of last are gone, or more than %d have come since; of these, "
            "those that began since %s are told of",
            self._uri,
            self._path,
            MOST_MISSED,
            time.strftime("%Y-%m-%d %H:%M", time.localtime(self._known.looked_at)),
        )
        return [uid for uid, metadata in self._read(uids) if _began(metadata) >= self._known.looked_at]

    def _latest(
        self, offset: int, *, among: Sequence[str] | None = None, fields: str = "", select: str = ""
    ) -> list[dict[str, Any]]:
        """Return what Tiled says of some children, of all or of those with given keys, the newest first.

        `select` says what of the metadata (JMESPath), by default all.
        """
        params: dict[str, Any] = {
            "fields": fields,
            "omit_links": "true",
            "page[limit]": LOOK_BACK,
            "page[offset]": offset,
            "sort": "-",
        }
        if among is not None:
            params["filter[keys_filter][condition][keys]"] = json.dumps(list(among))
        if select:
            params["select_metadata"] = select
        with translated(f"looking for runs in {self._path}"):
            answer = self._runs.context.http_client.get(
                self._runs.item["links"]["search"], params=params, headers={"Accept": "application/json"}
            )
            answer.raise_for_status()
            found: list[dict[str, Any]] = answer.json()["data"]
        return found

    def _read(self, uids: Sequence[str], select: str = "") -> list[tuple[str, dict[str, Any]]]:
        """Return the metadata of some runs that are there, or a selection of it, in the given order."""
        found: dict[str, dict[str, Any]] = {}
        for begin in range(0, len(uids), PAGE):
            items = self._latest(0, among=uids[begin : begin + PAGE], fields="metadata", select=select)
            found.update(map(_content, items))
        return [(uid, found[uid]) for uid in uids if uid in found]

    def _note(self, uid: str, metadata: Mapping[str, Any]) -> None:
        """Tell what is new about a run."""
        start, stop = metadata.get("start"), metadata.get("stop")
        known = self._known.events.get(uid)
        if not isinstance(start, Mapping):
            # No run. It is not asked for again.
            with self._lock:
                self._known.events[uid] = RunEvent.ENDED
            return
        if known is None:
            self._tell(RunChange(uid, RunEvent.BEGUN, start, None))
        if known is not RunEvent.ENDED and isinstance(stop, Mapping):
            self._tell(RunChange(uid, RunEvent.ENDED, start, stop))

    def _tell(self, change: RunChange) -> None:
        with self._lock:
            self._untold.setdefault(change.uid, self._known.events.get(change.uid))
            self._known.events[change.uid] = change.kind
        self._found.put(change)


@dataclass
class _Known:
    """Runs that are known, and in which order they came."""

    events: dict[str, RunEvent] = field(default_factory=dict)
    """What has been found about each last; of those that were there before, that they have ended."""
    order: list[str] = field(default_factory=list)
    """The latest runs, newest first; by its place among them a run is told to be new or old."""
    begun: bool = False
    """Whether it is known what was there before."""
    looked_at: float = 0.0
    """When the service was looked at last, in seconds since 1970."""
    followed: dict[str, float] = field(default_factory=dict)
    """Since when each run that goes on is followed, in seconds of a clock."""
    missed: dict[str, float] = field(default_factory=dict)
    """Since when each run that goes on is gone from the catalogue."""

    @classmethod
    def of(cls, marker: RunMarker | None) -> Self:
        if marker is None:
            return cls()
        events = dict.fromkeys(marker.recent, RunEvent.ENDED) | dict.fromkeys(marker.open, RunEvent.BEGUN)
        return cls(events, list(marker.recent), begun=True, looked_at=marker.looked_at)

    @property
    def open(self) -> list[str]:
        """Runs that have not ended, the oldest first."""
        return [uid for uid, event in self.events.items() if event is RunEvent.BEGUN]

    def begin(self, latest: Sequence[str], running: Collection[str]) -> None:
        """Take the latest runs (newest first) that do not go on as told of."""
        self.order = list(latest)
        self.events = {uid: RunEvent.ENDED for uid in latest if uid not in running}
        self.begun = True

    def put_in_order(self, listed: Sequence[str]) -> None:
        """Take over the order in which the catalogue lists the latest runs, newest first."""
        self.order = list(dict.fromkeys((*listed, *self.order)))

    def drop_lost(self, there: Collection[str], untold: Mapping[str, RunEvent | None], now: float) -> None:
        """Follow runs no longer that are gone, or whose end has not come for long."""
        going_on = set(self.open)
        self.followed = {uid: self.followed.get(uid, now) for uid in going_on}
        self.missed = {uid: self.missed.get(uid, now) for uid in going_on.difference(there)}
        for uid in going_on.difference(untold):
            if now - self.missed.get(uid, now) > GONE_S:
                # If it comes again it is a new one.
                del self.events[uid]
                if uid in self.order:
                    self.order.remove(uid)
            elif now - self.followed[uid] > FOLLOWED_S:
                self.events[uid] = RunEvent.ENDED

    def forget(self, untold: Mapping[str, RunEvent | None]) -> None:
        """Forget the oldest, but for those that wait to be told and those that go on."""
        told = [uid for uid in self.order if untold.get(uid, self.events.get(uid))]
        if len(told) > REMEMBERED:
            del self.order[self.order.index(told[REMEMBERED]) :]
        kept = {*self.order, *self.open[-MOST_OPEN:], *untold}
        self.events = {uid: event for uid, event in self.events.items() if uid in kept}

    def marker(self, untold: Mapping[str, RunEvent | None]) -> RunMarker | None:
        """Return up to where has been told, or None if it is not known what was there before."""
        if not self.begun:
            return None
        told = {uid: untold.get(uid, event) for uid, event in self.events.items()}
        return RunMarker(
            recent=tuple(uid for uid in self.order if told.get(uid)),
            open=tuple(uid for uid, event in told.items() if event is RunEvent.BEGUN),
            looked_at=self.looked_at,
        )


def _content(item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return str(item["id"]), item["attributes"]["metadata"] or {}


def _began(metadata: Mapping[str, Any]) -> float:
    start = metadata.get("start")
    said = start.get("time") if isinstance(start, Mapping) else None
    return float(said) if isinstance(said, int | float) else 0.0
