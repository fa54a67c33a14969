"""A recorded scan goes through the beamline again, in a fresh process as a user would start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from profiles.sim.frames import ReplayFrames
from tomoservice.errors import InputError

SCRIPT = """
import sys
from pathlib import Path

from profiles.sim.launch import simulated_beamline
from profiles.sim.options import SimulationOptions

recorded, folder = Path(sys.argv[1]), Path(sys.argv[2])
options = SimulationOptions(prefix="REPLAY:", replay=recorded, rotation_velocity=720.0)
with simulated_beamline(options) as ioc:
    from bluesky import RunEngine

    from profiles.beamline import connect
    from profiles.plans import tomo_scan

    beamline = connect(ioc.config(folder))
    engine = RunEngine({})

    def show(name, document):
        if name == "resource":
            print(document["resource_path"])

    engine(tomo_scan(beamline, 9, num_flats=3, num_darks=2), show)
    beamline.disconnect()
"""


def write_scan(path: Path, *, flats: bool = True) -> dict[str, np.ndarray]:
    """Write a small DXchange file of random frames, so that no frame can be mistaken for another."""
    random = np.random.default_rng(3)
    stacks = {
        "data": random.integers(500, 60000, (9, 5, 20), dtype=np.uint16),
        "data_white": random.integers(500, 60000, (2, 5, 20), dtype=np.uint16),
        "data_dark": random.integers(0, 500, (2, 5, 20), dtype=np.uint16),
        "theta": np.arange(9) * 20.0,
    }
    if not flats:
        del stacks["data_white"]
    with h5py.File(path, "w") as file:
        for name, stack in stacks.items():
            file[f"exchange/{name}"] = stack
        file["exchange/theta"].attrs["units"] = "deg"
    return stacks


def test_every_recorded_frame_comes_back(tmp_path: Path) -> None:
    stacks = write_scan(tmp_path / "scan.h5")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "scan.h5", tmp_path / "frames"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    found = []
    for path in result.stdout.split():
        with h5py.File(f"/{path}") as file:
            found.append(file["/entry/data/data"][:])
    darks, flats, projections = found
    np.testing.assert_array_equal(projections, stacks["data"])
    np.testing.assert_array_equal(flats, stacks["data_white"][[0, 1, 0]])
    np.testing.assert_array_equal(darks, stacks["data_dark"])


def test_the_nearest_recorded_angle_is_shown(tmp_path: Path) -> None:
    stacks = write_scan(tmp_path / "scan.h5")
    source = ReplayFrames(tmp_path / "scan.h5")
    assert (source.rows, source.columns, source.dtype) == (5, 20, np.uint16)
    for angle, index in ((-3.0, 0), (49.0, 2), (51.0, 3), (400.0, 8)):
        np.testing.assert_array_equal(source.projection(angle, 0), stacks["data"][index])


def test_a_scan_without_flats_cannot_be_shown(tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.h5", flats=False)
    with pytest.raises(InputError, match=r"scan\.h5: has no flats"):
        ReplayFrames(tmp_path / "scan.h5")
