"""Batches in Tiled, ``/batches/{batch_id}``: the one place that writes them.

A batch is created by one request and says everything: which runs, by which recipes. What is added to it later
(`additions`) is created by one request as well. The service makes the items (`submission`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiled.queries import In, KeysFilter, SpecsQuery
from tiled.structures.core import Spec

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.batch_records import LONGEST_KEY, BatchMetadata, BatchRecord
from tomoservice.catalog.batch_standing import ItemStatus, item_status
from tomoservice.catalog.controls import BY_BATCH, ENDING, Verb, ask, withdraw
from tomoservice.catalog.nodes import create_container, reread
from tomoservice.catalog.orders import BatchOrder, change_order, order_of
from tomoservice.catalog.states import State
from tomoservice.catalog.steering import requeue
from tomoservice.catalog.transport import (
    ConflictError,
    NotAllowedError,
    NotFoundError,
    child,
    translated,
)
from tomoservice.errors import CatalogError, IllegalTransitionError

ASKED = {"runs", "recipes", "name", "priority"}
"""What a batch is asked for with; all else the service knows better."""
PAGE = 100
"""Runs that are asked for at once."""


def new_batch_id() -> str:
    """Return a key for a batch that somebody asks for."""
    return f"batch-{uuid.uuid4().hex[:8]}"


def batch_spec() -> Any:
    """Return the spec that marks a batch's node."""
    return Spec(names.BATCH_SPEC, version=names.BATCH_VERSION)


def check_batch_id(batch_id: str) -> None:
    """Raise `CatalogError` if a batch cannot be called so."""
    if not names.is_key(batch_id) or len(batch_id) > LONGEST_KEY:
        raise CatalogError(
            f"a batch cannot be called {batch_id!r}: a key begins with a letter or a digit; after that come "
            f"letters, digits, '.', '_' and '-', {LONGEST_KEY} characters at most"
        )


def request_batch(root: Any, wanted: BatchMetadata, batch_id: str | None = None) -> Any:
    """Ask for every run to be reconstructed by every recipe, and return the batch's node.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    wanted : BatchMetadata
        Which runs, by which recipes.
    batch_id : str, optional
        Key of the node; a batch that has it already is returned as it is.

    Raises
    ------
    NotFoundError
        Runs are not there, or may not be read.
    NotAllowedError
        Runs are not for the same people.
    CatalogError
        The service refuses it; says why.
    """
    key = batch_id or new_batch_id()
    check_batch_id(key)
    tags = common_tags(find_runs(root, wanted.runs))
    metadata = {**wanted.model_dump(mode="json"), "requested_at": wanted.requested_at or time.time()}
    folder = child(root, names.BATCHES)
    try:
        return create_container(folder, key, metadata=metadata, specs=(batch_spec(),), access_tags=tags)
    except ConflictError:
        return find_batch(root, key)
    except NotAllowedError:
        # Who may not write there itself may still ask the service for a batch of runs of their own.
        body = {"id": key, **wanted.model_dump(mode="json", include=ASKED)}
        with translated(f"asking for {names.BATCHES}/{key}"):
            address = f"{root.context.api_uri}tomo/batches"
            root.context.http_client.post(address, json=body).raise_for_status()
        return find_batch(root, key)


