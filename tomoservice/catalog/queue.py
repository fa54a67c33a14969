"""What waits for a conductor, in the order in which it is to be worked on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.controls import Verb, Wishes, find_controls, priority_of, verbs_of
from tomoservice.catalog.nodes import asked_at, find_in_state
from tomoservice.catalog.orders import BatchOrder, read_order
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.states import State

PAGE = 100
"""Keys that are asked for at once: they stand in an address."""
UNFINISHED = (State.QUEUED, State.RUNNING, State.PAUSED)
"""States in which a conductor may have something to do; whoever worked on a running one may have died."""


@dataclass(frozen=True)
class Waiting:
    """A reconstruction that is not finished, as a search found it; it need not be sound."""

    node: Any
    """Its node."""
    wishes: Wishes
    """What is wanted of it."""
    place: tuple[float, str, int] = field(default=(0.0, "", 0))
    """Where it stands among those that are as urgent: when it was asked for, its batch, its place there."""

    @property
    def path(self) -> str:
        """Path of the node."""
        return "/".join(self.node.path_parts)

    @property
    def state(self) -> str:
        """What the node says of its state."""
        return str(self.node.metadata["status"]["state"])

    @property
    def priority(self) -> JobPriority:
        """How urgent it is."""
        if self.wishes.priority is not None:
            return self.wishes.priority
        said = self.node.metadata.get("priority")
        return JobPriority(said) if said in list(JobPriority) else JobPriority.NORMAL

    @property
    def is_held(self) -> bool:
        """Whether it is to be left alone."""
        if self.wishes.verb is not Verb.PAUSE:
            return False
        # One that runs is put where it belongs, even if whoever worked on it has died.
        resting = State.QUEUED if self.wishes.is_of_batch else State.PAUSED
        return self.state in (resting, State.PAUSED)

    @property
    def rank(self) -> tuple[Any, ...]:
        """By which to sort: first what costs nothing because it is only to be ended or put aside."""
        return self.wishes.verb is None, self.priority.rank, self.place


def find_waiting(root: Any) -> list[Waiting]:
    """Return what is not finished and not to be left alone, the most urgent first."""
    found = (waiting for waiting in look_at_unfinished(root) if not waiting.is_held)
    return sorted(found, key=lambda waiting: waiting.rank)


def look_at_unfinished(root: Any) -> list[Waiting]:
    """Return everything that is not finished, and what is wanted of it."""
    nodes = find_in_state(root, *UNFINISHED)
    if not nodes:
        return []
    controls = find_controls(root)
    batches = _Batches(root)
    return [_waiting(node, controls, batches) for node in nodes]


def find_more_urgent(root: Any, than: JobPriority) -> list[Waiting]:
    """Return what is queued, not to be left alone, and more urgent than something; the most urgent first.

    Far less is read than for all that waits, which may be thousands of items in the background.
    """
    wanted = [priority for priority in JobPriority if priority.is_before(than)]
    controls = find_controls(root)
    nodes = find_in_state(root, State.QUEUED, priorities=wanted) if wanted else []
    known = {tuple(node.path_parts[-2:]) for node in nodes}
    raised = {path for path, own in controls.items() if _wanted_priority(own) in wanted} - known
    # One search for all: a request for each would take minutes if somebody raised a thousand.
    keys = sorted({key for _, key in raised})
    for start in range(0, len(keys), PAGE):
        found = find_in_state(root, State.QUEUED, keys=keys[start : start + PAGE])
        nodes += [node for node in found if tuple(node.path_parts[-2:]) in raised]
    batches = _Batches(root)
    all_found = (_waiting(node, controls, batches) for node in nodes)
    return sorted(
        (waiting for waiting in all_found if not waiting.is_held and waiting.priority.is_before(than)),
        key=lambda waiting: waiting.rank,
    )


def _wanted_priority(own: Mapping[str, Any]) -> JobPriority | None:
    """Return the priority that the controls of a reconstruction ask for, if any."""
    control = own.get(names.CONTROL_PRIORITY)
    return None if control is None else priority_of(control)


class _Batches:
    """What is said of batches, each of which is looked at once."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[str, BatchOrder] = {}

    def __getitem__(self, batch_id: str) -> BatchOrder:
        if batch_id not in self._known:
            self._known[batch_id] = read_order(self._root, batch_id)
        return self._known[batch_id]


def _waiting(node: Any, controls: Mapping[tuple[str, str], dict[str, Any]], batches: _Batches) -> Waiting:
    asked = asked_at(node)
    own = controls.get(tuple(node.path_parts[-2:]), {})
    wanted = _wanted_priority(own)
    item = _item_of(node)
    if item is None:
        return Waiting(node, Wishes(verbs_of(own), frozenset(), wanted), (asked, "", 0))
    batch_id, number = item
    order = batches[batch_id]
    wishes = Wishes(verbs_of(own), order.verbs, wanted)
    return Waiting(node, wishes, (asked, batch_id, order.place(number)))


def _item_of(node: Any) -> tuple[str, int] | None:
    """Return the batch that a node says it belongs to, and its number there."""
    said = node.metadata.get("batch")
    if not isinstance(said, Mapping):
        return None
    batch_id, number = said.get("id"), said.get("number")
    is_sound = isinstance(batch_id, str) and names.is_key(batch_id) and isinstance(number, int)
    return (str(batch_id), int(number)) if is_sound and number is not None else None
