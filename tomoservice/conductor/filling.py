"""The slabs of a volume, handed out to workers a few at a time until all exist."""

from __future__ import annotations

import logging
import time
from concurrent.futures import FIRST_COMPLETED, wait
from types import TracebackType
from typing import Self

from tomoservice.catalog.writer import Progress
from tomoservice.compute.orders import VolumeOrder
from tomoservice.compute.resolution import Resolution
from tomoservice.compute.tasks import Filled, fill
from tomoservice.conductor.errands import LOOK_S, Begun, WatchedErrand
from tomoservice.errors import CancelledError, OutputError, ServiceUnavailableError, WorkersDiedError
from tomoservice.pipeline.residuals import Residual
from tomoservice.store import SlabStore

logger = logging.getLogger(__name__)

PIECE_S = 1.0
"""How long a worker should be busy with the slabs that it is handed: so long may an urgent task wait, and
twice as long one that is as urgent."""
LARGEST_PIECE = 64
"""Slabs of a piece, at most."""
SETTLE_S = 5.0
"""How long pieces in progress may take to end when it is time to stop."""
ROUNDS = 3
"""How many times slabs that somebody else was said to have computed are asked for."""


class Filling:
    """Hands out the slabs that do not exist, in pieces of about a second.

    Others may fill the same store meanwhile: whoever looks at a slice has its slab computed at once.

    A context manager: when it is left because something went wrong, what is being written is written first,
    and what has not begun never begins.

    Parameters
    ----------
    errand
        Has pieces computed.
    order
        Which volume.
    store
        Where slabs go.
    resolution
        What was decided about it.
    attempt
        Fencing token of the claim.
    """

    def __init__(
        self,
        errand: WatchedErrand,
        order: VolumeOrder,
        store: SlabStore,
        resolution: Resolution,
        attempt: int,
    ) -> None:
        self._errand = errand
        self._order = order
        self._store = store
        self._resolution = resolution
        self._attempt = attempt
        self._missing: list[int] = []
        self._pending: dict[Begun[Filled], tuple[int, ...]] = {}
        self._slabs_per_piece = resolution.least_slabs
        self._setbacks = errand.setbacks()
        self.residuals: list[Residual] = []
        """What iterations have left of each sinogram."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # What is being written now shall be written before anybody hears that it is over; what has not
            # begun ends as soon as a worker takes it up.
            self._errand.close()
            wait([begun.future for begun in self._pending], SETTLE_S)

    def begin(self) -> None:
        """Hand out the first pieces, and return while they are worked on; `run` hands out the others.

        Raises
        ------
        CancelledError
            It is time to stop, and nobody is at work.
        """
        self._before = len(self._store.present())
        if self._before:
            logger.info(
                "%s: %d of %d slabs exist already", self._store.folder, self._before, self._resolution.slabs
            )
        self._began = time.monotonic()
        self._missing = self._absent()
        self._report()
        self._hand_out()

    def run(self) -> None:
        """Have every slab computed that does not exist, and return when all do.

        Raises
        ------
        CancelledError
            It is time to stop; slabs that exist are kept.
        TomoserviceError
            As a worker raised it.
        """
        for _ in range(ROUNDS):
            self._fill()
            self._missing = self._absent()
            if not self._missing:
                return
        raise OutputError(f"{self._store.folder} loses slabs that have been stored; see to the disk")

    def _absent(self) -> list[int]:
        return sorted(set(range(self._resolution.slabs)) - self._store.present())

    def _fill(self) -> None:
        while self._missing or self._pending:
            self._hand_out()
            wait([begun.future for begun in self._pending], LOOK_S, return_when=FIRST_COMPLETED)
            ended = [begun for begun in self._pending if begun.future.done()]
            errors = [self._take(begun, self._pending.pop(begun)) for begun in ended]
            if not self._errand.misses_workers():
                self._report()
            if lost := [error for error in errors if error is not None]:
                # One pause for all that were lost together.
                self._setbacks.bear(lost[0])
            if self._errand.watch.should_stop():
                raise CancelledError(f"{self._store.folder}: stopped between two slabs")

    def _hand_out(self) -> None:
        """Keep every worker busy, those that came a moment ago as well."""
        # One that waits for each that is worked on: who has finished goes on at once.
        most = 2 * self._errand.slots if self._missing else 0
        while self._missing and len(self._pending) < most:
            piece = self._next_piece()
            self._pending[self._errand.begin(fill, self._order, piece, self._attempt)] = piece

    def _next_piece(self) -> tuple[int, ...]:
        """Take neighbouring slabs from the front of those that are missing."""
        missing, size = self._missing, 1
        while size < min(self._slabs_per_piece, len(missing)) and missing[size] == missing[0] + size:
            size += 1
        piece = tuple(missing[:size])
        del missing[:size]
        return piece

    def _take(self, begun: Begun[Filled], piece: tuple[int, ...]) -> ServiceUnavailableError | None:
        """Take what came of a piece; if nothing did, return why, and ask for it again."""
        try:
            filled = begun.future.result()
        except (ServiceUnavailableError, WorkersDiedError) as error:
            # Nobody knows how far it came; what was stored stays, and the rest is asked for again.
            logger.warning("%s: %s; asking for slabs %s again", self._store.folder, error, piece)
            self._missing = sorted({*self._missing, *piece})
            if isinstance(error, ServiceUnavailableError):
                return error
            self._setbacks.bear(error, *piece)
            return None
        self._setbacks.forget()
        self.residuals += filled.residuals
        if filled.computed:
            each = filled.seconds / len(filled.computed)
            # The first piece of a worker opens and plans as well, so it tells little.
            wanted = min(int(PIECE_S / max(each, 1e-3)), 2 * self._slabs_per_piece, LARGEST_PIECE)
            self._slabs_per_piece = max(wanted, self._resolution.least_slabs)
        return None

    def _report(self) -> None:
        done, total = len(self._store.present()), self._resolution.slabs
        new = done - self._before
        left = (time.monotonic() - self._began) / new * (total - done) if new > 0 else None
        self._errand.watch.report(Progress("reconstructing", done, total, left))
