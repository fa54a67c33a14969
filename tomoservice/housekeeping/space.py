"""Room on the disk of the volumes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tomoservice.errors import OutputError

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def readable_size(size: float) -> str:
    """Return a number of bytes as people write it."""
    power = 0
    while abs(size) >= 1024 and power < len(UNITS) - 1:
        size /= 1024
        power += 1
    return f"{size:.4g} {UNITS[power]}"


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder, which need not exist yet."""
    place = folder
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def check_space(folder: Path, needed_bytes: int, reserve_bytes: int) -> None:
    """Refuse to begin what does not fit on the disk.

    Parameters
    ----------
    folder : Path
        Where it goes.
    needed_bytes : int
        What it takes at most.
    reserve_bytes : int
        What has to stay free.

    Raises
    ------
    OutputError
        With all numbers.
    """
    free = free_bytes(folder)
    if free - needed_bytes < reserve_bytes:
        raise OutputError(
            f"not enough room for {folder}: it takes up to {readable_size(needed_bytes)}, "
            f"{readable_size(free)} are free and {readable_size(reserve_bytes)} have to stay so "
            "(housekeeping.reserve_bytes); delete reconstructions and run `tomoservice gc --age 0`, "
            "or crop the volume, and queue it again"
        )
