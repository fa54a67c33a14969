"""Tells whoever listens what happens to scans, reconstructions, batches and recipes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import ConfigDict

from tomoservice.service.changes import Change, Changes, Subject, mapping
from tomoservice.service.models import Acquisition, Answer, ProgressAnswer, percent_of

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often to look for changes, while somebody listens."""
MOST_WAITING = 100
"""Looks with changes that a listener may be behind; one that is farther behind is told to begin anew."""
GONE = "deleted"


class ServiceEvent(Answer):
    """Something that happened. Whoever wants to know more reads what it is about."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "reconstruction",
                "run_uid": "0b4d6b1e-6c1d-4f7e-9a53-0d2a3c1f7e11",
                "id": "3f9c2b7a1d04",
                "state": "running",
                "percent": 37.5,
                "stage": "computing",
                "seconds_left": 21.0,
                "message": "",
            }
        }
    )

    type: Subject
    """What it is about."""
    id: str
    """Key of the reconstruction, sweep, batch or recipe; of a scan and its live reconstruction the uid."""
    run_uid: str | None = None
    """The run, of a scan, a reconstruction (live or not) or a sweep."""
    state: str | None = None
    """State of a reconstruction or sweep; acquisition of a scan (`running`, `complete`, `failed`); `deleted`.

    Otherwise null of a batch or a recipe: read it anew. Deletion is told of what is unfinished and
    of whatever has been told, as far as that is among the latest 5000."""
    percent: float | None = None
    """How far a reconstruction is, in percent."""
    stage: str | None = None
    """What is being done for it, in words."""
    seconds_left: float | None = None
    """Estimate of the seconds until it is done."""
    message: str = ""
    """What a user should know: why it failed, what it waits for, why a batch was refused."""
    batch: str | None = None
    """The batch that a reconstruction was asked for with, if any."""


Told = list[tuple[int, ServiceEvent]]
"""Events, each with the number of the node that it is about."""


class Events:
    """Looks for changes while somebody listens; one for each server process.

    Parameters
    ----------
    tree : CatalogContainerAdapter
        Root of the catalogue.
    """

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._listeners: set[asyncio.Queue[Told | None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[asyncio.Queue[Told | None]]:
        """Lend a queue that gets what happens from now on; None says that the listener missed something."""
        queue: asyncio.Queue[Told | None] = asyncio.Queue(MOST_WAITING)
        self._listeners.add(queue)
        if self._looking is None:
            self._ready = asyncio.Event()
            self._looking = asyncio.create_task(self._look(self._ready))
        try:
            # What happens before it is known how things stand would be told to nobody.
            await self._ready.wait()
            yield queue
        finally:
            self._listeners.discard(queue)
            if not self._listeners:
                await self._stop()

    async def _stop(self) -> None:
        task, self._looking = self._looking, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _look(self, ready: asyncio.Event) -> None:
        changes = Changes(self._tree)
        failed = False
        while True:
            found: list[Change] = []
            try:
                found = await changes.look()
                ready.set()
                failed = False
            except Exception as error:
                # Whatever it is (a database that restarts fails in many ways), nobody would hear of anything
                # any more if this ended. The next look that succeeds finds what this one did not.
                if failed:
                    logger.warning("looking for changes still fails: %s", error)
                else:
                    logger.exception("looking for changes fails; will be tried again every %g s", LOOK_S)
                failed = True
            told = events_of(found)
            if told:
                self._tell(told)
            await asyncio.sleep(LOOK_S)

    def _tell(self, told: Told) -> None:
        for queue in list(self._listeners):
            if queue.qsize() >= MOST_WAITING - 1:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(told)

    async def close(self) -> None:
        """Stop looking, and send everybody away."""
        for queue in list(self._listeners):
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)
        # Whoever waits to be let in, too.
        self._ready.set()
        await self._stop()


def events_of(changes: Sequence[Change]) -> Told:
    """Return what is told of changes; one of which nothing can be told takes none of the others along."""
    told: Told = []
    for change in changes:
        try:
            told.append((change.id, event_of(change)))
        except Exception:
            logger.exception("nothing can be told of a change of %s", "/".join(change.path))
    return told


def event_of(change: Change) -> ServiceEvent:
    """Return what is told of a change."""
    known = {"type": change.subject, "id": change.path[-1]}
    if change.subject in (Subject.SCAN, Subject.RECONSTRUCTION, Subject.SWEEP, Subject.LIVE):
        known["run_uid"] = change.path[1]
    if change.gone:
        return ServiceEvent(**known, state=GONE)
    if change.subject is Subject.SCAN:
        return ServiceEvent(**known, state=Acquisition.of(change.metadata))
    if change.subject is Subject.LIVE:
        return ServiceEvent(**known, **_grown(change.metadata))
    status, batch = mapping(change.metadata.get("status")), mapping(change.metadata.get("batch"))
    progress = ProgressAnswer.of(change.progress)
    state = _text(status.get("state"))
    return ServiceEvent(
        **known,
        state=state,
        message=_text((change.metadata if change.subject is Subject.BATCH else status).get("message")) or "",
        batch=_text(batch.get("id")),
        percent=percent_of(state, progress),
        **({} if progress is None else progress.model_dump(include={"stage", "seconds_left"})),
    )


def _grown(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a live reconstruction."""
    used, expected = metadata.get("frames_used"), metadata.get("frames_expected")
    percent = None
    if isinstance(used, int) and isinstance(expected, int) and expected > 0:
        percent = min(100.0 * used / expected, 100.0)
    return {
        "state": _text(metadata.get("state")),
        "percent": percent,
        "stage": f"{used} of {expected or '?'} projections",
        "message": _text(metadata.get("message")) or "",
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
