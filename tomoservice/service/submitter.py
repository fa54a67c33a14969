"""Makes the reconstructions of every batch as soon as it exists, whoever created it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from tomoservice.catalog.submission import find_unsubmitted, submit_items
from tomoservice.catalog.transport import connect, disconnect
from tomoservice.service.boundary import boundary
from tomoservice.service.lookout import Lookout

logger = logging.getLogger(__name__)

AT_ONCE = 100
"""Items of one batch that are made before the next batch has its turn, so that none waits for a large one."""
STOP_S = 1.0
"""How long to wait for the thread when the service ends."""


class Submitter:
    """Makes the items of batches, in a thread of its own.

    Parameters
    ----------
    uri : callable
        Returns the address of the service.
    api_key : callable
        Returns the key that may write.
    """

    def __init__(self, uri: Callable[[], str], api_key: Callable[[], str]) -> None:
        self._uri = uri
        self._api_key = api_key
        self._lookout = Lookout()
        self._root: Any = None
        self._thread = threading.Thread(target=self._run, name="submitter", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def poke(self) -> None:
        """Look soon: somebody is creating a batch, or adding to one."""
        self._lookout.poke()

    def stop(self) -> None:
        """End the thread; items that are still to be made are made by whoever looks next."""
        self._lookout.stop()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        for _ in self._lookout.rounds():
            self._look()
        if self._root is not None:
            disconnect(self._root)

    def _look(self) -> None:
        with boundary("looking for batches to submit"):
            if self._root is None:
                self._root = connect(self._uri(), self._api_key())
            for node in find_unsubmitted(self._root):
                path = "/".join(node.path_parts)
                with boundary(path):
                    made = submit_items(self._root, node, self._lookout.is_stopping, AT_ONCE)
                    if made == AT_ONCE:
                        # There may be more.
                        self.poke()
                    logger.info("%s: %d reconstructions asked for", path, made)
