"""The demonstration: the main job on simulated and on real input, end to end through the real components."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.phantom_scans import phantom_scan


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    # The demonstration chooses Channel Access ports of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tomoservice", "demo", "--data", str(folder / "demo"), *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=150)
    assert process.returncode == 0, f"{out}\n{error}"
    assert "NOT GOOD" not in out
    return out


def axis_in(printed: str) -> float:
    match = re.search(r"^rotation axis +([\d.]+),", printed, re.MULTILINE)
    assert match, printed
    return float(match[1])


def test_phantom(tmp_path: Path) -> None:
    printed = finish(start(tmp_path, "--once", "--size", "64"))
    assert abs(axis_in(printed) - (31.5 + 3.7)) < 0.1
    psnr = re.search(r"^PSNR +([\d.]+) dB", printed, re.MULTILINE)
    assert psnr
    assert float(psnr[1]) > 28
    pictures = sorted((tmp_path / "demo" / "pictures").iterdir())
    assert [picture.name for picture in pictures] == ["slice-x32.png", "slice-y32.png", "slice-z16.png"]
    for picture in pictures:
        with Image.open(picture) as image:
            low, high = image.getextrema()
            assert low < 20
            assert high > 235


def test_the_real_tooth_goes_all_the_way(data_dir: Path, tmp_path: Path) -> None:
    printed = finish(start(tmp_path, "--once", "--replay", str(data_dir / "tooth" / "tooth.h5")))
    assert abs(axis_in(printed) - 295.5) <= 0.5
    assert "2 x 640 x 640" in printed


@pytest.mark.long
def test_a_result_outside_the_limits_is_a_failure(tmp_path: Path) -> None:
    # A scan of noise has no axis to be found.
    noise = phantom_scan(64, 4, 40)
    noise.projections[:] = np.random.default_rng(3).integers(20000, 60000, noise.projections.shape)
    recorded = noise.write_dxchange(tmp_path / "noise.h5")
    process = start(tmp_path, "--once", "--replay", str(recorded))
    out, error = process.communicate(timeout=150)
    assert process.returncode == 1, f"{out}\n{error}"
    assert "NOT GOOD" in out
    assert error.splitlines()[-1] == "tomoservice: the result is outside the limits printed above"


@pytest.mark.long
def test_it_stays_up_until_told_to_stop(tmp_path: Path) -> None:
    from tiled.client import from_uri

    process = start(tmp_path, "--size", "64")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "stays up at" in line:
            break
    match = re.search(r"stays up at (\S+)", lines[-1])
    assert match, lines
    client = from_uri(match[1])
    assert list(client) == ["raw", "processed", "recipes", "batches", "live"]
    client.context.http_client.close()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_replay_of_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    process = start(tmp_path, "--once", "--replay", "missing.h5")
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert error.splitlines()[-1].startswith("tomoservice: missing.h5: no such file")


@pytest.mark.long
def test_a_scan_is_watched_while_it_goes_on(tmp_path: Path) -> None:
    # Small and quick; how long each takes here says nothing, what comes out does.
    process = start(tmp_path, "--live", "--once", "--size", "64", "--frames", "120", "--rate", "30")
    out, error = process.communicate(timeout=150)
    assert process.returncode in (0, 1), error
    assert "| Frames that the raw data lack | <= 0 | 0 | reached |" in out
    assert "| Frames that the final volume lacks | <= 0 | 0 | reached |" in out
    found = re.search(r"Live rotation axis \| <= 0.5 pixel \| ([\d.]+), confidence ([\d.]+)", out)
    assert found, out
    assert abs(float(found[1]) - 35.2) < 0.5
    assert re.search(r"^live +done, 120 frames$", out, re.MULTILINE), out


def test_the_real_tooth_loses_its_beam_and_is_watched(data_dir: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "--live", "--once", "--replay", str(data_dir / "tooth" / "tooth.h5"))
    out, error = process.communicate(timeout=150)
    assert process.returncode in (0, 1), error
    found = re.search(r"Live rotation axis \| .* \| ([\d.]+), confidence ([\d.]+)", out)
    assert found, out
    assert abs(float(found[1]) - 295.5) <= 0.5
    lost = re.search(r"Frames without beam .* (\d+) left out of the live slices, (\d+) of the final", out)
    assert lost, out
    assert int(lost[1]) == int(lost[2]) > 0
