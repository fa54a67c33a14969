"""Folders: there, writable, with room, quick."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tomoservice.doctor.finding import Finding, ok, warning, wrong
from tomoservice.housekeeping.space import free_bytes, readable_size
from tomoservice.settings import Settings

PROBE_BYTES = 32 * 2**20
SLOW_BYTES_PER_S = 50e6
"""A reconstruction writes faster than this, so storage would hold it up."""
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs")


def check_storage(settings: Settings) -> Iterator[Finding]:
    """Look at the data folder and the folder of volumes."""
    for subject, folder in (("data folder", settings.data_folder), ("volumes", settings.volumes_folder)):
        yield from _check_folder(subject, folder, settings.housekeeping.reserve_bytes)
    kind = _file_system(settings.data_folder)
    if settings.service.database is None and kind in NETWORK:
        yield warning(
            "data folder",
            f"{settings.data_folder} is on {kind}, which may break the locks of the catalogue's SQLite file",
            "put the data folder on a local disk and only volumes on the network, or use service.database",
        )


def _check_folder(subject: str, folder: Path, reserve_bytes: int) -> Iterator[Finding]:
    place = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        speed = _write_speed(place)
    except OSError as error:
        yield wrong(
            subject,
            f"{place} cannot be written: {error}",
            "give it to the user of the service, or choose another by the settings data and volumes",
        )
        return
    free = free_bytes(folder)
    said = f"{folder}: {readable_size(free)} free, writes {speed / 1e6:.0f} MB/s"
    if folder != place:
        said += "; does not exist yet, and will be made"
    if free < reserve_bytes:
        yield wrong(
            subject,
            f"{said}; {readable_size(reserve_bytes)} have to stay free",
            "delete reconstructions and run `tomoservice gc --age 0`, or choose another disk",
        )
    elif speed < SLOW_BYTES_PER_S:
        yield warning(
            subject, said, "reconstructions will wait for this disk; choose a quicker one for volumes"
        )
    else:
        yield ok(subject, said)


def _write_speed(folder: Path) -> float:
    """Return how many bytes reach the disk in a second."""
    block = os.urandom(2**20)
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(PROBE_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return PROBE_BYTES / (time.perf_counter() - began)


def _file_system(folder: Path) -> str:
    """Return the kind of file system that a folder is on."""
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    return str(max(mounts, key=lambda part: len(part.mountpoint)).fstype) if mounts else ""


def check_raw_folders(settings: Settings) -> Iterator[Finding]:
    """Look at the folders with raw files."""
    for folder in settings.service.raw_folders:
        path = folder.expanduser().resolve()
        if os.access(path, os.R_OK | os.X_OK):
            yield ok("raw folder", f"{path} can be read")
        else:
            yield warning(
                "raw folder",
                f"{path} cannot be read from here",
                "mount it, give the user of the service the right to read it, or take it out of "
                "service.raw_folders; until then its files are read through the service",
            )
