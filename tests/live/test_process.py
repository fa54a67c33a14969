"""The live reconstruction as the service starts it: a process of its own, beside the conductor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.live.conftest import Watched, wait_for
from tests.live.growing import GrowingRun, Specimen
from tests.service.conftest import connected, pace
from tomoservice.phantom import FrameKind
from tomoservice.service.running import RunningService, running_service

SPECIMEN = Specimen()
ANGLES = np.arange(90) * 2.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "raw").mkdir()
    settings = {**pace(embedded=True), "live": {"poll_s": 0.2, "update_s": 0.1}}
    settings["service"] = {"raw_folders": [str(folder / "raw")]}
    with running_service(folder / "data", settings) as running:
        yield running


def processes(service: RunningService) -> list[psutil.Process]:
    return [child for child in psutil.Process(service.pid).children() if _is_live(child)]


def _is_live(process: psutil.Process) -> bool:
    try:
        return "tomoservice.live" in process.cmdline()
    except psutil.Error:
        # Killed, and not yet waited for.
        return False


def test_the_final_volume_knows_nothing_of_it(whole: RunningService) -> None:
    with connected(whole) as tomo:
        wait_for(lambda: processes(whole), 60)
        run = GrowingRun(tomo.raw, whole.data.parent / "raw")
        live = Watched(tomo.root, run.uid)
        run.series("dark", SPECIMEN.references(FrameKind.DARK), None)
        run.series("flat", SPECIMEN.references(FrameKind.FLAT), None)
        frames = SPECIMEN.frames(ANGLES)
        live.until(60, state="waiting")
        run.series("primary", frames[:60], ANGLES[:60])
        live.until(60, frames_used=60)
        run.series("primary", frames[60:], ANGLES[60:])
        run.end()
        # At once, while the live reconstruction still finishes; and again when it is over.
        job = tomo.reconstruct(run.uid)
        live.until(60, state="done")
        assert job.wait(90).state == "done"
        again = tomo.rerun(job).wait(90)
        assert again.comparison.identical
        # Both found the same axis, each by itself.
        found = live.metadata["rotation_axis"]["value"]
        assert found == pytest.approx(job.node.metadata["geometry"]["rotation_axis"], abs=0.05)
        volume = np.asarray(job.node["volume"].read())
        shown = np.asarray(live.node["xy"].read())
        along = np.arange(64) - 31.5
        inside = along[:, None] ** 2 + along**2 < 27**2
        assert np.std((shown - volume[6])[inside]) < 0.01 * volume.max()


def test_it_is_started_again_and_goes_with_the_service(whole: RunningService) -> None:
    (first,) = wait_for(lambda: processes(whole), 60)
    first.kill()
    second = wait_for(lambda: [child for child in processes(whole) if child.pid != first.pid], 60)
    assert len(second) == 1
    assert (whole.data / "logs" / "live.log").stat().st_size > 0


def test_the_command_follows_a_service_elsewhere(service: RunningService, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(service.api_key)
    raw = service.data.parent / "raw"
    command = [sys.executable, "-m", "tomoservice", "live", "--uri", service.uri, "--api-key-file", str(key)]
    process = subprocess.Popen(
        [*command, "--raw-folder", str(raw), "--data", str(tmp_path / "data")],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with connected(service) as tomo:
            wait_for(lambda: "ready after" in _log(tmp_path), 90)
            run = GrowingRun(tomo.raw, raw)
            run.series("primary", SPECIMEN.frames(ANGLES[:20]), ANGLES[:20])
            live = Watched(tomo.root, run.uid)
            live.until(60, frames_used=20)
            run.end()
            live.until(60, state="done")
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def _log(folder: Path) -> str:
    file = folder / "data" / "logs" / "live.log"
    return file.read_text() if file.exists() else ""
