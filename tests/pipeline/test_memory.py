"""A scan larger than the memory that a reconstruction may take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

MIB = 2**20
ANGLES, ROWS, COLUMNS = 240, 1600, 256

SCRIPT = """
import json, resource, sys
from pathlib import Path
import numpy as np
from tomoservice.export import VolumeForm, volume_output
from tomoservice.pipeline import compute, prepare
from tomoservice.recipe import parse_recipe
from tomoservice.sources import open_scan

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

path, output, budget = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
axis = {"rotation_axis": {"method": "value", "value": 127.5}}
with open_scan(path) as scan:
    # What the libraries take, whatever the size of the scan.
    few = parse_recipe({**axis, "frames": {"rows": {"stop": 4}}})
    plan = prepare(scan, few)
    compute(plan, scan, on_slab=lambda *_: None, memory_bytes=budget)
    before = peak()
    plan = prepare(scan, parse_recipe(axis), memory_bytes=budget)
    form = VolumeForm(plan.shape, plan.chunks, None, plan.units)
    with volume_output(output, form) as writer:
        compute(plan, scan, on_slab=lambda slab, a: writer.write(slab.start, a), memory_bytes=budget)
        writer.finish({"recipe": {}, "scan": {"location": str(path)}})
print(json.dumps({"before": before, "after": peak()}))
"""


@pytest.mark.parametrize("budget", [64 * MIB, 256 * MIB])
def test_the_budget_is_kept(tmp_path: Path, budget: int) -> None:
    path = tmp_path / "large.h5"
    random = np.random.default_rng(0)
    frame = random.integers(20000, 60000, (ROWS, COLUMNS), dtype=np.uint16)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("exchange/data", (ANGLES, ROWS, COLUMNS), np.uint16)
        for index in range(ANGLES):
            data[index] = np.roll(frame, index, axis=1)
        file["exchange/data_white"] = np.full((2, ROWS, COLUMNS), 60000, np.uint16)
        file["exchange/data_dark"] = np.zeros((2, ROWS, COLUMNS), np.uint16)
        file["exchange/theta"] = np.arange(ANGLES) * (180 / ANGLES)
    sinograms, volume = ANGLES * ROWS * COLUMNS * 4, ROWS * COLUMNS * COLUMNS * 4
    assert sinograms + volume > 3 * 256 * MIB
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / "v.h5"), str(budget)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout)
    assert peak["after"] - peak["before"] <= 1.1 * budget, {k: v / MIB for k, v in peak.items()}
