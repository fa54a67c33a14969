"""What people want of a reconstruction or of a batch, as children that nobody can overwrite.

A wish is the existence of a child ``control-{verb}``: creating one and deleting one are atomic, whereas a
patch of a node's metadata rewrites all of them. Whoever holds the claim reads the wishes and moves the state.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tiled.client.container import Container
from tiled.queries import KeysFilter

from tomoservice.catalog import names
from tomoservice.catalog.nodes import create_container, forget_child, search_processed
from tomoservice.catalog.priorities import ASKED_FOR, JobPriority
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.transport import NotFoundError, child, elsewhere, keys_of, translated

logger = logging.getLogger(__name__)


class Verb(StrEnum):
    """What is to be done with work that is not finished; the first of several counts."""

    CANCEL = "cancel"
    """End it: nobody wants the volume."""
    STOP = "stop"
    """End it, and keep what there is: slices that were not computed read as NaN."""
    PAUSE = "pause"
    """Leave it alone for the time being."""

    @property
    def key(self) -> str:
        """Key of the child that says so."""
        return f"{names.CONTROL_PREFIX}{self.value}"


ENDING = frozenset({Verb.CANCEL, Verb.STOP})
"""Those after which a reconstruction is finished."""
BY_BATCH = "batch"
"""What the status of an item says that was ended with its batch."""
VERBS = {verb.key: verb for verb in Verb}
"""Each verb by the key of its child."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted of one reconstruction."""

    own: frozenset[Verb] = frozenset()
    """Of itself."""
    of_batch: frozenset[Verb] = frozenset()
    """Of the batch that it belongs to."""
    priority: JobPriority | None = None
    """Instead of the priority that it was asked for with."""

    @property
    def verb(self) -> Verb | None:
        """What is to be done; None if nothing is to stop it."""
        return next((verb for verb in Verb if verb in self.own | self.of_batch), None)

    @property
    def is_of_batch(self) -> bool:
        """Whether it is the batch of which this is wanted, and not the reconstruction itself."""
        return self.verb is not None and self.verb not in self.own

    @property
    def ended_by(self) -> str:
        """What a status says of whatever these end."""
        return BY_BATCH if self.is_of_batch else ""


def verbs_of(keys: Iterable[str]) -> frozenset[Verb]:
    """Return the verbs among the keys of a node's children."""
    return frozenset(VERBS[key] for key in keys if key in VERBS)


def read_wishes(node: Any, batch: Any = None) -> Wishes:
    """Ask the server what is wanted of a reconstruction.

    Parameters
    ----------
    node : tiled Container
        The reconstruction.
    batch : tiled Container, optional
        The batch that it belongs to.

    Raises
    ------
    NotFoundError
        The reconstruction has been deleted.
    """
    keys = _keys(node)
    priority = None
    if names.CONTROL_PRIORITY in keys:
        # It may be withdrawn meanwhile.
        with suppress(NotFoundError):
            priority = priority_of(child(node, names.CONTROL_PRIORITY))
    return Wishes(verbs_of(keys), frozenset() if batch is None else _verbs_of_batch(batch), priority)


def find_batch(node: Any, record: ReconstructionRecord) -> Any | None:
    """Return the node of the batch that a reconstruction says it belongs to; None if there is none."""
    said = record.metadata.batch
    if said is None or not names.is_key(said.id):
        return None
    try:
        batch = elsewhere(node, names.BATCHES, said.id)
    except NotFoundError:
        return None
    return batch if isinstance(batch, Container) else None


def _verbs_of_batch(batch: Any) -> frozenset[Verb]:
    try:
        return verbs_of(_keys(batch))
    except NotFoundError:
        # Without their batch, its items are reconstructions like any other.
        return frozenset()


def _keys(node: Any) -> list[str]:
    return keys_of(node, "reading what is wanted of")


def priority_of(control: Any) -> JobPriority | None:
    """Return the priority that a child `control-priority` asks for; None if it is none."""
    priority = said_priority(control.metadata)
    if priority is None:
        logger.warning("%s says no priority", "/".join(control.path_parts))
    return priority


def said_priority(metadata: object) -> JobPriority | None:
    """Return the priority that the metadata of a child `control-priority` ask for; None if it is none.

    Nobody may ask for any other, and anybody who may write could create such a child.
    """
    said: Any = metadata.get("priority") if isinstance(metadata, Mapping) else None
    return next((priority for priority in ASKED_FOR if priority == said), None)


def find_controls(root: Any) -> Mapping[tuple[str, str], dict[str, Any]]:
    """Return the controls of all reconstructions: by run and reconstruction, the nodes by their keys."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    wanted = KeysFilter([*VERBS, names.CONTROL_PRIORITY])
    for (run, reconstruction, key), node in search_processed(root, wanted, parts=3):
        found.setdefault((run, reconstruction), {})[key] = node
    return found


def ask(node: Any, verb: Verb, requested_by: str = "") -> None:
    """Say what is wanted of a reconstruction or a batch; asking twice is the same as asking once."""
    create_container(node, verb.key, metadata=_signed(requested_by), may_exist=True)


def withdraw(node: Any, *verbs: Verb) -> None:
    """Take back what was wanted; nothing happens if it was not."""
    for key in _keys(node):
        if VERBS.get(key) in verbs:
            forget_child(node, key)


def withdraw_all(node: Any) -> None:
    """Take back whatever was wanted, a priority included: nothing is to be done any more."""
    for key in _keys(node):
        if key in VERBS or key == names.CONTROL_PRIORITY:
            forget_child(node, key)


def ask_priority(node: Any, priority: JobPriority, requested_by: str = "") -> None:
    """Say how urgent a reconstruction is from now on; of several who do, the last one counts."""
    metadata = {"priority": priority.value, **_signed(requested_by)}
    control = create_container(node, names.CONTROL_PRIORITY, metadata=metadata, may_exist=True)
    if dict(control.metadata) != metadata:
        with translated(f"changing the priority of {'/'.join(node.path_parts)}"):
            control.update_metadata(metadata, drop_revision=True)


def _signed(requested_by: str) -> dict[str, Any]:
    return {"requested_by": requested_by, "requested_at": time.time()}
