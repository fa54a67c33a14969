"""The states of a reconstruction and what may follow what."""

from __future__ import annotations

import pytest

from tomoservice.catalog.states import (
    FINAL_STATES,
    INITIAL_STATES,
    TRANSITIONS,
    State,
    check_transition,
    is_legal,
)
from tomoservice.errors import IllegalTransitionError


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_state_can_be_reached_from_a_new_reconstruction() -> None:
    reached = set(INITIAL_STATES)
    while more := {after for state in reached for after in TRANSITIONS[state]} - reached:
        reached |= more
    assert reached == set(State)


def test_from_every_state_the_work_can_end() -> None:
    for state in State:
        reached = {state}
        while more := {after for one in reached for after in TRANSITIONS[one]} - reached:
            reached |= more
        assert reached & FINAL_STATES


def test_what_is_done_stays_done() -> None:
    assert not any(is_legal(State.DONE, after) for after in State)


def test_a_takeover_is_a_transition_from_running_to_running() -> None:
    assert is_legal(State.RUNNING, State.RUNNING)
    assert [state for state in State if is_legal(state, state)] == [State.RUNNING]


def test_an_illegal_transition_says_what_is_possible() -> None:
    with pytest.raises(
        IllegalTransitionError, match=r"x is failed and cannot become done \(possible: queued\)"
    ):
        check_transition(State.FAILED, State.DONE, "x")
