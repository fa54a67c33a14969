"""A reconstruction in a process of its own that tells how much memory it took.

`python -m tests.benchmarks.memory_probe SCAN OUTPUT BUDGET RECIPE` prints JSON: bytes before and after.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomoservice.export import VolumeForm, volume_output
from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.sources import open_scan


def peak() -> int:
    """Return the most bytes that the process has held so far."""
    # What `resource` tells begins with what the parent held when it started this process.
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reconstruct(scan_file: Path, output: Path, recipe: Recipe, budget: int | None) -> None:
    """Reconstruct from file to file, as the command line does."""
    with open_scan(scan_file) as scan:
        plan = prepare(scan, recipe, memory_bytes=budget)
        form = VolumeForm(plan.shape, plan.chunks, plan.voxel_size_um, plan.units)
        with volume_output(output, form, overwrite=True) as writer:

            def keep(slab: Slab, slices: NDArray[np.float32]) -> None:
                writer.write(slab.start, slices)

            compute(plan, scan, on_slab=keep, memory_bytes=budget)
            writer.finish({"recipe": plan.resolved.dump(), "scan": {"location": str(scan_file)}})


def main() -> None:
    """Measure a small part first: what the libraries take, whatever the size of the scan."""
    scan_file, output, budget = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    recipe = parse_recipe(json.loads(sys.argv[4]))
    small = recipe.changed(frames={"rows": {"stop": 4}, "angles": {"step": 4}})
    reconstruct(scan_file, output, small, budget)
    before = peak()
    reconstruct(scan_file, output, recipe, budget)
    sys.stdout.write(json.dumps({"before": before, "after": peak()}))


if __name__ == "__main__":
    main()
