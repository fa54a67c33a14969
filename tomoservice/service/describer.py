"""Makes every reconstruction readable as soon as it exists, whoever created it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.claims import Worker, try_claim
from tomoservice.catalog.nodes import (
    check_place,
    check_reconstruction,
    find_in_state,
    find_run,
    is_sweep,
)
from tomoservice.catalog.record import ReconstructionRecord, plain
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import (
    ConflictError,
    NotFoundError,
    child,
    connect,
    disconnect,
    keys_of,
    translated,
)
from tomoservice.catalog.volumes import describe_metric, describe_volume, store_values
from tomoservice.catalog.writer import ReconstructionWriter
from tomoservice.compute.base import Computer
from tomoservice.compute.orders import RunAddress, VolumeOrder
from tomoservice.compute.sweep_metric import FOLDER as METRIC_FOLDER
from tomoservice.compute.sweep_metric import metric_of
from tomoservice.compute.sweeps import sweep_outline
from tomoservice.compute.workbench import Workbench
from tomoservice.errors import (
    CancelledError,
    CatalogError,
    ServiceUnavailableError,
    TomoserviceError,
)
from tomoservice.pipeline import outline
from tomoservice.recipe import parse_recipe, parse_sweep
from tomoservice.service.boundary import boundary
from tomoservice.service.lookout import Lookout
from tomoservice.service.outlines import Outlines
from tomoservice.settings import Settings
from tomoservice.store import VOLUME, folder_of

logger = logging.getLogger(__name__)

SLACK_S = 300.0
"""How far the clocks of those who create nodes may differ."""
STOP_S = 1.0
"""How long to wait for each thread when the service ends: what they ask it for may never be answered."""
LEASE_S = 10.0
GIVE_WAY_S = 0.45
"""How long a queued reconstruction is left to the conductor, who has the same run opened: together, both are
slow. It is readable within about a second all the same."""
CLAIMED_S = 0.45
"""How much longer, if one has claimed it by then."""

Mark = tuple[object, ...]


class Orders(Protocol):
    """Says what workers are told."""

    def run(self, run_uid: str, access_tags: Sequence[str]) -> RunAddress:
        """Return what they are told of a run, and of who is going to see what they make of it."""

    def order(self, record: ReconstructionRecord, folder: Path) -> VolumeOrder:
        """Return what they are told of a reconstruction."""


class Describer:
    """Adds the volume to reconstructions that have none, in a thread of its own.

    Parameters
    ----------
    uri : callable
        Returns the address of the service.
    api_key : callable
        Returns the key that may write.
    settings : Settings
        Where volumes go.
    orders : Orders
        Says what is to be told of a run or a reconstruction.
    computer : Computer
        Searches the rotation axis where the shape depends on it.
    """

    def __init__(
        self,
        uri: Callable[[], str],
        api_key: Callable[[], str],
        settings: Settings,
        orders: Orders,
        computer: Computer,
    ) -> None:
        self._uri = uri
        self._api_key = api_key
        self._settings = settings
        self._orders = orders
        self._outlines = Outlines(computer, self.poke)
        self._lookout = Lookout()
        # What has been seen to, as it was then, as long as searches find it; and what is to be tried again.
        self._settled: dict[str, Mark] = {}
        self._pending: dict[str, None] = {}
        # When those that a conductor has claimed were seen first.
        self._seen: dict[str, float] = {}
        self._since = 0.0
        self._root: Any = None
        self._thread = threading.Thread(target=self._run, name="describer", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._outlines.start()
        self._thread.start()

    def poke(self) -> None:
        """Look soon: there is something new."""
        self._lookout.poke()

    def hear(self, state: str) -> None:
        """Look in time: somebody is creating a reconstruction in this state, or a sweep."""
        if state == State.QUEUED:
            self._lookout.again(GIVE_WAY_S)
        else:
            self._lookout.poke()

    def stop(self) -> None:
        """End the threads; what one of them still waits for is left to the end of the process."""
        self._lookout.stop()
        self._outlines.stop(STOP_S)
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        with closing(Workbench()) as bench:
            for _ in self._lookout.rounds():
                with boundary("looking for reconstructions to describe"):
                    self._look(bench)
        if self._root is not None:
            disconnect(self._root)

    def _look(self, bench: Workbench) -> None:
        if self._root is None:
            self._root = connect(self._uri(), self._api_key())
        now = time.time()
        found = find_in_state(self._root, State.VIRTUAL, State.QUEUED, since=self._since - SLACK_S)
        # Somebody waits for the newest.
        nodes = {"/".join(node.path_parts): node for node in reversed(found)}
        pending = tuple(self._pending)
        for path, node in nodes.items():
            if path not in pending and self._settled.get(path) != _mark(node):
                self._see_to_in_time(bench, path, node)
        for path in pending:
            if path in nodes:
                self._see_to_in_time(bench, path, nodes[path])
            else:
                with boundary(path):
                    self._see_to_again(bench, path)
        self._settled = {path: mark for path, mark in self._settled.items() if path in nodes}
        self._since = now

    def _see_to_in_time(self, bench: Workbench, path: str, node: Any) -> None:
        """See to a node; to one that a conductor has just claimed a moment later."""
        left_s = 0.0 if _mark(node)[0] == State.VIRTUAL else self._left_to_others_s(path, node)
        if left_s > 0:
            self._pending[path] = None
            self._lookout.again(left_s)
        else:
            self._see_to(bench, path, node)

    def _left_to_others_s(self, path: str, node: Any) -> float:
        """Return for how many seconds a node is still left to the conductor that has claimed it."""
        now = time.monotonic()
        left_s = CLAIMED_S - (now - self._seen.setdefault(path, now))
        if left_s > 0:
            with boundary(path):
                # The keys of an array, which has none, would be its pixels.
                check_place(node)
                keys = keys_of(node)
                if names.VOLUME not in keys and any(map(names.attempt_of, keys)):
                    return left_s
        return 0.0

    def _see_to_again(self, bench: Workbench, path: str) -> None:
        """See to one that searches do not find any more: older than the last of them, or being worked on."""
        try:
            node = child(self._root, *path.split("/"))
        except NotFoundError:
            self._forget(path)
            return
        if _mark(node)[0] in (State.VIRTUAL, State.QUEUED, State.RUNNING):
            self._see_to_in_time(bench, path, node)
        else:
            self._forget(path)

    def _forget(self, path: str) -> None:
        self._pending.pop(path, None)
        self._seen.pop(path, None)
        self._outlines.forget(path)

    def _see_to(self, bench: Workbench, path: str, node: Any) -> None:
        """Describe a node, or note that it is to be tried again; it must not keep the others waiting."""
        if self._lookout.is_stopping():
            return
        mark = _mark(node)
        done = True
        with boundary(path):
            # Before anything is written there, even that it failed.
            check_place(node)
            done = self._describe(bench, path, node)
        if done:
            self._settled[path] = mark
            self._forget(path)
        else:
            self._pending[path] = None

    def _describe(self, bench: Workbench, path: str, node: Any) -> bool:
        """Describe a node; tell whether there is nothing more to be done."""
        try:
            if not is_sweep(node):
                check_reconstruction(node)
            described = names.IMAGES if is_sweep(node) else names.VOLUME
            if described in keys_of(node):
                return True
            # One that is not there yet may come: a request can be quicker than the run's own documents.
            find_run(self._root, node.path_parts[-2])
            if not is_sweep(node):
                return self._add_volume(bench, node, ReconstructionRecord.from_node(node))
            self._add_images(bench, node)
        except (ServiceUnavailableError, NotFoundError, CancelledError) as error:
            level = logging.DEBUG if path in self._pending else logging.INFO
            logger.log(level, "%s: not described yet: %s", path, error)
            return False
        except ConflictError:
            logger.debug("%s: somebody else described it", path)
        except TomoserviceError as error:
            logger.info("%s: cannot be described: %s", path, error)
            if _mark(node)[0] == State.VIRTUAL:
                # Of one that is queued the conductor says so when its turn comes.
                return self._fail(node, str(error))
        return True

    def _add_volume(self, bench: Workbench, node: Any, record: ReconstructionRecord) -> bool:
        """Describe the volume; tell whether it is there now, or whether its shape is still searched for."""
        folder = folder_of(self._settings.volumes_folder, record.run_uid, record.reconstruction_id)
        order = self._orders.order(record, folder)
        if record.path in self._outlines:
            looks = self._outlines.ask(record.path, order)
        else:
            with bench.open(_through_tiled(order.run)) as scan:
                looks = outline(scan, parse_recipe(order.recipe, name=order.recipe_name))
            if looks is None:
                logger.info("%s: its shape depends on the rotation axis, which comes first", record.path)
                looks = self._outlines.ask(record.path, order)
        if looks is None:
            return False
        describe_volume(node, folder / VOLUME, looks, {"axes": ["z", "y", "x"]})
        logger.info("%s: described, %s", record.path, looks.shape)
        return True

    def _add_images(self, bench: Workbench, node: Any) -> None:
        run_uid, key = node.path_parts[-2:]
        sweep = parse_sweep(plain(node.metadata.get("sweep")))
        with bench.open(_through_tiled(self._orders.run(run_uid, tags_of(node) or ()))) as scan:
            looks = sweep_outline(scan, sweep)
        if looks is None:
            raise CatalogError(
                "the recipes leave open whether this whole turn is a half-acquisition, on which the size of "
                "a slice depends; give rotation_axis a value, or set reconstruction.half_acquisition"
            )
        folder = folder_of(self._settings.volumes_folder, run_uid, key)
        said = {"labels": sweep.labels, "parameter": sweep.parameter}
        # Before the images: whoever waits for these finds the rest, too.
        numbers = [label for label in sweep.labels if not isinstance(label, str)]
        if numbers:
            store_values(node, numbers, {"axes": ["value"], "parameter": sweep.parameter})
        metric = metric_of(sweep)
        if metric is not None:
            about = {"axes": ["value"], "metric": metric.value, "about": metric.about, **said}
            describe_metric(node, folder / METRIC_FOLDER, len(sweep.values), about)
        describe_volume(node, folder / VOLUME, looks, {"axes": ["value", "y", "x"], **said}, names.IMAGES)
        logger.info("%s/%s: described, %s", run_uid, key, looks.shape)

    def _fail(self, node: Any, message: str) -> bool:
        """Say that a node failed; tell whether that has been said, or is somebody else's affair."""
        path = "/".join(node.path_parts)
        try:
            if is_sweep(node):
                status = {"state": State.FAILED.value, "message": message, "time": time.time()}
                with translated(f"marking {path} as failed"):
                    node.update_metadata({"status": status})
                return True
            claim = try_claim(node, Worker(), LEASE_S)
            if claim is not None:
                ReconstructionWriter(claim).enter(State.FAILED, message)
                claim.release()
        except ServiceUnavailableError as error:
            logger.info("%s: not marked as failed yet: %s", path, error)
            return False
        return True


def _mark(node: Any) -> Mark:
    """Tell a node from a later one at its place, and from itself when it is queued again; its state first."""
    status = node.metadata.get("status")
    known = plain(status) if isinstance(status, Mapping) else {}
    asked = (plain(node.metadata.get(key)) for key in ("requested_at", "recipe_hash"))
    return (known.get("state"), known.get("time"), *asked)


def _through_tiled(run: RunAddress) -> RunAddress:
    """Return the address of a run whose files this process does not open.

    The server has them open in its own way, and HDF5 refuses to open a file in two ways in one process.
    """
    return replace(run, readable=())
