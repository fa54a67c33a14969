"""How a volume was made: the record that goes with every result, in a file or in Tiled."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tomoservice.devices import CPU, DeviceChoice
from tomoservice.errors import CancelledError, InputError
from tomoservice.threads import available_threads

if TYPE_CHECKING:
    from tomoservice.pipeline.plan import Plan
    from tomoservice.scan import TomoScan, UnseenFrames

CUPY = ("cupy-cuda12x", "cupy-cuda13x", "cupy")
PACKAGES = ("tomoservice", "numpy", "scipy", "finufft", "astra-toolbox", *CUPY, "h5py", "zarr", "tiled")
"""Packages whose version may change a result or its form."""
BLOCK_BYTES = 8 * 2**20
FINGERPRINTS = 1000
"""How many files are remembered."""
RACY_S = 2.0
"""How long ago a file must have been changed for its times to tell it from what it may become."""


def make_record(
    plan: Plan, scan: TomoScan, *, started: datetime, timings_s: Mapping[str, float]
) -> dict[str, Any]:
    """Return the record of a finished reconstruction as plain JSON types.

    Parameters
    ----------
    plan
        What was computed.
    scan
        What it was computed from.
    started
        When, with time zone.
    timings_s
        Seconds per stage.
    """
    return {
        "recipe": plan.resolved.dump(),
        "recipe_asked": plan.recipe.dump(),
        "recipe_hash": plan.recipe.hash,
        "geometry": plan.geometry,
        "rotation_axis": describe_axis(plan),
        "scan": describe_origin(scan),
        "notes": list(plan.notes),
        "software": software_versions(),
        "machine": machine(plan.device),
        "started": started.isoformat(),
        "finished": datetime.now(UTC).isoformat(),
        "timings_s": dict(timings_s),
    }


def describe_axis(plan: Plan) -> dict[str, Any]:
    """Return the rotation axis and how far it can be trusted."""
    if plan.axis is None:
        return {"value": plan.rotation_axis, "method": "value"}
    return {
        "value": plan.axis.rotation_axis,
        "method": plan.axis.method,
        "confidence": plan.axis.confidence,
        "at_window_edge": plan.axis.at_window_edge,
        "note": plan.axis.note,
    }


def describe_origin(scan: TomoScan) -> dict[str, Any]:
    """Return where the scan came from and what it says of itself."""
    return {
        "kind": scan.origin.kind,
        "location": scan.origin.location,
        "datasets": dict(scan.origin.datasets),
        "run_uid": scan.origin.run_uid,
        **({"references": dict(scan.origin.references)} if scan.origin.references else {}),
        "files": list(scan.origin.files),
        **({"unseen": [_unseen(frames) for frames in scan.origin.unseen]} if scan.origin.unseen else {}),
        "shape": list(scan.shape),
        "sample_name": scan.sample_name,
        "energy_kev": scan.energy_kev,
        "pixel_size_um": scan.pixel_size_um,
        "distance_mm": scan.distance_mm,
        **(
            {"companions": {name: describe_origin(other) for name, other in scan.companions.items()}}
            if scan.companions
            else {}
        ),
        **({"volumes": _volumes(scan)} if scan.volumes else {}),
    }


def _unseen(frames: UnseenFrames) -> dict[str, Any]:
    """Return which frames came through Tiled, as plain JSON types."""
    return {
        "name": frames.name,
        "files": list(frames.files),
        "dataset": frames.dataset,
        "recorded": [dict(file) for file in frames.recorded],
    }


def _volumes(scan: TomoScan) -> dict[str, dict[str, str | None]]:
    """Return which earlier volumes were opened with a scan, by the names that the recipe gives them."""
    return {
        name: {"location": volume.location, "checksum": volume.checksum}
        for name, volume in scan.volumes.items()
    }


def software_versions() -> dict[str, str]:
    """Return the version of every package that may change a result."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def machine(device: DeviceChoice = CPU) -> dict[str, Any]:
    """Return the host, what computed the slices, its processor and how many threads were used."""
    # All back ends come with it, and most of what imports this wants none.
    from tomoservice.recon import describe

    return {
        "host": platform.node(),
        "device": describe(device) or _processor(),
        "processor": _processor(),
        "architecture": platform.machine(),
        "threads": available_threads(),
    }


