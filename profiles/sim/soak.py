"""Many short scans, one after the other, through IOC, RunEngine and service: does anything grow?

Everything is real but the X-rays, as in the demonstration. After every scan the memory, threads and open
files of each process are counted, and how long its volume took.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from profiles.session import Session
from profiles.session_options import session_options
from profiles.sim.launch import use_loopback
from tomoservice.benchmarks.growth import Growth, growth
from tomoservice.benchmarks.table import Measurement
from tomoservice.errors import TomoserviceError

MIB: Final = 2**20
VOLUME_S: Final = 180.0
"""Longest time that a volume may take."""
LOOK_S: Final = 0.05
SMALL: Final = {"rows": 8, "columns": 64, "rotation_velocity": 720.0, "sample_velocity": 500.0}
"""What is scanned: that it is quick leaves more scans for the time."""
ROLES: Final = (
    ("profiles.sim.ioc", "beamline's IOC"),
    ("profiles.status", "status IOC"),
    ("tomoservice.conductor", "conductor"),
    ("tomoservice.live", "live process"),
    ("tomoservice.compute", "workers"),
    ("dask", "workers"),
    ("spawn_main", "workers"),
    ("tomoservice.service", "server"),
)
"""What the command line of a process says of it, the first that fits."""
ALLOWED: Final = {"memory": 4.0, "threads": 0.5, "files": 0.5}
"""Growth per hundred scans that is let pass: MiB, threads, open files."""
ALLOWED_LATENCY: Final = 0.1
"""Part of the median."""
UNITS: Final = {"memory": " MiB", "threads": "", "files": ""}

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """What was counted after a scan."""

    counts: dict[tuple[str, str], float]
    """By process and quantity."""
    scan_s: float
    latency_s: float
    """From the end of the scan until the status PVs show that its volume is done."""


def soak(
    folder: Path, scans: int, tell: Tell, *, seconds: float | None = None, table: Path | None = None
) -> list[Measurement]:
    """Run scans, and return a table that says what has grown.

    Parameters
    ----------
    folder
        For raw files and volumes.
    scans
        How many.
    tell
        Told about the progress.
    seconds
        Begin no scan after so long.
    table
        CSV file with a line for each scan, so that one can look at what grows.

    Raises
    ------
    BeamlineError
        The simulated beamline does not start.
    TomoserviceError
        A volume does not come, or there were too few scans to tell.
    """
    use_loopback()
    with ExitStack() as stack:
        options = session_options(sim=True, data=folder, window=False, recipe=str(_recipe(folder)))
        session = Session(options, SMALL)
        stack.callback(session.close)
        session.start()
        tell("the service starts")
        samples: list[Sample] = []
        for sample in _run(session, scans, tell, seconds):
            samples.append(sample)
            if table is not None:
                table.write_text(as_table(samples), encoding="utf-8")
    try:
        return report(samples)
    except ValueError as error:
        raise TomoserviceError(f"{len(samples)} scans say nothing: {error}; let more run") from error


def as_table(samples: Sequence[Sample]) -> str:
    """Return samples as comma-separated values, a line each; what a process had not begun yet counts as 0."""
    columns = sorted({each for sample in samples for each in sample.counts})
    names = [f"{role} {quantity}" for role, quantity in columns]
    lines = [",".join(["scan s", "volume s", *names])]
    for sample in samples:
        values = [sample.scan_s, sample.latency_s, *(sample.counts.get(each, 0.0) for each in columns)]
        lines.append(",".join(f"{value:.3f}" for value in values))
    return "\n".join([*lines, ""])


def _recipe(folder: Path) -> Path:
    # So short a scan says nothing about its axis.
    path = folder / "soak.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("rotation_axis: {method: value, value: 31.5}\n", encoding="utf-8")
    return path


def _run(session: Session, scans: int, tell: Tell, seconds: float | None) -> Iterator[Sample]:
    step, fly = session.plan("tomo_scan"), session.plan("tomo_fly")
    shown = session.tomo_status
    shown.wait_for_connection(timeout=60)
    _wait(lambda: shown.server_running.get() == "Running", "the service does not start")
    until = None if seconds is None else time.monotonic() + seconds
    for number in range(scans):
        if until is not None and time.monotonic() > until:
            tell(f"{number} scans in {seconds:g} s")
            return
        began = time.monotonic()
        plan = (fly, step)[number % 2](8, num_flats=1, num_darks=1)
        (uid,) = session.RE(plan)
        ended = time.monotonic()
        _wait(partial(_has_volume, shown, uid), f"scan {number + 1} has no volume: run {uid}")
        latency = time.monotonic() - ended
        yield Sample(count_processes(), ended - began, latency)
        if (number + 1) % 10 == 0:
            tell(f"{number + 1} of {scans} scans, the last took {ended - began:.1f} s and {latency:.1f} s")


def _has_volume(shown: Any, uid: str) -> bool:
    return f"/{uid}/" in str(shown.last_recon_path.get())


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + VOLUME_S
    while not condition():
        if time.monotonic() > deadline:
            raise TomoserviceError(f"{otherwise} (waited {VOLUME_S:g} s)")
        time.sleep(LOOK_S)


def count_processes() -> dict[tuple[str, str], float]:
    """Return memory (MiB of their own), threads and open files of this process and those below it."""
    # What only awaits collection is no leak.
    gc.collect()
    own = psutil.Process()
    counts: dict[tuple[str, str], float] = defaultdict(float)
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            role = "session" if process == own else _role(process.cmdline())
            with process.oneshot():
                counts[role, "memory"] += process.memory_full_info().uss / MIB
                counts[role, "threads"] += process.num_threads()
                counts[role, "files"] += process.num_fds()
    return dict(counts)


def _role(command: Sequence[str]) -> str:
    text = " ".join(command)
    return next((role for mark, role in ROLES if mark in text), "others")


def report(samples: Sequence[Sample]) -> list[Measurement]:
    """Return a row for each quantity, with its verdict.

    Raises
    ------
    ValueError
        There are too few scans to tell.
    """
    known = sorted({key for sample in samples for key in sample.counts})
    rows = [
        _row(f"{role}: {quantity}", found, ALLOWED[quantity], UNITS[quantity])
        for role, quantity in known
        for found in [growth([sample.counts.get((role, quantity), 0.0) for sample in samples])]
    ]
    for name, values in (
        ("scan", [sample.scan_s for sample in samples]),
        ("from its end to its volume", [sample.latency_s for sample in samples]),
    ):
        found = growth(values)
        rows.append(_row(name, found, ALLOWED_LATENCY * max(found.start, found.end), " s"))
    return rows


def _row(work: str, found: Growth, allowed: float, unit: str) -> Measurement:
    digits = 2 if unit == " s" else 1
    measured = (
        f"{found.start:.{digits}f} -> {found.end:.{digits}f}{unit}, "
        f"{found.per_hundred:+.2f}{unit} per 100 scans ({found.low:+.2f} to {found.high:+.2f})"
    )
    return Measurement(work, measured, found.low, round(allowed, 2), f"{unit} per 100", most=found.high)
