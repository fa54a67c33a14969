"""This machine: packages, memory, kernels and devices."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

from tomoservice.compiling import PACKAGE, STAMP
from tomoservice.doctor.finding import Finding, ok, warning, wrong
from tomoservice.housekeeping.space import readable_size
from tomoservice.settings import Settings
from tomoservice.threads import available_threads

NEEDED = (
    "tiled",
    "zarr",
    "h5py",
    "numba",
    "finufft",
    "astra-toolbox",
    "bluesky-tiled-plugins",
    "numpy",
    "scipy",
)
LITTLE_MEMORY = 2**30
WAIT_S = 20.0


def check_packages() -> Iterator[Finding]:
    """Look whether everything is installed that a reconstruction needs."""
    found, missing = [], []
    for name in NEEDED:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield wrong(
            "packages", f"not installed: {', '.join(missing)}", f"python -m pip install {' '.join(missing)}"
        )
    else:
        yield ok("packages", ", ".join(found))


def check_memory(settings: Settings) -> Iterator[Finding]:
    """Look at memory and processor."""
    free = psutil.virtual_memory().available
    budget = settings.compute.memory_bytes
    said = f"{readable_size(free)} free, {available_threads()} threads"
    if budget is not None and budget > free:
        yield warning(
            "memory",
            f"{said}; compute.memory_bytes is {readable_size(budget)}",
            "lower compute.memory_bytes, or end what else takes memory",
        )
    elif free < LITTLE_MEMORY:
        yield warning("memory", said, "end what else takes memory: large slices will be refused")
    else:
        yield ok("memory", said)


def check_kernels() -> Iterator[Finding]:
    """Look whether kernels have been compiled and kept."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(named)] if named else [PACKAGE]
    kept = sum(1 for place in places if place.is_dir() for _ in place.rglob(f"*{STAMP}*.nbi"))
    if kept:
        yield ok("kernels", f"{kept} compiled and kept in {places[0]}")
    elif os.access(places[0], os.W_OK):
        yield ok("kernels", "none compiled yet: the first reconstruction takes some ten seconds longer")
    else:
        yield warning(
            "kernels",
            f"{places[0]} cannot be written: every process compiles anew unless Numba finds another folder",
            "let NUMBA_CACHE_DIR name a folder that the user of the service can write",
        )


def check_gpu() -> Iterator[Finding]:
    """Look for NVIDIA devices, and for what uses them."""
    devices = _nvidia_devices()
    if not devices:
        yield ok("GPU", "none: everything is computed by the processor")
        return
    said = ", ".join(devices)
    if find_spec("cupy") is None:
        yield warning("GPU", f"{said}, but no CuPy", "python -m pip install 'tomoservice[gpu]'")
        return
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
        total = float(cupy.arange(3.0).sum())
    except (RuntimeError, ImportError, OSError) as error:
        yield warning(
            "GPU",
            f"{said}, but CuPy cannot use it: {error}",
            "install the CuPy of the driver's CUDA version: tomoservice[gpu-cuda12] or [gpu-cuda13]",
        )
    else:
        yield ok("GPU", f"{said}; CuPy {cupy.__version__} sees {count}, and 0+1+2 is {total:g} there")


def _nvidia_devices() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        told = subprocess.run(
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in told.stdout.splitlines() if line.strip()] if told.returncode == 0 else []
