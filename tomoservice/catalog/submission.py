"""Makes the reconstructions that batches ask for, whoever created them and whatever becomes of them.

May begin anew at any time, and be done by several at once: keys of items follow from the batch's, and what is
there already is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tiled.queries import Eq

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.batch_records import FIRST_PART, MOST_ITEMS, BatchItem, BatchRecord
from tomoservice.catalog.batches import addition_nodes, find_runs, said_items, strangers
from tomoservice.catalog.controls import ENDING
from tomoservice.catalog.nodes import (
    create_container,
    ensure_room,
    reconstruction_metadata,
    reconstruction_spec,
)
from tomoservice.catalog.orders import order_of
from tomoservice.catalog.transport import ConflictError, NotAllowedError, NotFoundError, child, translated
from tomoservice.errors import CatalogError

logger = logging.getLogger(__name__)


def find_unsubmitted(root: Any) -> list[Any]:
    """Return the nodes of batches of which items have still to be made, the oldest first."""
    folder = child(root, names.BATCHES)
    with translated("searching for batches to submit"):
        found = folder.search_deep(Eq("submitted", value=False), max_depth=2)
        nodes = {path: node for path, node in found.items() if _spec_at(len(path)) in _specs_of(node)}
    batches = {path[0]: node for path, node in nodes.items() if len(path) == 1}
    for key in dict.fromkeys(path[0] for path in nodes if len(path) > 1):
        if key not in batches and (node := _batch_called(folder, key)) is not None:
            batches[key] = node
    return list(batches.values())


def _spec_at(depth: int) -> str:
    return names.BATCH_SPEC if depth == 1 else names.ADDITION_SPEC


def _specs_of(node: Any) -> set[str]:
    return {spec.name for spec in node.specs}


def _batch_called(folder: Any, key: str) -> Any | None:
    """Return a batch to which something is added; None if that is none, or gone by now."""
    try:
        node = child(folder, key)
    except NotFoundError:
        return None
    return node if names.BATCH_SPEC in _specs_of(node) else None


def submit_items(root: Any, node: Any, should_stop: Callable[[], bool], most: int = MOST_ITEMS) -> int:
    """Make the items of a batch that are not there, and say on its nodes when this is done.

    May be interrupted at any time, and done by several at once. A batch that is to be ended is done with. A
    part that cannot be made, what the batch began with or what was added, is refused if nothing of it is
    there; otherwise it stays as it is, so that what is there can be steered, and the log says why.

    Parameters
    ----------
    root : tiled Container
        Root of the service, with the service's own rights.
    node : tiled Container
        The batch.
    should_stop : callable
        Asked whether to leave the rest to later.
    most : int
        How many to make now.

    Returns
    -------
    int
        How many were made; if it is `most`, there may be more to be made.
    """
    added = addition_nodes(node)
    record = BatchRecord.from_node(node, {key: each.metadata for key, each in added.items()})
    there = {path for path, _ in said_items(root, record)}
    is_ended, made = bool(order_of(node).verbs & ENDING), 0
    nodes = {FIRST_PART: node, **{each.number: added[each.key] for each in record.additions}}
    _refuse_others(record, added)
    for number, part in record.parts.items():
        if part.submitted:
            continue
        items = [item for item in record.items if item.part == number]
        tags = {*(tags_of(node) or ()), *(tags_of(nodes[number]) or ())}
        missing = [] if is_ended else [item for item in items if item.path not in there]
        making = _Part(root, record, nodes[number], sorted(tags), len(missing) < len(items))
        made += making.submit(missing, should_stop, most - made)
        if made >= most or should_stop():
            break
    return made


def _refuse_others(record: BatchRecord, added: dict[str, Any]) -> None:
    """Say of what was added and counts as nothing that it does."""
    counted = {each.key for each in record.additions}
    for key, node in added.items():
        if key not in counted and node.metadata.get("submitted") is False:
            logger.warning("%s/%s: refused: it counts as nothing", record.path, key)
            taken = "refused: other items have its numbers, or its key is no addition's; add it again"
            _settled(node, {"message": taken})


@dataclass(frozen=True)
class _Part:
    """What was asked for at once, and has to be made."""

    root: Any
    record: BatchRecord
    node: Any
    """Says so."""
    tags: Sequence[str]
    """Access tags that every run must have."""
    is_begun: bool
    """Whether some of its items are there."""

    def submit(self, missing: Sequence[BatchItem], should_stop: Callable[[], bool], most: int) -> int:
        """Make items that are not there, and return how many were made."""
        made = 0
        try:
            # All of them before anything is made; later only what is about to be made.
            self._check_rights(missing[:most] if self.is_begun else missing)
            for item in missing[:most]:
                if should_stop():
                    return made
                made += _submit(self.root, self.record, item)
        except CatalogError as error:
            begun = bool(made or self.is_begun)
            path = "/".join(self.node.path_parts)
            logger.warning("%s: %s: %s", path, "not completed" if begun else "refused", error)
            _settled(self.node, {} if begun else {"message": f"refused: {error}"})
            return made
        if len(missing) <= most:
            _settled(self.node, {})
        return made

    def _check_rights(self, items: Sequence[BatchItem]) -> None:
        """Refuse what its creator may not have been allowed to ask for.

        The service makes the items with rights of its own.
        """
        runs = list(dict.fromkeys(item.run_uid for item in items))
        for uid, theirs in strangers(self.tags, find_runs(self.root, runs)).items():
            path = "/".join(self.node.path_parts)
            logger.warning(
                "%s: the access tags of run %s are %s, those of the batch %s", path, uid, theirs, self.tags
            )
            # Whoever may read the batch may not know which tags there are.
            raise NotAllowedError(f"there is no run {uid!r} for whoever may read this batch")


def _submit(root: Any, record: BatchRecord, item: BatchItem) -> bool:
    """Make one item; tell whether it was not there."""
    batch = record.metadata
    by = record.parts[item.part].requested_by
    metadata = {
        **reconstruction_metadata(item.run_uid, record.recipes[item.recipe], by, batch.priority),
        # As if it had been there from the beginning: a batch keeps together, in its own order.
        "requested_at": batch.requested_at,
        "batch": {"id": item.batch_id, "number": item.number},
    }
    room = ensure_room(root, item.run_uid)
    try:
        create_container(room, item.key, metadata=metadata, specs=(reconstruction_spec(),))
    except ConflictError:
        return False
    return True


def _settled(node: Any, changes: dict[str, Any]) -> None:
    # The only change there ever is to these metadata. By its revision it is known to whoever listens.
    with translated(f"submitting {'/'.join(node.path_parts)}"):
        node.update_metadata({**changes, "submitted": True})
