"""The order of a batch's items, which several people may change at once.

Tiled has no compare-and-swap, but of several clients that create the same child one succeeds. So an order is
a child ``order-{n}``; whoever changes it creates the next one from what the latest says, and begins anew if
somebody else was quicker. No change is lost, and nobody overwrites anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tiled.client.container import Container

from tomoservice.catalog import names
from tomoservice.catalog.controls import Verb, verbs_of
from tomoservice.catalog.nodes import create_container, forget_child
from tomoservice.catalog.transport import ConflictError, NotFoundError, child, translated

NUMBERS = "numbers"
TAIL = 64
"""Orders that are kept: whoever read one must find its successor as long as they may try to create it. A
listing of them all fits on one page of Tiled's, so nothing is missed between two pages."""
TRIES = 100
"""How often a change is begun anew, at most: others cannot always be quicker."""


@dataclass(frozen=True)
class BatchOrder:
    """What a batch says of the order of its items, and what is wanted of it."""

    numbers: tuple[int, ...] = ()
    """Numbers of items in the order in which they are to be worked on; all others follow by number."""
    verbs: frozenset[Verb] = frozenset()
    """What is wanted of the batch as a whole."""
    generation: int = 0
    """How many times the order has been changed."""

    def place(self, number: int) -> int:
        """Return where an item stands; smaller comes first."""
        return self._places.get(number, len(self.numbers) + number)

    def sort(self, numbers: Sequence[int]) -> list[int]:
        """Return numbers of items in their order."""
        return sorted(numbers, key=self.place)

    @cached_property
    def _places(self) -> dict[int, int]:
        # Asked for each of thousands of items.
        return {number: place for place, number in enumerate(self.numbers)}


def read_order(root: Any, batch_id: str) -> BatchOrder:
    """Return what a batch says now; nothing if there is no such batch."""
    try:
        batch = child(root, names.BATCHES, batch_id)
        return order_of(batch) if isinstance(batch, Container) else BatchOrder()
    except NotFoundError:
        return BatchOrder()


def order_of(batch: Any) -> BatchOrder:
    """Return what a batch's node says now.

    Raises
    ------
    NotFoundError
        It has been deleted.
    """
    return _order_of(batch, _keys(batch))


def _order_of(batch: Any, keys: Sequence[str]) -> BatchOrder:
    for _ in range(TRIES):
        generation = _latest(keys)
        if not generation:
            return BatchOrder(verbs=verbs_of(keys))
        try:
            said = child(batch, names.order_key(generation)).metadata
        except NotFoundError:
            # Somebody has deleted it meanwhile.
            keys = _keys(batch)
            continue
        return BatchOrder(_sound(said), verbs_of(keys), generation)
    raise _too_often(batch, "read")


def change_order(batch: Any, change: Callable[[BatchOrder], Sequence[int]]) -> BatchOrder:
    """Change the order of a batch's items; what others change at the same time is not lost.

    Parameters
    ----------
    batch : tiled Container
        The batch.
    change : callable
        Returns the new order, given the present one; called again if somebody else was quicker.

    Raises
    ------
    ConflictError
        Others were quicker, again and again.
    """
    for _ in range(TRIES):
        keys = _keys(batch)
        before = _order_of(batch, keys)
        numbers = tuple(change(before))
        if numbers == before.numbers:
            return before
        after = before.generation + 1
        # What stands there although its predecessor does not is nobody's order; it must not count after ours.
        if names.order_key(after + 1) in keys:
            forget_child(batch, names.order_key(after + 1))
        try:
            create_container(batch, names.order_key(after), metadata={NUMBERS: list(numbers)})
        except ConflictError:
            continue
        if after > TAIL:
            forget_child(batch, names.order_key(after - TAIL))
        return BatchOrder(numbers, before.verbs, after)
    raise _too_often(batch, "changed")


def _too_often(batch: Any, done: str) -> ConflictError:
    return ConflictError(
        f"the order of {'/'.join(batch.path_parts)} cannot be {done}: {TRIES} times somebody "
        f"else was quicker; try again in a moment"
    )


def _keys(batch: Any) -> list[str]:
    with translated(f"reading the order of {'/'.join(batch.path_parts)}"):
        return list(batch)


def _latest(keys: Sequence[str]) -> int:
    """Return the latest order, 0 if there is none.

    Orders follow each other, so one whose predecessor is not there is nobody's: were it to count, whoever
    creates a child of a large number would make all later changes futile.
    """
    found = {number for key in keys if (number := names.generation_of(key)) is not None}
    return max((number for number in found if number == 1 or number - 1 in found), default=0)


def _sound(said: object) -> tuple[int, ...]:
    """Return the numbers that a child's metadata give, which may come from anybody."""
    said = said.get(NUMBERS) if isinstance(said, Mapping) else None
    if isinstance(said, str | Mapping) or not isinstance(said, Sequence):
        return ()
    return tuple(dict.fromkeys(number for number in said if type(number) is int))
