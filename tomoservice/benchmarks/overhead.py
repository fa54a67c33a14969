"""What the service costs: a whole reconstruction through it, against the engine alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tomoservice.benchmarks.scenes import QUIET, write_scan
from tomoservice.benchmarks.table import Measurement
from tomoservice.client import Tomo, connect
from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.service.running import running_service
from tomoservice.sources import open_scan
from tomoservice.store import SlabStore, remove

SIZE, ANGLES = 512, 600
TARGET = 1.25
LONGEST_S = 600.0
LOOK_S = 0.2


def measure_overhead(
    folder: Path, rounds: int, tell: Callable[[str], None], *, size: int = SIZE, angles: int = ANGLES
) -> list[Measurement]:
    """Measure a reconstruction from queued to done, and the engine from the same file into the same layout.

    Both take turns; what is compiled, imported or connected once is not counted.

    Parameters
    ----------
    folder
        Where the scan and volumes go.
    rounds
        Reconstructions of each kind.
    tell
        Told what is being done.
    size, angles
        Size of the volume (a cube) and number of projections.
    """
    raw = folder / "raw"
    raw.mkdir(parents=True)
    tell("simulating the scan")
    scan = write_scan(raw / "scan.h5", columns=size, rows=size, angles=angles, name="cube")
    tell("starting the service")
    settings = {"service": {"raw_folders": [str(raw)]}, "conductor": {"poll_s": 0.1}, **QUIET}
    with running_service(folder / "data", settings) as service, connect(service.uri, service.api_key) as tomo:
        run = tomo.ingest(scan)
        alone: list[float] = []
        through: list[float] = []
        for number in range(rounds + 1):
            tell(f"round {number} of {rounds}" if number else "a round that is not counted")
            recipe = parse_recipe(
                {"rotation_axis": {"method": "value", "value": (size - 1) / 2 + number / 1000}}
            )
            engine = _engine_alone(scan, recipe, folder / "alone")
            job = _through_service(tomo, run, recipe)
            if number:
                alone.append(engine)
                through.append(job)
    ratio = float(np.median(np.asarray(through) / np.asarray(alone)))
    what = f"{ratio:.2f}x (service {np.median(through):.2f} s, engine alone {np.median(alone):.2f} s)"
    return [Measurement(f"{size} x {size} x {size} from {angles} projections", what, ratio, TARGET, "x")]


def _engine_alone(path: Path, recipe: Recipe, folder: Path) -> float:
    remove(folder)
    began = time.perf_counter()
    with open_scan(path) as scan:
        plan = prepare(scan, recipe)
        store = SlabStore.create(folder, plan.shape, plan.chunks, dtype=plan.dtype)

        def keep(slab: Slab, pixels: np.ndarray) -> None:
            store.commit(slab, pixels)

        compute(plan, scan, on_slab=keep)
    seconds = time.perf_counter() - began
    remove(folder)
    return seconds


def _through_service(tomo: Tomo, run_uid: str, recipe: Recipe) -> float:
    job = tomo.reconstruct(run_uid, recipe).wait(LONGEST_S, show_progress=False)
    # By what the node itself says: to look often would be a large part of what is measured.
    record = job.record.metadata
    deadline = time.monotonic() + LONGEST_S
    while job.record.metadata.wanted_follow_ups:
        # Which nobody waits for, but the engine's turn would be slower meanwhile.
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job.path} has not all that follows after {LONGEST_S:g} s")
        time.sleep(LOOK_S)
    return record.status.time - (record.requested_at or 0.0)
