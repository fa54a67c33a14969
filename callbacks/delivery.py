"""The thread that takes requests from the spool to the service."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from callbacks.recipe_names import from_file, from_service, is_file_name
from callbacks.rules import VolumeKind
from callbacks.spool import ReconstructionRequest, Spool
from tomoservice.catalog.names import RAW
from tomoservice.errors import CatalogError, RecipeError, ServiceUnavailableError
from tomoservice.recipe import parse_recipe

if TYPE_CHECKING:
    from tomoservice.errors import TomoserviceError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.25
SOON_S = 15.0
"""How long after its request a run is looked for at the first pause: its end is on the way."""
FEW = 8
"""Requests of which each may be looked for so often."""
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
    """

    def __init__(self, spool: Spool, uri: str, api_key: str | None) -> None:
        self._spool = spool
        self._uri = uri
        self._api_key = api_key
        self._root: Any = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._said: set[str] = set()
        self._troubled: set[str] = set()
        self._soon = self._few = False
        self._thread = threading.Thread(target=self._deliver, name="tomoservice-delivery", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something new in the spool."""
        if self._closing.is_set():
            self._say_what_is_left()
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
            finished = self._guarded("the spool", self._round)
            if last:
                if not finished:
                    self._say_what_is_left()
                self._disconnect()
                return
            pause = FIRST_PAUSE_S if finished or self._soon else min(2 * pause, LONGEST_PAUSE_S)
            if self._wake.wait(None if finished else pause):
                pause = FIRST_PAUSE_S

    def _guarded(self, topic: str, action: Callable[[], bool]) -> bool:
        """Do something of which the thread must not die; tell whether it is finished."""
        try:
            return action()
        except Exception as error:
            self._disconnect()
            logger.log(
                self._level(f"{topic}: {type(error).__name__}"),
                "%s: the delivery of reconstruction requests failed; trying again",
                topic,
                exc_info=True,
            )
            return False

    def _round(self) -> bool:
        """Try to deliver every request once; tell whether none is left."""
        self._soon = False
        known = [
            self._guarded(f"run {request.run_uid}", partial(self._read_recipe, request))
            for request in self._spool.pending()
            if _is_in_file(request)
        ]
        requests = [request for request in self._spool.pending() if not _is_in_file(request)]
        if not requests:
            return all(known)
        self._few = len(requests) <= FEW
        if not self._answers():
            return False
        # One that gave trouble does not keep the others waiting.
        requests.sort(key=lambda request: request.reconstruction_id in self._troubled)
        delivered = [
            self._guarded(f"run {request.run_uid}", partial(self._deliver_one, request))
            for request in requests
        ]
        return all((*known, *delivered))

    def _read_recipe(self, request: ReconstructionRequest) -> bool:
        """Put the recipe that a request names into it, before anybody changes the file."""
        try:
            recipe = from_file(str(request.recipe))
        except RecipeError as error:
            self._refuse(request, error)
        else:
            self._spool.put(request.model_copy(update={"recipe": recipe.dump()}))
        return True

    def _answers(self) -> bool:
        # Tiled's client takes a moment to import, which the RunEngine's process need not wait for.
        from tomoservice.catalog.transport import probe

        try:
            # Told at once that nobody is there, where Tiled's client would try for 45 s.
            probe(self._uri)
        except ServiceUnavailableError as error:
            self._disconnect()
            self._say_once("down", "%s; requests wait in %s", error, self._spool.folder)
            return False
        self._said.discard("down")
        return True

    def _deliver_one(self, request: ReconstructionRequest) -> bool:
        from tomoservice.catalog.nodes import find_run
        from tomoservice.catalog.transport import NotAllowedError, NotFoundError, connect

        try:
            if self._root is None:
                self._root = connect(self._uri, self._api_key)
            try:
                run = find_run(self._root, request.run_uid)
            except NotFoundError:
                self._wait_for(request)
                return False
            if "stop" not in run.metadata:
                self._wait_for(request)
                return False
            self._create(request)
        except NotAllowedError as error:
            # Somebody may still give us another key or open the service.
            self._disconnect()
            self._say_once("key", "%s; requests wait in %s", error, self._spool.folder)
            return False
        except ServiceUnavailableError as error:
            self._disconnect()
            self._troubled.add(request.reconstruction_id)
            self._say_once(
                f"{request.reconstruction_id} unanswered", "%s; it waits in %s", error, self._spool.folder
            )
            return False
        except (CatalogError, RecipeError) as error:
            self._refuse(request, error)
            return True
        self._spool.done(request)
        self._forget(request)
        return True

    def _create(self, request: ReconstructionRequest) -> None:
        from tomoservice.catalog.nodes import create_reconstruction, reconstruction_metadata

        if isinstance(request.recipe, str):
            recipe = from_service(self._root, request.recipe, request.run_uid)
        else:
            recipe = parse_recipe(request.recipe)
        virtual = request.volume is VolumeKind.VIRTUAL
        metadata = reconstruction_metadata(
            request.run_uid, recipe, request.requested_by, request.priority, virtual=virtual
        )
        node, created = create_reconstruction(
            self._root, request.run_uid, metadata, request.reconstruction_id
        )
        if created:
            state = metadata["status"]["state"]
            logger.info("run %s: %s as %s", request.run_uid, state, "/".join(node.path_parts))

    def _disconnect(self) -> None:
        if self._root is not None:
            self._root.context.http_client.close()
            self._root = None

    def _refuse(self, request: ReconstructionRequest, error: TomoserviceError) -> None:
        place = self._spool.refuse(request, str(error))
        self._forget(request)
        logger.warning("run %s is not reconstructed: %s (kept in %s)", request.run_uid, error, place)

    def _forget(self, request: ReconstructionRequest) -> None:
        """Forget what was said about a request that is not in the spool any more."""
        key = request.reconstruction_id
        self._troubled.discard(key)
        self._said -= {key, f"{key} unanswered"}
        self._said = {topic for topic in self._said if not topic.startswith(f"run {request.run_uid}:")}

    def _wait_for(self, request: ReconstructionRequest) -> None:
        """Take note that a run is not complete yet."""
        waited = time.time() - request.requested_at
        if waited < SOON_S and self._few:
            self._soon = True
        if waited > PATIENCE_S:
            self._say_once(
                request.reconstruction_id,
                "run %s is not complete in %s/%s; its reconstruction waits until it is",
                request.run_uid,
                self._uri,
                RAW,
            )

    def _say_what_is_left(self) -> None:
        logger.warning(
            "reconstruction requests stay in %s until a trigger with this spool delivers them",
            self._spool.folder,
        )

    def _say_once(self, topic: str, message: str, *arguments: object) -> None:
        logger.log(self._level(topic), message, *arguments)

    def _level(self, topic: str) -> int:
        level = logging.DEBUG if topic in self._said else logging.WARNING
        self._said.add(topic)
        return level


def _is_in_file(request: ReconstructionRequest) -> bool:
    return isinstance(request.recipe, str) and is_file_name(request.recipe)