FileState = tuple[str, int, int]
"""Path, size in bytes, and time of the last change in nanoseconds."""


def file_states(files: Sequence[str]) -> list[FileState]:
    """Return what tells whether a file has changed, for each that is there."""
    found = []
    for name in files:
        with suppress(OSError):
            state = Path(name).stat()
            found.append((name, state.st_size, state.st_mtime_ns))
    return found


def check_unchanged(before: Sequence[FileState]) -> None:
    """Refuse files that somebody has changed since `file_states`: what was read of them is of both.

    A file that was replaced or removed is none of them: it stays readable to whoever has it open.

    Raises
    ------
    InputError
        If a file has another size, or was written.
    """
    now = {state[0]: state for state in file_states([name for name, _, _ in before])}
    for name, size, modified in before:
        state = now.get(name, (name, size, modified))
        if state != (name, size, modified):
            raise InputError(
                name,
                f"has been changed while it was read: from {size} to {state[1]} bytes",
                hint="Reconstruct again once nobody writes to it any longer",
            )


def fingerprint(files: Sequence[str], cancelled: Callable[[], bool] | None = None) -> list[dict[str, Any]]:
    """Return size, time of last change and SHA-256 of each file.

    Raises
    ------
    InputError
        If a file cannot be read.
    CancelledError
        If `cancelled` said so.
    """
    return [_fingerprint(Path(name), cancelled) for name in files]


class Fingerprints:
    """Fingerprints of files that were read before, as long as these are as they were; for several threads.

    Reconstructions of the same scan come one after the other while somebody refines them, and a checksum
    takes about as long as reading the file does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Identity, dict[str, Any]] = OrderedDict()

    def of(self, files: Sequence[str], cancelled: Callable[[], bool] | None = None) -> list[dict[str, Any]]:
        """Return what `fingerprint` does, and raise what it does; only files that are not known are read."""
        return [self._of(Path(name), cancelled) for name in files]

    def _of(self, path: Path, cancelled: Callable[[], bool] | None) -> dict[str, Any]:
        before, looked = _identity(path), time.time()
        with self._lock:
            known = None if before is None else self._kept.get(before)
        if known is not None:
            return dict(known)
        found = _fingerprint(path, cancelled)
        # One that had been changed just then may have been changed again within the same tick of the file
        # system's clock.
        settled = before is not None and looked - before.changed_ns / 1e9 > RACY_S
        if before is not None and settled and _identity(path) == before:
            with self._lock:
                self._kept[before] = dict(found)
                if len(self._kept) > FINGERPRINTS:
                    self._kept.popitem(last=False)
        return found


class _Identity(NamedTuple):
    """What tells whether a file is the one that was read; no program can set the time of a change back."""

    path: str
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def _identity(path: Path) -> _Identity | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return _Identity(
        str(path), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
    )


def look_again(known: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a file is now, read only if that is needed to tell whether it is what it was.

    Parameters
    ----------
    known
        What `fingerprint` said of it.

    Returns
    -------
    dict or None
        As from `fingerprint`; the checksum is empty if the size alone says that it is another. None if the
        file is not to be seen from here.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    path = Path(known["path"])
    try:
        now = _facts(path, path.stat())
    except OSError:
        return None
    if now["size_bytes"] != known["size_bytes"]:
        return {**now, "sha256": ""}
    if now["modified"] == known["modified"]:
        return {**now, "sha256": known["sha256"]}
    return _fingerprint(path, None)


def _fingerprint(path: Path, cancelled: Callable[[], bool] | None) -> dict[str, Any]:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            while block := file.read(BLOCK_BYTES):
                if cancelled is not None and cancelled():
                    raise CancelledError(f"stopped while reading {path}")
                digest.update(block)
    except OSError as error:
        raise InputError(path, f"cannot be read: {error}") from error
    return {**_facts(path, state), "sha256": digest.hexdigest()}


def _facts(path: Path, state: os.stat_result) -> dict[str, Any]:
    return {
        "path": str(path),
        "size_bytes": state.st_size,
        "modified": datetime.fromtimestamp(state.st_mtime, UTC).isoformat(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
