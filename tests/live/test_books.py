"""What a live reconstruction keeps in mind: angles, flats, what is to be shown, which runs may go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.live.conftest import QUICK, Watched, living, wait_for
from tests.live.growing import GrowingRun, Specimen
from tomoservice.catalog.live_nodes import wish
from tomoservice.errors import ServiceUnavailableError
from tomoservice.live import accumulating, waiting
from tomoservice.live import scan as live_scan
from tomoservice.live.beam import BeamKeeper
from tomoservice.live.frames import BeamWatch, Ledger
from tomoservice.live.pictures import Pictures, Target
from tomoservice.live.sources import Finding
from tomoservice.live.waiting import WaitingRoom
from tomoservice.phantom import FrameKind
from tomoservice.recon.live import LiveGeometry, SlicePosition
from tomoservice.service.running import RunningService

SPECIMEN = Specimen(rows=6, columns=32, rotation_axis=16.2)
IMPATIENT = QUICK.model_copy(update={"patience_s": 1.5})
ANGLES: NDArray[np.float64] = np.arange(60, dtype=np.float64) * 3
Begin = Callable[..., GrowingRun]


def test_an_angle_may_come_after_its_image_until_it_is_used() -> None:
    ledger = Ledger()
    assert ledger.see(np.array([0.0, np.nan, 2.0, 2.0])) == 4
    assert ledger.waiting().tolist() == [0, 2, 3]
    ledger.judge(np.array([0]), np.array([False]))
    ledger.show(np.array([0]))
    assert ledger.see(np.array([9.0, 1.0, 2.0, 3.0])) == 0
    assert ledger.angles_deg.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert ledger.waiting().tolist() == [1, 2, 3]
    ledger.judge(np.array([1]), np.array([True]))
    ledger.see(np.array([9.0, 9.0, 2.0, 3.0, np.nan]))
    assert ledger.invalid.tolist() == [1, 4]


@pytest.mark.parametrize(("part", "lost"), [(0.1, False), (0.01, True)])
def test_a_dim_beam_is_none_only_where_the_volume_thinks_so(part: float, lost: bool) -> None:
    watch, dark = BeamWatch(), np.zeros((4, 4), np.float32)
    frames = np.full((12, 4, 4), 1000.0)
    frames[8] *= part
    assert watch.lost(frames, dark, 1000.0).tolist() == [lost and number == 8 for number in range(12)]


def test_flats_that_come_one_after_the_other_are_all_used(
    service: RunningService, root: Any, begin: Begin
) -> None:
    run = begin()
    flats = SPECIMEN.references(FrameKind.FLAT, 5)
    flats[0] = flats[0] * 0.5
    run.series("dark", SPECIMEN.references(FrameKind.DARK), None)
    run.series("flat", flats[:1], None)
    keeper = BeamKeeper(root["raw"][run.uid], Finding((service.data.parent / "raw",), root["raw"]))
    assert keeper.look()
    run.series("flat", flats[1:4], None)
    first = keeper.begin(SPECIMEN.frames(ANGLES[:2]), None)
    np.testing.assert_array_equal(first.flat, np.median(flats[:4], axis=0).astype(np.float32))
    assert not keeper.is_provisional
    assert keeper.look()
    assert keeper.refine() is None
    run.series("flat", flats[4:], None)
    assert keeper.look()
    before, now = keeper.refine() or (None, None)
    assert before is first
    np.testing.assert_array_equal(now.flat, np.median(flats, axis=0).astype(np.float32))
    run.end()


@pytest.mark.usefixtures("live")
def test_flats_in_the_middle_of_a_scan_are_used_at_once(
    root: Any, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_scan, "REFERENCES_S", 0.5)
    specimen = Specimen(rows=5, columns=48, rotation_axis=24.2)
    run = begin()
    run.series("dark", specimen.references(FrameKind.DARK), None)
    run.series("primary", specimen.frames(ANGLES[:20]), ANGLES[:20])
    live = Watched(root, run.uid)
    assert live.until(frames_used=20)["flat"]["provisional"]
    run.series("flat", specimen.references(FrameKind.FLAT), None)
    live.until(state="accumulating", flat={"provisional": False, "source": "the scan's own flats"})
    run.end()
    live.until(state="done")


@pytest.mark.usefixtures("live")
def test_a_whole_turn_that_nobody_announced_widens_the_slices(root: Any, begin: Begin) -> None:
    specimen = Specimen(rows=5, columns=80, rotation_axis=20.4)
    angles = np.arange(180) * 2.0
    # What is not announced shows in the angles alone.
    run = begin(start={"tomo": {"pixel_size_um": 1, "rotation_axis": specimen.rotation_axis}})
    run.series("flat", specimen.references(FrameKind.FLAT), None)
    frames = specimen.frames(angles)
    run.series("primary", frames[:91], angles[:91])
    live = Watched(root, run.uid)
    live.until(frames_used=91)
    assert live.node["xy"].shape == (80, 80)
    run.series("primary", frames[91:], angles[91:])
    run.end()
    live.until(state="done")
    assert live.node["xy"].shape[0] > 80


def test_a_scan_that_is_not_finished_is_not_said_to_be(
    service: RunningService, root: Any, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def slow(self: Any, frames: Any, lost: Any) -> None:
        begun.append(len(frames))
        time.sleep(0.5)
        judge(self, frames, lost)

    judge = Ledger.judge
    monkeypatch.setattr(Ledger, "judge", slow)
    monkeypatch.setattr(accumulating, "AT_ONCE", 4)
    with living(service):
        run = begin()
        run.series("primary", SPECIMEN.frames(ANGLES), ANGLES)
        live = Watched(root, run.uid)
        wait_for(lambda: begun)
        run.end()
        live.until(state="finishing")
        wish(live.node, {"stop": True})
        ended = live.until(state="aborted")
    assert ended["frames_used"] < ended["frames_seen"] == 60
    assert "before all projections" in ended["message"]


def begun_with(frames: NDArray[np.uint16], root: Any, begin: Begin) -> tuple[GrowingRun, Watched]:
    """Begin a run, and wait until its first projections are shown."""
    run = begin()
    run.series("primary", frames, ANGLES[: len(frames)])
    live = Watched(root, run.uid)
    live.until(frames_used=len(frames))
    return run, live


def test_what_was_wished_outlives_a_pause(service: RunningService, root: Any, begin: Begin) -> None:
    frames = SPECIMEN.frames(ANGLES)
    with living(service, IMPATIENT):
        run, live = begun_with(frames[:20], root, begin)
        wish(live.node, {"rotation_axis": 14.0, "slices": {"z": 1}})
        live.until(state="aborted")
        time.sleep(1.0)
        run.series("primary", frames[20:], ANGLES[20:])
        live.until(frames_used=60)
        run.end()
        done = live.until(state="done")
    assert done["rotation_axis"]["value"] == 14.0
    assert done["slices"]["z"] == 1


def test_a_paused_scan_is_followed_again_although_its_end_took_work(
    service: RunningService, root: Any, begin: Begin
) -> None:
    specimen = Specimen(rows=7, columns=40, rotation_axis=20.2)
    frames = specimen.frames(ANGLES)
    with living(service, IMPATIENT):
        run, live = begun_with(frames[:20], root, begin)
        # Everything is made anew with the dark, when nothing has come for long.
        run.series("dark", specimen.references(FrameKind.DARK), None)
        run.series("flat", specimen.references(FrameKind.FLAT), None)
        live.until(state="aborted", flat={"provisional": False, "source": "the scan's own flats"})
        run.series("primary", frames[20:], ANGLES[20:])
        live.until(frames_used=60)
        run.end()
        live.until(state="done")


def moving(pictures: Pictures, frames: Sequence[int], rounds: int, moves: bool) -> int:
    """Catch up a view at a time, with a slice that moves after each; return how many it took."""
    shown = np.array(frames)
    for number in range(rounds):
        found = pictures.missing(shown, 1)
        if found is None:
            return number
        missing, rows = found
        lines = np.zeros((1, rows.stop - rows.start, 24), np.float32)
        pictures.catch_up(missing, lines, np.zeros(1))
        if moves:
            place = pictures.target.position
            pictures.aim(pictures.target.moved(SlicePosition((place.z + 1) % 4, place.y, place.x)))
    return rounds


@pytest.mark.parametrize("moves", [False, True])
def test_slices_that_move_do_not_keep_another_axis_from_being_shown(moves: bool) -> None:
    first, second = (LiveGeometry(4, 24, axis) for axis in (11.5, 12.5))
    pictures = Pictures(Target(first, SlicePosition.middle(first)), 1)
    pictures.add(np.zeros((6, 4, 24), np.float32), np.arange(6) * 30.0)
    pictures.aim(pictures.target.about(second))
    assert moving(pictures, range(6), 20, moves) == 6
    assert pictures.shown.geometry == second
    if moves:
        wished = pictures.target.position
        assert not pictures.is_settled
        moving(pictures, range(6), 20, moves=False)
        assert pictures.shown.position == wished
    assert pictures.is_settled


def test_a_look_that_failed_makes_no_dead_run_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = [ServiceUnavailableError("busy"), {"stop": False, "primary": 20}]
    looks += [looks[-1], {"stop": False, "primary": 21}]

    def extent(node: Any, finding: Any) -> Any:
        del node, finding
        answer = looks.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(waiting, "extent", extent)
    monkeypatch.setattr(waiting, "find_run", lambda root, uid: SimpleNamespace(uid=uid, root=root))
    monkeypatch.setattr(waiting, "FIRST_PAUSE_S", 0.0)
    going_on: list[str] = []
    room = WaitingRoom(Finding(()), going_on.append)
    room.put("dead", 1.0)
    room._guests["dead"].pause = 0.0
    for wanted in ([], [], [], ["dead"]):
        room.look(None)
        assert going_on == wanted
    assert looks == []
