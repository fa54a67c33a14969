"""What goes wrong around a live reconstruction: nothing stays for ever, and nothing good is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from tests.live.conftest import QUICK, Watched, living, wait_for
from tests.live.growing import GrowingRun, Specimen
from tomoservice.catalog.live_nodes import LiveNode, end_orphans, forget_oldest
from tomoservice.catalog.live_records import LiveMetadata, LivePicture, LiveState
from tomoservice.live.hearing import extent
from tomoservice.live.loop import LATE_S
from tomoservice.live.manners import LAST, USUAL, SessionManners
from tomoservice.live.publishing import Publisher, Snapshot
from tomoservice.live.sources import Finding
from tomoservice.phantom import FrameKind
from tomoservice.service.running import RunningService
from tomoservice.settings import LiveSettings

SPECIMEN = Specimen(rows=4, columns=32, rotation_axis=16.2)
ANGLES: NDArray[np.float64] = np.arange(60, dtype=np.float64) * 3
Begin = Callable[..., GrowingRun]


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint16]:
    return SPECIMEN.frames(ANGLES)


def test_a_run_that_seems_dead_takes_no_place_until_it_goes_on(
    service: RunningService, root: Any, begin: Begin, frames: NDArray[np.uint16]
) -> None:
    dead = begin(began=time.time() - 2 * LATE_S)
    dead.series("primary", frames[:20], ANGLES[:20])
    with living(service, QUICK.model_copy(update={"at_once": 1})):
        fresh = begin()
        fresh.series("primary", frames[:20], ANGLES[:20])
        Watched(root, fresh.uid).until(frames_used=20)
        fresh.end()
        Watched(root, fresh.uid).until(state="done")
        assert dead.uid not in root["live"]
        # Until the next look it cannot be told from a dead one.
        time.sleep(1.0)
        dead.series("primary", frames[20:40], ANGLES[20:40])
        Watched(root, dead.uid).until(frames_used=40)
        dead.end()
        Watched(root, dead.uid).until(state="done")


def test_a_scan_that_was_given_up_is_followed_again(
    service: RunningService, root: Any, begin: Begin, frames: NDArray[np.uint16]
) -> None:
    with living(service, QUICK.model_copy(update={"patience_s": 1.5})):
        run = begin()
        run.series("primary", frames[:20], ANGLES[:20])
        live = Watched(root, run.uid)
        assert "goes on if more comes" in live.until(state="aborted")["message"]
        time.sleep(1.0)
        run.series("primary", frames[20:], ANGLES[20:])
        live.until(frames_seen=60)
        run.end()
        assert live.until(state="done")["frames_used"] == 60


def test_flats_that_take_long_count_as_going_on(
    service: RunningService, root: Any, begin: Begin, frames: NDArray[np.uint16]
) -> None:
    run = begin()
    node, finding = root["raw"][run.uid], Finding((service.data.parent / "raw",), root["raw"])
    seen = [extent(node, finding)]
    run.series("primary", frames[:20], ANGLES[:20])
    seen.append(extent(node, finding))
    for _ in range(2):
        run.series("flat", SPECIMEN.references(FrameKind.FLAT), None)
        seen.append(extent(node, finding))
    assert extent(node, finding) == seen[-1]
    run.end()
    seen.append(extent(node, finding))
    assert all(earlier != later for earlier, later in pairwise(seen))


@pytest.mark.usefixtures("live")
def test_a_run_that_is_deleted_is_no_riddle(root: Any, begin: Begin, frames: NDArray[np.uint16]) -> None:
    run = begin()
    run.series("primary", frames[:20], ANGLES[:20])
    live = Watched(root, run.uid)
    live.until(frames_used=20)
    root["raw"][run.uid].delete(recursive=True, external_only=False)
    assert live.until(state="failed")["message"]
    run.close_files()


def test_what_nobody_follows_any_more_is_ended(root: Any, begin: Begin) -> None:
    ended, going = begin(), begin()
    for run in (ended, going):
        LiveNode(root, run.uid).write(LiveMetadata(raw_uid=run.uid, state=LiveState.ACCUMULATING))
    ended.end()
    assert end_orphans(root, {going.uid}, 3600) == [ended.uid]
    assert "interrupted" in Watched(root, ended.uid).until(state="aborted")["message"]
    old = LiveMetadata(raw_uid=going.uid, state=LiveState.WAITING, updated="2020-01-01T00:00:00+00:00")
    LiveNode(root, going.uid).write(old)
    assert end_orphans(root, set(), 3600) == [going.uid]
    going.end()


def test_those_that_are_followed_are_not_forgotten(root: Any, begin: Begin) -> None:
    runs = [begin(), begin()]
    for run in runs:
        LiveNode(root, run.uid)
    assert runs[0].uid not in forget_oldest(root, 1, spared={runs[0].uid})
    assert set(root["live"]) == {run.uid for run in runs}
    for run in runs:
        run.end()


def test_an_update_that_cannot_be_written_does_not_freeze_the_view(root: Any, begin: Begin) -> None:
    run = begin()
    publisher = Publisher(LiveNode(root, run.uid))
    metadata = LiveMetadata(raw_uid=run.uid, frames_seen=3)
    odd: Any = {LivePicture.XY: "no image"}
    publisher.publish(Snapshot(metadata, odd, {}))
    wait_for(lambda: publisher.is_idle)
    publisher.finish(Snapshot(metadata, {}, {}), 10)
    assert Watched(root, run.uid).metadata["frames_seen"] == 3
    run.end()


def test_the_processor_is_left_to_others_when_no_projections_come(tmp_path: Path) -> None:
    file = tmp_path / "autogroup"
    manners = SessionManners(file, give_way_s=0.5)
    manners.enter("a")
    manners.enter("b")
    manners.leave("a")
    manners.leave("a")
    assert file.read_text() == str(USUAL)
    manners.leave("b")
    assert file.read_text() == str(LAST)
    manners.enter("c")
    assert file.read_text() == str(USUAL)
    manners.leave("c")
    assert file.read_text() == str(LAST)
    # But not for ever.
    wait_for(lambda: file.read_text() == str(USUAL), 5)


def test_more_are_kept_than_are_followed() -> None:
    with pytest.raises(ValidationError, match=r"kept \(2\) must not be less than at_once \(3\)"):
        LiveSettings(at_once=3, kept=2)
