"""Scans that are reconstructed while they go on: real service, real files that grow, real documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live.conftest import Watched, living, wait_for
from tests.live.growing import GrowingRun, Specimen
from tests.service.conftest import connected
from tests.service.http_api import api_of, heard, listening, ok
from tomoservice.catalog.live_nodes import forget_oldest, wish
from tomoservice.catalog.transport import NotFoundError
from tomoservice.errors import CatalogError
from tomoservice.live.loop import LiveLoop
from tomoservice.phantom import FrameKind, default_phantom
from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.recipe import parse_recipe
from tomoservice.service.running import RunningService
from tomoservice.settings import LiveSettings
from tomoservice.sources import open_run

SPECIMEN = Specimen()
VIEWS = 90
ANGLES = np.arange(VIEWS) * (180 / VIEWS)
Begin = Callable[..., GrowingRun]
EXPERIMENT = {
    "pixel_size_um": 1.5,
    "energy_kev": 20.0,
    "distance_mm": 50.0,
    "rotation_axis": SPECIMEN.rotation_axis,
}


def truth() -> np.ndarray:
    return default_phantom(SPECIMEN.columns, SPECIMEN.rows).volume()


def psnr_db(image: np.ndarray, wanted: np.ndarray) -> float:
    along = np.arange(SPECIMEN.columns) - (SPECIMEN.columns - 1) / 2
    inside = along[:, None] ** 2 + along**2 < (0.42 * SPECIMEN.columns) ** 2
    difference = (image - wanted)[inside]
    return float(20 * np.log10(truth().max() / np.sqrt(np.mean(difference**2))))


@pytest.mark.usefixtures("live")
def test_a_scan_is_seen_as_it_grows(root: Any, begin: Begin) -> None:
    run = begin()
    live = Watched(root, run.uid)
    live.until(state="waiting")
    run.series("dark", SPECIMEN.references(FrameKind.DARK), None)
    run.series("flat", SPECIMEN.references(FrameKind.FLAT), None)
    frames = SPECIMEN.frames(ANGLES)
    run.series("primary", frames[:30], ANGLES[:30])
    third = live.until(state="accumulating", frames_used=30)
    assert third["frames_expected"] == VIEWS
    assert third["flat"] == {"provisional": False, "source": "the scan's own flats"}
    assert third["rotation_axis"]["provisional"]
    assert third["rotation_axis"]["value"] == (SPECIMEN.columns - 1) / 2
    assert third["slices"] == {"z": 6, "y": 32, "x": 32}
    first = live.node["xy"].read()
    run.series("primary", frames[30:], ANGLES[30:])
    live.until(frames_used=VIEWS)
    run.end()
    done = live.until(state="done")
    assert not done["rotation_axis"]["provisional"]
    assert done["rotation_axis"]["value"] == pytest.approx(SPECIMEN.rotation_axis, abs=0.25)
    assert done["frames_seen"] == done["frames_used"] == VIEWS
    assert done["frames_invalid"] == done["frames_skipped"] == 0
    assert done["rate_hz"] > 0
    node = live.node
    assert psnr_db(node["xy"].read(), truth()[6]) > max(20, psnr_db(first, truth()[6]) + 3)
    assert node["xz"].shape == node["yz"].shape == (SPECIMEN.rows, SPECIMEN.columns)
    assert node["volume"].shape == (SPECIMEN.rows, SPECIMEN.columns, SPECIMEN.columns)
    assert node["volume"].metadata["binning"] == 1
    assert node["xy"].dims == ("y", "x")


@pytest.mark.usefixtures("live")
def test_flats_may_come_last_and_slices_move(root: Any, begin: Begin) -> None:
    # Nothing is known of such a detector yet.
    specimen = Specimen(rows=14)
    run = begin(start={"tomo": {"pixel_size_um": 1.5, "rotation_axis": 33.7}})
    live = Watched(root, run.uid)
    run.series("dark", specimen.references(FrameKind.DARK), None)
    run.series("primary", specimen.frames(ANGLES), ANGLES)
    shown = live.until(frames_used=VIEWS)
    assert shown["flat"] == {"provisional": True, "source": "estimated from what stands beside the sample"}
    assert shown["frames_expected"] is None
    wish(live.node, {"slices": {"z": 3, "x": 40}})
    moved = live.until(slices={"z": 3, "y": 32, "x": 40})
    assert moved["frames_used"] == VIEWS
    wish(live.node, {"slices": {"z": 1000}})
    live.until(slices={"z": 13, "y": 32, "x": 40})
    wish(live.node, {"slices": {"z": 7}})
    live.until(slices={"z": 7, "y": 32, "x": 40})
    estimated = live.node["xy"].read()
    run.series("flat", specimen.references(FrameKind.FLAT), None)
    run.end()
    done = live.until(state="done")
    assert done["flat"] == {"provisional": False, "source": "the scan's own flats"}
    wanted = default_phantom(64, 14).volume()
    assert psnr_db(live.node["xy"].read(), wanted[7]) > psnr_db(estimated, wanted[7])
    assert psnr_db(live.node["xy"].read(), wanted[7]) > 22
    # The cross-section is what the slice shows on the same line.
    np.testing.assert_allclose(
        live.node["yz"].read()[7, 12:52], live.node["xy"].read()[12:52, 40], atol=0.008
    )


@pytest.mark.usefixtures("live")
def test_an_axis_is_wished_for_and_given_back(root: Any, begin: Begin) -> None:
    run = begin()
    live = Watched(root, run.uid)
    run.series("primary", SPECIMEN.frames(ANGLES[:40]), ANGLES[:40])
    live.until(frames_used=40)
    wish(live.node, {"rotation_axis": 30.0})

    def axis(value: float) -> bool:
        return live.metadata["rotation_axis"]["value"] == value

    wait_for(lambda: axis(30.0))
    assert live.metadata["rotation_axis"] == {
        "value": 30.0,
        "confidence": None,
        "provisional": False,
        "source": "wished for",
    }
    wish(live.node, {"rotation_axis": 500.0})
    wait_for(lambda: "column 500 is not on the detector" in live.metadata["message"])
    wish(live.node, {"rotation_axis": None})
    wait_for(lambda: not axis(30.0))
    wait_for(lambda: "not on the detector" not in live.metadata["message"])
    with pytest.raises(CatalogError, match=r"wish slices\.z"):
        wish(live.node, {"slices": {"z": -1}})
    wish(live.node, {"stop": True})
    assert live.until(state="aborted")["frames_used"] == 40
    run.end()


@pytest.mark.usefixtures("live")
def test_a_phase_is_retrieved_as_wished(root: Any, begin: Begin) -> None:
    # Recognised by what it has, as most runs are.
    run = begin(start={"tomo": EXPERIMENT, "scan_layout": None})
    live = Watched(root, run.uid)
    run.series("dark", SPECIMEN.references(FrameKind.DARK), None)
    run.series("flat", SPECIMEN.references(FrameKind.FLAT), None)
    frames = SPECIMEN.frames(ANGLES)
    run.series("primary", frames[:40], ANGLES[:40])
    assert live.until(frames_used=40)["delta_beta"] is None
    wish(live.node, {"delta_beta": 50.0})
    live.until(delta_beta=50.0, frames_used=40)
    # Those that come from now on are done alike, and so is a slice that has moved.
    run.series("primary", frames[40:], ANGLES[40:])
    wish(live.node, {"rotation_axis": 33.7, "slices": {"z": 4}})
    run.end()
    done = live.until(state="done", delta_beta=50.0, frames_used=VIEWS)
    assert done["slices"]["z"] == 4
    material = {"method": "delta_beta", "delta_beta": 50.0}
    with_phase = engine(root["raw"][run.uid], {"phase": {"method": "paganin", "material": material}})
    without = engine(root["raw"][run.uid], {})
    shown = live.node["xy"].read()
    assert psnr_db(shown, with_phase[4]) > 35
    assert psnr_db(shown, without[4]) < 30


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("last", [50.0, None])
def test_flats_that_come_last_are_used_for_the_phase_as_well(
    root: Any, begin: Begin, last: float | None
) -> None:
    specimen = Specimen(rows=16)
    run = begin(start={"tomo": EXPERIMENT})
    live = Watched(root, run.uid)
    run.series("dark", specimen.references(FrameKind.DARK), None)
    run.series("primary", specimen.frames(ANGLES), ANGLES)
    live.until(frames_used=VIEWS)
    wish(live.node, {"delta_beta": 50.0})
    live.until(delta_beta=50.0, frames_used=VIEWS)
    # Taken back while the flats come, or not.
    wish(live.node, {"delta_beta": last})
    run.series("flat", specimen.references(FrameKind.FLAT), None)
    run.end()
    done = live.until(state="done", delta_beta=last)
    assert not done["flat"]["provisional"]
    material = {"method": "delta_beta", "delta_beta": 50.0}
    changes = {} if last is None else {"phase": {"method": "paganin", "material": material}}
    wanted = engine(root["raw"][run.uid], changes)
    assert psnr_db(live.node["xy"].read(), wanted[8]) > 35


@pytest.mark.usefixtures("live")
def test_a_phase_wants_to_know_the_experiment(root: Any, begin: Begin) -> None:
    run = begin()
    live = Watched(root, run.uid)
    run.series("primary", SPECIMEN.frames(ANGLES[:40]), ANGLES[:40])
    live.until(frames_used=40)
    wish(live.node, {"delta_beta": 50.0})
    wait_for(lambda: "no phase is retrieved" in live.metadata["message"])
    assert "does not say its energy and distance to the detector" in live.metadata["message"]
    assert live.metadata["delta_beta"] is None
    # What else is wished is still heard.
    wish(live.node, {"slices": {"z": 2}})
    live.until(slices={"z": 2, "y": 32, "x": 32})
    wish(live.node, {"delta_beta": None})
    wait_for(lambda: "no phase" not in live.metadata["message"])
    run.end()
    live.until(state="done")


def engine(run: Any, changes: dict[str, Any]) -> np.ndarray:
    """Return what the engine makes of a run about the known axis."""
    axis = {"method": "value", "value": SPECIMEN.rotation_axis}
    with open_run(run) as scan:
        plan = prepare(scan, parse_recipe({"rotation_axis": axis, **changes}))
        volume = np.empty(plan.shape, np.float32)

        def keep(slab: Slab, pixels: np.ndarray) -> None:
            volume[slab.start : slab.stop] = pixels

        compute(plan, scan, on_slab=keep)
    return volume


@pytest.mark.usefixtures("live")
def test_frames_without_beam_are_left_out(root: Any, begin: Begin) -> None:
    # Too few are left around half a turn to find the axis.
    run = begin(start={"tomo": {"pixel_size_um": 1.5, "rotation_axis": SPECIMEN.rotation_axis}})
    live = Watched(root, run.uid)
    run.series("dark", SPECIMEN.references(FrameKind.DARK), None)
    run.series("flat", SPECIMEN.references(FrameKind.FLAT), None)
    frames = SPECIMEN.frames(ANGLES)
    frames[[0, 40, 41, 42]] = SPECIMEN.references(FrameKind.DARK, 1)
    angles = ANGLES.copy()
    angles[60] = np.nan
    run.series("primary", frames, angles)
    run.end()
    done = live.until(state="done")
    assert done["invalid_frames"] == [0, 40, 41, 42, 60]
    assert (done["frames_used"], done["frames_invalid"], done["frames_seen"]) == (85, 5, 90)
    assert psnr_db(live.node["xy"].read(), truth()[6]) > 18


@pytest.mark.usefixtures("live")
def test_two_scans_at_once_of_which_one_is_aborted(root: Any, begin: Begin) -> None:
    runs = [begin(), begin()]
    frames = SPECIMEN.frames(ANGLES)
    for begun in range(0, VIEWS, 45):
        for run in runs:
            run.series("primary", frames[begun : begun + 45], ANGLES[begun : begun + 45])
    first, second = (Watched(root, run.uid) for run in runs)
    first.until(frames_used=VIEWS)
    runs[0].end("abort")
    assert first.until(state="aborted")["message"] == "the run ended with abort"
    third = begin()
    third.series("primary", frames[:20], ANGLES[:20])
    runs[1].end()
    assert second.until(state="done")["frames_used"] == VIEWS
    last = Watched(root, third.uid)
    # It begins with what those before have shown.
    found = last.until(frames_used=20)["rotation_axis"]
    assert found["value"] == pytest.approx(SPECIMEN.rotation_axis, abs=0.25)
    assert found["source"].startswith("that of run ")
    third.end()
    last.until(state="done")


def test_a_file_that_cannot_be_read_is_reconstructed_at_its_end(
    root: Any, begin: Begin, live: LiveLoop
) -> None:
    run = begin(swmr=False)
    live_node = Watched(root, run.uid)
    run.series("primary", SPECIMEN.frames(ANGLES), ANGLES)
    said = live_node.until(state="unreadable")
    assert "reconstructed at its end" in said["message"]
    assert "swmr is false" in said["message"]
    run.end()
    assert live_node.until(state="done")["frames_used"] == VIEWS


@pytest.mark.usefixtures("live")
def test_a_run_without_frames_says_so(root: Any, begin: Begin) -> None:
    run = begin()
    live = Watched(root, run.uid)
    live.until(state="waiting")
    run.end()
    assert "no projections yet" in live.until(state="failed")["message"]


def test_a_killed_scan_and_a_slow_consumer(service: RunningService, root: Any, begin: Begin) -> None:
    angles = np.arange(300) * 0.6
    frames = SPECIMEN.frames(angles)
    run = begin()
    run.series("primary", frames, angles)
    # All of it is there when it is looked at first: that is more than can wait.
    with living(service, LiveSettings(poll_s=0.2, update_s=0.1, patience_s=1.5)):
        live = Watched(root, run.uid)
        behind = wait_for(lambda: (found := live.metadata).get("frames_skipped") and found)
        assert behind["frames_seen"] == 300
        ended = live.until(state="aborted")
        assert "no stop document" in ended["message"]
        # Once there is time, what was skipped is added.
        assert (ended["frames_used"], ended["frames_skipped"]) == (300, 0)
    # Otherwise whoever follows runs after this goes on with it.
    run.end()


def test_what_the_process_does_not_see_is_read_through_tiled(
    service: RunningService, root: Any, begin: Begin, tmp_path: Path
) -> None:
    with living(service, readable=(tmp_path,)):
        run = begin()
        live = Watched(root, run.uid)
        run.series("flat", SPECIMEN.references(FrameKind.FLAT), None)
        frames = SPECIMEN.frames(ANGLES)
        run.series("primary", frames[:50], ANGLES[:50])
        live.until(frames_used=50)
        assert live.metadata["message"] == "reads through Tiled"
        run.series("primary", frames[50:], ANGLES[50:])
        live.until(frames_used=VIEWS)
        run.end()
        assert not live.until(state="done")["flat"]["provisional"]


@pytest.mark.usefixtures("live")
def test_a_step_scan_is_followed_event_by_event(root: Any, begin: Begin) -> None:
    run = begin(step=True)
    live = Watched(root, run.uid)
    angles = ANGLES[::3]
    frames = SPECIMEN.frames(angles)
    run.series("primary", frames[:10], angles[:10])
    live.until(frames_used=10)
    assert live.metadata["message"] == "reads files, event by event"
    run.series("primary", frames[10:], angles[10:])
    live.until(frames_used=30)
    run.end()
    assert live.until(state="done")["rotation_axis"]["value"] == pytest.approx(33.7, abs=0.5)


@pytest.mark.usefixtures("live")
def test_a_whole_turn_about_an_axis_near_the_side(root: Any, begin: Begin) -> None:
    specimen = Specimen(rows=10, columns=96, rotation_axis=24.3)
    order = np.mod(np.arange(240) * 360 * (np.sqrt(5) - 1) / 2, 360)
    run = begin(start={"tomo": {"pixel_size_um": 1, "start_deg": 0, "stop_deg": 360, "rotation_axis": 24.3}})
    live = Watched(root, run.uid)
    run.series("flat", specimen.references(FrameKind.FLAT), None)
    run.series("primary", specimen.frames(order), order)
    run.end()
    done = live.until(state="done")
    assert done["frames_used"] == 240
    assert live.node["xy"].shape[0] > 96


@pytest.mark.usefixtures("live")
def test_only_the_latest_are_kept(root: Any, begin: Begin) -> None:
    run = begin()
    Watched(root, run.uid).until(state="waiting")
    assert forget_oldest(root, 1)
    assert list(root["live"]) == [run.uid]
    run.end()


@pytest.mark.usefixtures("live")
def test_routes_and_client_tell_the_same(service: RunningService, root: Any, begin: Begin) -> None:
    with api_of(service, service.api_key) as api, listening(service) as events, connected(service) as tomo:
        run = begin()
        Watched(root, run.uid).until(state="waiting")
        view = tomo.live[run.uid[:8]]
        with pytest.raises(NotFoundError, match="shows nothing yet"):
            view.slice()
        assert api.get(f"live/{run.uid}/pictures/xy").status_code == 404
        run.series("primary", SPECIMEN.frames(ANGLES[:40]), ANGLES[:40])
        heard(events, lambda event: event.type == "live" and event.stage == "40 of 90 projections")
        current = tomo.live.current()
        assert current is not None
        assert current.metadata.raw_uid == run.uid
        assert (current.frames_used, current.state, current.rotation_axis) == (40, "accumulating", 31.5)
        listed = ok(api.get("live"))["scans"]
        assert listed[0]["run_uid"] == run.uid
        assert listed[0]["live"]["frames_used"] == 40
        detail = ok(api.get(f"live/{run.uid}"))
        assert detail["shapes"]["xz"] == [12, 64]
        exact = api.get(f"live/{run.uid}/pictures/xy", params={"format": "float32"})
        image = np.frombuffer(exact.content, "<f4").reshape(64, 64)
        np.testing.assert_array_equal(image, view.slice("xy"))
        same = api.get(f"live/{run.uid}/pictures/xy", headers={"If-None-Match": exact.headers["ETag"]})
        assert same.status_code in (200, 304)
        assert api.get(f"live/{run.uid}/pictures/volume", params={"z": 5}).content.startswith(b"\x89PNG")
        assert api.get(f"live/{run.uid}/pictures/volume", params={"z": 12}).status_code == 404
        assert ok(api.post(f"live/{run.uid}/wishes", json={"slices": {"z": 2}}))["slices"]["z"] == 2
        view.move(y=5)
        Watched(root, run.uid).until(slices={"z": 2, "y": 5, "x": 32})
        assert api.post(f"live/{run.uid}/wishes", json={"slices": {"z": -2}}).status_code == 422
        with api_of(service, None) as anybody:
            assert anybody.post(f"live/{run.uid}/wishes", json={"stop": True}).status_code == 401
        view.use_axis(33.0)
        wait_for(lambda: view.rotation_axis == 33.0)
        view.stop()
        last = Watched(root, run.uid).until(state="aborted")
        # The number of the update alone would be the same once the run is followed anew.
        tag = api.get(f"live/{run.uid}/pictures/xy").headers["ETag"]
        assert tag == f'"{last["update"]}-{last["updated"]}"'
        run.end()
        with pytest.raises(CatalogError, match="only xy, xz, yz, volume"):
            view.slice("zz")
        with pytest.raises(NotFoundError, match="0 live reconstructions belong to a run 'none'"):
            tomo.live["none"]
