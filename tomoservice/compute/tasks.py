"""What workers do: decide, fill slabs, look at the quality, read raw files for their checksums."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from tomoservice.compute.base import Line, anywhere
from tomoservice.compute.orders import VolumeOrder
from tomoservice.compute.quality import QualityTable, quality_tables
from tomoservice.compute.resolution import Resolution, resolution_of
from tomoservice.compute.workbench import Planned, Workbench
from tomoservice.errors import (
    ClaimLostError,
    FaultError,
    InputError,
    MemoryBudgetError,
    OtherSlabsError,
)
from tomoservice.pipeline import Plan, ResidualLog, Slab
from tomoservice.pipeline.residuals import Residual
from tomoservice.provenance import fingerprint, machine
from tomoservice.store import SlabStore, highest_attempt

logger = logging.getLogger(__name__)

HALVINGS = 3
"""How many times the memory of a task is halved when the system has none left."""
OVERTAKEN = 3
"""How many times a slab is offered to a store whose writer has changed."""


@dataclass(frozen=True)
class Filled:
    """What came of a task that filled slabs."""

    computed: tuple[int, ...]
    """Numbers of the slabs that it computed; others existed already."""
    seconds: float
    """Time that passed."""
    residuals: list[Residual] = field(default_factory=list)
    """What iterations have left of each sinogram."""


def resolve(bench: Workbench, line: Line, order: VolumeOrder, *, decide: bool = False) -> Resolution:
    """Decide everything about a volume, or say what has been decided.

    With `decide`, what was decided for another recipe or by another version of the engine is replaced.
    """
    with bench.planned(order, line, decide=decide) as planned:
        return resolution_of(planned.plan, planned.scan, _least_slabs(planned))


def _least_slabs(planned: Planned) -> int:
    """Return how many neighbouring slabs are read for the price of one, as far as memory goes."""
    plan = planned.plan
    if not (plan.read_whole or plan.chain.margin):
        return 1
    with planned.computation() as computation:
        return max(min(computation.rows // plan.chunks[0], len(plan.slabs)), 1)


def fill(
    bench: Workbench, line: Line, order: VolumeOrder, slabs: Sequence[int], attempt: int | None = None
) -> Filled:
    """Compute those of some slabs that do not exist, and store them.

    Parameters
    ----------
    bench, line
        See `Task`.
    order
        Which volume.
    slabs
        Numbers of the slabs.
    attempt
        Fencing token of the claim in whose name they are written; None for whoever only looks, and writes in
        the name of whoever has the store.

    Raises
    ------
    OtherSlabsError
        The slabs that exist were computed for something else.
    ClaimLostError
        Somebody else has claimed the reconstruction.
    CancelledError
        `line` said so; slabs that were finished before are stored.
    TomoserviceError
        The scan cannot be read, the disk is full, ...
    """
    try:
        return _fill(bench, line, order, slabs, attempt)
    except OtherSlabsError:
        # Perhaps others decided while this worker kept its plan, which is not fresh any more then.
        return _fill(bench, line, order, slabs, attempt)


def _fill(
    bench: Workbench, line: Line, order: VolumeOrder, slabs: Sequence[int], attempt: int | None
) -> Filled:
    began = time.monotonic()
    with bench.planned(order, line) as planned:
        plan = planned.plan
        store = _open(order, planned, attempt)
        missing = store.missing([_slab(plan, number, order) for number in sorted(slabs)])
        log = ResidualLog()
        if missing:
            sink = _Sink(store, order, attempt, planned.identity, machine(plan.device))
            timings = _with_less_memory(planned, line, missing, sink, log)
            try:
                store.note_work(timings)
            except OSError as error:
                logger.warning("%s: how long it took is not recorded: %s", store.folder, error)
        computed = tuple(slab.index for slab in missing)
    return Filled(computed, time.monotonic() - began, log.residuals)


def _open(order: VolumeOrder, planned: Planned, attempt: int | None) -> SlabStore:
    plan: Plan = planned.plan
    for _ in range(OVERTAKEN):
        token = highest_attempt(order.path) if attempt is None else attempt
        try:
            store = SlabStore.create(order.path, plan.shape, plan.chunks, dtype=plan.dtype, attempt=token)
            # Only the claim's holder itself discards what belongs to something else.
            store.belong_to(planned.identity)
        except ClaimLostError:
            if attempt is not None:
                raise
            # Claimed since the look: slabs are written in the name of whoever has it now.
            continue
        return store
    raise _restless(order)


def _restless(order: VolumeOrder) -> ClaimLostError:
    return ClaimLostError(f"{order.folder} changes hands too often; ask again")


def _slab(plan: Plan, number: int, order: VolumeOrder) -> Slab:
    if not 0 <= number < len(plan.slabs):
        raise OtherSlabsError(
            f"{order.folder}: the volume has {len(plan.slabs)} slabs, there is no slab {number}: it was "
            "described otherwise; ask for another reconstruction"
        )
    return plan.slabs[number]


def _with_less_memory(
    planned: Planned, line: Line, slabs: Sequence[Slab], sink: _Sink, log: ResidualLog
) -> dict[str, float]:
    """Compute slabs; when the system has no memory left, once more with half of it."""
    memory = planned.memory_bytes
    for _ in range(HALVINGS):
        left = sink.store.missing(slabs)
        if not left:
            return {}
        try:
            with planned.computation(memory) as computation:
                sink.began = time.monotonic()
                return computation.run(left, sink, cancelled=line.should_stop, iterations=log.control())
        except MemoryError:
            memory //= 2
            logger.warning("%s: out of memory; going on with %d MiB", sink.store.folder, memory >> 20)
            line.tell(f"out of memory; going on with {memory >> 20} MiB")
    raise MemoryBudgetError(
        f"{sink.store.folder}: the machine has no memory left for a slab, even in smaller parts; "
        "give compute.memory_bytes a smaller value, run fewer workers, or set frames.binning to 2"
    )


class _Sink:
    """Commits slabs."""

    def __init__(
        self,
        store: SlabStore,
        order: VolumeOrder,
        attempt: int | None,
        identity: str,
        made_on: dict[str, Any],
    ) -> None:
        self.store = store
        self._identity = identity
        self._machine = made_on
        self.began = time.monotonic()
        self._order = order
        self._attempt = attempt
        self._is_overtaken = False

    def __call__(self, slab: Slab, pixels: NDArray[Any]) -> None:
        seconds = time.monotonic() - self.began
        self.began = time.monotonic()
        for _ in range(OVERTAKEN):
            try:
                if self._is_overtaken:
                    # Whoever claimed it meanwhile wants the same pixels, if it is still the same volume.
                    self.store = SlabStore.open(self._order.path, attempt=highest_attempt(self._order.path))
                    self.store.belong_to(self._identity)
                    self._is_overtaken = False
                self.store.commit(slab, pixels, seconds, self._machine)
            except ClaimLostError:
                if self._attempt is not None:
                    raise
                self._is_overtaken = True
            else:
                return
        raise _restless(self._order)


def assess(bench: Workbench, line: Line, order: VolumeOrder) -> list[QualityTable]:
    """Return the tables about the quality of a volume.

    Raises
    ------
    CancelledError
        `line` said so.
    TomoserviceError
        The scan cannot be read.
    """
    with bench.planned(order, line) as planned:
        return list(quality_tables(planned.plan, planned.scan, line.should_stop))


@anywhere
def checksums(
    bench: Workbench, line: Line, files: Sequence[str], *, anew: bool = False
) -> list[dict[str, Any]]:
    """Return size, time of last change and SHA-256 of raw files.

    With `anew`, all are read; otherwise not those that were read before and that nobody has written to since.

    Raises
    ------
    InputError
        With `anew`, a file cannot be read.
    FaultError
        Otherwise: slabs are computed from it, so it is away for a while, or to be seen by other workers only.
    CancelledError
        `line` said so.
    """
    if anew:
        return fingerprint(files, line.should_stop)
    try:
        return bench.fingerprints.of(files, line.should_stop)
    except InputError as error:
        raise FaultError(f"reading raw files for their checksums: {error}") from error
