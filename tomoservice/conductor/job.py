"""One reconstruction, from the claim to the volume in Tiled."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tomoservice.catalog import names
from tomoservice.catalog.nodes import find_run
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotFoundError, child
from tomoservice.catalog.writer import Progress, ReconstructionWriter
from tomoservice.conductor.patience import persistently
from tomoservice.conductor.quality import QualityTable, quality_tables
from tomoservice.conductor.watch import JobWatch
from tomoservice.errors import (
    CancelledError,
    CatalogError,
    ClaimLostError,
    InputError,
    MissingDataError,
    OutputError,
    ServiceUnavailableError,
    TomoserviceError,
)
from tomoservice.pipeline import Plan, ResidualLog, Slab, compute, prepare
from tomoservice.pipeline.memory import memory_budget
from tomoservice.provenance import fingerprint, make_record, software_versions
from tomoservice.recipe import parse_recipe
from tomoservice.scan import TomoScan
from tomoservice.settings import Settings
from tomoservice.sources import open_run
from tomoservice.store import SlabStore

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

LIBRARIES = (
    "bluesky_tiled_plugins",
    "finufft",
    "hdf5plugin",
    "pandas",
    "pyarrow",
    "tiled.client.array",
    "tiled.client.dataframe",
    "zarr",
)
"""What a job imports on its way."""

PROVENANCE = ("scan", "rotation_axis", "software", "machine", "started", "finished", "timings_s")
"""Parts of a volume's record that belong to how it was made; the others have keys of their own."""
ENGINE = ("tomoservice", "numpy", "scipy", "finufft", "astra-toolbox")
"""Packages that determine the pixels."""
READ_BACK_S = 10.0
"""How long errors of the service are taken to pass when a volume is read back."""
TABLES_S = 10.0
"""How long the tables about quality may hold up a volume that is complete."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is needed to work on one claimed reconstruction."""

    root: Any
    """Tiled client for the root of the service."""
    record: ReconstructionRecord
    """The reconstruction as it was when it was claimed."""
    writer: ReconstructionWriter
    """Writes in the name of the claim."""
    settings: Settings
    """Where volumes go, and how much memory there is."""
    readable: Sequence[Path] | None = None
    """Folders below which raw files may be read directly; anywhere if None."""

    @property
    def folder(self) -> Path:
        """Folder of the volume and its markers."""
        return store_folder(self.settings, self.record)


def load_libraries() -> None:
    """Import what a job needs, so that the first one does not wait seconds for it."""
    for name in LIBRARIES:
        importlib.import_module(name)


def store_folder(settings: Settings, record: ReconstructionRecord) -> Path:
    """Return the folder that holds the volume of a reconstruction."""
    return settings.volumes_folder / record.run_uid / record.reconstruction_id


def reconstruct(job: Job, watch: JobWatch) -> Progress:
    """Compute what is missing of a reconstruction's volume and publish it.

    Returns
    -------
    Progress
        What to show of it from now on.

    Raises
    ------
    CancelledError
        `watch` said that it is time to stop; slabs that exist are kept.
    TomoserviceError
        The recipe does not fit, the scan cannot be read, the disk is full, ...
    """
    began = datetime.now(UTC)
    memory = memory_budget(job.settings.conductor.memory_bytes)
    recipe = parse_recipe(job.record.metadata.recipe, name=job.record.metadata.recipe_name or "recipe")
    watch.report(Progress("opening the raw data"))
    with _open(job, watch) as scan, _notes_in_errors(scan), _raw_fingerprint(watch, scan) as raw:
        plan = prepare(
            scan,
            recipe,
            memory_bytes=memory,
            progress=lambda stage: watch.report(Progress(stage)),
            cancelled=watch.should_stop,
        )
        described = _describe(plan)
        _persist(watch, partial(job.writer.describe, described))
        store, timings, log = _compute(job, watch, plan, scan, memory)
        tables = _quality(job, plan, scan, log)
        record = make_record(plan, scan, started=began, timings_s=timings)
        provenance = {
            **{key: record[key] for key in PROVENANCE},
            "raw_uid": job.record.run_uid,
            "raw_files": raw.result(),
            "volume_checksum": store.checksum(),
        }
    _publish(job, watch, store, _volume_metadata(plan, provenance))
    _write_tables(job, watch, tables)
    _persist(watch, partial(job.writer.enter, State.DONE, content={**described, "provenance": provenance}))
    logger.info("%s: done in %s", job.record.path, datetime.now(UTC) - began)
    total = len(plan.slabs)
    return Progress("done", total, total, 0.0)


def _publish(job: Job, watch: JobWatch, store: SlabStore, metadata: Mapping[str, Any]) -> None:
    """Register the volume, and make sure that the service can read it before anybody is told."""
    _persist(watch, partial(job.writer.volume, store.path, metadata))
    try:
        _persist(watch, job.writer.read_back, faults_s=READ_BACK_S)
    except NotFoundError:
        # Deleted by a user; what a missing file looks like is another error.
        raise
    except CatalogError as error:
        _persist(watch, job.writer.forget_volume)
        raise OutputError(
            f"the service cannot read {store.path}; add its folder to the service's readable folders "
            f"(service.raw_folders), or put volumes where the service reads ({error})"
        ) from error


def _quality(job: Job, plan: Plan, scan: TomoScan, log: ResidualLog) -> list[QualityTable]:
    try:
        return list(quality_tables(plan, scan, log))
    except (TomoserviceError, OSError, ValueError) as error:
        logger.warning("%s: no tables about its quality: %s", job.record.path, error)
        return []


