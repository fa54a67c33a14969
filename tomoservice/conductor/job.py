"""One reconstruction, from the claim to the volume in Tiled."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tomoservice.catalog import names
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import FollowUpState, State
from tomoservice.catalog.transport import NotFoundError
from tomoservice.catalog.writer import Progress, ReconstructionWriter
from tomoservice.compute.base import Computer
from tomoservice.compute.orders import RunAddress, VolumeOrder
from tomoservice.compute.quality import QualityTable, residual_tables
from tomoservice.compute.resolution import Resolution
from tomoservice.compute.tasks import resolve
from tomoservice.conductor.errands import WatchedErrand
from tomoservice.conductor.filling import Filling
from tomoservice.conductor.patience import persistently
from tomoservice.conductor.raw_files import RawFiles
from tomoservice.conductor.remains import made_by
from tomoservice.conductor.watch import JobWatch
from tomoservice.errors import (
    CancelledError,
    CatalogError,
    ClaimLostError,
    OutputError,
    ServiceUnavailableError,
)
from tomoservice.housekeeping.records import keep_record
from tomoservice.housekeeping.space import check_space
from tomoservice.provenance import software_versions
from tomoservice.settings import Settings
from tomoservice.store import VOLUME, SlabStore, folder_of, highest_attempt, set_aside

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

LIBRARIES = (
    "bluesky_tiled_plugins",
    "pandas",
    "pyarrow",
    "tiled.client.array",
    "tiled.client.dataframe",
    "zarr",
)
"""What a job imports on its way."""

READ_BACK_S = 10.0
"""How long errors of the service are taken to pass when a volume is read back."""
TABLES_S = 10.0
"""How long errors of the service are taken to pass when residuals are written."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is needed to work on one claimed reconstruction."""

    record: ReconstructionRecord
    """The reconstruction as it was when it was claimed."""
    writer: ReconstructionWriter
    """Writes in the name of the claim."""
    settings: Settings
    """Where volumes go, and how much memory there is."""
    computer: Computer
    """Who computes."""
    uri: str
    """Address of the service, from which workers read the run."""
    api_key: str | None = None
    """Key with which they do."""
    readable: Sequence[Path] | None = None
    """Folders below which raw files may be read directly; anywhere if None."""

    @property
    def folder(self) -> Path:
        """Folder of the volume and its markers."""
        return store_folder(self.settings, self.record)

    @property
    def order(self) -> VolumeOrder:
        """What workers are told."""
        readable = None if self.readable is None else tuple(str(folder) for folder in self.readable)
        return VolumeOrder(
            # The run of the node's own path, never what its metadata claims: that comes from clients.
            run=RunAddress(self.uri, self.record.run_uid, self.api_key, readable, self.record.access_tags),
            recipe=self.record.metadata.recipe,
            recipe_name=self.record.metadata.recipe_name or "recipe",
            folder=str(self.folder),
            memory_bytes=self.settings.compute.memory_bytes,
            device=self.settings.compute.device,
        )


def load_libraries() -> None:
    """Import what a job needs, so that the first one does not wait seconds for it."""
    for name in LIBRARIES:
        importlib.import_module(name)


def store_folder(settings: Settings, record: ReconstructionRecord) -> Path:
    """Return the folder that holds the volume of a reconstruction."""
    return folder_of(settings.volumes_folder, record.run_uid, record.reconstruction_id)


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
    order = job.order
    _persist(watch, partial(_forget_left_over, job))
    with closing(WatchedErrand(job.computer, watch)) as errand:
        # The scan is opened while the service is told.
        resolving = errand.begin(resolve, order, decide=True)
        _persist(watch, partial(job.writer.enter, State.RUNNING))
        outline = errand.outline(resolving)
        if outline is not None:
            # Readable while its axis is searched, for instance.
            said = {"axes": ["z", "y", "x"]}
            _persist(watch, partial(job.writer.volume, order.path / VOLUME, outline, said))
        resolution = errand.wait(resolving)
        raw_files = RawFiles(errand, resolution.scan, job.readable)
        if job.record.metadata.rerun_of is not None:
            # Nothing is computed if they have changed.
            raw_files.compare(job.record.metadata.rerun_of)
        described = {**_describe(resolution), "raw_uid": job.record.run_uid}
        store = _open_store(job, resolution)
        keep_record(store.folder, job.writer.claim.reconstruction, State.RUNNING, described)
        with Filling(errand, order, store, resolution, job.writer.claim.attempt) as filling:
            # The service is told while slabs are computed.
            filling.begin()
            _persist(watch, partial(job.writer.describe, described))
            _persist(watch, partial(job.writer.volume, store.path, resolution, resolution.volume))
            raw_files.begin()
            filling.run()
            raw_files.finish()
    _write_residuals(job, watch, residual_tables(filling.residuals))
    metadata = {**resolution.volume, "checksum": store.checksum()}
    _complete_volume(job, watch, store, resolution, metadata)
    provenance = {
        "started": began.isoformat(),
        "raw_uid": job.record.run_uid,
        **raw_files.as_provenance(),
        "volume_checksum": metadata["checksum"],
        **_provenance(resolution, store),
    }
    content = {**described, "provenance": provenance, **_follow_ups(job.settings)}
    keep_record(store.folder, job.writer.claim.reconstruction, State.DONE, content, metadata)
    _persist(watch, partial(job.writer.end, State.DONE, content=content))
    logger.info("%s: done in %s", job.record.path, datetime.now(UTC) - began)
    return Progress("done", resolution.slabs, resolution.slabs, 0.0)


