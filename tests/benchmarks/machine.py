"""What the figures were measured on."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import psutil

from tomoservice import __version__
from tomoservice.threads import available_threads

SIMD = ("avx512f", "avx2", "avx", "sse4_2", "asimd", "sve")
PACKAGES = ("numpy", "scipy", "numba", "finufft", "algotom", "astra-toolbox", "h5py", "zarr", "tomopy")


def describe_machine() -> dict[str, str]:
    """Return processor, cores, instruction sets, memory, system and versions, in words."""
    cpu = _cpu_fields()
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    return {
        "processor": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores used": f"{available_threads()} of {psutil.cpu_count()}",
        "instruction sets": ", ".join(name for name in SIMD if name in flags) or "unknown",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {version}" for name, version in _versions().items()),
    }


def _cpu_fields() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _versions() -> dict[str, str]:
    found = {"tomoservice": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
