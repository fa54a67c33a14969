"""What counts as growth, and the soak itself in small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from profiles.sim.soak import Sample, report
from tomoservice.benchmarks.growth import growth

RNG = np.random.default_rng(7)


def test_noise_is_no_growth_and_growth_is_found_in_noise() -> None:
    noise = 300.0 + RNG.normal(0.0, 2.0, 200)
    found = growth(list(noise))
    assert found.low < 0 < found.high
    # 6 MiB in a hundred scans, with single outliers as of a collection that has not happened yet
    leak = noise + 0.06 * np.arange(200)
    leak[::17] += 40.0
    found = growth(list(leak))
    assert found.per_hundred == pytest.approx(6.0, abs=2.0)
    assert found.low > 3.0
    assert found.end - found.start == pytest.approx(5.4, abs=2.5)


def test_what_happens_once_at_the_start_is_no_growth() -> None:
    warm = np.concatenate([np.linspace(100.0, 300.0, 50), np.full(50, 300.0)])
    assert growth(list(warm)).per_hundred == 0.0


def test_too_few_scans_say_nothing() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        growth([1.0] * 14)


def test_a_report_names_what_grows() -> None:
    samples = [
        Sample(
            {("server", "files"): 40.0 + number, ("server", "threads"): 30.0},
            scan_s=2.0 + RNG.normal(0, 0.01),
            latency_s=3.0 + RNG.normal(0, 1.0),
        )
        for number in range(60)
    ]
    rows = {row.work: row for row in report(samples)}
    assert rows["server: files"].verdict == "NOT REACHED"
    assert rows["server: files"].measured.startswith("71.0 -> 98.0")
    assert [rows[name].verdict for name in ("server: threads", "scan")] == ["reached"] * 2
    # neither that it grows nor that it does not
    assert rows["from its end to its volume"].verdict == "undecided"


def run_soak(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    return subprocess.run(
        [sys.executable, "-m", "tomoservice", "bench", "soak", *options, "--folder", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.mark.long
def test_a_soak_that_ends_early_is_one_line(tmp_path: Path) -> None:
    done = run_soak(tmp_path, "--seconds", "10")
    assert done.returncode == 1
    assert "scans say nothing: growth needs at least 8 repetitions" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_a_soak_runs(tmp_path: Path) -> None:
    # Apart from the home that tests have.
    folder = tmp_path / "soak"
    done = run_soak(folder, "--scans", "16")
    assert "| session: threads | <= 0.5 per 100 |" in done.stdout, done.stderr
    # What was counted stays, and nothing else.
    assert [path.name for path in folder.iterdir()] == ["soak.csv"]
    lines = (folder / "soak.csv").read_text("utf-8").splitlines()
    assert len(lines) == 17
    assert "session threads" in lines[0]
