"""The status PVs over Channel Access: they mirror Tiled, hand on what is written, and outlive the service."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from profiles.sim.options import SECOND_LOOPBACK
from profiles.status.launch import status_ioc
from tests.service.scans import SmallScan, documents, publish
from tests.sessions.conftest import SLICE
from tests.sessions.forwarding import Line
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService

if TYPE_CHECKING:
    from bluesky import RunEngine

    from profiles.status.device import TomoStatus

PREFIX = "STATUS:"
INVALID, NONE = 3, 0


@contextmanager
def mirrored(service: RunningService, uri: str = "") -> Iterator[int]:
    with status_ioc(PREFIX, uri or service.uri, service.api_key, SECOND_LOOPBACK) as pid:
        yield pid


@pytest.fixture(scope="module")
def ioc_of_status(service: RunningService) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        stack.enter_context(mirrored(service))
        yield stack


@pytest.fixture(scope="module")
def status(ioc_of_status: ExitStack) -> Iterator[TomoStatus]:
    from profiles.status.device import TomoStatus

    device = TomoStatus(PREFIX, name="tomo_status")
    device.wait_for_connection(timeout=10)
    yield device
    device.destroy()


def wait_for(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def now(signal: Any) -> Any:
    return signal.get(use_monitor=False)


def test_a_service_with_nothing_in_it_is_idle(status: TomoStatus) -> None:
    wait_for(lambda: now(status.state) == "idle")
    assert now(status.server_running) == "Running"
    assert now(status.recipe) == "default"
    assert math.isnan(now(status.center))
    before = now(status.heartbeat)
    wait_for(lambda: now(status.heartbeat) > before)


def test_a_live_reconstruction_is_mirrored(status: TomoStatus, live: Any) -> None:
    from profiles.status.device import LiveSlice

    wait_for(lambda: now(status.state) == "accumulating")
    assert now(status.run_uid) == "11111111-live"
    assert now(status.progress) == pytest.approx(25.0)
    assert (now(status.live_state), now(status.error_message)) == ("accumulating", "")
    assert now(status.frames_used) == 50
    assert (now(status.center_found), now(status.center_confidence)) == (19.25, 0.75)
    assert now(status.recon_status) == "a slice of half a turn"
    shown = LiveSlice(f"{PREFIX}image1:", name="live_slice")
    shown.wait_for_connection(timeout=10)
    wait_for(lambda: now(shown.unique_id) == 5)
    np.testing.assert_array_equal(shown.image, SLICE)
    live["xy"].write(SLICE[::-1].copy())
    live.update_metadata({"update": 6, "frames_used": 100}, drop_revision=True)
    wait_for(lambda: now(status.frames_used) == 100)
    wait_for(lambda: now(shown.unique_id) == 6)
    np.testing.assert_array_equal(shown.image, SLICE[::-1])
    shown.destroy()


def test_what_is_written_becomes_a_wish(run_engine: RunEngine, status: TomoStatus, live: Any) -> None:
    from bluesky import plan_stubs as bps

    wait_for(lambda: now(status.live_state) == "accumulating")
    run_engine(bps.mv(status.center, 20.5, status.ortho_z, 3, status.delta_beta, 300))
    wishes = dict(live["wishes"].refresh().metadata)
    assert (wishes["rotation_axis"], dict(wishes["slices"])) == (20.5, {"z": 3})
    assert wishes["delta_beta"] == 300
    run_engine(bps.mv(status.delta_beta, 0))
    assert live["wishes"].refresh().metadata["delta_beta"] is None
    assert (now(status.center), now(status.ortho_z)) == (20.5, 3)
    # somebody else wishes something, on the page say
    live["wishes"].update_metadata({"rotation_axis": 21.0}, drop_revision=True)
    wait_for(lambda: now(status.center) == 21.0)
    run_engine(bps.mv(status.stop_recon, 1))
    assert live["wishes"].refresh().metadata["stop"] is True


def test_a_file_that_cannot_be_read_yet_is_no_failure(
    run_engine: RunEngine, status: TomoStatus, live: Any
) -> None:
    from bluesky import plan_stubs as bps

    live.update_metadata({"state": "unreadable", "message": "reconstructed at its end"}, drop_revision=True)
    wait_for(lambda: now(status.state) == "unreadable")
    assert now(status.recon_status) == "reconstructed at its end"
    assert now(status.error_message) == ""
    assert status.state.alarm_severity == NONE
    # the scan runs, so it can be told
    run_engine(bps.mv(status.center, 18.0))
    assert live["wishes"].refresh().metadata["rotation_axis"] == 18.0


def test_the_middle_is_a_slice(run_engine: RunEngine, status: TomoStatus, live: Any) -> None:
    from bluesky import plan_stubs as bps

    wait_for(lambda: now(status.live_state) == "accumulating")
    live.write_array(np.zeros((9, 40), np.float32), key="xz")
    for setting in (status.ortho_z, status.ortho_y, status.ortho_x):
        run_engine(bps.mv(setting, 3))
        run_engine(bps.mv(setting, -1))
    assert dict(live["wishes"].refresh().metadata["slices"]) == {"z": 4, "y": 12, "x": 20}
    assert now(status.ortho_z) == 4


def test_what_is_refused_is_told_to_whom_it_concerns(run_engine: RunEngine, status: TomoStatus) -> None:
    from bluesky import plan_stubs as bps
    from bluesky.utils import FailedStatus

    for _ in range(3):
        with pytest.raises(FailedStatus) as failed:
            run_engine(bps.mv(status.recipe, "nix", status.center, 20.5))
        assert f"{PREFIX}Recipe = 'nix' is refused" in str(failed.value.__cause__ or failed.value)
        wait_for(lambda: now(status.center) == 20.5)
    run_engine(bps.mv(status.center, math.nan))


def test_whatever_goes_wrong_a_write_is_answered(status: TomoStatus, tomo: Tomo) -> None:
    # a run without a start document, as no RunEngine makes it
    node = tomo.raw.create_container("none", metadata={"stop": {}})
    try:
        status.start_recon.put(1, wait=True, timeout=20)
        assert now(status.write_message).startswith("StartRecon: ")
    finally:
        node.delete(recursive=True, external_only=False)


def test_what_makes_no_sense_is_refused(run_engine: RunEngine, status: TomoStatus) -> None:
    from bluesky import plan_stubs as bps
    from bluesky.utils import FailedStatus

    for setting, value, reason in (
        (status.recipe, "nix", "nix"),
        (status.recipe, "../../etc/passwd", "passwd"),
        (status.center, -3.0, "greater than or equal to 0"),
        (status.ortho_x, -7, "greater than or equal to 0"),
        (status.start_recon, 1, "there is no scan that has ended"),
        (status.stop_recon, 1, "nothing runs"),
    ):
        before = now(setting)
        with pytest.raises(FailedStatus) as failed:
            run_engine(bps.mv(setting, value))
        assert reason in str(failed.value.__cause__ or failed.value)
        assert now(status.write_message)
        assert repr(now(setting)) == repr(before)
    run_engine(bps.mv(status.center, math.nan))
    assert now(status.write_message) == ""


def test_a_plan_asks_for_a_volume_and_waits(
    run_engine: RunEngine, status: TomoStatus, tomo: Tomo, frames: Path
) -> None:
    from bluesky import plan_stubs as bps
    from bluesky.plans import count

    uid = publish(tomo.raw, documents(SmallScan(), frames))
    tomo.recipes.save("tooth", {"reconstruction": {"method": "fourier", "filter": "hann"}})
    events: list[dict[str, Any]] = []

    def plan() -> Any:
        yield from bps.mv(status.recipe, "tooth")
        yield from bps.mv(status.center, 15.5)
        yield from count([status])

    run_engine(plan(), lambda name, document: events.append(document) if name == "event" else None)
    path = events[0]["data"]["tomo_status_request_path"]
    (job,) = tomo.reconstructions(uid)
    assert path == job.path
    assert job.state == "done"
    assert job.record.metadata.recipe["reconstruction"]["filter"] == "hann"
    assert job.record.metadata.recipe["rotation_axis"]["value"] == 15.5
    assert events[0]["data"]["tomo_status_center_found"] == 15.5
    assert now(status.last_recon_path) == path
    assert now(status.state) == "done"
    # by the same values, from the same raw data
    run_engine(bps.mv(status.retake_recon, 1))
    again = now(status.request_path)
    assert again != path
    wait_for(lambda: now(status.request_state) == "done")
    assert tomo.job(again).comparison is not None


def test_an_ioc_that_starts_again_shows_the_same_and_outlives_the_service(
    status: TomoStatus, ioc_of_status: ExitStack, service: RunningService
) -> None:
    shown = ("recipe", "center", "request_path", "recon_path", "last_recon_path", "state", "recon_state")
    wait_for(lambda: now(status.state) == "done")
    before = {name: now(getattr(status, name)) for name in shown}
    assert (before["recipe"], before["center"]) == ("tooth", 15.5)
    ioc_of_status.close()
    wait_for(lambda: not status.connected)
    line = Line(int(service.uri.rpartition(":")[2]))
    try:
        with mirrored(service, f"http://127.0.0.1:{line.port}"):
            status.wait_for_connection(timeout=30)
            wait_for(lambda: now(status.state) == before["state"])
            assert {name: now(getattr(status, name)) for name in shown} == before
            line.cut()
            without_service(status)
            line.mend()
            wait_for(lambda: now(status.state) == "done", 30)
            assert now(status.error_message) == ""
            assert now(status.recipe) == "tooth"
            wait_for(lambda: status.last_recon_path.alarm_severity == NONE)
    finally:
        line.cut()


def without_service(status: TomoStatus) -> None:
    wait_for(lambda: now(status.state) == "disconnected")
    assert now(status.server_running) == "Stopped"
    assert "answer" in now(status.error_message)
    assert now(status.recipe) == "tooth"
    for shown in (status.state, status.progress, status.last_recon_path):
        wait_for(lambda shown=shown: shown.alarm_severity == INVALID)
    beat = now(status.heartbeat)
    wait_for(lambda: now(status.heartbeat) > beat)
    status.start_recon.put(1, wait=True, timeout=10)
    assert "answer" in now(status.write_message)


def test_the_command_runs_until_it_is_told_to_stop(service: RunningService, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tomoservice", "ioc", "--prefix", "CLI:", "--interface", SECOND_LOOPBACK]
    process = subprocess.Popen(
        [*command, "--data", str(service.data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    assert f"service         {service.uri}" in error
    assert "Traceback" not in error
    done = subprocess.run([*command, "--data", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("tomoservice ioc: no service has run in ")
    assert len(done.stderr.splitlines()) == 1
