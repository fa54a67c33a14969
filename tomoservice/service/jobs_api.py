"""HTTP routes about what people do with reconstructions: cancel, stop, pause, resume, retry, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from fastapi import APIRouter
from pydantic import ConfigDict

from tomoservice.catalog import names, steering
from tomoservice.catalog.controls import read_wishes
from tomoservice.catalog.nodes import read_record
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.transport import child, translated
from tomoservice.service.answers import CONFLICT, REFUSALS, TAG, Refusal
from tomoservice.service.callers import CREATE, DELETE, STEER, TheCaller, needs
from tomoservice.service.models import Asked, ReconstructionSummary
from tomoservice.service.office import TheOffice

router = APIRouter(prefix="/tomo", tags=[TAG], responses=REFUSALS)

NO_CONTENT = 204
JOB = "/reconstructions/{run_uid}/{reconstruction_id}"


class Action(StrEnum):
    """What is to be done with a reconstruction."""

    CANCEL = "cancel"
    """End it; slabs that exist are kept on disk."""
    STOP = "stop"
    """End it, and keep what there is of its volume readable."""
    PAUSE = "pause"
    """Leave it alone until it is resumed."""
    RESUME = "resume"
    """Go on with it."""
    RETRY = "retry"
    """Queue a failed or cancelled one again, or a virtual one."""


class PriorityRequest(Asked):
    """How urgent a reconstruction is to be."""

    model_config = ConfigDict(json_schema_extra={"example": {"priority": "normal"}})

    priority: JobPriority
    """`normal`, or `background`: after everything else."""


def _cancel(node: Any, by: str) -> None:
    record = read_record(node)
    # The making of what follows a volume that is done can be ended, too.
    if not record.metadata.wanted_follow_ups:
        steering.check_unfinished(record, "cancel")
    steering.cancel(node, by)


ACTIONS: Mapping[Action, Callable[[Any, str], object]] = {
    Action.CANCEL: _cancel,
    Action.STOP: steering.stop,
    Action.PAUSE: steering.pause,
    Action.RESUME: lambda node, _: steering.resume(node),
    Action.RETRY: lambda node, _: steering.requeue(node),
}


@router.post(
    f"{JOB}/{{action}}",
    dependencies=[needs(STEER)],
    responses={CONFLICT: {"model": Refusal, "description": "Its state does not allow that; says why."}},
)
async def steer_reconstruction(
    run_uid: str, reconstruction_id: str, action: Action, caller: TheCaller, office: TheOffice
) -> ReconstructionSummary:
    """Cancel, stop, pause or resume a reconstruction, or queue one that is finished or virtual.

    One that is being computed follows within a slab; the answer may still show it running.
    """
    return await _act(run_uid, reconstruction_id, caller, office, ACTIONS[action], STEER)


@router.patch(JOB, dependencies=[needs(CREATE)])
async def change_reconstruction(
    run_uid: str,
    reconstruction_id: str,
    wanted: PriorityRequest,
    caller: TheCaller,
    office: TheOffice,
) -> ReconstructionSummary:
    """Make a reconstruction more or less urgent, also while it is being computed."""

    def change(node: Any, by: str) -> None:
        steering.change_priority(node, wanted.priority, by)

    return await _act(run_uid, reconstruction_id, caller, office, change, CREATE)


@router.delete(JOB, dependencies=[needs(DELETE)], status_code=NO_CONTENT)
async def delete_reconstruction(
    run_uid: str, reconstruction_id: str, caller: TheCaller, office: TheOffice
) -> None:
    """Delete a reconstruction; whoever works on it stops. Its volume stays on disk until it is swept."""
    await caller.node(names.PROCESSED, run_uid, reconstruction_id, scopes=DELETE)

    def delete(root: Any) -> None:
        node = child(root, names.PROCESSED, run_uid, reconstruction_id)
        # Nothing else that may stand there is deleted by this route.
        ReconstructionRecord.from_node(node)
        with translated(f"deleting {'/'.join(node.path_parts)}"):
            node.delete(recursive=True, external_only=False)

    await office.clerk.act(caller.authorization, delete)


async def _act(
    run_uid: str,
    reconstruction_id: str,
    caller: TheCaller,
    office: TheOffice,
    action: Callable[[Any, str], object],
    scopes: Sequence[str],
) -> ReconstructionSummary:
    """Do something with a reconstruction in the caller's name, if they may do all that it takes."""
    # Answers 404 or 403 by itself.
    await caller.node(names.PROCESSED, run_uid, reconstruction_id, scopes=scopes)

    def act(root: Any) -> ReconstructionSummary:
        node = child(root, names.PROCESSED, run_uid, reconstruction_id)
        action(node, caller.name)
        summary = ReconstructionSummary.of(read_record(node))
        return summary.model_copy(update={"priority": read_wishes(node).priority or summary.priority})

    return await office.clerk.act(caller.authorization, act)
