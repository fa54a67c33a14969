"""Processes of the service that can be made to die, by kill -9, at a point that a test names.

``python -m tests.faults.saboteur COMMAND ...`` runs a command of ``tomoservice``, and a Dask worker loads
this module with ``--preload``. Nothing of the project is replaced: functions are wrapped, and what the
wrapper does is to look for a file. When `FOLDER`/trip names the point that is being passed, the process kills
itself there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

FOLDER = "FAULTS_FOLDER"
"""Environment variable: folder of the trip and of the notes."""
TRIP, BEGUN, STARVE = "trip", "begun", "starve"


class Point(StrEnum):
    """Where a process can be made to die."""

    COMPUTED = "worker: a slab is computed, nothing of it written"
    TORN_CHUNK = "worker: half of a chunk is written"
    CHUNK = "worker: some chunks of a slab are written"
    UNMARKED = "worker: all chunks are written, the marker is a draft"
    MARKED = "worker: the marker is written, nobody has been told"
    CLAIMED = "conductor: claimed, not yet running"
    RUNNING = "conductor: running, nothing decided"
    OUTLINED = "conductor: the volume is registered, its store does not exist"
    DESCRIBED = "conductor: what was decided is published"
    FILLED = "conductor: all slabs are there, the checksum is not published"
    PUBLISHED = "conductor: the checksum is published, not read back"
    UNFINISHED = "conductor: everything is published but that it is done"
    DONE = "conductor: done, nothing that follows"
    PYRAMID = "conductor: the pyramid is on disk, not registered"
    UNWRITTEN = "server: told that it is done, nothing stored"
    UNANSWERED = "server: stored that it is done, not answered"


def set_trip(folder: Path, point: Point) -> None:
    """Make whoever passes a point next die there."""
    draft = folder / f".{TRIP}"
    draft.write_text(point.value, encoding="utf-8")
    draft.replace(folder / TRIP)


def has_sprung(folder: Path) -> bool:
    """Tell whether somebody has died where it was asked for."""
    return not (folder / TRIP).exists()


def starve(folder: Path) -> None:
    """Let there be no memory for the next slab that a worker begins."""
    (folder / STARVE).touch()


def begun(folder: Path) -> int:
    """Return how many times workers have begun to compute a slab."""
    notes = folder / BEGUN
    return notes.stat().st_size if notes.exists() else 0


def dask_setup(worker: Any) -> None:
    """Prepare a Dask worker; called by `dask worker --preload`."""
    del worker
    wrap_worker(Path(os.environ[FOLDER]))


def wrap_worker(folder: Path) -> None:
    """Wrap what stores slabs."""
    from tomoservice.pipeline.blocks import SlabWriter
    from tomoservice.store import SlabStore

    replace, commit, buffer = Path.replace, SlabStore.commit, SlabWriter.buffer

    def noted(writer: SlabWriter) -> Any:
        with suppress(FileNotFoundError):
            (folder / STARVE).unlink()
            raise MemoryError("there is none for a slab")
        with (folder / BEGUN).open("ab", buffering=0) as notes:
            notes.write(b".")
        return buffer(writer)

    def committed(store: SlabStore, *arguments: Any, **options: Any) -> Any:
        _pass(folder, Point.COMPUTED)
        return commit(store, *arguments, **options)

    def replaced(draft: Path, target: Any) -> Path:
        marker, chunk = Path(target).parent.name == "slabs", "volume.zarr" in Path(target).parts
        if marker:
            _pass(folder, Point.UNMARKED)
        if chunk and _is_set(folder, Point.TORN_CHUNK):
            os.truncate(draft, draft.stat().st_size // 2)
            _pass(folder, Point.TORN_CHUNK)
        moved = replace(draft, target)
        if marker:
            _pass(folder, Point.MARKED)
        if chunk:
            _pass(folder, Point.CHUNK)
        return moved

    SlabWriter.buffer = noted  # type: ignore[method-assign]
    SlabStore.commit = committed  # type: ignore[method-assign]
    Path.replace = replaced  # type: ignore[method-assign, assignment]


def wrap_conductor(folder: Path) -> None:
    """Wrap what a conductor writes into the catalogue."""
    from tomoservice.catalog.states import State
    from tomoservice.catalog.writer import ReconstructionWriter
    from tomoservice.conductor import loop

    enter, volume, claim = ReconstructionWriter.enter, ReconstructionWriter.volume, loop.try_claim
    describe, read_back = ReconstructionWriter.describe, ReconstructionWriter.read_back
    describe_volume = ReconstructionWriter.describe_volume
    pyramid = ReconstructionWriter.pyramid

    def claimed(*arguments: Any) -> Any:
        made = claim(*arguments)
        if made is not None:
            _pass(folder, Point.CLAIMED)
        return made

    def entered(writer: ReconstructionWriter, state: State, *arguments: Any, **options: Any) -> None:
        if state is State.DONE:
            _pass(folder, Point.UNFINISHED)
        enter(writer, state, *arguments, **options)
        if point := {State.RUNNING: Point.RUNNING, State.DONE: Point.DONE}.get(state):
            _pass(folder, point)

    def described(writer: ReconstructionWriter, content: Any) -> None:
        describe(writer, content)
        _pass(folder, Point.DESCRIBED)

    def registered(writer: ReconstructionWriter, path: Path, outline: Any, metadata: Any) -> None:
        is_first = writer._volume is None
        volume(writer, path, outline, metadata)
        if is_first:
            _pass(folder, Point.OUTLINED)

    def summed(writer: ReconstructionWriter, metadata: Any) -> None:
        if "checksum" in metadata:
            _pass(folder, Point.FILLED)
        describe_volume(writer, metadata)

    def looked(writer: ReconstructionWriter) -> None:
        _pass(folder, Point.PUBLISHED)
        read_back(writer)

    def levelled(writer: ReconstructionWriter, *arguments: Any) -> None:
        _pass(folder, Point.PYRAMID)
        pyramid(writer, *arguments)

    loop.try_claim = claimed
    ReconstructionWriter.enter = entered  # type: ignore[method-assign]
    ReconstructionWriter.describe = described  # type: ignore[method-assign]
    ReconstructionWriter.volume = registered  # type: ignore[method-assign]
    ReconstructionWriter.describe_volume = summed  # type: ignore[method-assign]
    ReconstructionWriter.read_back = looked  # type: ignore[method-assign]
    ReconstructionWriter.pyramid = levelled  # type: ignore[method-assign]


def wrap_server(folder: Path) -> None:
    """Wrap what a server stores of a node's metadata."""
    from tiled.catalog.adapter import CatalogNodeAdapter

    store: Callable[..., Awaitable[None]] = CatalogNodeAdapter.replace_metadata

    async def stored(node: Any, metadata: Any = None, *arguments: Any, **options: Any) -> None:
        status = (metadata or {}).get("status")
        done = isinstance(status, dict) and status.get("state") == "done"
        if done:
            _pass(folder, Point.UNWRITTEN)
        await store(node, metadata, *arguments, **options)
        if done:
            _pass(folder, Point.UNANSWERED)

    CatalogNodeAdapter.replace_metadata = stored


def _is_set(folder: Path, point: Point) -> bool:
    try:
        return (folder / TRIP).read_text(encoding="utf-8") == point.value
    except FileNotFoundError:
        return False


def _pass(folder: Path, point: Point) -> None:
    if _is_set(folder, point):
        (folder / TRIP).unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Run a command of tomoservice in this process."""
    from tomoservice.cli import run

    folder, command = Path(os.environ[FOLDER]), sys.argv[1]
    {"serve": wrap_server, "conductor": wrap_conductor}[command](folder)
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
