"""Speed of the Fourier reconstruction on a CUDA device, by the clock: no peer stands beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil

from tests.benchmarks.harness import Options, Row, Target, duration
from tests.benchmarks.scenes import evenly, sinograms
from tomoservice.cuda import Machine
from tomoservice.devices import DeviceChoice, cupy_obstacle
from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.recipe import parse_recipe
from tomoservice.recon import get_reconstructor
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan

ANGLES, COLUMNS, SLICES = 1501, 2048, 2048
QUICK = (361, 512, 64)
DEVICE_TARGET, HOST_TARGET, PREVIEW_TARGET = 2.5, 5.0, 15.0
"""Seconds, seconds, milliseconds; on an H100."""
SHARE = 0.6
"""Part of free memory that data may take; of fewer slices than wanted, the time is scaled up."""
CUDA = DeviceChoice("cuda")


def gpu(options: Options) -> Iterator[Row]:
    """Time volumes whose data are on the device and on the host, and one slice alone."""
    angles, columns, slices = QUICK if options.quick else (ANGLES, COLUMNS, SLICES)
    size = f"{slices} slices {angles} x {columns}"
    there = f"GPU, Fourier FBP, {size}, data on the device"
    through = f"GPU, flat field, logarithm and Fourier FBP, {size}, host (uint16) to host"
    alone = f"GPU, one slice alone, {angles} x {columns}, host to host"
    targets = {
        there: Target(DEVICE_TARGET, at_least=False, unit="s"),
        through: Target(HOST_TARGET, at_least=False, unit="s"),
        alone: Target(PREVIEW_TARGET, at_least=False, unit="ms"),
    }
    obstacle = cupy_obstacle()
    if obstacle is not None:
        for work, target in targets.items():
            yield Row(work, target, None, f"no device: {obstacle.reason}")
        return
    machine = first_machine()
    shape = (slices, angles, columns)
    yield Row(there, targets[there], *_on_device(machine, shape, options.rounds))
    with machine.active():
        machine.release()
    yield Row(through, targets[through], *_through_host(machine, shape, options.rounds))
    yield Row(alone, targets[alone], *_alone(machine, shape, options.rounds))


def first_machine() -> Machine:
    """Return the device that is measured."""
    from tomoservice.cuda.cupy_machine import cupy_machine

    return cupy_machine()


def _median(work: Callable[[], object], rounds: int) -> float:
    """Return the median of the seconds that a work takes; a first call is not counted."""
    work()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def _fitting(slices: int, per_slice: int, free: float) -> int:
    """Return how many slices fit, in whole groups."""
    return max(min(slices, int(SHARE * free / per_slice) // 16 * 16), 16)


def _on_device(machine: Machine, shape: tuple[int, int, int], rounds: int) -> tuple[float, str]:
    slices, angles, columns = shape
    plan = get_reconstructor("fourier", CUDA).plan(evenly(angles), columns)
    with machine.active():
        count = _fitting(slices, 4 * (angles * columns + columns**2), machine.free_bytes())
        data = machine.empty((count, angles, columns), np.float32)
        # Zeros might be quicker than numbers.
        data[...] = machine.to_device(sinograms(16, angles, columns))[machine.xp.arange(count) % 16]
        out = machine.empty((count, columns, columns), np.float32)
        # `execute` returns when all has been done: it looks at what was found on the way.
        seconds = _median(lambda: plan.execute(data, (columns - 1) / 2, out=out), rounds)
    return seconds * slices / count, f"{machine.name}, {count} slices in {duration(seconds)}"


def _through_host(machine: Machine, shape: tuple[int, int, int], rounds: int) -> tuple[float, str]:
    slices, angles, columns = shape
    per_slice = 2 * angles * columns + 4 * columns**2
    count = _fitting(slices, per_slice, psutil.virtual_memory().available)
    rng = np.random.default_rng(0)
    counts = rng.integers(9_000, 30_000, (angles, 1, columns), np.uint16)
    scan = TomoScan(
        projections=ArrayFrames(np.ascontiguousarray(np.broadcast_to(counts, (angles, count, columns)))),
        angles_deg=evenly(angles),
        origin=ScanOrigin("memory", "benchmark"),
        flats=ArrayFrames(np.full((2, count, columns), 40_000, np.uint16)),
        darks=ArrayFrames(np.full((2, count, columns), 100, np.uint16)),
    )
    recipe = parse_recipe({"rotation_axis": {"method": "value", "value": (columns - 1) / 2}})
    plan = prepare(scan, recipe, device=CUDA)

    def forget(_slab: Slab, _slices: np.ndarray[Any, Any]) -> None:
        """Slices are in the host's memory when they are handed over."""

    seconds = _median(lambda: compute(plan, scan, on_slab=forget), rounds)
    return seconds * slices / count, f"{machine.name}, {count} slices in {duration(seconds)}"


def _alone(machine: Machine, shape: tuple[int, int, int], rounds: int) -> tuple[float, str]:
    _, angles, columns = shape
    plan = get_reconstructor("fourier", CUDA).plan(evenly(angles), columns)
    with machine.active():
        data = machine.pinned((1, angles, columns), np.float32)
        out = machine.pinned((1, columns, columns), np.float32)
    data[:] = sinograms(1, angles, columns)
    seconds = _median(lambda: plan.execute(data, (columns - 1) / 2, out=out), 3 * rounds)
    return 1e3 * seconds, f"{machine.name}"
