"""The states of a reconstruction, and which may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from tomoservice.errors import IllegalTransitionError


class State(StrEnum):
    """Where a reconstruction stands."""

    VIRTUAL = "virtual"
    """Described and readable, computed slice by slice when somebody looks."""
    QUEUED = "queued"
    """To be computed by the next free conductor."""
    RUNNING = "running"
    """A conductor holds a claim and computes."""
    PAUSED = "paused"
    """Left alone for the time being; what exists is kept."""
    DONE = "done"
    """Complete."""
    FAILED = "failed"
    """Given up; the message says why."""
    CANCELLED = "cancelled"
    """Ended by a user; what exists may be kept."""


class FollowUpState(StrEnum):
    """How far something is that follows when a volume is done: its pyramid, the tables about its quality."""

    PENDING = "pending"
    """To be made, or being made."""
    COMPLETE = "complete"
    """There."""
    FAILED = "failed"
    """Given up; the message says why. The volume is as good as any."""


TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.VIRTUAL: frozenset({State.QUEUED, State.FAILED, State.CANCELLED}),
        State.QUEUED: frozenset({State.RUNNING, State.PAUSED, State.FAILED, State.CANCELLED}),
        # Running follows running when another conductor takes over from one that died.
        State.RUNNING: frozenset(
            {State.RUNNING, State.PAUSED, State.DONE, State.FAILED, State.CANCELLED, State.QUEUED}
        ),
        # Failed: what has been spoilt meanwhile.
        State.PAUSED: frozenset({State.QUEUED, State.RUNNING, State.FAILED, State.CANCELLED}),
        State.DONE: frozenset(),
        State.FAILED: frozenset({State.QUEUED}),
        State.CANCELLED: frozenset({State.QUEUED}),
    }
)
"""Legal transitions: the states that may follow each state."""

INITIAL_STATES = (State.QUEUED, State.VIRTUAL)
FINAL_STATES = frozenset({State.DONE, State.FAILED, State.CANCELLED})


def is_legal(before: State, after: State) -> bool:
    """Tell whether state `after` may follow `before`."""
    return after in TRANSITIONS[before]


def check_transition(before: State, after: State, where: object) -> None:
    """Raise `IllegalTransitionError` unless state `after` may follow `before`."""
    if not is_legal(before, after):
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "nothing"
        raise IllegalTransitionError(
            f"{where} is {before.value} and cannot become {after.value} (possible: {allowed})"
        )
