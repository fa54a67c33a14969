"""The thread that takes runs from their journals into Tiled."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from callbacks.journal import Journal, find_journals
from callbacks.publication import Publication
from callbacks.raw_runs import RawRuns
from tomoservice.errors import FaultError, ServiceUnavailableError, TomoserviceError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
AWAY = "away"
LOOK_ROUND_S = 30.0
"""How often journals of processes that have died are looked for."""


@dataclass
class Patience:
    """When to try something again that did not work."""

    due: float = 0.0
    pause: float = FIRST_PAUSE_S

    def failed(self) -> None:
        """Wait, longer each time."""
        self.due = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE_S)

    def worked(self) -> None:
        """Do not wait."""
        self.due, self.pause = 0.0, FIRST_PAUSE_S


@dataclass
class Item:
    """A run that is being published."""

    publication: Publication
    patience: Patience = field(default_factory=Patience)


class Publishing:
    """Publishes the journals in a folder, in a thread of its own, until it is closed.

    Parameters
    ----------
    folder : Path
        Where the journals are.
    raw : RawRuns
        Where they go.
    batch_size : int
        How many events are sent together, of a run that is over or behind.
    """

    def __init__(self, folder: Path, raw: RawRuns, batch_size: int) -> None:
        self._folder = folder
        self._raw = raw
        self._batch_size = batch_size
        self._items: dict[Path, Item] = {}
        self._lock = threading.Lock()
        self._patience = Patience()
        self._said: set[str] = set()
        self._looked = False
        self._look_at = 0.0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="tomoservice-publishing", daemon=True)
        self._thread.start()

    def add(self, journal: Journal) -> None:
        """Publish a run from now on."""
        with self._lock:
            if not self._closed:
                self._items[journal.path] = Item(Publication(journal, self._batch_size))

    def wake(self, journal: Journal) -> None:
        """Say that there is something new in a journal, or that it has ended."""
        with self._lock:
            closed = self._closed
        if closed and journal.ended:
            self._leave(journal)
        self._wake.set()

    def is_settled(self) -> bool:
        """Tell whether nothing that has ended is left to publish."""
        with self._lock:
            return self._looked and not any(item.publication.journal.ended for item in self._items.values())

    def close(self, timeout_s: float) -> None:
        """Try once more to publish what is left, and end the thread; the rest stays in the folder."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            # Looked at before the round: what was kept before `close` gets one.
            last = self._closing.is_set()
            self._wake.clear()
            try:
                self._round(last=last)
            except Exception:
                self._patience.failed()
                level = self._level("round")
                logger.log(level, "%s: publishing failed; trying again", self._folder, exc_info=True)
            if last:
                self._end()
                return
            self._wake.wait(self._until_due())

    def _round(self, *, last: bool) -> None:
        """Try once what is due, in the last round everything."""
        now = time.monotonic()
        if last:
            self._patience.worked()
        if last or now >= self._look_at:
            self._look_round()
            self._look_at = now + LOOK_ROUND_S
        items = [item for item in self._with_news() if last or item.patience.due <= now]
        # One that gave trouble does not keep the others waiting.
        for item in sorted(items, key=lambda item: item.patience.pause):
            if self._patience.due > now:
                return
            self._try(item)

    def _look_round(self) -> None:
        """Take up what processes that have died left behind."""
        for path in find_journals(self._folder):
            if path in self._items:
                continue
            try:
                journal = Journal.take_up(path)
            except OSError as error:
                self._say_once(str(path), "%s cannot be read and is left where it is: %s", path, error)
                continue
            if journal is not None:
                logger.info("run %s was left behind by another process; it is published now", journal.uid)
                self.add(journal)
        with self._lock:
            self._looked = True

    def _try(self, item: Item) -> None:
        """Publish what there is of a run; whatever fails is tried again."""
        from tomoservice.catalog.transport import NotAllowedError, NotFoundError

        journal = item.publication.journal
        try:
            self._flush(journal)
            finished = item.publication.advance(self._raw)
        except FaultError as error:
            self._again(item, error)
        except (ServiceUnavailableError, NotAllowedError, NotFoundError) as error:
            self._away(error)
        except (TomoserviceError, OSError) as error:
            self._again(item, error)
        except Exception as error:
            self._again(item, error)
            logger.debug("run %s", journal.uid, exc_info=True)
        else:
            self._said.discard(AWAY)
            self._patience.worked()
            item.patience.worked()
            if finished:
                with self._lock:
                    del self._items[journal.path]
                self._said = {topic for topic in self._said if journal.uid not in topic}

    def _again(self, item: Item, error: Exception) -> None:
        """Begin again with one run, later."""
        item.patience.failed()
        item.publication.start_over()
        uid, path = item.publication.journal.uid, item.publication.journal.path
        self._say_once(f"{uid}: {type(error).__name__}", "run %s waits in %s: %r", uid, path, error)

    def _away(self, error: Exception) -> None:
        """Begin again with every run when the service is back."""
        self._raw.disconnect()
        self._patience.failed()
        with self._lock:
            for item in self._items.values():
                item.publication.start_over()
        self._say_once(AWAY, "%s; the scan goes on, runs wait in %s", error, self._folder)

    def _flush(self, journal: Journal) -> None:
        try:
            journal.flush()
        except OSError as error:
            # No reason not to publish what is in memory.
            self._say_once(f"{journal.path} flush", "%s: %s", journal.path, error)

    def _end(self) -> None:
        self._raw.disconnect()
        with self._lock:
            self._closed = True
            ended = [item.publication.journal for item in self._items.values()]
            self._items.clear()
        for journal in ended:
            if journal.ended:
                self._leave(journal)

    def _leave(self, journal: Journal) -> None:
        """Leave a journal to the next publisher."""
        logger.warning(
            "run %s stays in %s until a publisher with this spool sends it", journal.uid, journal.path
        )
        try:
            journal.flush()
        except OSError as error:
            logger.warning("run %s: documents are lost, as they cannot be written: %s", journal.uid, error)
        journal.close()

    def _with_news(self) -> list[Item]:
        with self._lock:
            return [item for item in self._items.values() if item.publication.has_news]

    def _until_due(self) -> float:
        now = time.monotonic()
        due = [max(self._patience.due, item.patience.due) - now for item in self._with_news()]
        return max(0.0, min([*due, self._look_at - now]))

    def _say_once(self, topic: str, message: str, *arguments: object) -> None:
        logger.log(self._level(topic), message, *arguments)

    def _level(self, topic: str) -> int:
        level = logging.DEBUG if topic in self._said else logging.WARNING
        self._said.add(topic)
        return level
