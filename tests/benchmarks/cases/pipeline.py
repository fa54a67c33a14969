"""The whole way from file to file: do reading, computing and writing overlap, is the memory budget kept?"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.harness import Options, Row, Target, duration
from tests.benchmarks.memory_probe import reconstruct
from tomoservice.errors import RecipeError
from tomoservice.export import VolumeForm, volume_output
from tomoservice.phantom import Imperfections, SimulatedCamera, default_phantom
from tomoservice.pipeline import Plan, Slab, compute, prepare
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan
from tomoservice.sources import open_scan
from tomoservice.threads import available_threads

BYTES_PER_PIXEL = 2
DIFFERENT_ROWS = 16
"""Rows that are simulated; the scan repeats them."""
PIECE = 64 * 2**20
OVERLAP_LIMIT = 1.15
MEMORY_LIMIT = 1.1
MIB = 2**20
STAGES: dict[str, dict[str, Any]] = {
    "without stripes and phase": {},
    "with stripes and phase": {
        "stripes": {"method": "vo_all"},
        "phase": {
            "method": "paganin",
            "material": {"method": "delta_beta", "delta_beta": 100.0},
            "energy_kev": 20.0,
            "distance_mm": 50.0,
            "pixel_size_um": 1.0,
        },
    },
}


@dataclass(frozen=True)
class Round:
    """Seconds of one round."""

    wall: float
    """The whole way."""
    cpu: float
    """Processor time of the whole way, divided by the cores."""
    parts: dict[str, float]
    """Reading, computing and writing, each alone."""

    @property
    def ratio(self) -> float:
        """How many times longer the whole takes than what it could not go below."""
        return self.wall / max(self.cpu, *self.parts.values())


def pipeline(options: Options) -> Iterator[Row]:
    """Time the whole way beside its parts alone, HDF5 in and Zarr out."""
    with options.folder() as folder:
        scan_file = write_scan(folder / "scan.h5", options)
        size = scan_file.stat().st_size / 1e9
        with open_scan(scan_file) as scan:
            held = _held(scan)
        for name, stages in STAGES.items():
            work = f"Whole pipeline, {size:.2g} GB scan, {name}: wall time over the longest part"
            target = Target(OVERLAP_LIMIT, at_least=False)
            try:
                recipe = parse_recipe(_recipe(scan_file, stages))
            except RecipeError as error:
                yield Row(work, target, None, f"the recipe knows no such stage: {error}")
                continue
            rounds = [_round(scan_file, held, folder, recipe) for _ in range(options.rounds + 1)][1:]
            yield Row(work, target, statistics.median(r.ratio for r in rounds), _told(rounds))


def _told(rounds: list[Round]) -> str:
    parts = {name: statistics.median(r.parts[name] for r in rounds) for name in rounds[0].parts}
    parts["processor time / cores"] = statistics.median(r.cpu for r in rounds)
    told = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items())
    return f"wall {duration(statistics.median(r.wall for r in rounds))}; {told}"


def _recipe(scan_file: Path, stages: dict[str, Any]) -> dict[str, Any]:
    with h5py.File(scan_file) as file:
        columns = file["exchange/data"].shape[2]
    return {"rotation_axis": {"method": "value", "value": (columns - 1) / 2}, **stages}


def _round(scan_file: Path, held: TomoScan, folder: Path, recipe: Recipe) -> Round:
    output = folder / "volume.zarr"
    cpu = time.process_time()
    wall = _timed(lambda: reconstruct(scan_file, output, recipe, None))
    cpu = (time.process_time() - cpu) / available_threads()
    shutil.rmtree(output)
    plan = prepare(held, recipe)
    slabs: list[NDArray[np.float32]] = []

    def keep_one(_slab: Slab, slices: NDArray[np.float32]) -> None:
        slabs[:] = slabs or [slices.copy()]

    parts = {
        "reading": _timed(lambda: _read(scan_file)),
        "computing": _timed(lambda: compute(plan, held, on_slab=keep_one)),
        "writing": _timed(lambda: _write(output, plan, slabs[0])),
    }
    return Round(wall, cpu, parts)


def _timed(work: Callable[[], object]) -> float:
    # What earlier work left to be written must not slow this one down.
    os.sync()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _read(scan_file: Path) -> None:
    with open_scan(scan_file) as scan:
        frames = scan.projections
        step = max(PIECE // (BYTES_PER_PIXEL * frames.shape[1] * frames.shape[2]), 1)
        for start in range(0, frames.shape[0], step):
            frames[start : start + step]


def _write(output: Path, plan: Plan, slices: NDArray[np.float32]) -> None:
    form = VolumeForm(plan.shape, plan.chunks, plan.voxel_size_um, plan.units)
    with volume_output(output, form, overwrite=True) as writer:
        for slab in plan.slabs:
            writer.write(slab.start, slices[: slab.stop - slab.start])
        writer.finish({"recipe": plan.resolved.dump()})
    shutil.rmtree(output)


def _held(scan: TomoScan) -> TomoScan:
    """Return the scan with its frames in memory."""
    held = {
        name: ArrayFrames(frames[:])
        for name in ("projections", "flats", "darks")
        if (frames := getattr(scan, name)) is not None
    }
    return TomoScan(angles_deg=scan.angles_deg, origin=ScanOrigin("memory", "scan"), **held)


def write_scan(path: Path, options: Options) -> Path:
    """Write a scan of the wanted size in DXchange's form, one frame a chunk, as area detectors do."""
    angles, columns = (361, 512) if options.quick else (721, 1024)
    rows = max(round(options.scan_gb * 1e9 / (BYTES_PER_PIXEL * angles * columns)), DIFFERENT_ROWS)
    rows -= rows % DIFFERENT_ROWS
    angles_deg = np.arange(angles) * (180 / angles)
    integrals = default_phantom(columns, DIFFERENT_ROWS).line_integrals(angles_deg)
    flaws = Imperfections(noise=0.01, beam_profile=0.2, stripes=0.02)
    camera = SimulatedCamera(DIFFERENT_ROWS, columns, flaws)
    with h5py.File(path, "w") as file:
        form = {"dtype": np.uint16, "chunks": (1, rows, columns)}
        data = file.create_dataset("exchange/data", (angles, rows, columns), **form)
        repeated = (rows // DIFFERENT_ROWS, 1)
        for number, image in enumerate(integrals):
            data[number] = np.tile(camera.projection(image, number), repeated)
        file["exchange/data_white"] = np.stack([np.tile(camera.flat(i), repeated) for i in range(10)])
        file["exchange/data_dark"] = np.stack([np.tile(camera.dark(i), repeated) for i in range(10)])
        file["exchange/theta"] = angles_deg
    return path


def memory(options: Options) -> Iterator[Row]:
    """Measure how far a reconstruction in a process of its own goes above what the libraries take."""
    budgets = (256 * MIB,) if options.quick else (1024 * MIB, 3072 * MIB)
    with options.folder() as folder:
        scan_file = write_scan(folder / "scan.h5", options)
        for name, stages in STAGES.items():
            for budget in budgets:
                work = f"Peak memory as part of a budget of {budget // MIB} MiB, {name}"
                target = Target(MEMORY_LIMIT, at_least=False)
                recipe = _recipe(scan_file, stages)
                try:
                    parse_recipe(recipe)
                except RecipeError as error:
                    yield Row(work, target, None, f"the recipe knows no such stage: {error}")
                    continue
                yield _probe(work, target, (scan_file, folder / "volume.zarr", budget, json.dumps(recipe)))


def _probe(work: str, target: Target, arguments: tuple[object, ...]) -> Row:
    command = [sys.executable, "-m", "tests.benchmarks.memory_probe", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return Row(work, target, None, done.stderr.strip().rpartition("\n")[2])
    told = json.loads(done.stdout)
    taken, budget = told["after"] - told["before"], int(str(arguments[2]))
    return Row(work, target, taken / budget, f"{taken / MIB:.0f} MiB above {told['before'] / MIB:.0f} MiB")