def _follow_ups(settings: Settings) -> dict[str, Any]:
    """Return the metadata with which a volume that becomes done asks for what follows."""
    wanted = [names.QUALITY, *([names.PYRAMID] if settings.conductor.pyramids else [])]
    return {key: {"state": FollowUpState.PENDING.value, "message": ""} for key in wanted}


def _provenance(resolution: Resolution, store: SlabStore) -> dict[str, Any]:
    """Return what was used to make a volume, and how long it took: in all attempts, and by readers' wish."""
    return {
        "scan": resolution.scan,
        "rotation_axis": resolution.axis,
        "software": software_versions(),
        **made_by(store),
        "finished": datetime.now(UTC).isoformat(),
        "timings_s": store.timings_s(),
    }


def _forget_left_over(job: Job) -> None:
    """Remove the store of a node that stood under this key before: its attempts are not those of this one."""

    def is_left_over() -> bool:
        if highest_attempt(job.folder) <= job.writer.claim.attempt:
            return False
        # In this order: whoever opens a store has claimed before.
        job.writer.claim.check()
        return True

    if is_left_over() and set_aside(job.folder, is_left_over):
        logger.info("%s: removed the volume of an earlier node of this name", job.record.path)


def _describe(resolution: Resolution) -> dict[str, Any]:
    return {
        "resolved_recipe": resolution.recipe,
        "resolved_recipe_hash": resolution.recipe_hash,
        "geometry": resolution.geometry,
        "notes": list(resolution.notes),
    }


def _open_store(job: Job, resolution: Resolution) -> SlabStore:
    attempt = job.writer.claim.attempt
    store = SlabStore.create(
        job.folder, resolution.shape, resolution.chunks, dtype=resolution.dtype, attempt=attempt
    )
    if not store.keep_only(resolution.identity):
        logger.warning("%s: slabs of an earlier attempt do not fit and are computed anew", job.record.path)
    missing = resolution.slabs - len(store.present())
    layer_bytes = store.shape[1] * store.shape[2] * store.dtype.itemsize
    needed = min(missing * store.chunks[0], store.shape[0]) * layer_bytes
    check_space(store.folder, needed, job.settings.housekeeping.reserve_bytes)
    return store


def _complete_volume(
    job: Job, watch: JobWatch, store: SlabStore, resolution: Resolution, metadata: Mapping[str, Any]
) -> None:
    """Say of the volume that it is complete, and make sure that the service can read it."""
    try:
        _persist(watch, partial(job.writer.describe_volume, metadata))
    except NotFoundError:
        # Somebody has deleted it, or the whole reconstruction.
        _persist(watch, partial(job.writer.volume, store.path, resolution, metadata))
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


def _write_residuals(job: Job, watch: JobWatch, tables: list[QualityTable]) -> None:
    """Store what iterations have left, if the service lets us: the volume is worth more than that."""
    for table in tables:
        write = partial(job.writer.table, table.subject, table.data, table.summary)
        try:
            _persist(watch, write, faults_s=TABLES_S)
        except ClaimLostError:
            raise
        except CatalogError as error:
            logger.warning("%s: goes without the table %s: %s", job.record.path, table.subject, error)


def _persist(watch: JobWatch, action: Callable[[], Result], *, faults_s: float | None = None) -> Result:
    try:
        return persistently(action, watch.should_stop, faults_s=faults_s)
    except ServiceUnavailableError as error:
        raise CancelledError(f"told to stop while waiting: {error}") from error
