"""Publishing a scan file as a run in Tiled, so that everything that works on runs works on it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PositiveFloat, ValidationError

from tomoservice.catalog import names
from tomoservice.catalog.file_documents import IMAGE, FileRun, describe_file, documents_of, run_uid_of
from tomoservice.catalog.nodes import find_run
from tomoservice.catalog.transport import ConflictError, NotFoundError, child, translated
from tomoservice.errors import CatalogError, InputError, OutputError, TomoserviceError
from tomoservice.provenance import fingerprint
from tomoservice.recipe.problems import describe_problems
from tomoservice.scan import TomoScan
from tomoservice.sources import open_scan

ABANDONED_S = 60.0
"""Age from which an incomplete run of a file is nobody's who is just writing it."""
FOLDER = "ingested"
"""Below the raw folder, where copies go."""


class ScanFacts(BaseModel):
    """What somebody knows of a scan and its file does not say, or says wrongly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_name: str | None = None
    """Name of the sample."""
    energy_kev: PositiveFloat | None = None
    """Photon energy in keV."""
    pixel_size_um: PositiveFloat | None = None
    """Size of a pixel at the sample, in micrometres."""
    distance_mm: PositiveFloat | None = None
    """Distance from sample to detector in millimetres."""

    @classmethod
    def checked(cls, facts: Mapping[str, Any]) -> Self:
        """Return what a caller states.

        Raises
        ------
        InputError
            Something of it is unknown, or cannot be; says which.
        """
        try:
            return cls.model_validate(dict(facts))
        except ValidationError as error:
            raise InputError(
                "what is stated of the scan", "; ".join(describe_problems(error, cls))
            ) from error


@dataclass(frozen=True, slots=True)
class Ingested:
    """A scan file as a run."""

    run_uid: str
    """Uid of the run."""
    created: bool
    """False if it was there before: the same content makes the same run."""
    path: Path
    """File that the run refers to."""


def ingest(
    root: Any,
    path: Path,
    facts: ScanFacts | None = None,
    *,
    copy_to: Path | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Ingested:
    """Publish a scan file as a run; one that is there already stays as it is.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    path : Path
        HDF5 file (DXchange or NXtomo), where the service sees it too.
    facts : ScanFacts, optional
        What goes before what the file says.
    copy_to : Path, optional
        Folder that the service reads, into which the file is copied first.
    cancelled : callable, optional
        Says when to stop.

    Raises
    ------
    InputError
        The file is no scan, or cannot be published as it is.
    CatalogError
        The service refuses, or cannot read the file; says which setting to change.
    CancelledError
        `cancelled` said so.
    """
    with open_scan(path) as scan:
        files = fingerprint(scan.origin.files, cancelled)
        uid = run_uid_of(files)
        before = _existing(root, uid)
        if before is not None:
            return Ingested(uid, created=False, path=before)
        run = _with_facts(describe_file(scan, files), facts or ScanFacts())
        if copy_to is not None:
            run = replace(run, path=_copied(scan, run, copy_to))
    _publish(root, run)
    return Ingested(uid, created=True, path=run.path)


def _existing(root: Any, uid: str) -> Path | None:
    """Return the file of the run if it is there; what is left of one that was interrupted is removed."""
    try:
        run = find_run(root, uid)
    except NotFoundError:
        return None
    start = run.metadata["start"]
    if "stop" in run.metadata:
        return Path(start["ingest"]["path"])
    if time.time() - start["ingest"]["at"] < ABANDONED_S:
        raise ConflictError(f"run {uid} is being published by somebody; try again in a minute")
    _remove(run)
    return None


def _remove(run: Any) -> None:
    with translated(f"removing the incomplete run {run.path_parts[-1]}"):
        # Nodes only: files that were registered are not the service's own.
        run.delete(recursive=True, external_only=False)


def _with_facts(run: FileRun, facts: ScanFacts) -> FileRun:
    known = facts.model_dump(exclude_none=True)
    sample = {"sample_name": known.pop("sample_name")} if facts.sample_name else {}
    start = {**run.start, **sample, "tomo": {**run.start["tomo"], **known}}
    return replace(run, start=start)


def _publish(root: Any, run: FileRun) -> None:
    from bluesky_tiled_plugins import TiledWriter

    raw = child(root, names.RAW)
    ingest_note = {**run.start["ingest"], "path": str(run.path), "at": time.time()}
    told = replace(run, start={**run.start, "ingest": ingest_note})
    writer = TiledWriter(raw)
    try:
        with translated(f"publishing {run.path} as run {run.uid}"):
            for name, document in documents_of(told):
                writer(name, document)
        _check_readable(root, run)
    except ConflictError as error:
        raise ConflictError(f"run {run.uid} is being published by somebody else ({error})") from error
    except BaseException:
        with suppress(TomoserviceError):
            _remove(find_run(root, run.uid))
        raise


def _check_readable(root: Any, run: FileRun) -> None:
    """Read a pixel of every stream through the service, as anybody would."""
    node = find_run(root, run.uid)
    for series in run.series:
        with translated(f"reading {series.stream} of run {run.uid}"):
            image = node[series.stream][IMAGE]
        # Asked once: Tiled's client goes on for most of a minute when the server cannot open a file.
        answer = root.context.http_client.get(
            image.item["links"]["full"], params={"slice": "0,0,0", "format": "application/octet-stream"}
        )
        if answer.is_error:
            raise CatalogError(
                f"the service cannot read {series.dataset} in {run.path} (it answers {answer.status_code}); "
                f"let it read the folder (setting service.raw_folders, or `tomoservice serve --raw-folder "
                f"{run.path.parent}`), or have the file copied (--copy)"
            )


def _copied(scan: TomoScan, run: FileRun, folder: Path) -> Path:
    """Copy the scan's only file; a copy that is there already is taken."""
    if len(scan.origin.files) > 1:
        raise InputError(
            run.path,
            f"its frames lie in {len(scan.origin.files)} files, which cannot be copied as one",
            hint="Have their folder read by the service (service.raw_folders), and publish it in place",
        )
    target = folder.resolve() / FOLDER / run.uid / run.path.name
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            # Renamed when it is whole: a name without a leading dot is a complete copy.
            shutil.copy2(run.path, draft)
            draft.replace(target)
    except OSError as error:
        raise OutputError(f"{run.path} cannot be copied to {target}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return target
