"""The thread that takes requests from the spool to the service."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from callbacks.spool import ReconstructionRequest, Spool
from tomoservice.errors import CatalogError, RecipeError, ServiceUnavailableError

if TYPE_CHECKING:
    from tomoservice.errors import TomoserviceError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
PATIENCE_S = 60.0
"""How long a run may lack its stop document before a warning says so."""


class Delivery:
    """Delivers what is in a spool, in a thread of its own, until it is closed.

    Parameters
    ----------
    spool : Spool
        Where requests wait.
    uri : str
        Address of the service.
    api_key : str, optional
        Key that may write.
    raw_path : str
        Where the raw runs are.
    """

    def __init__(self, spool: Spool, uri: str, api_key: str | None, raw_path: str) -> None:
        self._spool = spool
        self._uri = uri
        self._api_key = api_key
        self._raw_path = raw_path
        self._root: Any = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._deliver, name="tomoservice-delivery", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something new in the spool."""
        self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Try once more to deliver what is left, and end the thread.

        What cannot be delivered stays in the spool.
        """
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _deliver(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            # Looked at before the round: what was spooled before `close` gets one.
            last = self._closing.is_set()
            self._wake.clear()
            try:
                left = self._round()
            except Exception:
                logger.warning("delivery of reconstruction requests failed; trying again", exc_info=True)
                self._disconnect()
                left = 1
            if last:
                self._say_what_is_left(left)
                self._disconnect()
                return
            pause = min(2 * pause, LONGEST_PAUSE_S) if left else FIRST_PAUSE_S
            if self._wake.wait(pause if left else None):
                pause = FIRST_PAUSE_S

    def _round(self) -> int:
        """Try to deliver every request once; return how many are left."""
        left = 0
        for request in self._spool.pending():
            try:
                delivered = self._deliver_one(request)
            except ServiceUnavailableError as error:
                self._disconnect()
                self._say_once("down", "%s; requests wait in %s", error, self._spool.folder)
                return left + 1
            if delivered:
                self._spool.done(request)
            else:
                left += 1
        return left

    def _deliver_one(self, request: ReconstructionRequest) -> bool:
        # Tiled's client takes a moment to import, which the RunEngine's process need not wait for.
        from tomoservice.catalog.nodes import find_run, request_reconstruction
        from tomoservice.catalog.transport import NotAllowedError, NotFoundError, connect, probe
        from tomoservice.recipe import parse_recipe

        try:
            # Told at once that nobody is there, where Tiled's client would try for 45 s.
            probe(self._uri)
            if self._root is None:
                self._root = connect(self._uri, self._api_key)
            self._said.discard("down")
            run = find_run(self._root, request.run_uid, self._raw_path)
            if "stop" not in run.metadata:
                self._say_if_overdue(request)
                return False
            node, created = request_reconstruction(
                self._root,
                request.run_uid,
                parse_recipe(request.recipe),
                reconstruction_id=request.reconstruction_id,
                requested_by=request.requested_by,
            )
        except NotFoundError:
            self._say_if_overdue(request)
            return False
        except NotAllowedError as error:
            # Somebody may still give us another key or open the service.
            self._disconnect()
            self._say_once("key", "%s; requests wait in %s", error, self._spool.folder)
            return False
        except (CatalogError, RecipeError) as error:
            self._refuse(request, error)
            return True
        if created:
            logger.info("run %s: queued as %s", request.run_uid, "/".join(node.path_parts))
        return True

    def _disconnect(self) -> None:
        if self._root is not None:
            self._root.context.http_client.close()
            self._root = None

    def _refuse(self, request: ReconstructionRequest, error: TomoserviceError) -> None:
        place = self._spool.refuse(request, str(error))
        logger.warning("run %s is not reconstructed: %s (kept in %s)", request.run_uid, error, place)

    def _say_if_overdue(self, request: ReconstructionRequest) -> None:
        if time.time() - request.requested_at > PATIENCE_S:
            self._say_once(
                request.reconstruction_id,
                "run %s is not complete in %s/%s; its reconstruction waits until it is",
                request.run_uid,
                self._uri,
                self._raw_path,
            )

    def _say_what_is_left(self, left: int) -> None:
        if left:
            logger.warning(
                "reconstruction requests stay in %s until a trigger with this spool delivers them",
                self._spool.folder,
            )

    def _say_once(self, topic: str, message: str, *arguments: object) -> None:
        say: Callable[..., None] = logger.debug if topic in self._said else logger.warning
        self._said.add(topic)
        say(message, *arguments)
