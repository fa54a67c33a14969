"""A scan larger than the memory that a reconstruction may take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tomoservice.errors import MemoryBudgetError
from tomoservice.pipeline.memory import Problem, plan_memory
from tomoservice.recon.base import RowsAlone

MIB = 2**20

SCRIPT = """
import json, re, sys
from pathlib import Path
import numpy as np
from tomoservice.export import VolumeForm, volume_output
from tomoservice.pipeline import compute, prepare
from tomoservice.recipe import parse_recipe
from tomoservice.sources import open_scan

def peak():
    # Not ru_maxrss, which a child takes over from its parent.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024

path, output, budget = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
recipe = json.loads(sys.argv[4])
with open_scan(path) as scan:
    # What the libraries take, whatever the size of the scan.
    small = {"rows": {"stop": 4}, "columns": {"start": 64, "stop": 192}, "angles": {"stop": 100}}
    known = {"rotation_axis": {"method": "value", "value": 127.5}}
    few = parse_recipe({**recipe, **known, "frames": small})
    plan = prepare(scan, few)
    compute(plan, scan, on_slab=lambda *_: None, memory_bytes=budget)
    before = peak()
    plan = prepare(scan, parse_recipe(recipe), memory_bytes=budget)
    form = VolumeForm.of(plan)
    with volume_output(output, form) as writer:
        compute(plan, scan, on_slab=lambda slab, a: writer.write(slab.start, a), memory_bytes=budget)
        writer.finish({"recipe": {}, "scan": {"location": str(path)}})
print(json.dumps({"before": before, "after": peak()}))
"""


def write_scan(path: Path, angles: int, rows: int, columns: int, flats: int = 2) -> None:
    random = np.random.default_rng(0)
    frame = random.integers(20000, 60000, (rows, columns), dtype=np.uint16)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("exchange/data", (angles, rows, columns), np.uint16)
        for index in range(angles):
            data[index] = np.roll(frame, index, axis=1)
        file["exchange/data_white"] = np.full((flats, rows, columns), 60000, np.uint16)
        file["exchange/data_dark"] = np.zeros((flats, rows, columns), np.uint16)
        file["exchange/theta"] = np.arange(angles) * (180 / angles)


@pytest.mark.parametrize(
    ("shape", "recipe", "budget"),
    [
        # Many rows, far more than fit at once.
        ((240, 1600, 256), {"rotation_axis": {"method": "value", "value": 127.5}}, 64 * MIB),
        ((240, 1600, 256), {"rotation_axis": {"method": "value", "value": 127.5}}, 256 * MIB),
        # Wide slices, of which not even a slab fits together with its sinograms.
        ((100, 24, 1024), {"rotation_axis": {"method": "value", "value": 511.5}}, 400 * MIB),
        # Blocks with margins, and what stripe removal needs beside them.
        (
            (240, 800, 256),
            {
                "rotation_axis": {"method": "value", "value": 127.5},
                "stripes": {"method": "vo_all"},
                "phase": {
                    "method": "paganin",
                    "material": {"method": "delta_beta", "delta_beta": 100},
                    "energy_kev": 20,
                    "distance_mm": 10,
                    "pixel_size_um": 1,
                },
            },
            192 * MIB,
        ),
        # A search for the axis in long sinograms.
        ((1500, 8, 768), {"rotation_axis": {"method": "auto"}}, 400 * MIB),
        # Flats and darks that are together larger than the budget, of rows that are looked at together.
        ((120, 400, 768, 200), {"rotation_axis": {"method": "auto"}}, 300 * MIB),
    ],
)
def test_the_budget_is_kept(
    tmp_path: Path, shape: tuple[int, ...], recipe: dict[str, object], budget: int
) -> None:
    path = tmp_path / "large.h5"
    write_scan(path, *shape)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / "v.h5"), str(budget), json.dumps(recipe)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout)
    assert peak["after"] - peak["before"] <= 1.1 * budget, {k: v / MIB for k, v in peak.items()}


def test_what_a_method_copies_counts() -> None:
    class Copying(RowsAlone):
        name, row_group = "copying", 2

        def __init__(self, copies: int) -> None:
            self._copies = copies

        def memory_per_row(self, angles: int, columns: int, size: int | None = None) -> int:
            return self._copies * 4 * angles * columns

        def memory_fixed(self, angles: int, columns: int, threads: int, size: int | None = None) -> int:
            return MIB

        def plan(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    problem = Problem(slices=4000, angles=500, width=256, size=256, depth=8)
    budget = 200 * MIB
    rows = [plan_memory(Copying(copies), problem, budget).rows for copies in (0, 2, 8)]
    # Two blocks of sinograms are held, and what the method copies of one.
    assert rows[1] == pytest.approx(rows[0] / 2, rel=0.1)
    assert rows[2] == pytest.approx(rows[0] / 5, rel=0.1)
    with pytest.raises(MemoryBudgetError, match="raise the budget"):
        plan_memory(Copying(1000), problem, budget)
