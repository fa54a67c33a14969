"""The IOC as a process: command line, readiness, shutdown; and stock ophyd classes against it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import psutil
import pytest

from profiles.config import load_config
from profiles.sim.launch import CONFIG_FILE, RunningIOC, channel_access_environment, simulated_beamline
from profiles.sim.options import SimulationOptions
from tomoservice.errors import BeamlineError, SettingsError

if TYPE_CHECKING:
    from profiles.beamline import Beamline


def start(*arguments: str, **keywords: object) -> subprocess.Popen[str]:
    environment = os.environ | channel_access_environment({})
    command = [sys.executable, "-m", "profiles.sim.ioc", "--prefix=ALONE:", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with start("--rows=4", "--columns=32", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (0, "", "")


def test_it_does_not_outlive_who_started_it() -> None:
    with start("--rows=4", "--columns=32", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [("--rows=0", "greater than or equal to 1"), ("--replay=/nowhere/scan.h5", "/nowhere/scan.h5")],
)
def test_a_wrong_option_is_one_clear_error(argument: str, complaint: str) -> None:
    if "replay" in argument:
        pytest.importorskip("tomoservice.sources", reason="no readers for scans")
    with start(argument, stdin=subprocess.DEVNULL) as process:
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert output == ""
    assert complaint in errors
    assert "Traceback" not in errors


def test_options_survive_the_command_line() -> None:
    options = SimulationOptions(
        prefix="X:", rows=7, rotation_axis=1.5, sample_name="two words", replay=Path("a b.h5")
    )
    assert SimulationOptions.from_arguments(options.to_arguments()) == options


def test_a_beamline_that_cannot_start_is_an_error() -> None:
    children = psutil.Process().children()
    with (
        pytest.raises(BeamlineError, match="ended with status 2"),
        simulated_beamline(SimulationOptions(prefix="BAD:", replay=Path("/nowhere.h5"))),
    ):
        pass
    assert psutil.Process().children() == children


def test_missing_pvs_are_named(ioc: RunningIOC, tmp_path: Path) -> None:
    from profiles.beamline import connect

    config = ioc.config(tmp_path)
    wrong = config.model_copy(
        update={
            "connection_timeout_s": 0.5,
            "shutter": config.shutter.model_copy(update={"status_pv": "TEST:NoSuchShutter"}),
        }
    )
    with pytest.raises(
        BeamlineError, match=r"1 of \d+ PVs do not answer within 0.5 s: TEST:NoSuchShutter\. "
    ):
        connect(wrong)


def test_a_wrong_table_is_named_with_its_field(tmp_path: Path) -> None:
    text = CONFIG_FILE.read_text().replace("out_position", "outside_position")
    (tmp_path / "mine.yml").write_text(text)
    with pytest.raises(SettingsError, match=r"mine\.yml: sample\.out_position: Field required"):
        load_config(tmp_path / "mine.yml")
    with pytest.raises(SettingsError, match=r"none\.yml: cannot be read"):
        load_config(tmp_path / "none.yml")


def test_stock_ophyd_classes_record_a_frame(beamline: Beamline, tmp_path: Path) -> None:
    """What ophyd ships must work unchanged, with everything it reads by default."""
    from ophyd import AreaDetector, Component, SingleTrigger
    from ophyd.areadetector.filestore_mixins import FileStoreHDF5IterativeWrite
    from ophyd.areadetector.plugins import HDF5Plugin

    class Writer(HDF5Plugin, FileStoreHDF5IterativeWrite):
        pass

    class Detector(SingleTrigger, AreaDetector):
        hdf5 = Component(Writer, "HDF1:", write_path_template=str(tmp_path))

    detector = Detector("TEST:", name="stock")
    detector.read_attrs = ["hdf5"]
    detector.hdf5.read_attrs = []
    try:
        detector.cam.num_images.set(1).wait(timeout=5)
        # ophyd's own trigger fails when the exposure ends before it returns
        detector.cam.acquire_time.set(0.5).wait(timeout=5)
        detector.stage()
        status = detector.trigger()
        status.wait(timeout=10)
        assert "stock_image" in detector.describe()
        assert detector.read_configuration()["stock_cam_model"]["value"] == "simulated camera"
        documents = dict(detector.collect_asset_docs())
        detector.unstage()
    finally:
        detector.destroy()
    resource = documents["resource"]
    assert resource["spec"] == "AD_HDF5"
    with h5py.File(Path(resource["root"]) / resource["resource_path"]) as file:
        assert file["/entry/data/data"].shape == (1, 6, 48)
        assert file["/entry/data/data"].chunks == (1, 6, 48)


def test_the_motor_is_what_an_epics_motor_expects(beamline: Beamline) -> None:
    rotation = beamline.rotation
    before = rotation.position
    rotation.move(before + 30.0, timeout=10)
    assert rotation.position == pytest.approx(before + 30.0, abs=1e-6)
    # going nowhere still completes
    rotation.move(before + 30.0, timeout=10)
    status = rotation.move(before + 3000.0, wait=False)
    time.sleep(0.1)
    rotation.stop()
    while not status.done:
        time.sleep(0.01)
    assert rotation.position < before + 3000.0
    rotation.move(before, timeout=20)
    with pytest.raises(ValueError, match="outside of range"):
        rotation.move(1e6)
    assert rotation.egu == "deg"


def test_the_shutter_goes_where_it_is_told(beamline: Beamline) -> None:
    for state in ("open", "closed"):
        beamline.shutter.set(state).wait(timeout=5)
        assert beamline.shutter.state == state
    with pytest.raises(ValueError, match="'open' or 'closed', not 'ajar'"):
        beamline.shutter.set("ajar")


def test_the_table_in_the_guide_is_valid(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/how-to/real-camera.md").read_text()
    (tmp_path / "beamline.yml").write_text(guide.split("```yaml\n")[1].split("```")[0])
    config = load_config(tmp_path / "beamline.yml")
    assert config.camera.read_path == Path("/gdata/2bm/%Y-%m")
    assert config.metadata.extra["ring_current_ma"].scale == 1.0


def test_the_guide_lists_every_pv_of_the_camera() -> None:
    from profiles.sim.camera_pvs import CameraPVs, Hdf5PVs

    guide = (Path(__file__).parents[2] / "docs/how-to/real-camera.md").read_text()
    table = guide.split("## 2.")[1].split("## 3.")[0]
    have = {name.removeprefix(":") for group in (CameraPVs(":"), Hdf5PVs(":")) for name in group.pvdb}
    rows = [row.split("|")[2] for row in table.splitlines() if "plugin |" in row or "camera |" in row]
    named = {part.rpartition(":")[2] for row in rows for part in row.replace("`", " ").split()}
    assert len(named) > 20
    assert named <= have


def test_a_lost_beam_darkens_frames_and_empties_the_ring(ioc: RunningIOC, beamline: Beamline) -> None:
    from ophyd import EpicsSignal, EpicsSignalRO

    prefix = ioc.options.prefix
    beam = EpicsSignal(f"{prefix}Beam", name="beam")
    current = EpicsSignalRO(f"{prefix}RingCurrent", name="current")
    try:
        for signal_ in (beam, current):
            signal_.wait_for_connection(timeout=10)
        for value in (0, "Lost"):
            beam.put(value, wait=True)
            assert beam.get(as_string=True) == "Lost"
            assert current.get() == 0
            beam.put("Present", wait=True)
            assert current.get() > 290
    finally:
        beam.destroy()
        current.destroy()
