"""Which of two things the status PVs tell of: the newest live reconstruction, or what was asked for last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from profiles.status.looking import Look, Reconstruction
from tomoservice.catalog.live_records import LiveMetadata, LiveState

ASKED = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
VOLUME = Reconstruction("processed/one/first", "one", "done", "", 100.0, asked=ASKED.timestamp())


def live(state: LiveState, uid: str = "two", hour: int = 13, seen: int = 4) -> LiveMetadata:
    return LiveMetadata(
        raw_uid=uid,
        state=state,
        message="of the scan",
        frames_expected=10,
        frames_seen=seen,
        frames_used=seen,
        updated=ASKED.replace(hour=hour).isoformat(),
    )


@pytest.mark.parametrize(
    ("shown", "state", "percent", "message"),
    [
        (live(LiveState.ACCUMULATING, hour=11), "accumulating", 40.0, "of the scan"),
        # A scan that came to no good end after the volume ...
        (live(LiveState.ABORTED), "aborted", 40.0, "of the scan"),
        (live(LiveState.FAILED), "failed", 40.0, "of the scan"),
        # ... before it, or whose volume it is, is past.
        (live(LiveState.ABORTED, hour=11), "done", 100.0, ""),
        (live(LiveState.FAILED, uid="one"), "done", 100.0, ""),
        (live(LiveState.DONE), "done", 100.0, ""),
        # A run without a projection may be no scan at all.
        (live(LiveState.FAILED, seen=0), "done", 100.0, ""),
        (None, "done", 100.0, ""),
    ],
)
def test_what_is_told(shown: LiveMetadata | None, state: str, percent: float, message: str) -> None:
    look = Look(live=shown, newest=VOLUME)
    assert (look.state, look.percent, look.message) == (state, percent, message)


def test_a_volume_that_is_being_made_or_came_later_is_told_of() -> None:
    aborted = live(LiveState.ABORTED)
    running = Reconstruction("processed/one/first", "one", "running", "", 30.0, asked=ASKED.timestamp())
    assert Look(live=aborted, newest=running).state == "running"
    done = replace(VOLUME, entered=ASKED.replace(hour=14).timestamp())
    assert Look(live=aborted, newest=done).state == "done"
    done = replace(VOLUME, entered=ASKED.replace(hour=12, minute=30).timestamp())
    assert Look(live=aborted, newest=done).state == "aborted"


def test_without_any_volume() -> None:
    assert Look().state == "idle"
    look = Look(live=live(LiveState.DONE))
    assert (look.state, look.message) == ("done", "of the scan")
