"""Adding to a batch that is there: children ``more-{n}``, each created by one request.

A batch's own metadata never change, and of several clients that create the same child one succeeds. So each
addition says which numbers its items have, the ones after those that the batch had, and whoever finds its key
taken by somebody quicker reads anew and takes the next. Nothing is lost, and no item changes its number.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tiled.structures.core import Spec

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.batch_records import AdditionMetadata, BatchAddition, BatchRecord, checked_addition
from tomoservice.catalog.batches import batch_record, find_runs, strangers
from tomoservice.catalog.controls import ENDING
from tomoservice.catalog.nodes import create_container, reread
from tomoservice.catalog.orders import order_of
from tomoservice.catalog.transport import ConflictError, NotAllowedError
from tomoservice.errors import CatalogError, IllegalTransitionError
from tomoservice.recipe import parse_recipe

TRIES = 100
"""How often to begin anew, at most: others cannot always be quicker."""


def addition_spec() -> Any:
    """Return the spec that marks a child that adds to a batch."""
    return Spec(names.ADDITION_SPEC, version=names.ADDITION_VERSION)


def add_to_batch(
    root: Any,
    node: Any,
    runs: Sequence[str],
    recipes: Sequence[Mapping[str, Any]] | None = None,
    requested_by: str = "",
) -> BatchAddition:
    """Add runs, by each of some recipes, to a batch; the service makes the items.

    It may be paused or finished: what is added is worked on when its turn comes.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    node : tiled Container
        The batch.
    runs : sequence of str
        Uids of the runs.
    recipes : sequence of mapping, optional
        Recipes; by default those that the batch began with.
    requested_by : str
        Who asks.

    Returns
    -------
    BatchAddition
        What was added; its first item is the one after the last that the batch had.

    Raises
    ------
    IllegalTransitionError
        The batch was cancelled, stopped or refused.
    NotFoundError
        Runs are not there, or may not be read.
    NotAllowedError
        Runs are not for the people that the batch is for.
    ConflictError
        An item is in the batch already.
    CatalogError
        What is to be added is wrong in itself, or the batch would get too large.
    """
    reread(node)
    tried = 0
    for _ in range(TRIES):
        record = batch_record(node)
        check_open(record, is_ended=bool(order_of(node).verbs & ENDING))
        asked = record.metadata.recipes if recipes is None else recipes
        said = checked_addition(
            {
                "runs": list(runs),
                "recipes": list(asked),
                "first": record.last + 1,
                "requested_by": requested_by,
                "requested_at": time.time(),
            }
        )
        _check_new(record, said)
        if not tried:
            _check_runs(root, node, said)
        tried = max([tried, *(each.number for each in record.additions)]) + 1
        if tried > names.MOST_ADDITIONS:
            raise CatalogError(
                f"{record.path} has been added to {names.MOST_ADDITIONS} times; ask for another batch"
            )
        try:
            key, content = names.addition_key(tried), said.model_dump(mode="json")
            create_container(node, key, metadata=content, specs=(addition_spec(),))
        except ConflictError:
            continue
        return BatchAddition(tried, said)
    raise ConflictError(
        f"nothing can be added to {'/'.join(node.path_parts)}: {TRIES} times somebody else was quicker; try "
        f"again in a moment"
    )


def check_open(record: BatchRecord, *, is_ended: bool) -> None:
    """Raise `IllegalTransitionError` if nothing can be added to a batch any more."""
    if record.metadata.message:
        raise IllegalTransitionError(f"{record.path} was {record.metadata.message}; ask for another batch")
    if is_ended:
        raise IllegalTransitionError(
            f"{record.path} was cancelled or stopped, so nothing is added to it; ask for another batch, or "
            f"retry this one first"
        )


def _check_new(record: BatchRecord, said: AdditionMetadata) -> None:
    """Refuse what is in the batch already, which is either a mistake or asked for once more."""
    hashes = [recipe.hash for recipe in record.recipes]
    known = {(item.run_uid, hashes[item.recipe]): item.number for item in record.items}
    wanted = [parse_recipe(recipe).hash for recipe in said.recipes]
    twice = [known[pair] for run in said.runs for one in wanted if (pair := (run, one)) in known]
    if twice:
        run = next(item.run_uid for item in record.items if item.number == twice[0])
        more = f", and {len(twice) - 1} more likewise" if len(twice) > 1 else ""
        raise ConflictError(
            f"{record.path} has run {run} by this recipe already, as item {twice[0]}{more}; leave it out, or "
            f"ask for another batch"
        )


def _check_runs(root: Any, node: Any, said: AdditionMetadata) -> None:
    """Refuse runs that are not there, or that others may read than the batch."""
    for uid in strangers(tags_of(node), find_runs(root, said.runs)):
        raise NotAllowedError(
            f"run {uid} is not for the same people as {'/'.join(node.path_parts)}, who would read its uid "
            f"and recipe there; ask for another batch"
        )
