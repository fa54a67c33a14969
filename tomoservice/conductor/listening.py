"""What people want of a reconstruction while it is being computed, and who is more urgent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tomoservice.catalog.claims import latest_lease
from tomoservice.catalog.controls import Verb, Wishes, find_batch, read_wishes
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.queue import Waiting, find_more_urgent
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.errors import CatalogError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard."""

    wishes: Wishes = field(default_factory=Wishes)
    """What is wanted of the reconstruction."""
    priority: JobPriority = JobPriority.NORMAL
    """How urgent it is now."""
    before: str | None = None
    """Path of a reconstruction that is more urgent and that nobody works on."""


class Listener:
    """Asks the service what is wanted of one reconstruction.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    node : tiled Container
        The reconstruction.
    record : ReconstructionRecord
        The reconstruction as it was when it was claimed.
    look_s : float
        Seconds between two looks for what is more urgent.
    can_wait : callable
        Tells of a path whether this conductor leaves it alone anyway.
    """

    def __init__(
        self,
        root: Any,
        node: Any,
        record: ReconstructionRecord,
        look_s: float,
        can_wait: Callable[[str], bool],
    ) -> None:
        self._root = root
        self._node = node
        self._record = record
        self._batch = find_batch(node, record)
        self._look_s = look_s
        self._can_wait = can_wait
        self._looked = time.monotonic()
        self.latest = Heard(priority=record.metadata.priority)
        """What was heard last."""

    def hear(self) -> Heard:
        """Return what is wanted now.

        Raises
        ------
        NotFoundError
            The reconstruction has been deleted.
        ServiceUnavailableError
            The service does not answer.
        """
        wishes = read_wishes(self._node, self._batch)
        priority = wishes.priority or self._record.metadata.priority
        before = None
        if wishes.verb is None and priority is JobPriority.BACKGROUND:
            before = self._more_urgent(priority)
        self.latest = Heard(wishes, priority, before)
        return self.latest

    def hear_of_follow_up(self) -> Heard:
        """Return what is wanted now that the volume is done: only what follows can be ended."""
        wishes = read_wishes(self._node, self._batch)
        self.latest = Heard(Wishes(wishes.own & {Verb.CANCEL}), self._record.metadata.priority)
        return self.latest

    def _more_urgent(self, priority: JobPriority) -> str | None:
        if time.monotonic() - self._looked < self._look_s:
            return None
        self._looked = time.monotonic()
        try:
            found = find_more_urgent(self._root, priority)
            return next((waiting.path for waiting in found if self._is_free(waiting)), None)
        except CatalogError as error:
            # What others ask for must not end this; one may have been deleted meanwhile.
            logger.info("nothing more urgent is looked for: %s", error)
            return None

    def _is_free(self, waiting: Waiting) -> bool:
        """Tell whether this conductor could compute a reconstruction that nobody works on."""
        if waiting.wishes.verb is not None or self._can_wait(waiting.path):
            return False
        lease = latest_lease(waiting.node)
        return lease is None or not lease.is_live(time.time())
