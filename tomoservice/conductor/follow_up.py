"""What follows when a volume is done: tables about its quality, and its pyramid.

Both come after the state `done`, because nobody needs to wait for them who wants the volume, and what becomes
of them changes nothing about that. The node says that they are pending, so what was interrupted is finished
by whichever conductor is idle first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from tomoservice.catalog import names
from tomoservice.catalog.nodes import read_record
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import FollowUpState
from tomoservice.catalog.transport import NotFoundError
from tomoservice.catalog.writer import Progress
from tomoservice.compute.tasks import assess
from tomoservice.conductor.errands import WatchedErrand
from tomoservice.conductor.job import Job
from tomoservice.conductor.patience import persistently
from tomoservice.conductor.watch import JobWatch, StopReason
from tomoservice.errors import CancelledError, ClaimLostError, ServiceUnavailableError, TomoserviceError
from tomoservice.export import VolumeForm
from tomoservice.export.ome import Placement
from tomoservice.export.pyramid import MEMORY_BYTES, PyramidJob, publish_pyramid
from tomoservice.export.zarr_store import record_attributes, volume_attributes
from tomoservice.pipeline.memory import memory_budget
from tomoservice.store import VOLUME, SlabStore

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

FAULTS_S = 10.0
"""How long errors of the service are taken to pass."""


def failed_follow_up(record: ReconstructionRecord, message: str) -> dict[str, Any]:
    """Return the metadata of a volume of which nothing that is still to be made is going to be made."""
    failed = FollowUpState.FAILED
    return {key: {"state": failed.value, "message": message} for key in record.metadata.wanted_follow_ups}


def follow_up(job: Job, watch: JobWatch) -> None:
    """Make what is still to be made of a volume that is done.

    What goes wrong is told on the node. When the conductor is being stopped, the node goes on asking.

    Parameters
    ----------
    job
        The reconstruction, as it was when it was claimed.
    watch
        Says when it is time to stop.

    Raises
    ------
    ClaimLostError
        Somebody else has taken over.
    NotFoundError
        The node has been deleted.
    """
    watch.is_done()
    path = job.record.path
    try:
        record = _persist(watch, partial(read_record, job.writer.claim.reconstruction))
        for key in record.metadata.wanted_follow_ups:
            _make(job, watch, record, key)
        slabs = watch.progress.slabs_total
        watch.report(Progress("done", slabs, slabs, 0.0))
    except CancelledError as error:
        logger.info("%s: %s", path, error)
        if watch.reason is StopReason.CANCELLED:
            now = _persist(watch, partial(read_record, job.writer.claim.reconstruction))
            _say(job, watch, failed_follow_up(now, "stopped by a user"))


def _make(job: Job, watch: JobWatch, record: ReconstructionRecord, key: str) -> None:
    """Make one thing, and say on the node what came of it."""
    state, message = FollowUpState.COMPLETE, ""
    try:
        MAKERS[key](job, watch, record)
    except (ClaimLostError, NotFoundError, CancelledError):
        raise
    except TomoserviceError as error:
        state, message = FollowUpState.FAILED, str(error)
        logger.warning("%s: goes without %s: %s", record.path, key, message)
    except Exception as error:
        # The volume is done, and worth more than what follows.
        state, message = FollowUpState.FAILED, f"{type(error).__name__}: {error}"
        logger.exception("%s: goes without %s", record.path, key)
    _say(job, watch, {key: {"state": state.value, "message": message}})


def _make_tables(job: Job, watch: JobWatch, record: ReconstructionRecord) -> None:
    """Look at the quality, and store what was found."""
    del record
    _report(job, watch, "assessing the quality")
    with closing(WatchedErrand(job.computer, watch)) as errand:
        tables = errand.result(assess, job.order)
    for table in tables:
        write = partial(job.writer.table, table.subject, table.data, table.summary)
        _persist(watch, write)


def _make_pyramid(job: Job, watch: JobWatch, record: ReconstructionRecord) -> None:
    """Write the levels of the pyramid, and register them."""
    _report(job, watch, "writing the pyramid")
    store = SlabStore.open(job.folder)
    described = record.metadata.file_record
    form = VolumeForm.described(store.shape, store.chunks, str(store.dtype), described["geometry"])
    order = PyramidJob(
        store.folder,
        VOLUME,
        identity=store.checksum(),
        memory_bytes=min(memory_budget(job.settings.compute.memory_bytes), MEMORY_BYTES),
        cancelled=watch.should_stop,
    )
    name = described["scan"].get("sample_name") or record.reconstruction_id
    attributes = {**volume_attributes(form), **record_attributes(described)}
    on_disk = publish_pyramid(order, name, Placement(form.voxel_size_um), attributes)
    numbered = on_disk.numbered()
    arrays = {
        there.path: store.folder / here.path
        for there, here in zip(numbered.levels, on_disk.levels, strict=True)
    }
    _persist(watch, partial(job.writer.pyramid, arrays, {"ome": numbered.ome}))


MAKERS: Mapping[str, Callable[[Job, JobWatch, ReconstructionRecord], None]] = MappingProxyType(
    {names.QUALITY: _make_tables, names.PYRAMID: _make_pyramid}
)
"""What makes what, by the key of the child that holds it."""


def _report(job: Job, watch: JobWatch, stage: str) -> None:
    slabs = watch.progress.slabs_total or len(SlabStore.open(job.folder).present())
    watch.report(Progress(stage, slabs, slabs))


def _say(job: Job, watch: JobWatch, changes: dict[str, Any]) -> None:
    _persist(watch, partial(job.writer.describe, changes))


def _persist(watch: JobWatch, action: Callable[[], Result]) -> Result:
    try:
        return persistently(action, watch.should_stop, faults_s=FAULTS_S)
    except ServiceUnavailableError as error:
        raise CancelledError(f"told to stop while waiting: {error}") from error
