"""How long somebody waits who turns knobs: alone, and while a batch keeps all workers busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tomoservice.benchmarks.scenes import QUIET, write_scan
from tomoservice.benchmarks.table import Measurement
from tomoservice.client import Job, Tomo, connect
from tomoservice.errors import ServiceUnavailableError
from tomoservice.service.running import RunningService, running_service

COLUMNS, ANGLES = 1024, 721
ROWS, BATCH_ROWS = 32, 128
AXIS = (COLUMNS - 1) / 2
AXIS_TARGET_MS = 150.0
SLAB_ROWS = 16
PHASE = {
    "method": "paganin",
    "energy_kev": 20.0,
    "distance_mm": 100.0,
    "pixel_size_um": 1.0,
    "material": {"method": "delta_beta", "delta_beta": 100.0},
}


def measure_interactive(
    folder: Path, rounds: int, tell: Callable[[str], None], *, columns: int = COLUMNS, angles: int = ANGLES
) -> list[Measurement]:
    """Measure previews of one slice over HTTP, each from the request to the last byte of its pixels.

    Parameters
    ----------
    folder
        Where scans and volumes go.
    rounds
        Changes of each kind.
    tell
        Told what is being done.
    columns, angles
        Size of the slice and of its sinogram.
    """
    raw = folder / "raw"
    raw.mkdir(parents=True)
    tell("simulating two scans")
    small = write_scan(raw / "small.h5", columns=columns, rows=ROWS, angles=angles, name="small")
    large = write_scan(raw / "large.h5", columns=columns, rows=BATCH_ROWS, angles=angles, name="large")
    tell("starting the service")
    settings = {"service": {"raw_folders": [str(raw)]}, "conductor": {"poll_s": 0.2}, **QUIET}
    with running_service(folder / "data", settings) as service, connect(service.uri, service.api_key) as tomo:
        run, batch = tomo.ingest(small), tomo.ingest(large)
        with knobs_of(service, run, (columns - 1) / 2) as knobs:
            tell("first previews")
            first = knobs.until_ready()
            idle = {name: _times(change, rounds) for name, change in knobs.changes.items()}
            tell("the same while a batch keeps the workers busy")
            with _busy(tomo, batch, (columns - 1) / 2) as slab_s:
                loaded = {name: _times(change, rounds) for name, change in knobs.changes.items()}
    return list(_rows(first, idle, loaded, slab_s))


class Knobs:
    """One slice, and the changes that somebody makes."""

    def __init__(self, client: httpx.Client, axis: float) -> None:
        self._client = client
        self._axis = axis
        self._count = 0
        self.changes: dict[str, Callable[[], float]] = {
            "rotation axis": self._move_axis,
            "filter": self._change_filter,
            "delta/beta": self._change_phase,
        }

    def until_ready(self) -> float:
        """Return the seconds of the first preview, once somebody computes at all."""
        deadline = time.monotonic() + 120
        while True:
            try:
                seconds = self._ask({})
            except ServiceUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                # What comes first is not counted for the changes.
                for change in self.changes.values():
                    change()
                return seconds

    def _move_axis(self) -> float:
        return self._ask({}, axis=self._axis + self._next() * 0.25)

    def _change_filter(self) -> float:
        cutoff = 0.5 + 0.4 * (self._next() % 97) / 97
        return self._ask({"reconstruction": {"method": "fourier", "filter": "hann", "filter_cutoff": cutoff}})

    def _change_phase(self) -> float:
        material = {"method": "delta_beta", "delta_beta": 50.0 + self._next()}
        return self._ask({"phase": {**PHASE, "material": material}})

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _ask(self, stages: dict[str, Any], axis: float | None = None) -> float:
        recipe = {"rotation_axis": {"method": "value", "value": axis or self._axis}, **stages}
        began = time.perf_counter()
        answer = self._client.post("preview", json={"recipe": recipe, "number": ROWS // 2})
        seconds = time.perf_counter() - began
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise ServiceUnavailableError(answer.text)
        answer.raise_for_status()
        return seconds


@contextmanager
def knobs_of(service: RunningService, run_uid: str, axis: float) -> Iterator[Knobs]:
    """Give the knobs of one slice of a run, in the middle of its rows."""
    with httpx.Client(
        base_url=f"{service.uri}/api/v1/tomo/scans/{run_uid}/",
        headers={"Authorization": f"Apikey {service.api_key}", "Accept-Encoding": "identity"},
        timeout=120,
    ) as client:
        yield Knobs(client, axis)


@contextmanager
def _busy(tomo: Tomo, run_uid: str, axis: float) -> Iterator[list[float]]:
    """Keep all workers busy; what is yielded holds the seconds of a piece of work at the end."""
    pieces: list[float] = []
    jobs: list[Job] = []

    def more(number: int) -> None:
        recipe = {
            "rotation_axis": {"method": "value", "value": axis + number / 100},
            "stripes": {"method": "vo_all"},
        }
        jobs.append(tomo.reconstruct(run_uid, recipe))

    for number in range(8):
        more(number)
    deadline = time.monotonic() + 60
    while not any(job.progress.get("slabs_done", 0) for job in jobs):
        if time.monotonic() > deadline:
            raise ServiceUnavailableError("the batch does not begin")
        time.sleep(0.1)
    try:
        yield pieces
    finally:
        for job in jobs:
            timings = (job.node.refresh().metadata.get("provenance") or {}).get("timings_s", {})
            if timings:
                slabs = job.progress.get("slabs_total", 1)
                pieces.append(sum(timings.values()) / max(slabs, 1))
            if job.state.value in ("queued", "running"):
                job.cancel()


def _times(change: Callable[[], float], rounds: int) -> list[float]:
    return [change() for _ in range(rounds)]


def _rows(
    first: float, idle: dict[str, list[float]], loaded: dict[str, list[float]], pieces: list[float]
) -> Iterator[Measurement]:
    yield Measurement("First preview of a scan: opened, flats looked at, rows read", f"{first * 1e3:.0f} ms")
    for name, times in idle.items():
        median = float(np.median(times)) * 1e3
        target = AXIS_TARGET_MS if name == "rotation axis" else None
        yield Measurement(f"Change of {name}, idle", summary_of(times), median, target, " ms")
    slab = 1e3 * float(np.median(pieces)) if pieces else None
    for name, times in loaded.items():
        median = float(np.median(times)) * 1e3
        wait = median - float(np.median(idle[name])) * 1e3
        what = f"{summary_of(times)}; {wait:.0f} ms more than idle"
        yield Measurement(f"Change of {name}, under a batch", what)
    if slab is None:
        return
    yield Measurement("A slab of that batch, all its stages", f"{slab:.0f} ms")
    for name, times in loaded.items():
        late = 1e3 * float(np.percentile(times, 95) - np.median(idle[name]))
        what = f"{late:.0f} ms, of {slab:.0f} ms"
        yield Measurement(f"Change of {name}, 95 %: more than idle, of a slab", what, late / slab, 1.0, "x")


def summary_of(times: list[float]) -> str:
    """Return the median and the 95th percentile of some seconds, in words."""
    median, late = np.percentile(np.asarray(times) * 1e3, [50, 95])
    return f"median {median:.0f} ms, 95 % within {late:.0f} ms"
