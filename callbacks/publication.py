"""One run on its way from its journal into Tiled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from callbacks.encoding import decode
from callbacks.journal import SENDING, TAKEN, Journal
from callbacks.raw_runs import RawRuns
from callbacks.spool import REFUSED
from tomoservice.errors import CatalogError, ServiceUnavailableError, TomoserviceError

logger = logging.getLogger(__name__)

UNREADABLE = "unreadable"
NOTES = (SENDING, TAKEN, REFUSED, UNREADABLE)
"""Lines of a journal that are no documents."""
AT_ONCE = 1
"""Batch size with which nothing waits for what comes after it."""
BACKLOG = 64 * 1024
"""Bytes of documents of which there may be more than can be sent one at a time."""


class Publication:
    """Feeds the documents of one run to Bluesky's TiledWriter, as far as they are there.

    Parameters
    ----------
    journal : Journal
        Where the documents are.
    batch_size : int
        How many events are sent together, of a run that is over or behind.
    """

    def __init__(self, journal: Journal, batch_size: int) -> None:
        self.journal = journal
        self._batch_size = batch_size
        self._position = 0
        self._left_out: list[str] = []
        self._started_over = False
        self._sent_together = AT_ONCE
        self._write: Callable[[str, dict[str, Any]], None] | None = None

    @property
    def has_news(self) -> bool:
        """Whether there is anything to do at the moment."""
        return self.journal.ended or self.journal.has_more(self._position)

    def start_over(self) -> None:
        """Forget what has been sent: the connection is gone."""
        self._write = None
        self._position = 0
        self._left_out.clear()
        self._started_over = True

    def advance(self, raw: RawRuns) -> bool:
        """Send what is new; tell whether the run is finished and its journal gone.

        Parameters
        ----------
        raw : RawRuns
            Where runs go.

        Raises
        ------
        ServiceUnavailableError
            The service does not answer, or with an error of its own; then start over.
        NotAllowedError
            The API key may not write there.
        ConflictError
            Somebody else is writing this run.
        """
        ended = self.journal.ended
        if ended and not self.journal.stopped and self._sent_together > AT_ONCE:
            self.start_over()
        if self._write is None:
            if self._is_complete(raw):
                logger.info("run %s is in Tiled already", self.journal.uid)
                self.journal.remove()
                return True
            self._write = self._writer(raw)
        while lines := self.journal.read(self._position):
            for name, doc in joined(self._read(line) for line in lines):
                self._send(name, doc)
            self._position += sum(map(len, lines))
        if ended:
            self._finish()
        return ended

    def _is_complete(self, raw: RawRuns) -> bool:
        """Tell whether the run stands in Tiled; what an earlier attempt left there is removed."""
        from tomoservice.catalog.transport import ConflictError, translated

        uid = self.journal.uid
        node = raw.find(uid)
        if node is None:
            return False
        if "stop" in node.metadata:
            return True
        if not self.journal.marked:
            raise ConflictError(f"somebody else is writing run {uid} to Tiled")
        with translated(f"removing the incomplete run {uid}"):
            # Event tables are Tiled's own, hence not only what is external; registered files stay.
            node.delete(recursive=True, external_only=False)
        return False

    def _writer(self, raw: RawRuns) -> Callable[[str, dict[str, Any]], None]:
        from bluesky_tiled_plugins import TiledWriter

        if not self.journal.marked:
            self.journal.note(SENDING)
        self._sent_together = self._chosen_size()
        write: Callable[[str, dict[str, Any]], None] = TiledWriter(
            raw.container(), batch_size=self._sent_together
        )
        return write

    def _chosen_size(self) -> int:
        """Return how many events are sent together."""
        if self.journal.stopped:
            return self._batch_size
        if self.journal.ended:
            # Nothing may wait for a stop document that will not come.
            return AT_ONCE
        # What goes on is seen at once: the first flats, and every event of a step scan. Not so if much is
        # waiting already, or has been sent before: one at a time would not catch up.
        is_behind = self._started_over or self.journal.has_more(BACKLOG)
        return self._batch_size if is_behind else AT_ONCE

    def _read(self, line: bytes) -> tuple[str, dict[str, Any]]:
        try:
            return decode(line)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            self._leave_out(UNREADABLE, error)
            return UNREADABLE, {}

    def _send(self, name: str, doc: dict[str, Any]) -> None:
        from tomoservice.catalog.transport import ConflictError, NotAllowedError, translated

        try:
            if name not in NOTES and self._write is not None:
                with translated(f"publishing run {self.journal.uid}"):
                    self._write(name, doc)
        except Exception as error:
            cause = _cause(error)
            if isinstance(cause, ConflictError) and name == "start":
                # It was not there a moment ago.
                self.journal.note(TAKEN)
                raise cause from error
            if isinstance(cause, ServiceUnavailableError | NotAllowedError):
                raise cause from error
            self._leave_out(name, error)

    def _leave_out(self, name: str, error: Exception) -> None:
        problem = f"{name}: {type(error).__name__}: {error}"
        self._left_out.append(problem)
        expected = isinstance(error, CatalogError)
        logger.log(
            logging.WARNING if len(self._left_out) == 1 else logging.DEBUG,
            "run %s: a document cannot be published and is left out: %s",
            self.journal.uid,
            problem,
            exc_info=None if expected else error,
        )

    def _finish(self) -> None:
        if not self._left_out:
            self.journal.remove()
            logger.info("run %s is in Tiled", self.journal.uid)
            return
        place = self.journal.put_aside(self._left_out[0])
        logger.warning(
            "run %s: %d documents are not in Tiled; all of them are kept in %s",
            self.journal.uid,
            len(self._left_out),
            place,
        )


def joined(
    documents: Iterable[tuple[str, dict[str, Any]]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Put neighbouring stream datums of the same file together, as far as they are there already.

    Other documents keep their places among them.
    """
    waiting: dict[str, dict[str, Any]] = {}
    for name, doc in documents:
        if name != "stream_datum":
            yield from _taken(waiting)
            yield name, doc
            continue
        key = str(doc.get("stream_resource"))
        before = waiting.get(key)
        together = None if before is None else _together(before, doc)
        if before is not None and together is None:
            yield from _taken(waiting)
        waiting[key] = together or doc
    yield from _taken(waiting)


def _taken(waiting: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for doc in waiting.values():
        yield "stream_datum", doc
    waiting.clear()


def _together(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any] | None:
    """Return one stream datum for two, or None if the second does not go on where the first ends."""
    try:
        goes_on = first["descriptor"] == second["descriptor"] and all(
            first[key]["stop"] == second[key]["start"] for key in ("indices", "seq_nums")
        )
    except (KeyError, TypeError):
        # Whoever takes it says what is wrong with it.
        return None
    if not goes_on:
        return None
    ends = {
        key: {"start": first[key]["start"], "stop": second[key]["stop"]} for key in ("indices", "seq_nums")
    }
    return {**second, **ends}


def _cause(error: Exception) -> BaseException:
    """Return the error of ours behind another: libraries turn it into theirs on the way."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, TomoserviceError):
            return behind
        behind = behind.__cause__ or behind.__context__
    return error
