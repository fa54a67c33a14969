"""Three ways from the last frame to a volume: do they agree, and how long does each take?

Refine, save, batch: find the axis, sweep around it, accept the best, reconstruct by the name it was saved by.
Parameters from elsewhere: reconstruct by a recipe file. Direct: from file to file, no batch and no database.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.benchmarks.scenes import QUIET, write_scan
from tomoservice.benchmarks.table import Measurement
from tomoservice.client import Job, Scan, Tomo, connect
from tomoservice.errors import OutputError
from tomoservice.recipe import Recipe
from tomoservice.service.running import running_service

SIZE, ANGLES = 512, 600
REFINED = "refined"
REACH, STEP = 1.0, 0.25
"""Columns to either side of the axis that was found, and between two that are compared."""
SLICES = 32
"""That are compared at a time."""
LONGEST_S = 3600.0


@dataclass
class Way:
    """One way from the last frame to a volume."""

    name: str
    """What is done."""
    volume: Any = None
    """Array (z, y, x) at the end."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each step took, in order; the first begins with the last frame."""

    @property
    def total(self) -> float:
        """Seconds from the last frame to the volume."""
        return sum(self.seconds.values())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step."""
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began

    def describe(self) -> str:
        """Return how long it took, in words."""
        steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.seconds.items())
        return f"{self.total:.1f} s ({steps})"


def go_three_ways(tomo: Tomo, scans: tuple[Path, Path, Path], folder: Path) -> tuple[Way, Way, Way]:
    """Make the same volume in three ways, each from a scan file of its own that holds the same frames.

    Parameters
    ----------
    tomo : Tomo
        The service.
    scans : (Path, Path, Path)
        Scan files, where the service reads them; the first two are not published yet.
    folder : Path
        Where the recipe file and the volume of the third way go.
    """
    refined, recipe = _refine_and_batch(tomo, scans[0])
    file = folder / "recipe.yml"
    file.write_text(recipe.to_yaml(), "utf-8")
    return refined, _batch_by_file(tomo, scans[1], file), _direct(scans[2], file, folder / "direct.zarr")


def _refine_and_batch(tomo: Tomo, path: Path) -> tuple[Way, Recipe]:
    way = Way("Refine, save, batch")
    with way.step("published"):
        scan = tomo.scans[tomo.ingest(path)]
    with way.step("axis found"):
        axis = scan.find_axis()
    with way.step("axes compared"):
        near = round(axis.value / STEP) * STEP
        sweep = scan.sweep("rotation_axis", near - REACH, near + REACH, STEP)
        scores = sweep.scores
        best = None if scores is None else scores.best
    with way.step("saved"):
        # Where the scores say nothing, the middle one is what was found.
        saved = sweep.accept(len(sweep) // 2 if best is None else best, REFINED)
    with way.step("batch"):
        way.volume = _batch(tomo, scan, REFINED).volume
    return way, saved.recipe


def _batch_by_file(tomo: Tomo, path: Path, recipe: Path) -> Way:
    way = Way("Parameters from a file, batch")
    with way.step("published"):
        scan = tomo.scans[tomo.ingest(path)]
    with way.step("batch"):
        way.volume = _batch(tomo, scan, recipe).volume
    return way


def _batch(tomo: Tomo, scan: Scan, recipe: Path | str) -> Job:
    batch = tomo.batch([scan], recipe)
    batch.wait(LONGEST_S, show_progress=False)
    return batch.job(1).wait(LONGEST_S, show_progress=False)


def _direct(path: Path, recipe: Path, output: Path) -> Way:
    import zarr

    way = Way("Direct, without batch and database")
    with way.step("reconstructed"):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tomoservice", "reconstruct", str(path)),
                *("--recipe", str(recipe), "--output", str(output)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise OutputError(f"{output} cannot be made: {done.stderr.strip()}")
    way.volume = zarr.open_array(output, mode="r")
    return way


def count_different(ways: tuple[Way, ...]) -> int:
    """Return how many voxels are not the same, bit for bit, in all volumes.

    Raises
    ------
    OutputError
        The volumes differ in shape or type.
    """
    forms = {(tuple(way.volume.shape), str(way.volume.dtype)) for way in ways}
    if len(forms) > 1:
        raise OutputError(f"the volumes differ in shape or type: {sorted(forms)}")
    different = 0
    for start in range(0, ways[0].volume.shape[0], SLICES):
        first, *others = (_bits(way.volume[start : start + SLICES]) for way in ways)
        different += int(np.count_nonzero(np.any([first != other for other in others], axis=0)))
    return different


def _bits(voxels: Any) -> NDArray[np.uint32]:
    return np.ascontiguousarray(voxels, np.float32).view(np.uint32)


def measure_ways(
    folder: Path, tell: Callable[[str], None], *, size: int = SIZE, angles: int = ANGLES
) -> list[Measurement]:
    """Measure all three ways with a service of their own, whose workers are warm.

    Parameters
    ----------
    folder
        Where scans and volumes go.
    tell
        Told what is being done.
    size, angles
        Size of the volume (a cube) and number of projections.
    """
    raw = folder / "raw"
    raw.mkdir(parents=True)
    tell("simulating the scans")
    first, second, third, other = (
        write_scan(raw / f"{name}.h5", columns=size, rows=size, angles=angles, name=name)
        for name in ("refined", "from-file", "direct", "other")
    )
    tell("starting the service")
    settings = {"service": {"raw_folders": [str(raw)]}, "conductor": {"poll_s": 0.1}, **QUIET}
    with running_service(folder / "data", settings) as service, connect(service.uri, service.api_key) as tomo:
        tell("another scan, which is not counted")
        warm = tomo.scans[tomo.ingest(other)]
        warm.find_axis()
        warm.reconstruct(rotation_axis=(size - 1) / 2).wait(show_progress=False)
        tell("three ways")
        ways = go_three_ways(tomo, (first, second, third), folder)
        different = count_different(ways)
    rows = [
        Measurement(f"{way.name}: {size} x {size} x {size} from {angles}", way.describe()) for way in ways
    ]
    equal = f"{different} of {size**3}"
    return [*rows, Measurement("Voxels that are not the same in all three", equal, float(different), 0.0)]
