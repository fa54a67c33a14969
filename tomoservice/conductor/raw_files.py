"""Checksums of the raw files of a reconstruction, and whether they are those of the first time.

Where frames come to a worker through Tiled, the conductor looks at their files itself, if it may; otherwise
there is what the run says of them. That is never taken for what they are now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tomoservice.catalog.record import RerunOf
from tomoservice.catalog.reruns import check_raw_files, check_recorded
from tomoservice.catalog.writer import Progress
from tomoservice.compute.tasks import checksums
from tomoservice.conductor.errands import Begun, WatchedErrand
from tomoservice.errors import InputError
from tomoservice.provenance import Fingerprints, fingerprint
from tomoservice.sources.hdf5 import files_behind, find_dataset, open_hdf5

BY_RUN = "run"
"""Who says what a raw file is: the run, and nobody who looked at it."""

Look = Callable[[Sequence[str]], list[dict[str, Any]]]
"""Returns what files are."""

_fingerprints = Fingerprints()


class RawFiles:
    """The raw files of a reconstruction.

    Parameters
    ----------
    errand : WatchedErrand
        Says when to stop, and is told what is being done.
    scan : mapping
        Where the scan came from.
    readable : sequence of Path, optional
        Folders below which files may be read; anywhere if None.
    """

    def __init__(
        self, errand: WatchedErrand, scan: Mapping[str, Any], readable: Sequence[Path] | None
    ) -> None:
        self._errand = errand
        self._scan = scan
        self._readable = readable
        self._begun: Begun[list[dict[str, Any]]] | None = None
        self._known: list[dict[str, Any]] = []
        self._unseen: list[str] = []
        self._is_compared = False

    def compare(self, earlier: RerunOf) -> None:
        """Read all, and refuse what is not what it was.

        Raises
        ------
        InputError
            They are not what they were when `earlier` was made, or nobody can tell.
        CancelledError
            It is time to stop.
        """
        # Nothing need be read where there is nothing to compare it with.
        check_recorded(earlier)
        self._errand.watch.report(Progress("comparing the raw files with those of the first time"))
        found = self._errand.result(checksums, self._scan["files"], anew=True)
        seen, left = self._look(lambda files: fingerprint(files, self._errand.watch.should_stop))
        self._known, self._unseen = _once([*found, *seen]), [_in_words(frames) for frames in left]
        check_raw_files(earlier, self._known, self._unseen)
        self._is_compared = True

    def begin(self) -> None:
        """Have a worker read those that it sees, unless all have been read.

        Raises
        ------
        CancelledError
            It is time to stop, and nobody is at work.
        """
        if not self._is_compared:
            self._begun = self._errand.begin(checksums, self._scan["files"])

    def finish(self) -> None:
        """Return when the worker has read them; what it does not see is looked for here.

        Raises
        ------
        CancelledError
            It is time to stop.
        """
        if self._begun is None:
            return
        found = self._errand.wait(self._begun)
        if self._scan.get("unseen"):
            self._errand.watch.report(Progress("reading raw files for their checksums"))
        seen, left = self._look(lambda files: _fingerprints.of(files, self._errand.watch.should_stop))
        said = [{**file, "recorded_by": BY_RUN} for frames in left for file in frames["recorded"]]
        self._known = _once([*found, *seen, *said])
        self._unseen = [_in_words(frames) for frames in left if not frames["recorded"]]

    def as_provenance(self) -> dict[str, Any]:
        """Return what goes into the provenance."""
        return {"raw_files": self._known, "raw_files_unseen": self._unseen}

    def _look(self, look: Look) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
        """Return what files are that this process sees and no worker, and the frames of all others."""
        found: list[dict[str, Any]] = []
        left: list[Mapping[str, Any]] = []
        for frames in self._scan.get("unseen", ()):
            try:
                found += look(_files_of(frames, self._readable))
            except InputError:
                left.append(frames)
        return found, left


def _files_of(frames: Mapping[str, Any], readable: Sequence[Path] | None) -> tuple[str, ...]:
    """Return the files behind frames, those behind links too.

    Raises
    ------
    InputError
        There are none, or they cannot or must not be read.
    """
    files, dataset = tuple(frames["files"]), frames["dataset"]
    if not files:
        raise InputError(frames["name"], "is held by Tiled itself")
    _check_within(files, readable)
    if dataset:
        behind: list[str] = []
        for name in files:
            with open_hdf5(Path(name)) as file:
                behind.extend(files_behind(find_dataset(file, dataset)))
        files = tuple(dict.fromkeys(behind))
        _check_within(files, readable)
    return files


def _check_within(files: Iterable[str], readable: Sequence[Path] | None) -> None:
    """Refuse files that may not be read: their paths come from clients."""
    folders = None if readable is None else [folder.resolve() for folder in readable]
    for name in files:
        path = Path(name).resolve()
        if folders is not None and not any(path.is_relative_to(folder) for folder in folders):
            raise InputError(name, "lies outside of the folders that may be read")


def _once(files: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each file once, the first that is said of it."""
    by_path: dict[str, dict[str, Any]] = {}
    for file in files:
        by_path.setdefault(str(file["path"]), file)
    return list(by_path.values())


def _in_words(frames: Mapping[str, Any]) -> str:
    """Return which frames nobody has seen in their files."""
    files = frames["files"]
    if not files:
        return f"{frames['name']} (held by Tiled itself)"
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{frames['name']} ({files[0]}{more})"
