"""Stacks of frames of a Bluesky run: straight from the raw files where they are visible, else by Tiled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError, MissingDataError
from tomoservice.scan import UnseenFrames
from tomoservice.sources.frames import LazyFrames, flattened_shape, join, pixel_type, shorten, take
from tomoservice.sources.hdf5 import files_behind, find_dataset, open_frames, open_hdf5
from tomoservice.sources.run_view import HDF5_TYPE, TIFF_TYPE, RunView, Stored, TiledReader
from tomoservice.sources.tiff import tiff_frames

FACTS = ("path", "size_bytes", "modified", "sha256")
"""What a run that was made of a file says of it."""
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Opening:
    """What the opening of one scan shares."""

    opened: ExitStack
    """Gets what must be closed with the scan."""
    notes: list[str]
    """Extended by what the user should know."""
    direct: bool = True
    """Whether raw files may be read where they are visible."""
    readable: tuple[Path, ...] | None = None
    """Folders below which they have to lie for that, symbolic links resolved; anywhere if None."""

    def reads(self, found: Stored | None) -> bool:
        """Tell whether files may be opened: their paths come from documents, so from anybody."""
        if not self.direct or found is None:
            return False
        folders = self.readable
        return folders is None or all(
            any(path.resolve().is_relative_to(folder) for folder in folders) for path in found.files
        )


@dataclass(frozen=True, slots=True)
class RunStack:
    """Frames of one stream."""

    frames: LazyFrames
    """Frames (frame, row, column)."""
    name: str
    """Stream and data key, or the data set that was read instead."""
    events: int
    """Number of events (or rows) that the frames are spread over."""
    files: tuple[Path, ...] = ()
    """Raw files that are read, if they are read directly."""
    unseen: UnseenFrames | None = None
    """What is known of the files otherwise."""

    def per_frame(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Repeat the value of each event for all its frames; return what has no value per event as it is."""
        frames = self.frames.shape[0]
        if values.size == self.events and self.events and frames > self.events and frames % self.events == 0:
            return np.repeat(values, frames // self.events)
        return values


def open_stack(
    view: RunView, stream: str, key: str, opening: Opening, *, dataset: str | None = None
) -> RunStack:
    """Open the frames of a data key.

    Parameters
    ----------
    view : RunView
        Run.
    stream, key : str
        Stream and data key, both of which exist.
    opening : Opening
        What the opening of the scan shares.
    dataset : str, optional
        Data set to read in the key's HDF5 file, instead of the one that the key means.

    Raises
    ------
    InputError
        If the frames cannot be read.
    """
    name = f"{stream}/{key}"
    found = view.stored(stream, key)
    invisible = found.invisible() if found else None
    visible = found is not None and invisible is None
    direct = opening.reads(found)
    if dataset is not None:
        if not (direct and visible and found is not None):
            raise InputError(
                view.where,
                f"data set {dataset} is only in the raw file, which is not visible from here",
                dataset=name,
                hint="Open the run on a machine that sees the file",
            )
        frames, files = _from_hdf5(found.files, dataset, opening.opened)
        return RunStack(frames, f"{name}: {dataset}", frames.shape[0], files)
    order = frame_order(view, key).get(stream)
    if direct and found is not None and not visible:
        opening.notes.append(f"{name}: {invisible} is not visible from here, frames are read through Tiled")
    if direct and visible and found is not None and _readable(found):
        return _direct(view, (stream, key), found, order, opening)
    stack = _through_tiled(view, (stream, key), found, invisible)
    if order is None:
        return stack
    # What it looks like can be said; only who sees the file can read it.
    shape = (order.size, *stack.frames.shape[1:])
    return replace(stack, frames=LazyFrames(_Mixed(view.where, name), shape, stack.frames.dtype))


def _readable(found: Stored) -> bool:
    """Return whether the raw file means what the node means, without Tiled's slicing in between."""
    if found.parameters.get("slice") or found.parameters.get("squeeze"):
        return False
    return (found.mimetype == HDF5_TYPE and bool(found.dataset)) or found.mimetype == TIFF_TYPE


@dataclass(frozen=True, slots=True)
class _Mixed:
    """Frames of a stream among those of others in one file, of which Tiled does not know whose they are."""

    where: str
    name: str

    def read(self, _frames: range, _rows: slice, _columns: slice) -> NDArray[Any]:
        """Raise `InputError`."""
        raise InputError(
            self.where,
            "shares one file with other streams, whose frames Tiled cannot tell apart",
            dataset=self.name,
            hint="Open the run on a machine that sees the file, or stage the camera anew for each stream",
        )


def _through_tiled(
    view: RunView, place: tuple[str, str], found: Stored | None, invisible: Path | None
) -> RunStack:
    node, name = view.array(*place), "/".join(place)
    if not hasattr(node, "shape"):
        raise InputError(view.where, f"is no array but {type(node).__name__}", dataset=name)
    shape = flattened_shape(tuple(node.shape), view.where, name)
    dtype = pixel_type(node.dtype, view.where, name)
    frames = LazyFrames(TiledReader(node, view.where, name, invisible), shape, dtype)
    unseen = UnseenFrames(name, recorded=_recorded(view.start))
    if found is not None:
        unseen = replace(unseen, files=tuple(str(file) for file in found.files), dataset=found.dataset)
    return RunStack(frames, name, _events(node.shape), unseen=unseen)


def _recorded(start: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return what a run that was made of a scan file says of the files, as far as it can be true."""
    # Documents come from anybody.
    said = start.get("ingest")
    if not isinstance(said, Mapping) or not isinstance(said.get("files"), Sequence):
        return ()
    files = said["files"]
    if not all(isinstance(file, Mapping) and _is_fingerprint(file) for file in files):
        return ()
    recorded = [{key: file[key] for key in FACTS} for file in files]
    if len(recorded) == 1 and isinstance(said.get("path"), str):
        # It may have been copied; what is read is the copy.
        recorded[0]["path"] = said["path"]
    return tuple(recorded)


def _is_fingerprint(file: Mapping[str, Any]) -> bool:
    size = file.get("size_bytes")
    return (
        all(isinstance(file.get(key), str) for key in ("path", "modified", "sha256"))
        and isinstance(size, int)
        and size >= 0
        and SHA256.fullmatch(file["sha256"]) is not None
    )


def _direct(
    view: RunView,
    place: tuple[str, str],
    found: Stored,
    order: NDArray[np.int64] | None,
    opening: Opening,
) -> RunStack:
    name, node = "/".join(place), view.array(*place)
    wanted = flattened_shape(tuple(node.shape), view.where, name)
    files: tuple[Path, ...]
    if found.mimetype == TIFF_TYPE:
        frames, files = tiff_frames(found.files), found.files
    else:
        frames, files = _from_hdf5(found.files, found.dataset, opening.opened)
    if frames.shape[1:] != wanted[1:]:
        raise InputError(
            found.files[0],
            f"frames are {frames.shape[1]} x {frames.shape[2]}, but the run says {wanted[1]} x {wanted[2]}",
            dataset=found.dataset or None,
        )
    if order is not None:
        if order.size and order.max() >= frames.shape[0]:
            raise InputError(
                found.files[0],
                f"{name} needs frame {order.max()} of a file with {frames.shape[0]} frames",
                dataset=found.dataset or None,
            )
        indexed = sum(part.size for part in frame_order(view, place[1]).values())
        if frames.shape[0] > indexed:
            opening.notes.append(
                f"{name}: {found.files[0]} holds {frames.shape[0]} frames, the run's events {indexed};"
                " the first ones are taken to be theirs"
            )
        return RunStack(take(frames, order), name, _events(node.shape), files)
    there, said = frames.shape[0], wanted[0]
    if there != said:
        opening.notes.append(
            f"{name}: the run says {said} frames, the file holds {there}; {min(there, said)} are used"
        )
        frames = shorten(frames, min(there, said))
    return RunStack(frames, name, _events(node.shape), files)


def _from_hdf5(
    paths: tuple[Path, ...], dataset: str, opened: ExitStack
) -> tuple[LazyFrames, tuple[Path, ...]]:
    parts: list[LazyFrames] = []
    files: list[Path] = []
    for path in paths:
        found = find_dataset(opened.enter_context(open_hdf5(path)), dataset)
        parts.append(open_frames(found, max_axes=4))
        files.extend(Path(file) for file in files_behind(found))
    return join(parts, str(paths[0])), tuple(dict.fromkeys(files))


def _events(shape: tuple[int, ...]) -> int:
    return int(shape[0]) if len(shape) > 2 else 1


def frame_order(view: RunView, key: str) -> dict[str, NDArray[np.int64]]:
    """Return where in a shared file the frames of each stream are.

    A camera that is staged once for a whole run writes one file, to which every stream refers. The
    documents' positions in it do not survive in Tiled, but frames are written in the order of the
    events, whose times do.

    Parameters
    ----------
    view : RunView
        Run.
    key : str
        Data key of the camera.

    Returns
    -------
    dict
        Numbers of the frames, int64, by stream; only streams that share a file with another one.

    Raises
    ------
    MissingDataError
        If a stream that shares a file has no events to tell its frames by.
    """
    cached = f"order/{key}"
    if cached not in view.cache:
        order: dict[str, NDArray[np.int64]] = {}
        for streams in _sharing(view, key):
            order |= _by_time(view, key, streams)
        view.cache[cached] = order
    result: dict[str, NDArray[np.int64]] = view.cache[cached]
    return result


def _sharing(view: RunView, key: str) -> list[list[str]]:
    """Return the groups of two or more streams whose data key means the same data set of the same file."""
    groups: dict[tuple[tuple[Path, ...], str], list[str]] = {}
    for stream in view.streams:
        found = view.stored(stream, key) if key in view.keys(stream) else None
        # What Tiled cuts out of the file itself is not shared.
        if found and found.mimetype == HDF5_TYPE and not found.parameters.get("slice"):
            groups.setdefault((found.files, found.dataset), []).append(stream)
    return [streams for streams in groups.values() if len(streams) > 1]


def _by_time(view: RunView, key: str, streams: list[str]) -> dict[str, NDArray[np.int64]]:
    times, owners, sizes = [], [], []
    for number, stream in enumerate(streams):
        if "time" not in view.keys(stream):
            raise MissingDataError(
                view.where,
                f"streams {', '.join(streams)} share one file, and {stream} has no events that would tell"
                " which frames are its own",
                dataset=f"{stream}/{key}",
                hint="Stage the camera anew for each stream, so that each has a file",
            )
        shape = tuple(view.array(stream, key).shape)
        stamps = np.asarray(view.values(stream, "time"), np.float64).reshape(-1)
        count = int(np.prod(shape[:-2], dtype=np.int64))
        if not stamps.size or count % stamps.size:
            raise InputError(
                view.where,
                f"{count} frames do not divide among {stamps.size} events",
                dataset=f"{stream}/{key}",
            )
        times.append(stamps)
        owners.append(np.full(stamps.size, number))
        sizes.append(np.full(stamps.size, count // stamps.size))
    turn = np.argsort(np.concatenate(times), kind="stable")
    owner, size = np.concatenate(owners)[turn], np.concatenate(sizes)[turn]
    frame_owner = np.repeat(owner, size)
    return {stream: np.flatnonzero(frame_owner == number) for number, stream in enumerate(streams)}