def find_runs(root: Any, runs: Sequence[str]) -> dict[str, Any]:
    """Return raw runs by their uids.

    Raises
    ------
    NotFoundError
        Some are not there, or may not be read; says which.
    """
    found: dict[str, Any] = {}
    raw = child(root, names.RAW)
    with translated("looking for the runs of a batch"):
        for start in range(0, len(runs), PAGE):
            found.update(raw.search(KeysFilter(list(runs[start : start + PAGE]))).items())
    missing = [run for run in runs if run not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise NotFoundError(f"there is no run {missing[0]!r}{more}, or this key may not read it")
    return found


def common_tags(runs: dict[str, Any]) -> list[str] | None:
    """Return the access tags that a batch of some runs gets: those that all of them have.

    Raises
    ------
    NotAllowedError
        There is none: whoever may read the batch would see uids and recipes of runs that are not theirs.
    """
    tags = {uid: tags_of(run) for uid, run in runs.items()}
    if all(found is None for found in tags.values()):
        return None
    common = set.intersection(*(set(found or ()) for found in tags.values()))
    if not common:
        raise NotAllowedError(
            "no access tag is common to all runs, so no batch of them can be read by the right people only; "
            "ask for a batch for each proposal"
        )
    return sorted(common)


def strangers(tags: Sequence[str] | None, runs: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the access tags of those runs that cannot be in a batch with these tags, by their uids.

    Whoever could put all its tags on a batch may write where they are; a run that has not all of them, or a
    batch without any, is somebody else's.
    """
    wanted = set(tags or ())
    found = {uid: set(tags_of(run) or ()) for uid, run in runs.items()}
    return {
        uid: sorted(theirs)
        for uid, theirs in found.items()
        if (theirs or wanted) and not (wanted and wanted <= theirs)
    }


def find_batch(root: Any, batch_id: str) -> Any:
    """Return a batch's node.

    Raises
    ------
    NotFoundError
        There is none.
    """
    if not names.is_key(batch_id):
        # What is no key may be another node's address.
        raise NotFoundError(f"there is no batch {batch_id!r}")
    return child(root, names.BATCHES, batch_id)


def find_batches(root: Any) -> list[Any]:
    """Return the nodes of all batches, the newest first."""
    folder = child(root, names.BATCHES)
    with translated("listing the batches"):
        found = folder.search(SpecsQuery([names.BATCH_SPEC], [])).values()
        return sorted(found, key=lambda node: float(node.metadata.get("requested_at") or 0.0), reverse=True)


def addition_nodes(node: Any) -> dict[str, Any]:
    """Return the children of a batch that add to it, by key."""
    with translated(f"reading what is added to {'/'.join(node.path_parts)}"):
        return dict(node.search(SpecsQuery([names.ADDITION_SPEC], [])).items())


def batch_record(node: Any) -> BatchRecord:
    """Return the record of a batch: its node as it was read last, and what is added to it by now."""
    return BatchRecord.from_node(node, {key: each.metadata for key, each in addition_nodes(node).items()})


def said_items(root: Any, record: BatchRecord) -> Iterator[tuple[str, Any]]:
    """Yield the nodes that say that they are items of a batch, by their paths."""
    processed = child(root, names.PROCESSED)
    with translated(f"searching for the items of {record.path}"):
        found = processed.search_deep(In("batch.id", [record.batch_id]), max_depth=2)
        for _, node in found.items():
            yield "/".join(node.path_parts), node


def item_nodes(root: Any, record: BatchRecord) -> dict[int, Any]:
    """Return the nodes of a batch's items that are there, by their numbers."""
    wanted = {item.path: item.number for item in record.items}
    return {wanted[path]: node for path, node in said_items(root, record) if path in wanted}


@dataclass(frozen=True, slots=True)
class BatchLook:
    """A batch, as it was at one look."""

    record: BatchRecord
    """What was asked for."""
    order: BatchOrder
    """The order of its items, and what is wanted of it."""
    nodes: Mapping[int, Any]
    """Nodes of the items that are there, by their numbers."""
    statuses: list[ItemStatus]
    """How its items fare, in the order in which they are worked on."""


def look_at_batch(root: Any, node: Any) -> BatchLook:
    """Return what is asked for, what is wanted, and how the items of a batch fare."""
    reread(node)
    record = batch_record(node)
    nodes = item_nodes(root, record)
    order = order_of(node)
    parts = record.parts
    found = {
        item.number: item_status(
            item, nodes[item.number].metadata if item.number in nodes else None, parts[item.part]
        )
        for item in record.items
    }
    return BatchLook(record, order, nodes, [found[number] for number in order.sort(list(found))])


def item_statuses(root: Any, node: Any) -> list[ItemStatus]:
    """Return how the items of a batch fare, in the order in which they are worked on."""
    return look_at_batch(root, node).statuses


def steer_batch(root: Any, node: Any, verb: Verb, requested_by: str = "") -> None:
    """Say what is wanted of everything in a batch that is not finished; conductors see to it.

    Raises
    ------
    IllegalTransitionError
        Everything is finished, or the service refused to make its items.
    """
    look = look_at_batch(root, node)
    if all(status.is_finished for status in look.statuses):
        message = look.record.metadata.message
        why = f"was {message}" if message else "is finished"
        raise IllegalTransitionError(f"{look.record.path} {why}; there is nothing to {verb.value}")
    ask(node, verb, requested_by)


def resume_batch(node: Any) -> None:
    """Take back that a batch is paused.

    Raises
    ------
    IllegalTransitionError
        It is not.
    """
    if Verb.PAUSE not in order_of(node).verbs:
        raise IllegalTransitionError(f"{'/'.join(node.path_parts)} is not paused; there is nothing to resume")
    withdraw(node, Verb.PAUSE)


def move_item(node: Any, item: int, to: int) -> None:
    """Move an item of a batch to another place in the order, from 1.

    Raises
    ------
    CatalogError
        There is no such item or place.
    """
    record = batch_record(node)
    numbers = [known.number for known in record.items]
    if item not in numbers or not 1 <= to <= len(numbers):
        raise CatalogError(
            f"{record.path}: item {item!r} cannot be moved to place {to!r}; both are 1 to {len(numbers)}"
        )

    def moved(order: BatchOrder) -> list[int]:
        others = [number for number in order.sort(numbers) if number != item]
        others.insert(to - 1, item)
        return others

    change_order(node, moved)


def reorder_items(node: Any, items: Sequence[int]) -> None:
    """Put some items of a batch first, in this order; the others follow as they stood.

    Raises
    ------
    CatalogError
        There is no such item, or one stands there twice.
    """
    record = batch_record(node)
    check_items(record, items)
    numbers, chosen = [item.number for item in record.items], set(items)

    def first(order: BatchOrder) -> list[int]:
        return [*items, *(number for number in order.sort(numbers) if number not in chosen)]

    change_order(node, first)


def check_items(record: BatchRecord, items: Sequence[int]) -> None:
    """Raise `CatalogError` unless a batch has items of these numbers, each of which stands there once."""
    known = {item.number for item in record.items}
    wrong = [number for number in items if number not in known]
    if wrong or len(set(items)) < len(items):
        what = f"has no item {wrong[0]!r}" if wrong else "has every item once"
        raise CatalogError(f"{record.path} {what}; there are 1 to {record.last}")


def retry_batch(root: Any, node: Any) -> list[str]:
    """Queue those items again that failed, and those that were ended with the batch.

    What people cancelled one by one stays as it is. May be asked for again if it did not go well.

    Returns
    -------
    list of str
        Paths of what was queued.

    Raises
    ------
    CatalogError
        Some could not be queued; all others were. Says which, and why.
    """
    withdraw(node, *ENDING)
    look = look_at_batch(root, node)
    queued, refused = [], []
    for status in look.statuses:
        item = look.nodes.get(status.item.number)
        if item is None or not _is_to_be_retried(status):
            continue
        try:
            queued.append(requeue(item).path)
        except CatalogError as error:
            refused.append(f"item {status.item.number}: {error}")
    if refused:
        more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
        raise CatalogError(
            f"{'/'.join(node.path_parts)}: {len(queued)} items were queued again, {len(refused)} were not: "
            f"{'; '.join(refused[:3])}{more}"
        )
    return queued


def _is_to_be_retried(status: ItemStatus) -> bool:
    return status.state is State.FAILED or (status.state is State.CANCELLED and status.ended_by == BY_BATCH)