def _write_tables(job: Job, watch: JobWatch, tables: list[QualityTable]) -> None:
    """Store the tables if the service lets us: the volume is worth more than what is said about it."""
    for table in tables:
        write = partial(job.writer.table, table.subject, table.data, table.summary)
        try:
            _persist(watch, write, faults_s=TABLES_S)
        except ClaimLostError:
            raise
        except CatalogError as error:
            logger.warning("%s: goes without the table %s: %s", job.record.path, table.subject, error)


def _describe(plan: Plan) -> dict[str, Any]:
    return {
        "resolved_recipe": plan.resolved.dump(),
        "resolved_recipe_hash": plan.resolved.hash,
        "geometry": plan.geometry,
        "notes": list(plan.notes),
    }


@contextmanager
def _notes_in_errors(scan: TomoScan) -> Iterator[None]:
    """Add to an error about the input what had been noted when it was opened, which may be the cause."""
    try:
        yield
    except InputError as error:
        if not scan.notes:
            raise
        hint = ". ".join(part for part in (error.hint, *scan.notes) if part)
        raise type(error)(error.where, error.cause, dataset=error.dataset, hint=hint) from error


@contextmanager
def _raw_fingerprint(watch: JobWatch, scan: TomoScan) -> Iterator[Future[list[dict[str, Any]]]]:
    """Read the raw files for their checksums beside the computation."""
    ended = threading.Event()

    def cancelled() -> bool:
        return ended.is_set() or watch.should_stop()

    with ThreadPoolExecutor(1, thread_name_prefix="checksum") as reader:
        try:
            yield reader.submit(fingerprint, scan.origin.files, cancelled)
        finally:
            ended.set()


def _open(job: Job, watch: JobWatch) -> TomoScan:
    def opened() -> TomoScan:
        uid = job.record.run_uid
        try:
            run = find_run(job.root, uid)
        except NotFoundError as error:
            raise MissingDataError(f"{names.RAW}/{uid}", "there is no such run") from error
        # Through the node's own path, never through what its metadata claims: that comes from clients.
        raw = child(job.root, names.RAW)
        scan = open_run(run, catalog=raw)
        if _may_read(job, scan):
            return scan
        scan.close()
        # The service decides what it gives.
        return open_run(run, catalog=raw, direct=False)

    return _persist(watch, opened)


def _may_read(job: Job, scan: TomoScan) -> bool:
    """Tell whether a scan's files lie where the service serves files from: paths come from clients."""
    if job.readable is None:
        return True
    files = [Path(file).resolve() for file in scan.origin.files]
    return all(any(file.is_relative_to(folder) for folder in job.readable) for file in files)


def _compute(
    job: Job, watch: JobWatch, plan: Plan, scan: TomoScan, memory: int
) -> tuple[SlabStore, dict[str, float], ResidualLog]:
    store = SlabStore.create(
        job.folder, plan.shape, plan.chunks, dtype=plan.dtype, attempt=job.writer.claim.attempt
    )
    if not store.keep_only(_identity(plan, scan)):
        logger.warning("%s: slabs of an earlier attempt do not fit and are computed anew", job.record.path)
    missing = store.missing(plan.slabs)
    if missing:
        # What is registered has to be complete.
        _persist(watch, job.writer.forget_volume)
    total = len(plan.slabs)
    if len(missing) < total:
        logger.info("%s: %d of %d slabs exist already", job.record.path, total - len(missing), total)
    sink = _Sink(store, watch, total, total - len(missing))
    log = ResidualLog()
    timings = compute(
        plan,
        scan,
        slabs=missing,
        on_slab=sink,
        cancelled=watch.should_stop,
        memory_bytes=memory,
        iterations=log.control(),
    )
    if watch.should_stop():
        raise CancelledError(f"{job.record.path}: stopped after the last slab")
    return store, dict(timings), log


class _Sink:
    """Commits slabs and tells how far it is."""

    def __init__(self, store: SlabStore, watch: JobWatch, total: int, done: int) -> None:
        self._store = store
        self._watch = watch
        self._total = total
        self._done = self._done_before = done
        self._began = time.monotonic()
        self._report()

    def __call__(self, slab: Slab, pixels: NDArray[Any]) -> None:
        self._store.commit(slab, pixels)
        self._done += 1
        self._report()

    def _report(self) -> None:
        new = self._done - self._done_before
        left = (time.monotonic() - self._began) / new * (self._total - self._done) if new else None
        self._watch.report(Progress("reconstructing", self._done, self._total, left))


def _identity(plan: Plan, scan: TomoScan) -> str:
    """Return what determines the pixels, so that slabs of different volumes are never mixed."""
    versions = software_versions()
    content = {
        "recipe": plan.resolved.hash,
        "scan": [scan.origin.run_uid, list(scan.shape), list(scan.origin.files)],
        "angles": hashlib.sha256(np.ascontiguousarray(scan.angles_deg).data).hexdigest(),
        # Processors of different types agree to rounding, which is no reason to throw hours of work away.
        "engine": {name: versions.get(name) for name in ENGINE},
    }
    return json.dumps(content, sort_keys=True)


def _volume_metadata(plan: Plan, provenance: Mapping[str, Any]) -> dict[str, Any]:
    size = plan.voxel_size_um
    return {
        "axes": ["z", "y", "x"],
        "units": plan.units,
        "voxel_size_um": None if size is None else [size, size, size],
        "rotation_axis": plan.rotation_axis,
        "checksum": provenance["volume_checksum"],
        **plan.scaling,
    }


def _persist(watch: JobWatch, action: Callable[[], Result], *, faults_s: float | None = None) -> Result:
    try:
        return persistently(action, watch.should_stop, faults_s=faults_s)
    except ServiceUnavailableError as error:
        raise CancelledError(f"told to stop while waiting: {error}") from error
